// Package pb reads and writes Protocol Buffers messages by field number, in place and without generated code: remote write and read
// bring messages whose decoded form would take twenty times their size.
package pb

import (
	"encoding/binary"
	"errors"
	"math"
)

// Err says that a message is cut short or not Protocol Buffers.
var Err = errors.New("the message is not valid Protocol Buffers")

// Wire types [Protocol Buffers, "Encoding"].
const (
	Varint  = 0
	Fixed64 = 1
	Bytes   = 2
	fixed32 = 5
)

// Message walks over the fields of a message:
//
//	for m := pb.Read(src); m.Next(); {
//		if m.Is(1, pb.Varint) { ... m.Value ... }
//	}
//
// Not safe for concurrent use.
type Message struct {
	Number uint64 // of the field
	Wire   byte   // its wire type
	Value  uint64 // of a varint or a fixed field
	Bytes  []byte // of a length-delimited one; a view of the source
	Err    error

	src []byte
}

// Read returns a walk over src, which must not change meanwhile.
func Read(src []byte) Message { return Message{src: src} }

// Rest returns how many bytes are behind the current field.
func (m *Message) Rest() int { return len(m.src) }

// Next goes to the next field. It is false at the end and at an error.
func (m *Message) Next() bool {
	if len(m.src) == 0 || m.Err != nil {
		return false
	}
	key := m.Uvarint()
	m.Number, m.Wire = key>>3, byte(key&7)
	switch m.Wire {
	case Varint:
		m.Value = m.Uvarint()
	case Fixed64:
		if b := m.take(8); b != nil {
			m.Value = binary.LittleEndian.Uint64(b)
		}
	case Bytes:
		m.Bytes = m.take(m.Uvarint())
	case fixed32:
		if b := m.take(4); b != nil {
			m.Value = uint64(binary.LittleEndian.Uint32(b))
		}
	default:
		m.Err = Err
	}
	if m.Number == 0 || m.Number >= 1<<29 {
		m.Err = Err
	}
	return m.Err == nil
}

// Is says whether the field has the number. Another wire type than it should have is an error.
func (m *Message) Is(number uint64, wire byte) bool {
	if m.Number != number {
		return false
	}
	if m.Wire != wire {
		m.Err = Err
	}
	return m.Err == nil
}

// Uvarint takes a varint off the front: of a packed list, which is read like a message without fields.
func (m *Message) Uvarint() uint64 {
	v, n := binary.Uvarint(m.src)
	if n <= 0 {
		m.Err, m.src = Err, nil
		return 0
	}
	m.src = m.src[n:]
	return v
}

func (m *Message) take(n uint64) []byte {
	if m.Err != nil || n > uint64(len(m.src)) {
		m.Err = Err
		return nil
	}
	b := m.src[:n:n]
	m.src = m.src[n:]
	return b
}

// Double returns the value of a Fixed64 field.
func (m *Message) Double() float64 { return math.Float64frombits(m.Value) }

// AppendBytes appends a length-delimited field.
func AppendBytes[T string | []byte](dst []byte, number int, value T) []byte {
	dst = binary.AppendUvarint(dst, uint64(number)<<3|Bytes)
	dst = binary.AppendUvarint(dst, uint64(len(value)))
	return append(dst, value...)
}

// AppendVarint appends an integer field.
func AppendVarint(dst []byte, number int, value int64) []byte {
	dst = binary.AppendUvarint(dst, uint64(number)<<3|Varint)
	return binary.AppendUvarint(dst, uint64(value))
}

// AppendDouble appends a double field.
func AppendDouble(dst []byte, number int, value float64) []byte {
	dst = binary.AppendUvarint(dst, uint64(number)<<3|Fixed64)
	return binary.LittleEndian.AppendUint64(dst, math.Float64bits(value))
}
