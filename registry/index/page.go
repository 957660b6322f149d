package index

import (
	"cmp"
	"slices"

	"github.com/bits-and-blooms/bitset"
)

// Key is the place of a thing in an order. It stays right when other things come and go.
type Key struct {
	Class Class   `json:"c"`
	Num   float64 `json:"n,omitempty"` // of a number
	Text  string  `json:"t,omitempty"` // the folded value
	Name  string  `json:"m"`           // the folded name
	ID    uint32  `json:"i"`
}

// Class is what kind of value a thing is sorted by.
type Class uint8

const (
	Number  Class = iota
	Text          // not a number
	Missing       // no value: at the end in either direction
)

// Page returns up to limit things of the set in the order of a field: numbers before texts, or all of it in reverse if
// descending; things without a value are at the end, and equal ones are by name, then id, ascending. A thing with several
// values is where the first of them is. after is nil, or the last of the page before; last is for the page after it.
// more says that there is one.
func (x *Index) Page(set *bitset.BitSet, field string, descending bool, after *Key, limit int) (ids []uint32, last Key, more bool) {
	p := pager{index: x, rest: set.Clone(), descending: descending, after: after, limit: limit + 1}
	if c := x.columns[field]; c != nil {
		p.column(c)
	} else if f := x.fields[field]; f != nil {
		if n := p.rest.Count(); field == x.nameField && n*fewIn <= x.live.Len() {
			p.few()
		} else {
			p.field(f)
		}
	}
	p.class = Missing
	p.group(p.rest, 0, "")
	if more = len(p.hits) > limit; more {
		p.hits = p.hits[:limit]
	}
	for _, h := range p.hits {
		ids = append(ids, h.ID)
	}
	if len(p.hits) > 0 {
		last = p.hits[len(p.hits)-1]
	}
	return ids, last, more
}

type pager struct {
	index      *Index
	rest       *bitset.BitSet // not yet placed
	descending bool
	after      *Key
	limit      int
	class      Class // that is being placed
	hits       []Key
}

func (p *pager) full() bool { return len(p.hits) >= p.limit }

// field places the things with a value.
func (p *pager) field(f *field) {
	orders := []struct {
		class Class
		*order
	}{{Number, &f.numbers}, {Text, &f.texts}}
	if p.descending {
		slices.Reverse(orders)
	}
	for _, o := range orders {
		p.class = o.class
		o.eachIn(p.rest, p.descending, func(c *chunk, i int) bool {
			ref := c.refs[i]
			num := 0.0
			if c.nums != nil {
				num = c.nums[i]
			}
			if p.after != nil && p.compareAfter(num, c.value(i)) < 0 {
				f.removeFrom(p.rest, ref)
				return true
			}
			if ref < multi {
				p.rest.Clear(uint(ref))
				p.add(num, string(c.value(i)), []uint32{ref})
			} else if s := &f.sets[ref-multi]; s.countIn(p.rest) > 0 {
				group := s.within(p.rest)
				s.removeFrom(p.rest)
				p.group(group, num, string(c.value(i)))
			}
			return !p.full()
		})
		if p.full() {
			return
		}
	}
}

// eachIn is each for the values that things of a set may have: without those that one thing has which is not in it. visit may take things out
// of the set.
func (o *order) eachIn(set *bitset.BitSet, descending bool, visit func(c *chunk, i int) bool) {
	words := set.Words()
	for k := range o.chunks {
		if !descending {
			c := o.chunks[k]
			for i, ref := range c.refs {
				if mayBeIn(words, ref) && !visit(c, i) {
					return
				}
			}
			continue
		}
		c := o.chunks[len(o.chunks)-1-k]
		for i := len(c.refs) - 1; i >= 0; i-- {
			if mayBeIn(words, c.refs[i]) && !visit(c, i) {
				return
			}
		}
	}
}

func mayBeIn(words []uint64, ref uint32) bool {
	w := int(ref >> 6)
	return ref >= multi || w < len(words) && words[w]>>(ref&63)&1 != 0
}

// fewIn is of how many things one is at most in a set whose things are sorted by name one by one: for more, all names are walked in their order.
const fewIn = 512

// few places all things by name.
func (p *pager) few() {
	for id := range p.rest.EachSet() {
		name := Fold(p.index.name(uint32(id)))
		num, isNumber := ParseNumber(name)
		k := Key{Class: Text, Num: num, Text: name, Name: name, ID: uint32(id)}
		if isNumber {
			k.Class = Number
		}
		if p.after == nil || p.compareKeys(k, *p.after) > 0 {
			p.hits = append(p.hits, k)
		}
	}
	slices.SortFunc(p.hits, p.compareKeys)
	p.rest.ClearAll()
}

// compareKeys compares two things by value, then by name.
func (p *pager) compareKeys(a, b Key) int {
	n := cmp.Or(cmp.Compare(a.Class, b.Class), cmp.Compare(a.Num, b.Num), cmp.Compare(a.Text, b.Text))
	if p.descending {
		n = -n
	}
	if a.Class == Missing || b.Class == Missing {
		n = cmp.Compare(a.Class, b.Class)
	}
	return cmp.Or(n, cmp.Compare(a.ID, b.ID))
}

// compareAfter compares a value with that of after: below 0, it was on a page before.
func (p *pager) compareAfter(num float64, text []byte) int {
	if p.after.Class == Missing {
		return -1
	}
	n := cmp.Or(cmp.Compare(p.class, p.after.Class), cmp.Compare(num, p.after.Num), compareText(text, p.after.Text))
	if p.descending {
		n = -n
	}
	return n
}

// sortMost is up to how many things of a group are sorted; for more, all names are walked in their order.
const sortMost = 2048

// group places things that have the same value, by name.
func (p *pager) group(ids *bitset.BitSet, num float64, text string) {
	if p.full() {
		return
	}
	names := p.index.fields[p.index.nameField]
	if n := ids.Count(); n <= sortMost || names == nil {
		list := make([]uint32, 0, n)
		for id := range ids.EachSet() {
			list = append(list, uint32(id))
		}
		p.add(num, text, list)
		return
	}
	for _, o := range []*order{&names.numbers, &names.texts} {
		o.eachIn(ids, false, func(c *chunk, i int) bool {
			if ref := c.refs[i]; ref < multi {
				p.add(num, text, []uint32{ref})
			} else if s := &names.sets[ref-multi]; s.countIn(ids) > 0 {
				var list []uint32
				for id := range s.within(ids).EachSet() {
					list = append(list, uint32(id))
				}
				p.add(num, text, list)
			}
			return !p.full()
		})
	}
}

// add places things that have the same value: those behind after, by name.
func (p *pager) add(num float64, text string, ids []uint32) {
	sameValue := p.after != nil && p.after.Class == p.class && p.after.Num == num && p.after.Text == text
	from := len(p.hits)
	for _, id := range ids {
		k := Key{Class: p.class, Num: num, Text: text, Name: Fold(p.index.name(id)), ID: id}
		if !sameValue || compareByName(k, *p.after) > 0 {
			p.hits = append(p.hits, k)
		}
	}
	slices.SortFunc(p.hits[from:], compareByName)
}

func compareByName(a, b Key) int {
	if n := compareNames(a.Name, b.Name); n != 0 {
		return n
	}
	return cmp.Compare(a.ID, b.ID)
}

// compareNames compares folded names as the field of names has them.
func compareNames(a, b string) int {
	numA, isA := ParseNumber(a)
	numB, isB := ParseNumber(b)
	switch {
	case isA != isB && isA:
		return -1
	case isA != isB:
		return 1
	case numA != numB:
		return cmp.Compare(numA, numB)
	}
	return cmp.Compare(a, b)
}

// column places the things with a number: it keeps the best while it looks at all.
func (p *pager) column(c *Column) {
	p.class = Number
	compare := func(a, b Key) int {
		n := cmp.Compare(a.Num, b.Num)
		if p.descending {
			n = -n
		}
		if n != 0 {
			return n
		}
		return compareByName(a, b)
	}
	// Names are filled in only where numbers are equal or a thing stays.
	named := func(k *Key) *Key {
		if k.Name == "" {
			k.Name = Fold(p.index.name(k.ID))
		}
		return k
	}
	placed := bitset.MustNew(p.rest.Len())
	var best []Key
	cut := func() {
		for i := range best {
			named(&best[i])
		}
		slices.SortFunc(best, compare)
		best = best[:min(len(best), p.limit)]
	}
	var worst *Key // of the best, when there are enough
	for id := range p.rest.EachSet() {
		value, ok := c.get(uint32(id))
		if !ok {
			continue
		}
		placed.Set(id)
		k := Key{Class: Number, Num: float64(value), ID: uint32(id)}
		if p.after != nil && (p.after.Class == Missing || p.beyond(k.Num, p.after.Num) < 0 ||
			k.Num == p.after.Num && compareByName(*named(&k), *p.after) <= 0) {
			continue
		}
		if worst != nil && p.beyond(k.Num, worst.Num) > 0 {
			continue
		}
		if best = append(best, k); len(best) >= 2*p.limit+1024 {
			cut()
			w := best[len(best)-1]
			worst = &w
		}
	}
	cut()
	p.hits = append(p.hits, best...)
	p.rest.InPlaceDifference(placed)
}

// beyond compares two numbers in the direction of the page.
func (p *pager) beyond(a, b float64) int {
	if p.descending {
		a, b = b, a
	}
	return cmp.Compare(a, b)
}
