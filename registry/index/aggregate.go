package index

import (
	"bytes"
	"cmp"
	"math"
	"slices"
	"strconv"

	"github.com/bits-and-blooms/bitset"
)

// Type is what the values of a field are, in a set of things.
type Type uint8

const (
	NoType     Type = iota // no values
	NumberType             // at least one is a number; the texts among them do not count
	BoolType               // all are true or false
	TextType
)

// Stats are the statistics of a field. All but Count are 0 for texts.
type Stats struct {
	Type                                         Type
	Count                                        int // values: numbers, booleans or texts, by Type
	Average, Sum, Min, Max, SumSquares, Variance float64
}

// Elsewhere has the values of fields that are not kept in the index, for aggregates. It must be fast and safe for concurrent use.
type Elsewhere interface {
	// Values calls visit for each value of a field that things of a set have: numbers, then texts, each ascending.
	Values(set *bitset.BitSet, field string, visit func(num float64, isNumber bool, text []byte, things int))
	// Having returns those of a set that have a value, in a new bitset; text is as visit got it.
	Having(set *bitset.BitSet, field, text string) *bitset.BitSet
}

// AggregateElsewhere is called once, before the first aggregate.
func (x *Index) AggregateElsewhere(e Elsewhere) { x.other = e }

// weighted is a number and how many things have it.
type weighted struct {
	num float64
	n   int
}

// numbers returns the numbers of a field in a set, ascending, and what type the field has there. Booleans are 0 and 1.
func (x *Index) numbers(set *bitset.BitSet, field string) (list []weighted, typ Type, texts int) {
	var bools [2]int
	allBool := true
	x.values(set, field, func(num float64, isNumber bool, text []byte, n int) {
		if isNumber {
			list = append(list, weighted{num, n})
			return
		}
		texts += n
		if b, ok := boolNumber(text); ok {
			bools[int(b)] += n
		} else {
			allBool = false
		}
	})
	switch {
	case len(list) > 0:
		return list, NumberType, 0
	case texts == 0:
		return nil, NoType, 0
	case !allBool:
		return nil, TextType, texts
	}
	for b, n := range bools {
		if n > 0 {
			list = append(list, weighted{float64(b), n})
		}
	}
	return list, BoolType, 0
}

// Stats returns the statistics of a field over the things of a set. The variance is that of the whole population.
func (x *Index) Stats(set *bitset.BitSet, field string) Stats {
	list, typ, texts := x.numbers(set, field)
	s := Stats{Type: typ, Count: texts}
	if len(list) == 0 {
		return s
	}
	s.Min, s.Max = list[0].num, list[len(list)-1].num
	for _, w := range list {
		s.Count += w.n
		s.Sum += w.num * float64(w.n)
		s.SumSquares += w.num * w.num * float64(w.n)
	}
	s.Average = s.Sum / float64(s.Count)
	for _, w := range list {
		d := w.num - s.Average
		s.Variance += d * d * float64(w.n) / float64(s.Count)
	}
	return s
}

// Percentiles returns the value of each percent (0 to 100) of a field over the things of a set, between two values by
// proportion; nil when none has a number there. typ is what the field's values are.
func (x *Index) Percentiles(set *bitset.BitSet, field string, percents []float64) (values []float64, typ Type) {
	list, typ, _ := x.numbers(set, field)
	if len(list) == 0 {
		return nil, typ
	}
	total := 0
	for i := range list {
		total += list[i].n
		list[i].n = total // how many are at most this number
	}
	at := func(rank int) float64 {
		i, _ := slices.BinarySearchFunc(list, rank+1, func(w weighted, n int) int { return cmp.Compare(w.n, n) })
		return list[i].num
	}
	for _, p := range percents {
		whole, part := math.Modf(p / 100 * float64(total-1))
		low := at(int(whole))
		if part > 0 {
			low += part * (at(int(whole)+1) - low)
		}
		values = append(values, low)
	}
	return values, typ
}

// Cardinality returns how many different values, without case, the things of a set have.
func (x *Index) Cardinality(set *bitset.BitSet, field string) int {
	n := 0
	x.values(set, field, func(float64, bool, []byte, int) { n++ })
	return n
}

// Bucket is a value and how many things of a set have it.
type Bucket struct {
	Value  string // folded
	Things int
	First  uint32 // one of them
}

// Buckets returns the values that most things of a set have: at most limit, by number of things descending, then value.
func (x *Index) Buckets(set *bitset.BitSet, field string, limit int) []Bucket {
	var all []Bucket
	compare := func(a, b Bucket) int {
		return cmp.Or(cmp.Compare(b.Things, a.Things), cmp.Compare(a.Value, b.Value))
	}
	x.values(set, field, func(_ float64, _ bool, text []byte, n int) {
		if all = append(all, Bucket{Value: string(text), Things: n}); len(all) > 2*limit+1024 {
			slices.SortFunc(all, compare)
			all = all[:limit]
		}
	})
	slices.SortFunc(all, compare)
	all = all[:min(limit, len(all))]
	for i := range all {
		all[i].First = x.first(set, field, all[i].Value)
	}
	return all
}

// first returns a thing of a set that has a folded value of a field, 0 for a column.
func (x *Index) first(set *bitset.BitSet, field, value string) uint32 {
	f := x.fields[field]
	if f == nil {
		return 0
	}
	o, num := f.orderOf(value)
	at, i, found := o.find(num, value)
	if !found {
		return 0
	}
	ref := o.chunks[at].refs[i]
	if ref < multi {
		return ref
	}
	id, _ := f.sets[ref-multi].within(set).NextSet(0)
	return uint32(id)
}

// Having returns the things of a set that have a value of a field, in a new bitset. The value is one of Buckets.
func (x *Index) Having(set *bitset.BitSet, field, value string) *bitset.BitSet {
	out := new(bitset.BitSet)
	if c := x.columns[field]; c != nil {
		want, err := strconv.ParseInt(value, 10, 64)
		for id := range set.EachSet() {
			if has, ok := c.get(uint32(id)); ok && has == want && err == nil {
				out.Set(id)
			}
		}
		return out
	}
	f := x.fields[field]
	if f == nil {
		if x.other != nil {
			return x.other.Having(set, field, value)
		}
		return out
	}
	o, num := f.orderOf(value)
	if at, i, found := o.find(num, value); found {
		f.addTo(out, o.chunks[at].refs[i])
		out.InPlaceIntersection(set)
	}
	return out
}

// count is values for a column.
func (c *Column) count(set *bitset.BitSet, visit func(num float64, isNumber bool, text []byte, things int)) {
	counts := make(map[int64]int)
	for id := range set.EachSet() {
		if value, ok := c.get(uint32(id)); ok {
			counts[value]++
		}
	}
	values := make([]int64, 0, len(counts))
	for value := range counts {
		values = append(values, value)
	}
	slices.Sort(values)
	for _, value := range values {
		visit(float64(value), true, strconv.AppendInt(nil, value, 10), counts[value])
	}
}

// values calls visit for the values of a field in a set, numbers then texts, each ascending, with the number of things
// that have it.
func (x *Index) values(set *bitset.BitSet, field string, visit func(num float64, isNumber bool, text []byte, things int)) {
	if c := x.columns[field]; c != nil {
		c.count(set, visit)
		return
	}
	f := x.fields[field]
	if f == nil {
		if x.other != nil {
			x.other.Values(set, field, visit)
		}
		return
	}
	for _, o := range []*order{&f.numbers, &f.texts} {
		o.each(false, func(c *chunk, i int) bool {
			if n := f.countIn(set, c.refs[i]); n > 0 {
				if c.nums != nil {
					visit(c.nums[i], true, c.value(i), n)
				} else {
					visit(0, false, c.value(i), n)
				}
			}
			return true
		})
	}
}

var (
	textTrue  = []byte("true")
	textFalse = []byte("false")
)

// boolNumber returns 1 and 0 for true and false.
func boolNumber(text []byte) (num float64, ok bool) {
	switch {
	case bytes.Equal(text, textTrue):
		return 1, true
	case bytes.Equal(text, textFalse):
		return 0, true
	}
	return 0, false
}
