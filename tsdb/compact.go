package tsdb

import (
	"errors"
	"math"
	"slices"
)

const (
	// mergeWidth is how many neighboring small segments of one day are merged into one.
	mergeWidth = 4
	// mergeRatio is how much larger than the smallest of them the largest may be, so that a row is rewritten
	// once per factor of mergeWidth that its day grows.
	mergeRatio = 4
	// quietWidth and quietRatio are those of a day that is over, with a segment that is no longer new: what is left of the day, and
	// what comes late, is merged two by two, and a row rewritten once each time that what it is with has grown by half.
	quietWidth, quietRatio = 2, 2
	quietAfterMs           = 3 * 60 * 60 * 1000
)

// compact merges one group of small segments of a day, if there is one.
//
// The new segment takes the order of its newest source, so that no other segment changes sides; no segment that
// lies between them in order and overlaps them in time is jumped over.
func (s *Store) compact() error {
	if logState(s.log.state.Load()) != logOpen {
		return nil
	}
	sources := mergeable(*s.segments.Load(), s.opts.Clock.Now().UnixMilli())
	for t := tier5m; t < tierCount && sources == nil; t++ {
		sources = mergeableTier(*s.tiers.Load(), t)
	}
	if sources == nil {
		return nil
	}
	var size int64
	for _, g := range sources {
		size += g.sizeBytes
	}
	free, err := s.opts.FS.FreeBytes(s.opts.Dir)
	if err != nil || int64(free) < s.opts.ReserveBytes+2*size {
		return err // merging only saves space: without room for both it waits
	}
	merged, err := s.merge(sources)
	if errors.Is(err, errDamagedSource) {
		return nil
	}
	if err != nil {
		return err
	}
	var add []*segment
	if merged != nil {
		add = []*segment{merged}
	}
	s.publish(add, sources)
	for _, g := range sources {
		if err := s.removeSegment(g); err != nil {
			return err
		}
	}
	s.merges.Inc()
	return s.opts.FS.SyncDir(s.opts.Dir)
}

// day returns the day that all rows of g lie in, or strayDay.
func (g *segment) day() int64 {
	if d := g.minMs / dayMs; g.maxMs/dayMs == d {
		return d
	}
	return strayDay
}

// mergeable returns the first segments, in order, that are worth merging; list is in order.
func mergeable(list []*segment, nowMs int64) []*segment {
	groups := map[int64][]*segment{}
	for _, g := range list {
		day := g.day()
		if day == strayDay {
			for other := range groups {
				if g.minMs < (other+1)*dayMs && g.maxMs >= other*dayMs {
					delete(groups, other)
				}
			}
			continue
		}
		if g.damaged.Load() {
			delete(groups, day)
			continue
		}
		group := groups[day]
		quiet := max((day+1)*dayMs, g.head.createdMs)+quietAfterMs < nowMs
		if quiet && len(group) > 0 && similar(group[len(group)-quietWidth+1:], g, quietRatio) {
			return append(slices.Clone(group[len(group)-quietWidth+1:]), g)
		}
		for len(group) > 0 && !similar(group, g, mergeRatio) {
			group = group[1:]
		}
		group = append(group, g)
		if len(group) == mergeWidth {
			return group
		}
		groups[day] = group
	}
	return nil
}

// mergeableTier returns the first neighbors of a tier that are worth merging; list is in order.
func mergeableTier(list []*segment, t tier) []*segment {
	var group []*segment
	for _, g := range list {
		if g.head.tier != t {
			continue
		}
		if g.damaged.Load() {
			group = nil
			continue
		}
		group = append(group, g)
		for len(group) > 0 && (!similar(group[:len(group)-1], g, mergeRatio) || spanDays(group) > t.mergedDays()) {
			group = group[1:]
		}
		if len(group) == mergeWidth {
			return group
		}
	}
	return nil
}

// spanDays returns how many days there are from the first to the last bucket of list.
func spanDays(list []*segment) int64 {
	minMs, maxMs := int64(math.MaxInt64), int64(0)
	for _, g := range list {
		minMs, maxMs = min(minMs, g.minMs), max(maxMs, g.maxMs)
	}
	return (maxMs-minMs)/dayMs + 1
}

// similar says whether g is close enough in size to be merged with group.
func similar(group []*segment, g *segment, ratio int64) bool {
	total, small, large := g.sizeBytes, g.sizeBytes, g.sizeBytes
	for _, x := range group {
		total, small, large = total+x.sizeBytes, min(small, x.sizeBytes), max(large, x.sizeBytes)
	}
	return total <= maxSegmentMerge && large <= ratio*max(small, writeBufferBytes)
}

// errDamagedSource says that a source has a damaged block: it is left alone, so that what is damaged can be looked at.
var errDamagedSource = errors.New("a segment to merge is damaged")

// merge writes the rows of sources as one segment; nil if nothing is left of them.
func (s *Store) merge(sources []*segment) (merged *segment, err error) {
	last := sources[len(sources)-1].head
	head := segmentHead{id: s.nextSegment, order: last.order, tier: last.tier}
	s.nextSegment++
	for _, g := range sources {
		head.createdMs = max(head.createdMs, g.head.createdMs)
	}
	w, err := createSegment(s.opts.FS, s.opts.Dir, head)
	if err != nil {
		return nil, diskFullOr(err)
	}
	defer func() {
		if merged == nil {
			if abortErr := w.abort(); err != nil {
				err = diskFullOr(errors.Join(err, abortErr))
			}
		}
	}()
	for _, g := range sources {
		w.index.replaces = append(w.index.replaces, g.head.id)
		w.index.covers = mergeCovers(w.index.covers, g.covers)
	}
	var t table
	var dec blockDecoder
	var b block
	var buf []byte
	for _, thing := range thingsOf(sources) {
		if s.isDeleted(thing) {
			continue
		}
		t.reset()
		large := samplesOf(sources, thing) > maxTableSamples // has full blocks: merging would gain nothing
		for _, g := range sources {
			from, to := g.of(thing)
			for i := from; i < to; i++ {
				ok, err := g.readBlock(i, &b, &buf, s.damage)
				if err != nil {
					return nil, err
				}
				if !ok {
					return nil, errDamagedSource
				}
				if large {
					err = w.copyBlock(&b, buf)
				} else if err := dec.addTo(&t, &b); err != nil {
					g.markBad(i, err, s.damage)
					return nil, errDamagedSource
				}
				if err != nil {
					return nil, err
				}
			}
		}
		t.settle()
		if err := w.add(thing, &t, 0, len(t.times)); err != nil {
			return nil, err
		}
	}
	if len(w.index.blocks) == 0 {
		return nil, nil
	}
	g, err := w.finish()
	if err != nil {
		return nil, err
	}
	s.segmentWritten.Add(int(g.sizeBytes))
	return g, nil
}

// samplesOf returns how many samples a thing has in segments, at most.
func samplesOf(list []*segment, thing ThingID) int {
	samples := 0
	for _, g := range list {
		from, to := g.of(thing)
		for _, ref := range g.blocks[from:to] {
			samples += int(ref.rows) * len(g.layouts[ref.layout])
		}
	}
	return samples
}

// thingsOf returns the things of segments, ascending.
func thingsOf(list []*segment) []ThingID {
	var ids []ThingID
	for _, g := range list {
		for i := range g.blocks {
			if id := g.blocks[i].thing; len(ids) == 0 || ids[len(ids)-1] != id {
				ids = append(ids, id)
			}
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}
