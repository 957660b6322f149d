package index

import (
	"bytes"
	"math"
	"slices"
	"unicode/utf8"

	"github.com/bits-and-blooms/bitset"

	"muster/registry/bytesort"
)

// maxCounted is up to how many different values of a field are told apart as they come; others are sorted.
const maxCounted = 1 << 14

// Load builds a field, which must be empty, from n values: at appends value i to dst and returns it with the thing that has it, fastest if the
// things ascend. It is much faster than Add. Each thing has one value at most; an empty value is none. Several fields may be loaded at the same
// time, each by one caller.
func (x *Index) Load(name string, n int, at func(dst []byte, i int) (value []byte, id uint32)) {
	l := loader{field: newField(), ids: make([]uint32, 0, n)}
	l.read(n, at)
	if len(l.ids) == 0 {
		return
	}
	l.group()
	l.fill(l.things)
	slices.Sort(l.ids)
	l.has = newSet(l.ids)
	x.loaded(name, l.field)
}

// LoadSets is Load of n values, each with all things that have it; at returns things that ascend, of which nothing is kept. A thing may have
// several values.
func (x *Index) LoadSets(name string, n int, at func(i int) (value string, things []uint32)) {
	l := loader{field: newField()}
	sets := make([][]uint32, 0, n)
	all := new(bitset.BitSet)
	for i := range n {
		value, things := at(i)
		if value == "" || len(things) == 0 {
			continue
		}
		l.values.add(append(l.values.text, Fold(value)...))
		sets = append(sets, things)
	}
	if len(sets) == 0 {
		return
	}
	l.fill(func(at uint32) []uint32 { return sets[at] })
	var things []uint32
	for _, o := range []*order{&l.numbers, &l.texts} {
		o.each(false, func(c *chunk, i int) bool {
			if ref := c.refs[i]; ref < multi {
				things = append(things[:0], ref)
			} else {
				things = l.sets[ref-multi].Append(things[:0])
			}
			for _, id := range things {
				if all.Test(uint(id)) {
					l.addExtra(id)
				}
				all.Set(uint(id))
			}
			return true
		})
	}
	l.has = SetOf(all)
	x.loaded(name, l.field)
}

func (x *Index) loaded(name string, f *field) {
	x.loading.Lock()
	defer x.loading.Unlock()
	x.fields[name] = f
}

// loader builds a field. Its large lists have no pointers, so that the garbage collector need not look through them.
type loader struct {
	*field
	values  texts    // that are different, but for those that came when there were too many to tell
	ids     []uint32 // all things
	valueOf []uint32 // of the thing at the same place in ids: its place in values

	grouped []uint32 // things by value
	ends    []uint32 // of each value in grouped
}

// texts is a list of them, one after the other.
type texts struct {
	text []byte
	ends []int
}

func (t *texts) len() int { return len(t.ends) }

func (t *texts) at(place uint32) []byte {
	if place == 0 {
		return t.text[:t.ends[0]]
	}
	return t.text[t.ends[place-1]:t.ends[place]]
}

// add takes text, grown by another one.
func (t *texts) add(grown []byte) {
	t.text = grown
	t.ends = append(t.ends, len(grown))
}

func (l *loader) read(n int, at func(dst []byte, i int) (value []byte, id uint32)) {
	l.valueOf = make([]uint32, 0, n)
	known := make(map[string]uint32)
	for i := range n {
		start := len(l.values.text)
		grown, id := at(l.values.text, i)
		if len(grown) == start {
			continue
		}
		grown = foldFrom(grown, start)
		v, ok := known[string(grown[start:])]
		if !ok {
			v = uint32(l.values.len())
			switch {
			case known == nil:
			case len(known) < maxCounted:
				known[string(grown[start:])] = v
			case i < 2*maxCounted:
				known = nil // most are different: looking for them is in vain
				most := n - i
				grown = slices.Grow(grown, len(grown)/i*most+len(grown)/8)
				l.values.ends = slices.Grow(l.values.ends, most)
			}
			l.values.add(grown)
		}
		l.ids = append(l.ids, id)
		l.valueOf = append(l.valueOf, v)
	}
}

// foldFrom folds what text has from start on.
func foldFrom(text []byte, start int) []byte {
	for i, c := range text[start:] {
		if c >= utf8.RuneSelf {
			return append(text[:start], Fold(string(text[start:]))...)
		}
		if 'A' <= c && c <= 'Z' {
			text[start+i] = c + ('a' - 'A')
		}
	}
	return text
}

// group fills grouped and ends.
func (l *loader) group() {
	l.ends = make([]uint32, l.values.len())
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

// fill puts the values, with their things, where they belong.
func (l *loader) fill(things func(at uint32) []uint32) {
	var numbers []bytesort.Keyed
	var words []uint32 // texts that are no numbers
	for v := range uint32(l.values.len()) {
		if num, ok := parseNumber(l.values.at(v)); ok {
			numbers = append(numbers, bytesort.Keyed{Key: sortable(num), Place: v})
		} else {
			words = append(words, v)
		}
	}
	l.fillNumbers(numbers, things)
	f := filler{loader: l, order: &l.texts}
	for _, i := range bytesort.Order(len(words), func(i uint32) []byte { return l.values.at(words[i]) }) {
		f.add(l.values.at(words[i]), 0, things(words[i]))
	}
	f.end()
}

func (l *loader) fillNumbers(list []bytesort.Keyed, things func(at uint32) []uint32) {
	bytesort.ByKey(list, make([]bytesort.Keyed, len(list)))
	f := filler{loader: l, order: &l.numbers}
	for len(list) > 0 {
		same := 1
		for same < len(list) && list[same].Key == list[0].Key {
			same++
		}
		slices.SortStableFunc(list[:same], func(a, b bytesort.Keyed) int { return bytes.Compare(l.values.at(a.Place), l.values.at(b.Place)) })
		for _, k := range list[:same] {
			f.add(l.values.at(k.Place), numberOf(k.Key), things(k.Place))
		}
		list = list[same:]
	}
	f.end()
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

// filler writes sorted values into an empty order, chunks three quarters full.
type filler struct {
	*loader
	order *order
	chunk chunk // that is being filled

	text []byte // the last value, which others may follow that are the same; empty: none
	num  float64
	ids  []uint32 // its things
	own  bool     // ids is the filler's
}

// add takes the next value, which may be the same as the one before.
func (f *filler) add(text []byte, num float64, ids []uint32) {
	if len(f.text) > 0 && bytes.Equal(text, f.text) {
		if !f.own {
			f.ids, f.own = slices.Clone(f.ids), true
		}
		f.ids = append(f.ids, ids...)
		return
	}
	f.put()
	f.text, f.num, f.ids, f.own = text, num, ids, false
}

// put writes the last value.
func (f *filler) put() {
	if len(f.text) == 0 {
		return
	}
	slices.Sort(f.ids)
	if f.own {
		f.ids = slices.Compact(f.ids)
	}
	if !f.order.numeric && mayBePoint(f.text) {
		if p, ok := ParsePoint(string(f.text)); ok {
			for _, id := range f.ids {
				f.cells.add(p, id)
			}
		}
	}
	if hasSpace(f.text) {
		f.spaced++
	}
	c := &f.chunk
	if n := len(c.refs); n == maxChunkValues*3/4 || n > 0 && len(c.blob)+len(f.text) > maxChunkBytes*3/4 {
		f.cut()
	}
	ref := f.ids[0]
	if len(f.ids) > 1 {
		ref = f.newRef(SetOfList(f.ids))
	}
	c.blob = append(c.blob, f.text...)
	c.ends = append(c.ends, uint16(len(c.blob)))
	c.refs = append(c.refs, ref)
	if f.order.numeric {
		c.nums = append(c.nums, f.num)
	}
}

// cut ends a chunk.
func (f *filler) cut() {
	c := &f.chunk
	f.order.chunks = append(f.order.chunks, c.slice(0, len(c.refs)))
	*c = chunk{blob: c.blob[:0], ends: c.ends[:0], refs: c.refs[:0], nums: c.nums[:0]}
}

func (f *filler) end() {
	f.put()
	if len(f.chunk.refs) > 0 {
		f.cut()
	}
}

// mayBePoint is false for nearly all texts that ParsePoint refuses.
func mayBePoint(folded []byte) bool {
	return bytes.IndexByte(folded, ',') >= 0 || bytes.Contains(folded, []byte("point"))
}
