package prom

import (
	"slices"
	"sync"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"

	"muster/tsdb"
)

// sourceIndex finds the sources that have a label `thing`, so that a query for one thing need not look at them all. The
// zero value is ready. Safe for concurrent use.
type sourceIndex struct {
	mu      sync.Mutex // guards all below
	seen    int        // sources that are in byThing if they belong there; there are only ever more
	byThing map[string][]tsdb.ThingID
	labels  []tsdb.Label
}

// append appends the sources of store whose label `thing` is one of names to dst.
func (x *sourceIndex) append(dst []tsdb.ThingID, store Store, names []string) []tsdb.ThingID {
	x.mu.Lock()
	defer x.mu.Unlock()
	for n := store.Sources(); x.seen < n; x.seen++ {
		id := tsdb.FirstSource + tsdb.ThingID(x.seen)
		x.labels, _ = store.SourceLabels(x.labels[:0], id)
		i := slices.IndexFunc(x.labels, func(l tsdb.Label) bool { return l.Name == thingLabel })
		if i < 0 {
			continue
		}
		if x.byThing == nil {
			x.byThing = map[string][]tsdb.ThingID{}
		}
		name := x.labels[i].Value
		x.byThing[name] = append(x.byThing[name], id)
	}
	for _, name := range names {
		dst = append(dst, x.byThing[name]...)
	}
	return dst
}

// mayRepeat says whether a source's series could have the labels of another series: sources differ from each other, but one
// that names a thing may be like the thing, and one with the label `value` like a string column.
func mayRepeat(id tsdb.ThingID, info bool, list []Label) bool {
	return id >= tsdb.FirstSource && (info || valueOf(list, thingLabel) != "" || valueOf(list, valueLabel) != "")
}

// mergeRepeated makes one series of those that have the same labels, in place. It sorts list.
func mergeRepeated(list []series) []series {
	slices.SortStableFunc(list, func(a, b series) int { return labels.Compare(a.lset, b.lset) })
	kept := list[:0]
	for _, s := range list {
		if n := len(kept); n > 0 && labels.Equal(kept[n-1].lset, s.lset) {
			s.also = kept[n-1].also
			kept[n-1].also = &s
		} else {
			kept = append(kept, s)
		}
	}
	return kept
}

// merged returns an iterator over the samples of s and all of s.also; of two at one time, one counts.
func (s *series) merged() chunkenc.Iterator {
	var all []chunkenc.Iterator
	for ; s != nil; s = s.also {
		it := &sampleIterator{spanMs: firstWindowMs}
		it.reset(s)
		all = append(all, it)
	}
	return storage.ChainSampleIteratorFromIterators(nil, all)
}
