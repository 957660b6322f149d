package index

import (
	"cmp"
	"encoding/binary"
	"slices"
)

// maxCounted is up to how many different values a field is loaded through a map; with more, through a sort.
const maxCounted = 1 << 16

// Load builds a field, which must be empty, from n values: at returns the value and the thing of each. It is much
// faster than Add. Each thing has one value at most; an empty value is none. Several fields may be loaded at the same time,
// each by one caller.
func (x *Index) Load(name string, n int, at func(i int) (value string, id uint32)) {
	f := newField()
	var numbers, texts []loaded
	groups := make(map[string][]uint32)
	for i := range n {
		value, id := at(i)
		if value == "" {
			continue
		}
		value = Fold(value)
		if groups != nil {
			ids, known := groups[value]
			if known || len(groups) < maxCounted {
				groups[value] = append(ids, id)
				continue
			}
			texts, groups = ungroup(groups, n), nil
		}
		texts = append(texts, loaded{text: value, id: id})
	}
	if groups != nil {
		texts = ungroup(groups, len(groups))
	}
	kept := texts[:0]
	for _, v := range texts {
		if num, ok := ParseNumber(v.text); ok {
			v.num = num
			numbers = append(numbers, v)
		} else {
			kept = append(kept, v)
		}
	}
	var all []uint32
	for _, o := range []struct {
		*order
		values []loaded
	}{{&f.numbers, numbers}, {&f.texts, kept}} {
		sortLoaded(o.values)
		all = f.fill(o.order, o.values, all)
	}
	if len(all) == 0 {
		return
	}
	slices.Sort(all)
	f.has = newSet(all)
	x.loading.Lock()
	x.fields[name] = f
	x.loading.Unlock()
}

// loaded is a value with the thing that has it, or with all of them.
type loaded struct {
	key  uint64 // bytes behind what all texts begin with
	num  float64
	text string
	id   uint32
	ids  []uint32
}

func ungroup(groups map[string][]uint32, room int) []loaded {
	list := make([]loaded, 0, room)
	for text, ids := range groups {
		list = append(list, loaded{text: text, ids: ids})
	}
	return list
}

// sortLoaded sorts by number, then text, then thing.
func sortLoaded(list []loaded) {
	if len(list) == 0 {
		return
	}
	common := list[0].text
	for _, v := range list {
		n := 0
		for n < len(common) && n < len(v.text) && common[n] == v.text[n] {
			n++
		}
		common = common[:n]
	}
	for i := range list {
		var bytes [8]byte
		copy(bytes[:], list[i].text[len(common):])
		list[i].key = binary.BigEndian.Uint64(bytes[:])
	}
	slices.SortFunc(list, func(a, b loaded) int {
		switch {
		case a.num != b.num:
			return cmp.Compare(a.num, b.num)
		case a.key != b.key:
			return cmp.Compare(a.key, b.key)
		case a.text != b.text:
			return cmp.Compare(a.text, b.text)
		}
		return cmp.Compare(a.id, b.id)
	})
}

// fill writes sorted values into an empty order, chunks three quarters full, and appends the things to all.
func (f *field) fill(o *order, list []loaded, all []uint32) []uint32 {
	var c *chunk
	for from := 0; from < len(list); {
		text := list[from].text
		var ids []uint32
		to := from
		for ; to < len(list) && list[to].text == text; to++ {
			if list[to].ids != nil {
				ids = append(ids, list[to].ids...)
			} else {
				ids = append(ids, list[to].id)
			}
		}
		slices.Sort(ids)
		all = append(all, ids...)
		if !o.numeric {
			for _, id := range ids {
				f.addPlace(id, text)
			}
		}
		if c == nil || len(c.refs) == maxChunkValues*3/4 || len(c.blob)+len(text) > maxChunkBytes*3/4 {
			o.shrinkLast()
			c = &chunk{}
			o.chunks = append(o.chunks, c)
		}
		ref := ids[0]
		if len(ids) > 1 {
			ref = f.newRef(newSet(slices.Clip(ids)))
		}
		c.blob = append(c.blob, text...)
		c.ends = append(c.ends, uint16(len(c.blob)))
		c.refs = append(c.refs, ref)
		if o.numeric {
			c.nums = append(c.nums, list[from].num)
		}
		if hasSpace(text) {
			f.spaced++
		}
		from = to
	}
	o.shrinkLast()
	return all
}

// shrinkLast takes the spare room out of the last chunk, and notes its grams.
func (o *order) shrinkLast() {
	if n := len(o.chunks); n > 0 {
		o.chunks[n-1] = o.chunks[n-1].slice(0, len(o.chunks[n-1].refs))
	}
}
