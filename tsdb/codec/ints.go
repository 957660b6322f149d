// Package codec turns columns into bytes and back: integers, doubles and bits. Pure functions on slices; the layout is
// docs/formats/block.md.
//
// A decoder takes any bytes: it returns an error, never panics, and allocates for at most MaxItems values, whatever the
// bytes claim. Checksums are the caller's. Everything is safe for concurrent use.
package codec

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/VictoriaMetrics/VictoriaMetrics/lib/encoding"
)

// MaxItems is the largest number of values in one column.
const MaxItems = 8192

// maxPlainBytes is what MaxItems varints may take; a zstd frame that claims more is refused.
const maxPlainBytes = MaxItems * binary.MaxVarintLen64

var errShort = errors.New("the column is cut short")

// scratch holds decompressed bytes between calls. Without it every zstd column costs an allocation of its plain size
// (BenchmarkDecodeInts: 1 against 0).
var scratch = sync.Pool{New: func() any { return new([]byte) }}

// AppendInts encodes 1 to MaxItems integers and returns dst grown by them. It picks constant, constant step, delta or
// delta of delta, with zstd where that helps (lib/encoding of VictoriaMetrics).
func AppendInts(dst []byte, a []int64) []byte {
	if len(a) == 0 || len(a) > MaxItems {
		panic(fmt.Sprintf("BUG: a column of %d integers", len(a)))
	}
	// The payload length stands before it and is known after it: one byte is set aside, which is enough for most
	// constants, and the payload moves up where it is not.
	head := len(dst)
	dst = append(dst, 0)
	dst = binary.AppendVarint(dst, a[0])
	body := len(dst)
	dst, mode, _ := encoding.MarshalValues(dst, a, 64)
	dst[head] = byte(mode)
	size := len(dst) - body
	var prefix [binary.MaxVarintLen64]byte
	n := binary.PutUvarint(prefix[:], uint64(size))
	dst = append(dst, prefix[:n]...)
	copy(dst[body+n:], dst[body:body+size])
	copy(dst[body:], prefix[:n])
	return dst
}

// DecodeInts decodes n integers, appends them to dst, and returns what follows them in src.
func DecodeInts(dst []int64, src []byte, n int) ([]int64, []byte, error) {
	if n < 1 || n > MaxItems {
		return dst, src, fmt.Errorf("a column of %d values", n)
	}
	if len(src) == 0 {
		return dst, src, errShort
	}
	mode, src := encoding.MarshalType(src[0]), src[1:]
	first, k := binary.Varint(src)
	if k <= 0 {
		return dst, src, errShort
	}
	src = src[k:]
	size, k := binary.Uvarint(src)
	if k <= 0 || size > uint64(len(src)-k) {
		return dst, src, errShort
	}
	body, rest := src[k:k+int(size)], src[k+int(size):]

	switch mode {
	case encoding.MarshalTypeZSTDNearestDelta2, encoding.MarshalTypeZSTDNearestDelta:
		buf := scratch.Get().(*[]byte)
		defer scratch.Put(buf)
		plain, err := encoding.DecompressZSTDLimited((*buf)[:0], body, maxPlainBytes)
		if err != nil {
			return dst, rest, errors.New("the column does not decompress")
		}
		*buf, body = plain, plain
		if mode == encoding.MarshalTypeZSTDNearestDelta2 {
			mode = encoding.MarshalTypeNearestDelta2
		} else {
			mode = encoding.MarshalTypeNearestDelta
		}
	}
	if mode == encoding.MarshalTypeNearestDelta2 && n < 2 {
		return dst, rest, errors.New("one value cannot have deltas of deltas")
	}
	out, err := encoding.UnmarshalValues(dst, body, mode, first, n)
	if err != nil {
		return dst, rest, fmt.Errorf("mode %d: the column does not hold %d integers", mode, n)
	}
	return out, rest, nil
}
