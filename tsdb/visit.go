package tsdb

import (
	"encoding/binary"
	"math"
	"slices"
)

// visits are the rows of a pack on their way into open runs, at a start. A pack has the rows of a thing one after the other and as differences,
// and so has a run: those after the first go from one to the other without being made values. It keeps its buffers.
type visits struct {
	list      []visit
	mantissas []int64 // of each visit: of its first row, of its last one if it has several, and if it strays of its newest one
	body      []byte
	text      uint32     // the largest id of a text
	apart     []bool     // by layout: each of its slots is of another column
	newest    []int64    // scratch
	metrics   []MetricID // scratch
}

// visit is rows of one thing, in the order in which they came, of one layout.
type visit struct {
	thing    ThingID
	rows     uint32
	layout   uint32 // of the unpacker
	at       uint32 // in visits.mantissas
	from, to uint32 // in visits.body: the rows after the first, as a run has them after that one
	firstMs  int64
	lastMs   int64
	minMs    int64
	maxMs    int64
	ascends  bool // no row is older than the one before
	strays   bool // a row is newer than the last one
}

// decode decodes all rows of the pack in b into x, which is replaced.
func (x *visits) decode(u *unpacker, b *reader) {
	x.list, x.mantissas, x.body, x.text, x.apart = x.list[:0], x.mantissas[:0], x.body[:0], 0, x.apart[:0]
	u.each(b, func(l *unpackLayout, layout int, thing ThingID, rows int) bool {
		return x.add(l, visit{thing: thing, rows: uint32(rows), layout: uint32(layout), ascends: true})
	})
	for i := range u.layouts[:u.used] {
		x.apart = append(x.apart, !x.repeats(u.layouts[i].before))
	}
}

// add decodes the rows of v, the next ones of the layout l.
func (x *visits) add(l *unpackLayout, v visit) bool {
	if !l.next(v.thing) {
		return false
	}
	v.at, v.from = uint32(len(x.mantissas)), uint32(len(x.body))
	v.firstMs, v.minMs, v.maxMs = l.timeMs, l.timeMs, l.timeMs
	x.mantissas = l.appendMantissas(x.mantissas)
	x.see(l)
	for range v.rows - 1 {
		passed, ok := l.nextTime()
		if !ok {
			return false
		}
		if passed < 0 {
			v.ascends = false
		}
		if l.timeMs >= v.maxMs {
			v.maxMs, v.strays = l.timeMs, false
		} else if !v.strays {
			v.strays = true
			x.newest = l.appendMantissas(x.newest[:0])
		}
		v.minMs = min(v.minMs, l.timeMs)
		if x.body, ok = l.follow(x.body, passed); !ok {
			return false
		}
		x.see(l)
	}
	v.lastMs, v.to = l.timeMs, uint32(len(x.body))
	if v.rows > 1 {
		x.mantissas = l.appendMantissas(x.mantissas)
	}
	if v.strays {
		x.mantissas = append(x.mantissas, x.newest...)
	}
	x.list = append(x.list, v)
	return true
}

// see takes note of the texts in the last row of l.
func (x *visits) see(l *unpackLayout) {
	for _, i := range l.texts {
		x.text = max(x.text, uint32(min(uint64(l.before[i].Mantissa), math.MaxUint32)))
	}
}

func (l *unpackLayout) appendMantissas(dst []int64) []int64 {
	for i := range l.before {
		dst = append(dst, l.before[i].Mantissa)
	}
	return dst
}

// follow decodes the values of a row of the thing of the row before, passed milliseconds after that one, and returns dst grown by the row
// as a run has it there.
func (l *unpackLayout) follow(dst []byte, passed int64) ([]byte, bool) {
	n := len(l.before)
	if most := mostRowBytes(n); cap(dst)-len(dst) < most {
		dst = slices.Grow(dst, most)
	}
	room, k := dst[:cap(dst)], len(dst)
	k += binary.PutVarint(room[k:], passed)
	room[k] = 0
	mask := room[k+1:][:(n+7)/8]
	clear(mask)
	k += 1 + len(mask)
	columns := l.columns[:n]
	for i := range l.before {
		v, s := &l.before[i], &columns[i]
		if v.Kind != Float && s.atSmall < len(s.small) && s.small[s.atSmall] < packEscape { // most of them
			z := s.small[s.atSmall]
			s.atSmall++
			if z == 0 {
				continue
			}
			v.Mantissa += unzigzag(uint64(z))
			mask[i/8] |= 1 << (i % 8)
			room[k] = z
			k++
			if z >= 0x80 {
				room[k] = 1
				k++
			}
			continue
		}
		before := v.Mantissa
		if !s.nextOf(v, true) {
			return dst, false
		}
		if v.Mantissa != before {
			mask[i/8] |= 1 << (i % 8)
			k += binary.PutVarint(room[k:], v.Mantissa-before)
		}
	}
	return room[:k], true
}

// repeats says whether two slots of a layout are of one column: then differences in a run are others than in a pack.
func (x *visits) repeats(l rowLayout) bool {
	x.metrics = x.metrics[:0]
	for i := range l {
		x.metrics = append(x.metrics, l[i].Metric)
	}
	slices.Sort(x.metrics)
	return len(slices.Compact(x.metrics)) < len(l)
}

// visitor adds visits to things. It keeps its buffers. Not safe for concurrent use.
type visitor struct {
	values []Value
	at     []int // of the groups of a replay: the next visit
}

// add adds the rows of v, one of x, to t, as live.insert does one by one. layout is theirs. row is called for those that do not go in as they
// are, with values that are good until it returns; with oneByOne, for all. The caller holds the shard's lock.
func (w *visitor) add(l *live, sh *shard, t *thing, x *visits, v *visit, layout rowLayout, oneByOne bool, row func(timeMs int64, values []Value)) {
	w.values = append(w.values[:0], layout...)
	for i := range w.values {
		w.values[i].Mantissa = x.mantissas[int(v.at)+i]
	}
	rest := reader{src: x.body[v.from:v.to]}
	oneByOne = oneByOne || !x.apart[v.layout]
	timeMs, left := v.firstMs, v.rows
	for {
		if !oneByOne && (v.ascends || left == v.rows) && l.pushVisit(sh, t, x, v, w.values, timeMs, int(left), rest.src) {
			return
		}
		row(timeMs, w.values)
		if left--; left == 0 {
			return
		}
		timeMs += rest.varint()
		rest.byte()
		mask := rest.bytes((len(w.values) + 7) / 8)
		for i := range w.values {
			if mask[i/8]>>(i%8)&1 == 1 {
				w.values[i].Mantissa += rest.varint()
			}
		}
	}
}

// pushVisit adds the last rows rows of a visit to the section of the open run, if it has room for all and the row before is alike: first are
// the values of the first of them, at timeMs, and rest are the others.
func (l *live) pushVisit(sh *shard, t *thing, x *visits, v *visit, first []Value, timeMs int64, rows int, rest []byte) bool {
	o := &t.open
	n := len(first)
	if before := o.rows % sectionRows; before == 0 || before+rows > sectionRows || o.size+mostRowBytes(n)+len(rest) >= runBytes || !t.repeats(first) {
		return false
	}
	sh.row = append(t.encodeAlike(sh.row[:0], timeMs, first), rest...)
	l.push(sh, o, sh.row)
	last := x.mantissas[v.at:][:n]
	if v.rows > 1 {
		last = x.mantissas[int(v.at)+n:][:n]
	}
	newest := last
	if v.strays {
		newest = x.mantissas[int(v.at)+2*n:][:n]
	}
	least := timeMs
	if !v.ascends {
		least = v.minMs
	}
	for i := range first {
		c := &t.cols[t.layout[i].col]
		c.prev = last[i]
		if v.maxMs >= c.lastMs {
			c.lastMs, c.mantissa, c.exp, c.kind = v.maxMs, newest[i], first[i].Exp, first[i].Kind
		}
	}
	l.added(o, rows, rows*n, v.lastMs, least, v.maxMs)
	if o.rows >= runRows {
		l.closeRun(sh, t)
	}
	return true
}
