package tsdb

import (
	"encoding/binary"
	"errors"
	"math"
	"slices"
)

// What the first byte of a record in a log group says. Layout: docs/formats/log.md.
const (
	recordRow     = 1
	recordMetric  = 2
	recordString  = 3
	recordDelete  = 4
	recordSource  = 5
	recordLaid    = 6 // a row and its layout, after the row before in its group
	recordLike    = 7 // a row of a layout that an earlier one in its group had
	recordOldPack = 8 // many rows, as version 4 has them
	recordPack    = 9 // many rows (pack.go)
)

var errRecord = errors.New("the record is cut short or of an unknown type")

// tagEscape in the upper six bits of a value's tag says that the exponent follows in a byte of its own; smaller ones
// hold exponent + tagBias.
const (
	tagEscape = 63
	tagBias   = 31
)

// logLayouts is how many kinds of rows a group remembers.
const logLayouts = 64

// rowsBefore is what the rows of a group refer to: the row before, and of each layout the last row.
type rowsBefore struct {
	thing   int64
	timeMs  int64
	layouts [logLayouts]rowLayout
}

// rowLayout is the last row of a layout, its doubles aside, with the exponents that it was written with.
type rowLayout []Value

// appendRow encodes a row that follows b in a group and returns dst grown by it. Things of one type send values of one size, so
// differences are shorter than values. A decimal may get another exponent of the same number, since text such as 12.5 and 13 has
// one that changes from row to row.
func (b *rowsBefore) appendRow(dst []byte, thing ThingID, timeMs int64, values []Value) []byte {
	place := layoutPlace(values)
	l := &b.layouts[place]
	kind := byte(recordLike)
	if !l.fits(values) {
		kind = recordLaid
	}
	dst = append(dst, kind, byte(place))
	dst = binary.AppendVarint(dst, int64(thing)-b.thing)
	dst = binary.AppendVarint(dst, timeMs-b.timeMs)
	b.thing, b.timeMs = int64(thing), timeMs
	if kind == recordLaid {
		l.lay(values)
		dst = binary.AppendUvarint(dst, uint64(len(values)))
		for i := range *l {
			dst = (*l)[i].appendSlot(dst)
		}
	}
	before := (*l)[:len(values)]
	for i := range values {
		v, p := &values[i], &before[i]
		mantissa := v.Mantissa
		switch {
		case v.Kind == Float:
			dst = binary.LittleEndian.AppendUint64(dst, uint64(mantissa))
			continue
		case v.Exp != p.Exp:
			mantissa, _ = rescale(mantissa, v.Exp, p.Exp)
		}
		dst = binary.AppendVarint(dst, mantissa-p.Mantissa)
		p.Mantissa = mantissa
	}
	return dst
}

// layoutPlace returns where a group remembers the layout of values: below logLayouts.
func layoutPlace(values []Value) uint32 {
	place := uint32(len(values))
	for i := range values {
		place = place*31 + uint32(values[i].Metric)
	}
	return place * 0x9e3779b1 >> 26 // Fibonacci hashing
}

// fits says whether values can be written with the columns, kinds and exponents of l.
func (l rowLayout) fits(values []Value) bool {
	if len(values) != len(l) {
		return false
	}
	for i := range values {
		v, p := &values[i], &l[i]
		if v.Metric != p.Metric || v.Kind != p.Kind {
			return false
		}
		if v.Exp != p.Exp {
			if v.Kind != Decimal {
				return false
			}
			if _, ok := rescale(v.Mantissa, v.Exp, p.Exp); !ok {
				return false
			}
		}
	}
	return true
}

// lay takes the columns and kinds of values, and of the exponents the finer ones.
func (l *rowLayout) lay(values []Value) {
	old := len(*l)
	*l = slices.Grow(*l, max(0, len(values)-old))[:len(values)]
	for i := range values {
		v, p := values[i], &(*l)[i]
		if i < old && p.Metric == v.Metric && p.Kind == Decimal && v.Kind == Decimal {
			if _, ok := rescale(v.Mantissa, v.Exp, p.Exp); ok {
				v.Exp = p.Exp
			}
		}
		v.Mantissa = 0
		*p = v
	}
}

func (b *rowsBefore) reset() {
	b.thing, b.timeMs = 0, 0
	for i := range b.layouts {
		b.layouts[i] = b.layouts[i][:0]
	}
}

// appendSlot encodes the column, kind and exponent of a value.
func (v *Value) appendSlot(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(v.Metric))
	if exp := int(v.Exp) + tagBias; exp >= 0 && exp < tagEscape {
		return append(dst, byte(v.Kind)|byte(exp)<<2)
	}
	return append(dst, byte(v.Kind)|tagEscape<<2, byte(v.Exp))
}

func appendWordRecord(dst []byte, kind byte, id int, word string) []byte {
	dst = binary.AppendUvarint(append(dst, kind), uint64(id))
	dst = binary.AppendUvarint(dst, uint64(len(word)))
	return append(dst, word...)
}

func appendDeleteRecord(dst []byte, thing ThingID) []byte {
	return binary.AppendUvarint(append(dst, recordDelete), uint64(thing))
}

// record is one decoded record. Its slices belong to the parser and are valid until the next call.
type record struct {
	kind   byte // recordRow for all rows
	thing  ThingID
	timeMs int64
	values []Value
	id     uint32
	word   []byte

	before rowsBefore
	pack   unpacker
	rows   []pendingRow // of a pack
	packed []Value      // of these
}

// each hands the records of a group, in order, to use, packed rows one by one, until use does not take one. It reports whether use
// took all.
func (r *record) each(src []byte, use func() bool) (whole bool, err error) {
	r.before.reset()
	for len(src) > 0 {
		if !isPack(src) {
			if src, err = r.parse(src); err != nil {
				return true, err
			}
			if !use() {
				return false, nil
			}
			continue
		}
		b := reader{src: src}
		if r.rows, r.packed = r.pack.append(r.rows[:0], r.packed[:0], &b); b.err != nil {
			return true, b.err
		}
		src = b.src
		for _, row := range r.rows {
			r.kind, r.thing, r.timeMs, r.values = recordRow, row.thing, row.timeMs, r.packed[row.from:row.from+row.count]
			if !use() {
				return false, nil
			}
		}
	}
	return true, nil
}

// isPack says whether the record at the start of src is a pack.
func isPack(src []byte) bool {
	return len(src) > 0 && (src[0] == recordPack || src[0] == recordOldPack)
}

// parse decodes the record at the start of src, which is no pack, into r and returns the rest.
func (r *record) parse(src []byte) ([]byte, error) {
	b := reader{src: src}
	r.kind = b.byte()
	switch r.kind {
	case recordRow:
		r.thing = ThingID(b.uvarintMax(math.MaxUint32))
		r.timeMs = int64(b.uvarintMax(MaxTimeMs - 1))
		n := int(b.uvarintMax(MaxRowValues))
		r.values = r.values[:0]
		for i := 0; i < n && b.err == nil; i++ {
			v := b.slot()
			if v.Kind == Float {
				v.Mantissa = int64(b.uint64())
			} else {
				v.Mantissa = b.varint()
			}
			r.values = append(r.values, v)
		}
	case recordLaid, recordLike:
		l := &r.before.layouts[b.byte()%logLayouts]
		thing, timeMs := r.before.thing+b.varint(), r.before.timeMs+b.varint()
		if thing < 0 || thing > math.MaxUint32 || timeMs < 0 || timeMs >= MaxTimeMs {
			b.fail()
		}
		if r.kind == recordLaid {
			*l = (*l)[:0]
			for n := b.uvarintMax(MaxRowValues); n > 0 && b.err == nil; n-- {
				*l = append(*l, b.slot())
			}
		}
		if len(*l) == 0 {
			b.fail()
		}
		r.kind, r.thing, r.timeMs = recordRow, ThingID(thing), timeMs
		r.before.thing, r.before.timeMs = thing, timeMs
		for i := range *l {
			if v := &(*l)[i]; v.Kind == Float {
				v.Mantissa = int64(b.uint64())
			} else {
				v.Mantissa += b.varint()
			}
		}
		r.values = append(r.values[:0], *l...)
	case recordMetric, recordString:
		r.id = uint32(b.uvarintMax(MaxStrings))
		r.word = b.bytes(int(b.uvarintMax(MaxStringBytes)))
	case recordSource:
		r.id = uint32(b.uvarintMax(MaxSources))
		r.word = b.bytes(int(b.uvarintMax(maxSourceBytes)))
	case recordDelete:
		r.thing = ThingID(b.uvarintMax(math.MaxUint32))
	default:
		b.fail()
	}
	return b.src, b.err
}

// slot reads the column, kind and exponent of a value.
func (b *reader) slot() Value {
	v := Value{Metric: MetricID(b.uvarintMax(MaxMetrics - 1))}
	tag := b.byte()
	v.Kind = Kind(tag & 3)
	if exp := tag >> 2; exp == tagEscape {
		v.Exp = int8(b.byte())
	} else {
		v.Exp = int8(int(exp) - tagBias)
	}
	return v
}

// reader takes numbers off the front of bytes. After the first error everything it returns is zero.
type reader struct {
	src []byte
	err error
}

func (b *reader) fail() {
	b.err, b.src = errRecord, nil
}

func (b *reader) byte() byte {
	if len(b.src) == 0 {
		b.fail()
		return 0
	}
	v := b.src[0]
	b.src = b.src[1:]
	return v
}

func (b *reader) bytes(n int) []byte {
	if n < 0 || len(b.src) < n {
		b.fail()
		return nil
	}
	v := b.src[:n:n]
	b.src = b.src[n:]
	return v
}

func (b *reader) uint64() uint64 {
	if v := b.bytes(8); v != nil {
		return binary.LittleEndian.Uint64(v)
	}
	return 0
}

func (b *reader) uvarint() uint64 {
	if len(b.src) > 0 && b.src[0] < 0x80 { // most of them, at half the cost
		v := b.src[0]
		b.src = b.src[1:]
		return uint64(v)
	}
	v, n := binary.Uvarint(b.src)
	if n <= 0 {
		b.fail()
		return 0
	}
	b.src = b.src[n:]
	return v
}

func (b *reader) varint() int64 {
	return unzigzag(b.uvarint())
}

func (b *reader) uvarintMax(most uint64) uint64 {
	v := b.uvarint()
	if v > most {
		b.fail()
		return 0
	}
	return v
}

// count reads the number of items that follow, each at least one byte long, so that no claim allocates more than src.
func (b *reader) count() int { return int(b.uvarintMax(uint64(len(b.src)))) }
