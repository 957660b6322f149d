package tsdb

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
)

// What the first byte of a record in a log group says. Layout: docs/formats/log.md.
const (
	recordRow    = 1
	recordMetric = 2
	recordString = 3
	recordDelete = 4
	recordSource = 5
	recordLaid   = 6 // a row, after the row before in its group
	recordLike   = 7 // the same, with the layout of the row before
)

var errRecord = errors.New("the record is cut short or of an unknown type")

// tagEscape in the upper six bits of a value's tag says that the exponent follows in a byte of its own; smaller ones
// hold exponent + tagBias.
const (
	tagEscape = 63
	tagBias   = 31
)

// appendRowLayout encodes which columns, kinds and exponents a row has and returns dst grown by it.
func appendRowLayout(dst []byte, values []Value) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(values)))
	for i := range values {
		v := &values[i]
		dst = binary.AppendUvarint(dst, uint64(v.Metric))
		if exp := int(v.Exp) + tagBias; exp >= 0 && exp < tagEscape {
			dst = append(dst, byte(v.Kind)|byte(exp)<<2)
		} else {
			dst = append(dst, byte(v.Kind)|tagEscape<<2, byte(v.Exp))
		}
	}
	return dst
}

// rowsBefore is what the rows of a group refer to: the row before in the group.
type rowsBefore struct {
	thing     int64
	timeMs    int64
	layout    []byte
	mantissas []int64
}

// appendRow encodes a row with this layout, which follows b in a group, and returns dst grown by it. Things of one kind come one
// after the other with values of one size, so that differences are shorter than values.
func (b *rowsBefore) appendRow(dst []byte, thing ThingID, timeMs int64, layout []byte, values []Value) []byte {
	kind := byte(recordLike)
	if !bytes.Equal(layout, b.layout) {
		kind = recordLaid
	}
	dst = append(dst, kind)
	dst = binary.AppendVarint(dst, int64(thing)-b.thing)
	dst = binary.AppendVarint(dst, timeMs-b.timeMs)
	if kind == recordLaid {
		dst = append(dst, layout...)
		b.layout = append(b.layout[:0], layout...)
		b.mantissas = b.mantissas[:0]
		for range values {
			b.mantissas = append(b.mantissas, 0)
		}
	}
	b.thing, b.timeMs = int64(thing), timeMs
	before := b.mantissas[:len(values)]
	for i := range values {
		v := &values[i]
		if v.Kind == Float {
			dst = binary.LittleEndian.AppendUint64(dst, uint64(v.Mantissa))
			continue
		}
		dst = binary.AppendVarint(dst, v.Mantissa-before[i])
		before[i] = v.Mantissa
	}
	return dst
}

func (b *rowsBefore) reset() {
	b.thing, b.timeMs, b.layout, b.mantissas = 0, 0, b.layout[:0], b.mantissas[:0]
}

func appendWordRecord(dst []byte, kind byte, id int, word string) []byte {
	dst = binary.AppendUvarint(append(dst, kind), uint64(id))
	dst = binary.AppendUvarint(dst, uint64(len(word)))
	return append(dst, word...)
}

func appendDeleteRecord(dst []byte, thing ThingID) []byte {
	return binary.AppendUvarint(append(dst, recordDelete), uint64(thing))
}

// record is one decoded record. Its slices belong to the parser and are valid until the next call. begin stands before the records
// of each group.
type record struct {
	kind   byte // recordRow for all rows
	thing  ThingID
	timeMs int64
	values []Value
	id     uint32
	word   []byte

	beforeThing, beforeMs int64
	layout                []Value // of the row before, with its mantissas but for doubles
}

// begin makes r ready for the records of another group.
func (r *record) begin() {
	r.beforeThing, r.beforeMs, r.layout = 0, 0, r.layout[:0]
}

// parse decodes the record at the start of src into r and returns the rest.
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
		thing, timeMs := r.beforeThing+b.varint(), r.beforeMs+b.varint()
		if thing < 0 || thing > math.MaxUint32 || timeMs < 0 || timeMs >= MaxTimeMs {
			b.fail()
		}
		if r.kind == recordLaid {
			r.layout = r.layout[:0]
			for n := b.uvarintMax(MaxRowValues); n > 0 && b.err == nil; n-- {
				r.layout = append(r.layout, b.slot())
			}
		}
		if len(r.layout) == 0 {
			b.fail()
		}
		r.kind, r.thing, r.timeMs = recordRow, ThingID(thing), timeMs
		r.beforeThing, r.beforeMs = thing, timeMs
		for i := range r.layout {
			if v := &r.layout[i]; v.Kind == Float {
				v.Mantissa = int64(b.uint64())
			} else {
				v.Mantissa += b.varint()
			}
		}
		r.values = append(r.values[:0], r.layout...)
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
	v, n := binary.Uvarint(b.src)
	if n <= 0 {
		b.fail()
		return 0
	}
	b.src = b.src[n:]
	return v
}

func (b *reader) varint() int64 {
	v, n := binary.Varint(b.src)
	if n <= 0 {
		b.fail()
		return 0
	}
	b.src = b.src[n:]
	return v
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
