package index

import (
	"cmp"
	"encoding/binary"
	"math"
	"slices"
)

// maxCounted is up to how many different values of a field are told apart as they come; others are sorted.
const maxCounted = 1 << 14

// Load builds a field, which must be empty, from n values: at returns the value and the thing of each, fastest if the things ascend. It is much
// faster than Add. Each thing has one value at most; an empty value is none. Several fields may be loaded at the same time,
// each by one caller.
func (x *Index) Load(name string, n int, at func(i int) (value string, id uint32)) {
	l := loader{field: newField(), ids: make([]uint32, 0, n)}
	l.read(n, at)
	if len(l.ids) == 0 {
		return
	}
	l.group()
	numbers, texts := l.sorted()
	l.fill(&l.numbers, numbers)
	l.fill(&l.texts, texts)
	slices.Sort(l.ids)
	l.has = newSet(l.ids)
	x.loading.Lock()
	x.fields[name] = l.field
	x.loading.Unlock()
}

// loader builds a field. Its large lists have no pointers, so that the garbage collector need not look through them.
type loader struct {
	*field
	values  []string // that are different, but for those that came when there were too many to tell
	ids     []uint32 // all things
	valueOf []uint32 // of the thing at the same place in ids: its place in values

	grouped []uint32 // things by value
	ends    []uint32 // of each value in grouped
}

// loaded is a value to be sorted.
type loaded struct {
	key uint64 // the number, or the bytes behind what all texts begin with
	at  uint32 // in values
}

func (l *loader) read(n int, at func(i int) (value string, id uint32)) {
	l.valueOf = make([]uint32, 0, n)
	known := make(map[string]uint32)
	for i := range n {
		value, id := at(i)
		if value == "" {
			continue
		}
		value = Fold(value)
		v, ok := known[value]
		if !ok {
			v = uint32(len(l.values))
			l.values = append(l.values, value)
			switch {
			case known == nil:
			case len(known) < maxCounted:
				known[value] = v
			case i < 2*maxCounted:
				known = nil // most are different: looking for them is in vain
			}
		}
		l.ids = append(l.ids, id)
		l.valueOf = append(l.valueOf, v)
	}
}

// group fills grouped and ends.
func (l *loader) group() {
	l.ends = make([]uint32, len(l.values))
	for _, v := range l.valueOf {
		l.ends[v]++
	}
	start := uint32(0)
	for v, n := range l.ends {
		l.ends[v] = start // moves to the end while the group is filled
		start += n
	}
	l.grouped = make([]uint32, len(l.ids))
	for i, v := range l.valueOf {
		l.grouped[l.ends[v]] = l.ids[i]
		l.ends[v]++
	}
	l.valueOf = nil
}

// things returns the things of a value.
func (l *loader) things(at uint32) []uint32 {
	if at == 0 {
		return l.grouped[:l.ends[0]]
	}
	return l.grouped[l.ends[at-1]:l.ends[at]]
}

// sorted returns the numbers, ascending, and the texts that are none.
func (l *loader) sorted() (numbers, texts []loaded) {
	texts = make([]loaded, 0, len(l.values))
	common := ""
	for v, text := range l.values {
		if num, ok := ParseNumber(text); ok {
			numbers = append(numbers, loaded{sortable(num), uint32(v)})
			continue
		}
		if len(texts) == 0 {
			common = text
		}
		n := 0
		for n < len(common) && n < len(text) && common[n] == text[n] {
			n++
		}
		common = common[:n]
		texts = append(texts, loaded{at: uint32(v)})
	}
	for i := range texts {
		var bytes [8]byte
		copy(bytes[:], l.values[texts[i].at][len(common):])
		texts[i].key = binary.BigEndian.Uint64(bytes[:])
	}
	for _, list := range [][]loaded{numbers, texts} {
		slices.SortFunc(list, func(a, b loaded) int {
			if a.key != b.key {
				return cmp.Compare(a.key, b.key)
			}
			return cmp.Or(cmp.Compare(l.values[a.at], l.values[b.at]), cmp.Compare(a.at, b.at))
		})
	}
	return numbers, texts
}

// sortable returns a number that is in the order of finite floats, and numberOf that float.
func sortable(num float64) uint64 {
	bits := math.Float64bits(num)
	if bits>>63 != 0 {
		return ^bits
	}
	return bits | 1<<63
}

func numberOf(sortable uint64) float64 {
	if sortable>>63 != 0 {
		return math.Float64frombits(sortable &^ (1 << 63))
	}
	return math.Float64frombits(^sortable)
}

// fill writes sorted values into an empty order, chunks three quarters full.
func (l *loader) fill(o *order, list []loaded) {
	var c chunk // that is being filled
	for len(list) > 0 {
		text := l.values[list[0].at]
		key, ids := list[0].key, l.things(list[0].at)
		for list = list[1:]; len(list) > 0 && l.values[list[0].at] == text; list = list[1:] {
			ids = slices.Concat(ids, l.things(list[0].at))
		}
		slices.Sort(ids)
		if !o.numeric {
			if p, ok := ParsePoint(text); ok {
				for _, id := range ids {
					l.cells.add(p, id)
				}
			}
		}
		if hasSpace(text) {
			l.spaced++
		}
		if n := len(c.refs); n == maxChunkValues*3/4 || n > 0 && len(c.blob)+len(text) > maxChunkBytes*3/4 {
			o.chunks = append(o.chunks, c.slice(0, n))
			c = chunk{blob: c.blob[:0], ends: c.ends[:0], refs: c.refs[:0], nums: c.nums[:0]}
		}
		ref := ids[0]
		if len(ids) > 1 {
			ref = l.newRef(newSet(slices.Clone(ids)))
		}
		c.blob = append(c.blob, text...)
		c.ends = append(c.ends, uint16(len(c.blob)))
		c.refs = append(c.refs, ref)
		if o.numeric {
			c.nums = append(c.nums, numberOf(key))
		}
	}
	if n := len(c.refs); n > 0 {
		o.chunks = append(o.chunks, c.slice(0, n))
	}
}
