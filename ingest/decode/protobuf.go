package decode

import "encoding/binary"

// Wire types of protobuf (https://protobuf.dev/programming-guides/encoding/). Groups (3 and 4) are obsolete and refused.
const (
	wireVarint = 0
	wire64     = 1
	wireBytes  = 2
	wire32     = 5
)

// protoField is one field of a message.
type protoField struct {
	number uint32
	wire   byte
	value  uint64 // varint, 32 and 64 bits
	at     int    // of the bytes
	end    int
}

// protoNext reads the field at p[i] of a message that ends at end, and returns the index behind it.
func protoNext(p []byte, i, end int) (field protoField, next int, f fault) {
	var tag uint64
	good := true
	if c := p[i]; c < 0x80 { // i < end: most fields
		tag, next = uint64(c), i+1
	} else {
		tag, next, good = protoVarint(p, i, end)
	}
	if !good || tag>>3 == 0 || tag>>3 > 1<<29-1 {
		return field, i, faultProto
	}
	field.number, field.wire = uint32(tag>>3), byte(tag&7)
	switch field.wire {
	case wireVarint:
		if field.value, next, good = protoVarint(p, next, end); !good {
			return field, i, faultProto
		}
	case wire64:
		if end-next < 8 {
			return field, i, faultProto
		}
		field.value = binary.LittleEndian.Uint64(p[next:])
		next += 8
	case wire32:
		if end-next < 4 {
			return field, i, faultProto
		}
		field.value = uint64(binary.LittleEndian.Uint32(p[next:]))
		next += 4
	case wireBytes:
		var size uint64
		if size, next, good = protoVarint(p, next, end); !good || size > uint64(end-next) {
			return field, i, faultProto
		}
		field.at, field.end = next, next+int(size)
		next = field.end
	default:
		return field, i, faultProto
	}
	return field, next, ok
}

// protoVarint reads the varint at p[i], of at most ten bytes and 64 bits.
func protoVarint(p []byte, i, end int) (v uint64, next int, good bool) {
	for shift := 0; i < end && shift < 64; shift += 7 {
		c := p[i]
		i++
		if shift == 63 && c > 1 {
			return 0, i, false
		}
		v |= uint64(c&0x7f) << shift
		if c < 0x80 {
			return v, i, true
		}
	}
	return 0, i, false
}
