package index

import (
	"slices"

	"github.com/bits-and-blooms/bitset"
)

// Set is a set of things, such as the postings of a value: an ascending list of ids while it is sparse, a bitset when
// that takes less memory. The zero value is empty.
type Set struct {
	list []uint32       // while bits is nil
	bits *bitset.BitSet // nil while sparse
	n    int
}

const (
	minDense = 64 // ids; below, a list is always small
	// A list takes 32 bits per id and a bitset one bit per id up to the highest: even at one in 32. A bitset turns back
	// into a list at one in 64 only, so that a set at the edge does not turn with every change.
	denseOver, sparseUnder = 32, 64
)

// Add reports whether id was not there before.
func (s *Set) Add(id uint32) bool {
	if s.bits != nil {
		if s.bits.Test(uint(id)) {
			return false
		}
		s.bits.Set(uint(id))
		s.n++
		return true
	}
	i := len(s.list)
	if i > 0 && s.list[i-1] >= id {
		var found bool
		if i, found = slices.BinarySearch(s.list, id); found {
			return false
		}
	}
	s.list = slices.Insert(s.list, i, id)
	s.n++
	if top := s.list[s.n-1]; s.n >= minDense && s.n*denseOver > int(top) {
		s.bits = bitset.MustNew(uint(top) + 1)
		for _, id := range s.list {
			s.bits.Set(uint(id))
		}
		s.list = nil
	}
	return true
}

// Remove reports whether id was there.
func (s *Set) Remove(id uint32) bool {
	if s.bits == nil {
		i, found := slices.BinarySearch(s.list, id)
		if found {
			s.list = slices.Delete(s.list, i, i+1)
			s.n--
		}
		return found
	}
	if !s.bits.Test(uint(id)) {
		return false
	}
	s.bits.Clear(uint(id))
	s.n--
	if s.n < minDense/2 || s.n*sparseUnder < int(s.bits.Len()) {
		s.list = make([]uint32, 0, s.n)
		for id := range s.bits.EachSet() {
			s.list = append(s.list, uint32(id))
		}
		s.bits = nil
	}
	return true
}

// Has reports whether id is there.
func (s *Set) Has(id uint32) bool {
	if s.bits != nil {
		return s.bits.Test(uint(id))
	}
	_, found := slices.BinarySearch(s.list, id)
	return found
}

// Count returns the number of things.
func (s *Set) Count() int { return s.n }

// Append appends the ids to dst, ascending.
func (s *Set) Append(dst []uint32) []uint32 {
	if s.bits == nil {
		return append(dst, s.list...)
	}
	for id := range s.bits.EachSet() {
		dst = append(dst, uint32(id))
	}
	return dst
}

// AddTo sets the bit of each id in dst.
func (s *Set) AddTo(dst *bitset.BitSet) {
	if s.bits != nil {
		dst.InPlaceUnion(s.bits)
		return
	}
	if len(s.list) == 0 {
		return
	}
	dst.Set(uint(s.list[len(s.list)-1])) // makes room for all
	words := dst.Words()
	for _, id := range s.list {
		words[id>>6] |= 1 << (id & 63)
	}
}

// removeFrom clears the bit of each id in dst.
func (s *Set) removeFrom(dst *bitset.BitSet) {
	if s.bits != nil {
		dst.InPlaceDifference(s.bits)
		return
	}
	for _, id := range s.list {
		dst.Clear(uint(id))
	}
}

// countIn returns how many of the ids are in b.
func (s *Set) countIn(b *bitset.BitSet) int {
	if s.bits != nil {
		return int(b.IntersectionCardinality(s.bits))
	}
	n := 0
	for _, id := range s.list {
		if b.Test(uint(id)) {
			n++
		}
	}
	return n
}

// within returns the ids that are in b, as a new bitset.
func (s *Set) within(b *bitset.BitSet) *bitset.BitSet {
	if s.bits != nil {
		return s.bits.Intersection(b)
	}
	out := bitset.MustNew(b.Len())
	for _, id := range s.list {
		if b.Test(uint(id)) {
			out.Set(uint(id))
		}
	}
	return out
}

// newSet makes a set of ascending ids, which it keeps when they stay a list.
func newSet(ids []uint32) Set {
	s := Set{list: ids, n: len(ids)}
	if s.n >= minDense && s.n*denseOver > int(ids[s.n-1]) {
		s.bits = bitset.MustNew(uint(ids[s.n-1]) + 1)
		for _, id := range ids {
			s.bits.Set(uint(id))
		}
		s.list = nil
	}
	return s
}
