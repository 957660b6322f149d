package index

import (
	"math"
	"math/bits"
	"strconv"

	"github.com/bits-and-blooms/bitset"
)

// Column is a field with one whole number per thing. Matches see it as decimal text and as a number.
type Column struct {
	values []int64                       // by id; none where there is no value
	read   func(id uint32) (int64, bool) // instead of values
}

const none = math.MinInt64

// Column returns the column of that name, made if it is not there.
func (x *Index) Column(name string) *Column {
	c := x.columns[name]
	if c == nil {
		c = &Column{}
		x.columns[name] = c
	}
	return c
}

// ReadColumn makes a column whose numbers are kept elsewhere. read must be fast and safe for concurrent use.
func (x *Index) ReadColumn(name string, read func(id uint32) (int64, bool)) {
	x.columns[name] = &Column{read: read}
}

// Grow makes room for the ids up to top.
func (c *Column) Grow(top uint32) {
	if n := int(top) + 1 - cap(c.values); n > 0 {
		values := make([]int64, len(c.values), top+1)
		copy(values, c.values)
		c.values = values
	}
}

// Set gives a thing its number.
func (c *Column) Set(id uint32, value int64) {
	for int(id) >= len(c.values) {
		c.values = append(c.values, none)
	}
	c.values[id] = value
}

// Clear takes the number of a thing away.
func (c *Column) Clear(id uint32) {
	if int(id) < len(c.values) {
		c.values[id] = none
	}
}

func (c *Column) get(id uint32) (int64, bool) {
	if c.read != nil {
		return c.read(id)
	}
	if int(id) >= len(c.values) || c.values[id] == none {
		return 0, false
	}
	return c.values[id], true
}

// match sets the bits of the live things whose number matches.
func (c *Column) match(dst, live *bitset.BitSet, m *Match) {
	if lo, hi, ok := m.wholeNumbers(); ok && c.read == nil {
		c.matchRange(dst, live, lo, hi)
		return
	}
	var text []byte
	for id := range live.EachSet() {
		value, ok := c.get(uint32(id))
		if !ok {
			continue
		}
		switch m.kind {
		case exists:
		case within:
			ok = m.inNumbers(float64(value))
		default:
			text = strconv.AppendInt(text[:0], value, 10)
			ok = m.verify(text, true)
		}
		if ok {
			dst.Set(id)
		}
	}
}

// wholeNumbers returns the whole numbers that match, when they are a range.
func (m *Match) wholeNumbers() (lo, hi int64, ok bool) {
	switch m.kind {
	case word:
		n, err := strconv.ParseInt(m.text, 10, 64)
		if err != nil || n == none || strconv.FormatInt(n, 10) != m.text {
			return 1, 0, true // nothing is spelled so
		}
		return n, n, true
	case within:
		const most = 1 << 53 // beyond, not every whole number is a float64
		low, high := math.Ceil(m.min), math.Floor(m.max)
		lo, hi = int64(min(max(low, -most), most+2)), int64(max(min(high, most), -most-2))
		if m.loOpen && low == m.min {
			lo++
		}
		if m.hiOpen && high == m.max {
			hi--
		}
		return lo, hi, true
	}
	return 0, 0, false
}

// matchRange sets the bits of the live things whose number is at least lo and at most hi.
func (c *Column) matchRange(dst, live *bitset.BitSet, lo, hi int64) {
	if lo > hi || live.Len() == 0 {
		return
	}
	if dst.Len() < live.Len() {
		dst.InPlaceUnion(bitset.MustNew(live.Len()))
	}
	out := dst.Words()
	for w, word := range live.Words() {
		for rest := word; rest != 0; rest &= rest - 1 {
			bit := bits.TrailingZeros64(rest)
			id := w<<6 | bit
			if id >= len(c.values) {
				return
			}
			if value := c.values[id]; value >= lo && value <= hi && value != none {
				out[w] |= 1 << bit
			}
		}
	}
}
