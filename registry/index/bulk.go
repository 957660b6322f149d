package index

import (
	"math/bits"
	"slices"

	"github.com/bits-and-blooms/bitset"
)

// AddAll is Add of one value for many things, none of which must have it already. It is much faster.
func (x *Index) AddAll(things *bitset.BitSet, field, value string) {
	if value != "" && !things.None() {
		x.fieldFor(field, value).addAll(things, Fold(value))
	}
}

// RemoveAll is Remove of one value for many things, all of which must have it.
func (x *Index) RemoveAll(things *bitset.BitSet, field, value string) {
	f := x.fields[field]
	if f == nil || value == "" || things.None() {
		return
	}
	x.noteChange(f)
	f.removeAll(things, Fold(value))
	if f.has.n == 0 {
		delete(x.fields, field)
	}
}

func (f *field) addAll(things *bitset.BitSet, value string) {
	first, _ := things.NextSet(0)
	f.add(uint32(first), value)
	rest := things.Clone()
	rest.Clear(first)
	if rest.None() {
		return
	}
	o, num := f.orderOf(value)
	at, i, _ := o.find(num, value)
	refs := o.chunks[at].refs
	if refs[i] < multi {
		s := Set{list: []uint32{refs[i]}, n: 1}
		refs[i] = f.newRef(s)
	}
	f.sets[refs[i]-multi].addAll(rest)
	if _, isPlace := ParsePoint(value); isPlace && o == &f.texts {
		for id := range rest.EachSet() {
			f.addPlace(uint32(id), value)
		}
	}
	for id := range f.has.within(rest).EachSet() {
		f.addExtra(uint32(id))
	}
	f.has.addAll(rest)
}

func (f *field) removeAll(things *bitset.BitSet, value string) {
	o, num := f.orderOf(value)
	at, i, found := o.find(num, value)
	if !found {
		return
	}
	ref := o.chunks[at].refs[i]
	if ref < multi {
		if things.Test(uint(ref)) {
			f.remove(ref, value)
		}
		return
	}
	// One is left for remove, which knows what to do with a value that nothing has any more.
	last := f.sets[ref-multi].first()
	most := things.Clone()
	most.Clear(uint(last))
	f.sets[ref-multi].removeAll(most)
	if _, isPlace := ParsePoint(value); isPlace && o == &f.texts {
		for id := range most.EachSet() {
			f.removePlace(uint32(id), value)
		}
	}
	gone := most.Clone()
	for id := range most.EachSet() {
		if f.takeExtra(uint32(id)) {
			gone.Clear(id)
		}
	}
	f.has.removeAll(gone)
	if s := &f.sets[ref-multi]; s.n == 1 {
		o.chunks[at].refs[i] = s.first()
		f.drop(ref)
	}
	if things.Test(uint(last)) {
		f.remove(last, value)
	}
}

// SetOf makes a set of the ids in bits, of which it keeps nothing.
func SetOf(bits *bitset.BitSet) Set {
	n := int(bits.Count())
	if n == 0 {
		return Set{}
	}
	top, _ := bits.PreviousSet(bits.Len() - 1)
	if n >= minDense && n*denseOver > int(top) {
		return Set{bits: bits.Clone(), n: n}
	}
	s := Set{list: make([]uint32, 0, n), n: n}
	for id := range bits.EachSet() {
		s.list = append(s.list, uint32(id))
	}
	return s
}

// Next returns the first id that is not below from, false if there is none.
func (s *Set) Next(from uint32) (id uint32, ok bool) {
	if s.bits != nil {
		at, ok := s.bits.NextSet(uint(from))
		return uint32(at), ok
	}
	i, _ := slices.BinarySearch(s.list, from)
	if i == len(s.list) {
		return 0, false
	}
	return s.list[i], true
}

// AppendRange appends the ids that are at least from and below to, ascending.
func (s *Set) AppendRange(dst []uint32, from, to uint32) []uint32 {
	if s.bits == nil {
		i, _ := slices.BinarySearch(s.list, from)
		n, _ := slices.BinarySearch(s.list[i:], to)
		return append(dst, s.list[i:i+n]...)
	}
	words := s.bits.Words()
	for w := int(from / 64); w < len(words) && w*64 < int(to); w++ {
		for rest := words[w]; rest != 0; rest &= rest - 1 {
			if id := uint32(w*64 + bits.TrailingZeros64(rest)); id >= from && id < to {
				dst = append(dst, id)
			}
		}
	}
	return dst
}

// SetOfList makes a set of ascending ids, of which it keeps nothing.
func SetOfList(ids []uint32) Set {
	s := newSet(ids)
	s.list = slices.Clone(s.list)
	return s
}

func (s *Set) addAll(things *bitset.BitSet) {
	if s.bits != nil {
		s.bits.InPlaceUnion(things)
		s.n = int(s.bits.Count())
		return
	}
	all := things.Clone()
	s.AddTo(all)
	*s = SetOf(all)
}

func (s *Set) removeAll(things *bitset.BitSet) {
	left := new(bitset.BitSet)
	s.AddTo(left)
	left.InPlaceDifference(things)
	*s = SetOf(left)
}
