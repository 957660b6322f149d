package tsdb

import (
	"encoding/binary"
	"math"
	"slices"

	"muster/tsdb/codec"
)

// A pack is a record with many rows of a log group, by thing and in columns: of a thing in the order in which they came. Layout:
// docs/formats/log.md. Nothing in it refers to another group.
const (
	// packLeast is how many rows a group has that is packed; fewer are shorter one by one.
	packLeast = 24
	// maxPackRows and maxPackBytes bound what the reader of a pack takes.
	maxPackRows  = 1 << 20
	maxPackBytes = 128 << 20
	// packEscape stands for numbers of a small stream that are in the large one.
	packEscape = math.MaxUint8
	// packMisses is how many intervals in a row are far from the expected one until it becomes the last of them.
	packMisses = 3
)

// pendingRow is one row of a group that is not written yet, or with no values the deletion of a thing.
type pendingRow struct {
	timeMs int64
	thing  ThingID
	count  uint32 // of values
	from   uint32 // the first, in the group's values
}

// packLayout is the columns of some rows of a pack and what their numbers are differences from.
type packLayout struct {
	before rowLayout // the last row: mantissas
	thing  int64     // of it, -1 if there is none
	timeMs int64     // of it
	interval
	times    packStream
	columns  []packStream // of doubles: large has all bytes
	followed byte         // 1: there are rows that follow one of their thing
}

// packStream is the numbers of one column: those of rows that are the first ones of their things; and of each row that follows one of its
// thing what it has more than that, as a byte in small, or as packEscape there and the rest as an uvarint in large.
type packStream struct {
	firsts       []int64
	small, large []byte
}

// interval expects the time from a thing's row to its next.
type interval struct {
	ms     int64
	misses int
}

// learn takes the interval of a row that follows another one.
func (x *interval) learn(ms int64, small bool) {
	switch {
	case small:
		x.ms += (ms - x.ms) / 16
		x.misses = 0
	case x.misses+1 >= packMisses:
		x.ms, x.misses = ms, 0
	default:
		x.misses++
	}
}

func (l *packLayout) reset() {
	l.thing, l.timeMs, l.interval, l.followed = -1, 0, interval{}, 0
	l.times.reset()
	l.columns = slices.Grow(l.columns[:0], len(l.before))[:len(l.before)]
	for i := range l.columns {
		l.columns[i].reset()
	}
}

func (s *packStream) reset() { s.firsts, s.small, s.large = s.firsts[:0], s.small[:0], s.large[:0] }

// put adds what a row has more than the one that it follows and reports whether that was small.
func (s *packStream) put(v int64) bool {
	z := zigzag(v)
	if z < packEscape {
		s.small = append(s.small, byte(z))
		return true
	}
	s.small = append(s.small, packEscape)
	s.large = binary.AppendUvarint(s.large, z-packEscape)
	return false
}

func zigzag(v int64) uint64 { return uint64(v<<1) ^ uint64(v>>63) }

// packer makes packs. It keeps its buffers. The committer owns it.
type packer struct {
	encoder codec.BytesEncoder
	order   []uint64 // thing and index of each row
	ends    []uint32 // scratch of sort
	layouts []packLayout
	used    int                // of layouts
	places  [logLayouts]uint32 // index of the layout at each place, plus 1
	last    uint32             // index of the layout of the row before
	things  []byte             // of each: uvarint 2 x difference, plus 1 and an uvarint rows less 2 if there are several
	kinds   []byte             // uvarint layout of each row
}

// append encodes rows, none of which is a deletion, and returns dst grown by a pack of them. It leaves dst alone and returns false if a
// pack would gain nothing.
func (p *packer) append(dst []byte, rows []pendingRow, values []Value) ([]byte, bool) {
	p.order, p.things, p.kinds, p.used = p.order[:0], p.things[:0], p.kinds[:0], 0
	clear(p.places[:])
	p.sort(rows)
	things, before := 0, uint64(0)
	for i := 0; i < len(p.order); things++ {
		thing, start := p.order[i]>>32, i
		for ; i < len(p.order) && p.order[i]>>32 == thing; i++ {
			r := &rows[uint32(p.order[i])]
			p.add(r, values[r.from:r.from+r.count])
		}
		if i-start == 1 {
			p.things = binary.AppendUvarint(p.things, 2*(thing-before))
		} else {
			p.things = binary.AppendUvarint(p.things, 2*(thing-before)+1)
			p.things = binary.AppendUvarint(p.things, uint64(i-start-2))
		}
		before = thing
	}
	if p.used*packLeast > 4*len(rows) {
		return dst, false
	}
	dst = append(dst, recordPack)
	dst = binary.AppendUvarint(dst, uint64(len(rows)))
	dst = binary.AppendUvarint(dst, uint64(things))
	dst = binary.AppendUvarint(dst, uint64(p.used))
	for i := range p.layouts[:p.used] {
		l := &p.layouts[i]
		dst = binary.AppendUvarint(dst, uint64(len(l.before)))
		for j := range l.before {
			dst = l.before[j].appendSlot(dst)
		}
	}
	dst = p.encoder.Append(dst, p.things)
	dst = p.encoder.Append(dst, p.kinds)
	for i := range p.layouts[:p.used] {
		l := &p.layouts[i]
		dst = p.stream(append(dst, l.followed), l, &l.times, Decimal)
		for j := range l.columns {
			dst = p.stream(dst, l, &l.columns[j], l.before[j].Kind)
		}
	}
	return dst, true
}

// sort puts rows into p.order by thing, those of a thing as they came: by counting, where their ids are as close together as those of a fleet.
func (p *packer) sort(rows []pendingRow) {
	least, most := ThingID(math.MaxUint32), ThingID(0)
	for i := range rows {
		least, most = min(least, rows[i].thing), max(most, rows[i].thing)
	}
	if least > most || uint64(most-least) >= 4*uint64(len(rows)) {
		for i := range rows {
			p.order = append(p.order, uint64(rows[i].thing)<<32|uint64(i))
		}
		slices.Sort(p.order)
		return
	}
	span := int(most-least) + 2
	p.ends = slices.Grow(p.ends[:0], span)[:span]
	clear(p.ends)
	for i := range rows {
		p.ends[rows[i].thing-least+1]++
	}
	for i := 1; i < span; i++ {
		p.ends[i] += p.ends[i-1]
	}
	p.order = slices.Grow(p.order, len(rows))[:len(rows)]
	for i := range rows {
		end := &p.ends[rows[i].thing-least]
		p.order[*end] = uint64(rows[i].thing)<<32 | uint64(i)
		*end++
	}
}

func (p *packer) stream(dst []byte, l *packLayout, s *packStream, kind Kind) []byte {
	if kind == Float {
		return p.encoder.Append(dst, s.large)
	}
	dst = p.encoder.AppendNumbers(dst, s.firsts)
	if l.followed == 0 {
		return dst
	}
	return p.encoder.Append(p.encoder.Append(dst, s.small), s.large)
}

// add puts one row into the streams of its layout.
func (p *packer) add(r *pendingRow, values []Value) {
	if p.used == 0 || !p.layouts[p.last].before.fits(values) { // mostly it does
		place := layoutPlace(values)
		if at := p.places[place]; at == 0 || !p.layouts[at-1].before.fits(values) {
			p.begin(place, values)
		}
		p.last = p.places[place] - 1
	}
	p.kinds = binary.AppendUvarint(p.kinds, uint64(p.last))
	l := &p.layouts[p.last]
	follows := l.thing == int64(r.thing)
	if follows {
		passed := r.timeMs - l.timeMs
		l.learn(passed, l.times.put(passed-l.ms))
		l.followed = 1
	} else {
		l.times.firsts = append(l.times.firsts, r.timeMs)
		l.thing = int64(r.thing)
	}
	l.timeMs = r.timeMs
	columns, before := l.columns[:len(values)], l.before[:len(values)]
	for i := range values {
		v, b, s := &values[i], &before[i], &columns[i]
		mantissa := v.Mantissa
		switch {
		case v.Kind == Float:
			s.large = binary.LittleEndian.AppendUint64(s.large, uint64(mantissa))
			continue
		case v.Exp != b.Exp:
			mantissa, _ = rescale(mantissa, v.Exp, b.Exp)
		}
		if !follows {
			s.firsts = append(s.firsts, mantissa)
		} else if z := zigzag(mantissa - b.Mantissa); z < packEscape { // mostly
			s.small = append(s.small, byte(z))
		} else {
			s.put(mantissa - b.Mantissa)
		}
		b.Mantissa = mantissa
	}
}

// begin makes a new layout for the rows at a place.
func (p *packer) begin(place uint32, values []Value) {
	if p.used == len(p.layouts) {
		p.layouts = append(p.layouts, packLayout{})
	}
	l := &p.layouts[p.used]
	l.before = l.before[:0]
	if at := p.places[place]; at > 0 {
		l.before = append(l.before, p.layouts[at-1].before...)
	}
	l.before.lay(values)
	l.reset()
	p.used++
	p.places[place] = uint32(p.used)
}

// unpacker reads the rows of a pack. It keeps its buffers. Not safe for concurrent use.
type unpacker struct {
	decoder codec.BytesDecoder
	layouts []unpackLayout
	used    int
	things  []byte
	kinds   []byte
	left    int  // bytes that a pack may still have
	old     bool // it is a recordOldPack
}

// unpackLayout is what packLayout was when the rows were written.
type unpackLayout struct {
	before  rowLayout
	thing   int64
	timeMs  int64
	firstMs int64 // of the first row of its thing
	interval
	times   unpackStream
	columns []unpackStream
	texts   []uint16 // which of before are texts
	old     bool     // large has the numbers of rows that do not follow, less those of the row before
}

type unpackStream struct {
	firsts           []int64
	small, large     []byte
	atSmall, atLarge int
	atFirst          int
}

// open decodes the streams of the pack in b and returns how many rows it has.
func (u *unpacker) open(b *reader) int {
	u.used, u.left, u.old = 0, maxPackBytes, b.byte() == recordOldPack
	rows := int(b.uvarintMax(maxPackRows))
	b.uvarintMax(uint64(rows)) // things
	for range b.count() {
		if u.used == len(u.layouts) {
			u.layouts = append(u.layouts, unpackLayout{})
		}
		l := &u.layouts[u.used]
		l.before, l.texts = l.before[:0], l.texts[:0]
		for n := b.uvarintMax(MaxRowValues); n > 0 && b.err == nil; n-- {
			v := b.slot()
			if v.Kind == String {
				l.texts = append(l.texts, uint16(len(l.before)))
			}
			l.before = append(l.before, v)
		}
		if len(l.before) == 0 {
			b.fail()
			return 0
		}
		l.thing, l.timeMs, l.firstMs, l.interval, l.old = -1, 0, 0, interval{}, u.old
		l.columns = slices.Grow(l.columns[:0], len(l.before))[:len(l.before)]
		u.used++
	}
	u.things = u.bytes(b, u.things, 2*binary.MaxVarintLen64*rows)
	u.kinds = u.bytes(b, u.kinds, binary.MaxVarintLen64*rows)
	for i := range u.layouts[:u.used] {
		l := &u.layouts[i]
		followed := u.old || b.byte() != 0
		u.stream(b, &l.times, rows, Decimal, followed)
		for j := range l.columns {
			u.stream(b, &l.columns[j], rows, l.before[j].Kind, followed)
		}
	}
	return rows
}

// stream decodes the numbers of one column.
func (u *unpacker) stream(b *reader, s *unpackStream, rows int, kind Kind, followed bool) {
	s.firsts, s.small, s.large = s.firsts[:0], s.small[:0], s.large[:0]
	s.atFirst, s.atSmall, s.atLarge = 0, 0, 0
	if !u.old && kind != Float {
		u.firsts(b, s, rows)
	}
	if followed && (u.old || kind != Float) {
		s.small = u.bytes(b, s.small, rows)
	}
	if followed || kind == Float {
		s.large = u.bytes(b, s.large, binary.MaxVarintLen64*rows)
	}
}

// bytes decodes one string of bytes into dst, which is replaced.
func (u *unpacker) bytes(b *reader, dst []byte, most int) []byte {
	if b.err != nil {
		return dst[:0]
	}
	dst, rest, err := u.decoder.Decode(dst, b.src, min(most, u.left))
	if err != nil {
		b.fail()
		return dst[:0]
	}
	b.src = rest
	u.left -= len(dst)
	return dst
}

// firsts decodes the numbers of rows that do not follow.
func (u *unpacker) firsts(b *reader, s *unpackStream, rows int) {
	if b.err != nil {
		return
	}
	firsts, rest, err := u.decoder.DecodeNumbers(s.firsts, b.src, min(rows, u.left/8))
	if err != nil {
		b.fail()
		return
	}
	s.firsts, b.src = firsts, rest
	u.left -= 8 * len(firsts)
}

// append decodes all rows of the pack in b into rows and values, which it returns grown.
func (u *unpacker) append(rows []pendingRow, values []Value, b *reader) ([]pendingRow, []Value) {
	u.each(b, func(l *unpackLayout, _ int, thing ThingID, same int) bool {
		for range same {
			if !l.next(thing) {
				return false
			}
			rows = append(rows, pendingRow{l.timeMs, thing, uint32(len(l.before)), uint32(len(values))})
			values = append(values, l.before...)
		}
		return true
	})
	return rows, values
}

// each calls use for the rows of the pack in b: for those of one thing and one layout that stand together, which use decodes, at once. It ends
// where use returns false, which is an error of b.
func (u *unpacker) each(b *reader, use func(l *unpackLayout, layout int, thing ThingID, rows int) bool) {
	left := u.open(b)
	things, kinds := reader{src: u.things}, reader{src: u.kinds}
	var thing uint64
	for left > 0 && b.err == nil {
		more, same := things.uvarintMax(2*math.MaxUint32+1), 1
		switch {
		case u.old:
			thing += more
			same += int(things.uvarintMax(uint64(left - 1)))
		default:
			thing += more / 2
			if more%2 > 0 {
				same += 1 + int(things.uvarintMax(uint64(left)))
			}
		}
		if things.err != nil || same > left || thing > math.MaxUint32 {
			b.fail()
			return
		}
		left -= same
		for same > 0 {
			at := kinds.uvarint()
			if kinds.err != nil || at >= uint64(u.used) {
				b.fail()
				return
			}
			rows := 1
			for ; rows < same && at < 0x80 && len(kinds.src) > 0 && kinds.src[0] == byte(at); rows++ {
				kinds.src = kinds.src[1:]
			}
			same -= rows
			if !use(&u.layouts[at], int(at), ThingID(thing), rows) {
				b.fail()
				return
			}
		}
	}
}

// next decodes the next row of the layout, which is of thing, into l.
func (l *unpackLayout) next(thing ThingID) bool {
	follows := l.thing == int64(thing)
	if !follows && !l.old {
		return l.nextFirst(thing)
	}
	if follows {
		if _, ok := l.nextTime(); !ok {
			return false
		}
	} else {
		d, ok := l.times.next(false)
		l.firstMs += d
		l.thing, l.timeMs = int64(thing), l.firstMs
		if !ok || l.timeMs < 0 || l.timeMs >= MaxTimeMs {
			return false
		}
	}
	columns := l.columns[:len(l.before)]
	for i := range l.before {
		v, s := &l.before[i], &columns[i]
		if follows && v.Kind != Float && s.atSmall < len(s.small) && s.small[s.atSmall] < packEscape { // most of them
			v.Mantissa += unzigzag(uint64(s.small[s.atSmall]))
			s.atSmall++
		} else if !s.nextOf(v, follows) {
			return false
		}
	}
	return true
}

// nextFirst decodes the next row, which is the first one of thing, into l.
func (l *unpackLayout) nextFirst(thing ThingID) bool {
	if l.times.atFirst == len(l.times.firsts) {
		return false
	}
	l.thing, l.timeMs = int64(thing), l.times.firsts[l.times.atFirst]
	l.times.atFirst++
	columns := l.columns[:len(l.before)]
	for i := range l.before {
		v, s := &l.before[i], &columns[i]
		if v.Kind == Float {
			if !s.nextOf(v, false) {
				return false
			}
			continue
		}
		if s.atFirst == len(s.firsts) {
			return false
		}
		v.Mantissa = s.firsts[s.atFirst]
		s.atFirst++
	}
	return l.timeMs >= 0 && l.timeMs < MaxTimeMs
}

// nextTime decodes the time of a row whose thing is that of the row before, and returns what passed since that one.
func (l *unpackLayout) nextTime() (int64, bool) {
	d, ok := l.times.next(true)
	if !ok {
		return 0, false
	}
	passed := l.ms + d
	l.timeMs += passed
	l.learn(passed, l.times.small[l.times.atSmall-1] < packEscape)
	return passed, l.timeMs >= 0 && l.timeMs < MaxTimeMs
}

// nextOf makes v, of the row before, that of the next row.
func (s *unpackStream) nextOf(v *Value, follows bool) bool {
	if v.Kind == Float {
		if len(s.large)-s.atLarge < 8 {
			return false
		}
		v.Mantissa = int64(binary.LittleEndian.Uint64(s.large[s.atLarge:]))
		s.atLarge += 8
		return true
	}
	if !follows && s.atLarge < len(s.large) && s.large[s.atLarge] < 0x80 {
		v.Mantissa += unzigzag(uint64(s.large[s.atLarge]))
		s.atLarge++
		return true
	}
	d, ok := s.next(follows)
	v.Mantissa += d
	return ok
}

// next returns the next number, of a row that follows one of its thing or not.
func (s *unpackStream) next(follows bool) (int64, bool) {
	var base uint64
	if follows {
		if s.atSmall == len(s.small) {
			return 0, false
		}
		z := s.small[s.atSmall]
		s.atSmall++
		if z < packEscape {
			return unzigzag(uint64(z)), true
		}
		base = packEscape
	}
	z, n := binary.Uvarint(s.large[s.atLarge:])
	if n <= 0 {
		return 0, false
	}
	s.atLarge += n
	return unzigzag(z + base), true
}
