package tsdb

import (
	"iter"
	"maps"
)

// things are those of one shard: in a list by id, as ids are given one after the other; and sources, and ids that are far beyond the others, in a
// map. The shard's lock guards it.
type things struct {
	near  []*thing // by id/shardCount; nil: there is none
	far   map[ThingID]*thing
	count int
}

// nearSpare is how many more ids than things the list may span, in shares of leastFill.
const nearSpare = 64

func (x *things) get(id ThingID) *thing {
	if i := int(id / shardCount); i < len(x.near) {
		return x.near[i]
	}
	return x.far[id]
}

// put adds a thing that is not there.
func (x *things) put(t *thing) {
	x.count++
	i := int(t.id / shardCount)
	if i >= len(x.near) {
		if i >= leastFill*(x.count+nearSpare) {
			if x.far == nil {
				x.far = map[ThingID]*thing{}
			}
			x.far[t.id] = t
			return
		}
		x.reach(i)
	}
	x.near[i] = t
}

// reach lets the list span slot i, twice as much as before at least.
func (x *things) reach(i int) {
	n := max(16, 2*len(x.near))
	for n <= i {
		n *= 2
	}
	x.near = append(make([]*thing, 0, n), x.near...)[:n]
	for id, t := range x.far {
		if slot := int(id / shardCount); slot < n {
			x.near[slot] = t
			delete(x.far, id)
		}
	}
}

// remove takes out a thing that is there.
func (x *things) remove(id ThingID) {
	x.count--
	if i := int(id / shardCount); i < len(x.near) {
		x.near[i] = nil
		return
	}
	delete(x.far, id)
}

// all returns the things, in no order.
func (x *things) all() iter.Seq[*thing] {
	return func(yield func(*thing) bool) {
		for _, t := range x.near {
			if t != nil && !yield(t) {
				return
			}
		}
		for t := range maps.Values(x.far) {
			if !yield(t) {
				return
			}
		}
	}
}
