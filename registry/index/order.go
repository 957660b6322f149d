package index

import (
	"cmp"
	"slices"
)

// order holds the different values of a field, ascending, each with a ref to the things that have it. The values lie
// one after the other in the chunks' blobs: no header and no allocation per value. A
// search for a part of a text runs over their grams.
//
// An order of numbers is by number, then by text ("1" before "1.0"); an order of texts is by bytes.
type order struct {
	numeric bool
	chunks  []*chunk // none is empty
}

type chunk struct {
	blob  []byte
	ends  []uint16  // value i ends here in blob
	refs  []uint32  // of value i
	nums  []float64 // value i as a number; nil in an order of texts
	grams *planes
	some  grams // that a value has, or one had that is gone
}

const (
	maxChunkValues = 512
	maxChunkBytes  = 32 << 10
	// maxValueBytes keeps the ends of a chunk in 16 bits. The longest value of a thing is an attribute's (800).
	maxValueBytes = 8 << 10
)

func (c *chunk) value(i int) []byte {
	if i == 0 {
		return c.blob[:c.ends[0]]
	}
	return c.blob[c.ends[i-1]:c.ends[i]]
}

// compare compares value i with the one given.
func (c *chunk) compare(i int, num float64, text string) int {
	if c.nums != nil {
		if n := cmp.Compare(c.nums[i], num); n != 0 {
			return n
		}
	}
	return compareText(c.value(i), text)
}

func compareText(a []byte, b string) int {
	switch s := string(a); { // the compiler does not copy it: it is only compared
	case s < b:
		return -1
	case s > b:
		return 1
	}
	return 0
}

// find returns the place of the first value that is not below the given one; chunk may be len(chunks).
func (o *order) find(num float64, text string) (chunk, i int, found bool) {
	lo, hi := 0, len(o.chunks)
	for lo < hi {
		mid := (lo + hi) / 2
		if c := o.chunks[mid]; c.compare(len(c.refs)-1, num, text) < 0 {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo == len(o.chunks) {
		return lo, 0, false
	}
	c := o.chunks[lo]
	a, b := 0, len(c.refs)
	for a < b {
		mid := (a + b) / 2
		if c.compare(mid, num, text) < 0 {
			a = mid + 1
		} else {
			b = mid
		}
	}
	return lo, a, c.compare(a, num, text) == 0
}

// insert puts a new value at the place that find returned.
func (o *order) insert(at, i int, num float64, text string, ref uint32) {
	if len(o.chunks) == 0 {
		o.chunks = append(o.chunks, &chunk{grams: new(planes)})
	}
	if at == len(o.chunks) {
		at--
		i = len(o.chunks[at].refs)
	}
	c := o.chunks[at]
	if len(c.refs) == maxChunkValues || len(c.blob)+len(text) > maxChunkBytes {
		half := c.middle()
		o.chunks[at] = c.slice(0, half)
		o.chunks = slices.Insert(o.chunks, at+1, c.slice(half, len(c.refs)))
		if i > half {
			at, i = at+1, i-half
		}
		c = o.chunks[at]
	}
	start := 0
	if i > 0 {
		start = int(c.ends[i-1])
	}
	c.blob = append(c.blob, text...)
	copy(c.blob[start+len(text):], c.blob[start:])
	copy(c.blob[start:], text)
	c.ends = slices.Insert(c.ends, i, uint16(start))
	for j := i; j < len(c.ends); j++ {
		c.ends[j] += uint16(len(text))
	}
	c.grams.insert(i)
	g := gramsOf(c.value(i))
	c.grams.set(i, g)
	c.some.addAll(g)
	c.refs = slices.Insert(c.refs, i, ref)
	if o.numeric {
		c.nums = slices.Insert(c.nums, i, num)
	}
}

// middle returns where to split a chunk: half of the values and at least a quarter of the bytes on each side, as far as
// a value can be that long.
func (c *chunk) middle() int {
	half := len(c.refs) / 2
	if at := int(c.ends[half-1]); at < len(c.blob)/4 || at > len(c.blob)*3/4 {
		half, _ = slices.BinarySearch(c.ends, uint16(len(c.blob)/2))
	}
	return min(max(half, 1), len(c.refs)-1)
}

// slice returns a copy of the values from up to to, at least one.
func (c *chunk) slice(from, to int) *chunk {
	start := 0
	if from > 0 {
		start = int(c.ends[from-1])
	}
	out := &chunk{
		blob:  slices.Clone(c.blob[start:c.ends[to-1]]),
		ends:  slices.Clone(c.ends[from:to]),
		refs:  slices.Clone(c.refs[from:to]),
		grams: new(planes),
	}
	for i := range out.ends {
		out.ends[i] -= uint16(start)
	}
	out.grams.fill(len(out.ends), out.value)
	out.some = out.grams.some()
	if c.nums != nil {
		out.nums = slices.Clone(c.nums[from:to])
	}
	return out
}

// remove takes out the value at a place.
func (o *order) remove(at, i int) {
	c := o.chunks[at]
	if len(c.refs) == 1 {
		o.chunks = slices.Delete(o.chunks, at, at+1)
		return
	}
	start := 0
	if i > 0 {
		start = int(c.ends[i-1])
	}
	n := int(c.ends[i]) - start
	c.blob = slices.Delete(c.blob, start, start+n)
	c.ends = slices.Delete(c.ends, i, i+1)
	for j := i; j < len(c.ends); j++ {
		c.ends[j] -= uint16(n)
	}
	c.grams.remove(i)
	c.refs = slices.Delete(c.refs, i, i+1)
	if c.nums != nil {
		c.nums = slices.Delete(c.nums, i, i+1)
	}
}

// each calls visit for the values, ascending or descending, until it returns false.
func (o *order) each(descending bool, visit func(c *chunk, i int) bool) {
	for k := range o.chunks {
		if descending {
			k = len(o.chunks) - 1 - k
		}
		c := o.chunks[k]
		for i := range c.refs {
			if descending {
				i = len(c.refs) - 1 - i
			}
			if !visit(c, i) {
				return
			}
		}
	}
}
