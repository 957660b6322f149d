package decode

import "encoding/binary"

// Wire types of protobuf (https://protobuf.dev/programming-guides/encoding/). Groups (3 and 4) are obsolete and refused.
const (
	wireVarint = 0
	wire64     = 1
	wireBytes  = 2
	wire32     = 5
)

// protoNext reads the field at p[i] of a message that ends at end, i < end. number is 0 where it is not well-formed. value is
// that of a varint or of a fixed size, or for bytes the index of the first; next is the index behind the field.
func protoNext(p []byte, i, end int) (number uint32, wire byte, value uint64, next int) {
	tag, next := uint64(p[i]), i+1
	if tag >= 0x80 { // field numbers from 16 on
		var good bool
		if tag, next, good = protoVarint(p, i, end); !good || tag>>3 > 1<<29-1 {
			return 0, 0, 0, i
		}
	}
	number, wire = uint32(tag>>3), byte(tag&7)
	switch wire {
	case wireVarint:
		var good bool
		if value, next, good = protoVarint(p, next, end); !good {
			return 0, 0, 0, i
		}
	case wire64:
		if end-next < 8 {
			return 0, 0, 0, i
		}
		value = binary.LittleEndian.Uint64(p[next:])
		next += 8
	case wire32:
		if end-next < 4 {
			return 0, 0, 0, i
		}
		value = uint64(binary.LittleEndian.Uint32(p[next:]))
		next += 4
	case wireBytes:
		size, at, good := protoVarint(p, next, end)
		if !good || size > uint64(end-at) {
			return 0, 0, 0, i
		}
		value = uint64(at)
		next = at + int(size)
	default:
		return 0, 0, 0, i
	}
	return number, wire, value, next
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
