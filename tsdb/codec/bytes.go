package codec

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/VictoriaMetrics/VictoriaMetrics/lib/encoding"
	"github.com/klauspost/compress/huff0"
)

// How a string of bytes is kept, in the lower two bits of its length.
const (
	bytesPlain = iota
	bytesAlike // one byte, repeated
	bytesHuff0 // by its frequent bytes
	bytesZstd
)

const (
	// fewBytes are kept as they are: a table of their frequencies takes longer to make than it saves to write. A group of the log
	// with a hundred rows fills one page of the disk either way.
	fewBytes = 256
	// fourStreams is from where huff0 makes four streams, which decode side by side.
	fourStreams = 1024
	// rare is the share of bytes that differ from the most frequent one, below which they go to zstd: huff0 takes one bit at least.
	rare = 1.0 / 16
	// MaxBytes is the longest string of bytes.
	MaxBytes = 16 << 20
)

// BytesEncoder encodes strings of bytes that stand for small numbers. It keeps its buffers. Not safe for concurrent use.
type BytesEncoder struct {
	huff   huff0.Scratch
	packed []byte
	plain  []byte // of numbers: uvarints or classes
	rest   []byte // of numbers: bits
}

// Append encodes src, of at most MaxBytes, and returns dst grown by it.
func (e *BytesEncoder) Append(dst, src []byte) []byte {
	if len(src) > MaxBytes {
		panic(fmt.Sprintf("BUG: a string of %d bytes", len(src)))
	}
	head := uint64(len(src)) << 2
	if len(src) > 1 && alike(src) {
		return append(binary.AppendUvarint(dst, head|bytesAlike), src[0])
	}
	mode := uint64(bytesPlain)
	if len(src) >= fewBytes {
		if len(src) > huff0.BlockSizeMax || float64(uncommon(src)) < rare*float64(len(src)) {
			e.packed = encoding.CompressZSTDLevel(e.packed[:0], src, 1)
			if len(e.packed) < len(src) {
				mode, src = bytesZstd, e.packed
			}
		} else if out, err := e.huff0(src); err == nil && len(out) < len(src) {
			mode, src = bytesHuff0, out
		}
	}
	dst = binary.AppendUvarint(dst, head|mode)
	if mode != bytesPlain {
		dst = binary.AppendUvarint(dst, uint64(len(src)))
	}
	return append(dst, src...)
}

func (e *BytesEncoder) huff0(src []byte) (out []byte, err error) {
	e.huff.Reuse = huff0.ReusePolicyNone // each has its own table
	if len(src) < fourStreams {
		out, _, err = huff0.Compress1X(src, &e.huff)
	} else {
		out, _, err = huff0.Compress4X(src, &e.huff)
	}
	return out, err
}

func alike(src []byte) bool {
	for _, b := range src[1:] {
		if b != src[0] {
			return false
		}
	}
	return true
}

// uncommon returns how many bytes differ from the most frequent one.
func uncommon(src []byte) int {
	var counts [256]int
	for _, b := range src {
		counts[b]++
	}
	most := 0
	for _, n := range counts {
		most = max(most, n)
	}
	return len(src) - most
}

// BytesDecoder decodes what BytesEncoder made. It keeps its buffers. Not safe for concurrent use.
type BytesDecoder struct {
	huff  huff0.Scratch
	plain []byte // of numbers: uvarints or classes
}

var errBytes = errors.New("the bytes do not decompress")

// Decode decodes at most limit bytes, of MaxBytes at most, into dst, which is replaced, and returns what follows them in src.
func (d *BytesDecoder) Decode(dst, src []byte, limit int) (plain, rest []byte, err error) {
	head, k := binary.Uvarint(src)
	if k <= 0 {
		return dst[:0], src, errShort
	}
	src = src[k:]
	mode, n := head&3, head>>2
	if n > uint64(min(limit, MaxBytes)) {
		return dst[:0], src, fmt.Errorf("%d bytes where %d are the most", n, limit)
	}
	size := n
	switch mode {
	case bytesAlike:
		size = 1
	case bytesHuff0, bytesZstd:
		if size, k = binary.Uvarint(src); k <= 0 {
			return dst[:0], src, errShort
		}
		src = src[k:]
	}
	if size > uint64(len(src)) {
		return dst[:0], src, errShort
	}
	body, rest := src[:size], src[size:]
	switch mode {
	case bytesPlain:
		return append(dst[:0], body...), rest, nil
	case bytesAlike:
		plain = grow(dst, int(n))
		for i := range plain {
			plain[i] = body[0]
		}
		return plain, rest, nil
	case bytesZstd:
		plain, err = encoding.DecompressZSTDLimited(dst[:0], body, MaxBytes) // which keeps a decoder for each limit
	default:
		plain, err = d.huff0(dst, body, int(n))
	}
	if err != nil || len(plain) != int(n) {
		return dst[:0], rest, errBytes
	}
	return plain, rest, nil
}

func (d *BytesDecoder) huff0(dst, src []byte, n int) ([]byte, error) {
	if n > huff0.BlockSizeMax {
		return nil, errBytes
	}
	table, src, err := huff0.ReadTable(src, &d.huff)
	if err != nil {
		return nil, err
	}
	dst = grow(dst, n)
	if n < fourStreams {
		return table.Decoder().Decompress1X(dst[:0:n], src)
	}
	return table.Decoder().Decompress4X(dst[:n:n], src)
}

// grow returns n bytes of any content, in dst's place if it has room.
func grow(dst []byte, n int) []byte {
	if cap(dst) < n {
		return make([]byte, n, n+n/4)
	}
	return dst[:n]
}
