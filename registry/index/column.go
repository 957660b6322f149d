package index

import (
	"math"
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
			ok = m.verify(text)
		}
		if ok {
			dst.Set(id)
		}
	}
}
