package prom

import (
	"slices"
	"sync"

	"github.com/bits-and-blooms/bitset"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"

	"muster/tsdb"
)

const (
	// maxSourceNames bounds the labels that are indexed: a client may ask for any.
	maxSourceNames = 64
	// maxSourceIndexBytes bounds what all of them take, as counted by the two below. A label that does not fit is looked at source by source.
	maxSourceIndexBytes = 32 << 20
	sourceValueBytes    = 120 // of a value, about: its place in the map and its list
	sourcePostingBytes  = 8   // of each further source with it
)

// sourceIndex finds sources by their labels, so that a query need not look at them all. What it knows of a label it learns when a query
// first has a matcher on it. The zero value is ready. Safe for concurrent use.
type sourceIndex struct {
	mu     sync.Mutex // guards all below
	names  map[string]*sourceLabel
	bytes  int // that names take, about
	labels []tsdb.Label
}

// sourceLabel is one label of all sources. There are only ever more.
type sourceLabel struct {
	seen    int // sources that are in values if they have the label
	values  map[string]*sourceList
	bytes   int  // that it takes, about
	counted int  // of them, those that are in sourceIndex.bytes
	full    bool // it does not fit, and is given up
}

// sourceList is the numbers of the sources with one value, ascending. Most values of some labels have one only.
type sourceList struct {
	first uint32
	rest  []uint32
}

func (l *sourceList) addTo(dst *bitset.BitSet) {
	dst.Set(uint(l.first))
	for _, i := range l.rest {
		dst.Set(uint(i))
	}
}

// find returns the sources, by id - FirstSource, that match all matchers; nil is all of them, or that it is not known.
func (x *sourceIndex) find(store Store, lists ...[]*labels.Matcher) *bitset.BitSet {
	n := store.Sources()
	var found *bitset.BitSet
	if n == 0 {
		return new(bitset.BitSet)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, matchers := range lists {
		for _, m := range matchers {
			label := x.label(store, n, m.Name)
			if label == nil {
				continue
			}
			// Those that match, or where a source without the label matches, those that do not.
			some, without := new(bitset.BitSet), m.Matches("")
			if m.Type == labels.MatchEqual && !without {
				if l := label.values[m.Value]; l != nil {
					l.addTo(some)
				}
			} else {
				for value, l := range label.values {
					if m.Matches(value) != without {
						l.addTo(some)
					}
				}
			}
			if found == nil {
				found = bitset.New(uint(n))
				found.FlipRange(0, uint(n))
			}
			if without {
				found.InPlaceDifference(some)
			} else {
				found.InPlaceIntersection(some)
			}
		}
	}
	return found
}

// label returns what is known of the label called name of the first n sources, nil if it is none of those that are indexed.
func (x *sourceIndex) label(store Store, n int, name string) *sourceLabel {
	label := x.names[name]
	if label == nil {
		if len(x.names) >= maxSourceNames {
			return nil
		}
		if x.names == nil {
			x.names = map[string]*sourceLabel{}
		}
		label = &sourceLabel{values: map[string]*sourceList{}}
		x.names[name] = label
	}
	if label.full {
		return nil
	}
	for ; label.seen < n; label.seen++ {
		x.labels, _ = store.SourceLabels(x.labels[:0], tsdb.FirstSource+tsdb.ThingID(label.seen))
		for _, l := range x.labels {
			if l.Name != name {
				continue
			}
			if list := label.values[l.Value]; list != nil {
				list.rest = append(list.rest, uint32(label.seen))
				label.bytes += sourcePostingBytes
			} else {
				label.values[l.Value] = &sourceList{first: uint32(label.seen)}
				label.bytes += sourceValueBytes
			}
		}
		if x.bytes+label.bytes-label.counted > maxSourceIndexBytes {
			x.bytes -= label.counted
			*label = sourceLabel{full: true}
			return nil
		}
	}
	x.bytes += label.bytes - label.counted
	label.counted = label.bytes
	return label
}

// mayRepeat says whether a source's series could have the labels of another series: sources differ from each other, but one
// that names a thing may be like the thing, and one with the label `value` like a string column.
func mayRepeat(info bool, list []Label) bool {
	return info || valueOf(list, thingLabel) != "" || valueOf(list, valueLabel) != ""
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
