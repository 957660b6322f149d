package index

import (
	"bytes"
	"slices"
	"strings"
)

// Count returns how many things have a value of a field.
func (x *Index) Count(field string) int {
	if f := x.fields[field]; f != nil {
		return f.has.n
	}
	return 0
}

// Suggest returns values of a field that begin with a text, or have it in them if none does: at most limit, those that most things have
// first. At most maxSuggested values are looked at.
func (x *Index) Suggest(field, text string, limit int) []Bucket {
	f := x.fields[field]
	if f == nil || limit < 1 {
		return nil
	}
	folded := []byte(Fold(text))
	list := f.suggest(folded, true, limit)
	if len(list) == 0 && text != "" {
		list = f.suggest(folded, false, limit)
	}
	return list
}

// maxSuggested bounds the values that one Suggest looks at: a few milliseconds.
const maxSuggested = 100_000

// suggest looks for values that begin with a text, or that have it anywhere.
func (f *field) suggest(text []byte, begin bool, limit int) (list []Bucket) {
	looked := 0
	fits := func(value []byte) bool {
		looked++
		return begin && bytes.HasPrefix(value, text) || !begin && bytes.Contains(value, text)
	}
	for _, c := range f.numbers.chunks { // in the order of numbers, not of texts
		for i := range c.refs {
			if value := c.value(i); fits(value) {
				list = f.addBucket(list, value, c.refs[i], limit)
			}
			if looked > maxSuggested {
				return list
			}
		}
	}
	from := ""
	if begin {
		from = string(text)
	}
	at, i, _ := f.texts.find(0, from)
	for ; at < len(f.texts.chunks); at, i = at+1, 0 {
		c := f.texts.chunks[at]
		for ; i < len(c.refs); i++ {
			value := c.value(i)
			fit := fits(value)
			if looked > maxSuggested || begin && !fit {
				return list
			}
			if fit {
				list = f.addBucket(list, value, c.refs[i], limit)
			}
		}
	}
	return list
}

// addBucket adds a value to a list of at most limit, those that most things have first, then by value.
func (f *field) addBucket(list []Bucket, value []byte, ref uint32, limit int) []Bucket {
	n, first := 1, ref
	if ref >= multi {
		s := &f.sets[ref-multi]
		n, first = s.n, s.first()
	}
	if len(list) == limit && n <= list[limit-1].Things {
		return list // of equal ones those that come first stay
	}
	b := Bucket{string(value), n, first}
	at, _ := slices.BinarySearchFunc(list, b, func(a, b Bucket) int {
		if a.Things != b.Things {
			return b.Things - a.Things
		}
		return strings.Compare(a.Value, b.Value)
	})
	if list = slices.Insert(list, at, b); len(list) > limit {
		list = list[:limit]
	}
	return list
}

// first returns the lowest id of a set that is not empty.
func (s *Set) first() uint32 {
	if s.bits == nil {
		return s.list[0]
	}
	at, _ := s.bits.NextSet(0)
	return uint32(at)
}
