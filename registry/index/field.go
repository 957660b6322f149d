package index

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/bits-and-blooms/bitset"
)

// field is the inverted index of one field: from each different value, folded, to the things that have it.
type field struct {
	numbers order // values that are numbers
	texts   order // all others
	has     Set   // things with a value

	// A ref below multi is the one thing that has a value, else multi + its place in sets.
	sets []Set
	free []uint32 // places in sets

	cells   cells    // of values that are places
	spaced  int      // values with white space in them, which have several words
	changes uint64   // Index.changes after the last change of the field
	extra   []uint32 // values beyond the first, by thing; it ends behind the last that has several
}

const multi = 1 << 31

func newField() *field { return &field{numbers: order{numeric: true}} }

// orderOf returns where a value belongs.
func (f *field) orderOf(value string) (*order, float64) {
	if num, ok := ParseNumber(value); ok {
		return &f.numbers, num
	}
	return &f.texts, 0
}

// add notes that a thing has a folded value. The thing must not have it yet.
func (f *field) add(id uint32, value string) {
	o, num := f.orderOf(value)
	at, i, found := o.find(num, value)
	if found {
		refs := o.chunks[at].refs
		refs[i] = f.join(refs[i], id)
	} else {
		o.insert(at, i, num, value, id)
		if hasSpace(value) {
			f.spaced++
		}
	}
	if o == &f.texts {
		f.addPlace(id, value)
	}
	if !f.has.Add(id) {
		f.addExtra(id)
	}
}

// join adds a thing to a ref.
func (f *field) join(ref, id uint32) uint32 {
	if ref >= multi {
		f.sets[ref-multi].Add(id)
		return ref
	}
	s := Set{list: make([]uint32, 0, 2)}
	s.Add(ref)
	s.Add(id)
	return f.newRef(s)
}

func (f *field) newRef(s Set) uint32 {
	if n := len(f.free); n > 0 {
		place := f.free[n-1]
		f.free = f.free[:n-1]
		f.sets[place] = s
		return multi + place
	}
	f.sets = append(f.sets, s)
	return multi + uint32(len(f.sets)-1)
}

// remove notes that a thing has a folded value no longer. What it does not have is left alone.
func (f *field) remove(id uint32, value string) {
	o, num := f.orderOf(value)
	at, i, found := o.find(num, value)
	if !found {
		return
	}
	refs := o.chunks[at].refs
	last := refs[i] == id
	if ref := refs[i]; ref >= multi {
		s := &f.sets[ref-multi]
		if !s.Remove(id) {
			return
		}
		switch s.n {
		case 1:
			refs[i] = s.list[0]
			f.drop(ref)
		case 0:
			last = true
			f.drop(ref)
		}
	} else if !last {
		return
	}
	if last {
		if hasSpace(value) {
			f.spaced--
		}
		o.remove(at, i)
	}
	if o == &f.texts {
		f.removePlace(id, value)
	}
	if !f.takeExtra(id) {
		f.has.Remove(id)
	}
}

func (f *field) addExtra(id uint32) {
	if n := int(id) + 1 - len(f.extra); n > 0 {
		f.extra = append(f.extra, make([]uint32, n)...)
	}
	f.extra[id]++
}

// takeExtra takes one value of a thing away and reports whether there is another one.
func (f *field) takeExtra(id uint32) bool {
	if int(id) >= len(f.extra) || f.extra[id] == 0 {
		return false
	}
	f.extra[id]--
	return true
}

func (f *field) drop(ref uint32) {
	f.sets[ref-multi] = Set{}
	f.free = append(f.free, ref-multi)
}

func (f *field) addTo(dst *bitset.BitSet, ref uint32) {
	if ref < multi {
		dst.Set(uint(ref))
		return
	}
	f.sets[ref-multi].AddTo(dst)
}

func (f *field) removeFrom(dst *bitset.BitSet, ref uint32) {
	if ref < multi {
		dst.Clear(uint(ref))
		return
	}
	f.sets[ref-multi].removeFrom(dst)
}

func (f *field) countIn(b *bitset.BitSet, ref uint32) int {
	switch {
	case ref >= multi:
		return f.sets[ref-multi].countIn(b)
	case b.Test(uint(ref)):
		return 1
	}
	return 0
}

func hasSpace[T string | []byte](value T) bool {
	for i := range len(value) {
		switch c := value[i]; {
		case c == ' ' || '\t' <= c && c <= '\r':
			return true
		case c >= utf8.RuneSelf:
			return strings.IndexFunc(string(value[i:]), unicode.IsSpace) >= 0
		}
	}
	return false
}
