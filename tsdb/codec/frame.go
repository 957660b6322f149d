package codec

import "encoding/binary"

// appendFrame appends a zstd frame (RFC 8878) of src to dst: one block of literals in a Huffman code, and no sequences. That is what is left of
// the work of zstd where there are no repetitions to be found, as in differences of numbers, for a fifth of its time. It appends nothing if
// src does not get shorter.
func (e *BytesEncoder) appendFrame(dst, src []byte) []byte {
	if len(src) > 128<<10 { // the most of a block
		return dst
	}
	literals, err := e.huff0(src)
	if err != nil || len(literals) >= len(src) {
		return dst
	}
	dst = append(dst, 0x28, 0xb5, 0x2f, 0xfd) // magic number
	// Frame_Header: a single segment, and the size of the content in 1, 2 or 4 bytes (section 3.1.1.1).
	const singleSegment = 1 << 5
	switch n := len(src); {
	case n < 256:
		dst = append(dst, singleSegment, byte(n))
	case n < 256+1<<16:
		dst = binary.LittleEndian.AppendUint16(append(dst, 1<<6|singleSegment), uint16(n-256))
	default:
		dst = binary.LittleEndian.AppendUint32(append(dst, 2<<6|singleSegment), uint32(n))
	}
	// Literals_Section_Header: compressed, format, both sizes (section 3.1.1.3.1.1).
	const compressed = 2
	var format, sizeBits, headBytes int
	switch {
	case len(src) < fourStreams: // 0 has one stream
		format, sizeBits, headBytes = 0, 10, 3
	case len(src) < 1<<14:
		format, sizeBits, headBytes = 2, 14, 4
	default:
		format, sizeBits, headBytes = 3, 18, 5
	}
	head := uint64(compressed | format<<2 | len(src)<<4 | len(literals)<<(4+sizeBits))
	// Block_Header: the last one, compressed, its size (section 3.1.1.2).
	block := uint32(1 | 2<<1 | (headBytes+len(literals)+1)<<3)
	dst = append(dst, byte(block), byte(block>>8), byte(block>>16))
	for range headBytes {
		dst = append(dst, byte(head))
		head >>= 8
	}
	return append(append(dst, literals...), 0) // no sequences
}
