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
	"math"
	"sync"

	"github.com/VictoriaMetrics/VictoriaMetrics/lib/encoding"
)

// MaxItems is the largest number of values in one column.
const MaxItems = 8192

// maxPlainBytes is what MaxItems varints may take; a zstd frame that claims more is refused.
const maxPlainBytes = MaxItems * binary.MaxVarintLen64

var errShort = errors.New("the column is cut short")

// scratch holds decompressed bytes between calls. Without it every zstd column costs an allocation of its plain size
// (BenchmarkDecodeInts: 1 against 0). intEncoders holds what AppendInts needs: tables and buffers of 10 KB.
var (
	scratch     = sync.Pool{New: func() any { return new([]byte) }}
	intEncoders = sync.Pool{New: func() any { return new(intEncoder) }}
)

const (
	// leastZstd is how many bytes a column has that is compressed: the head of a frame takes 14, a table of frequent bytes 5 to 20.
	leastZstd = 32
	// worthZstd is the share of the plain bytes that is the most for compressed ones.
	worthZstd = 0.9
)

// AppendInts encodes 1 to MaxItems integers and returns dst grown by them: constant, constant step, or as differences or differences of
// differences, whichever have less in them, with zstd where that helps.
func AppendInts(dst []byte, a []int64) []byte {
	if len(a) == 0 || len(a) > MaxItems {
		panic(fmt.Sprintf("BUG: a column of %d integers", len(a)))
	}
	e := intEncoders.Get().(*intEncoder)
	mode, body := e.encode(a)
	dst = binary.AppendVarint(append(dst, byte(mode)), a[0])
	dst = append(binary.AppendUvarint(dst, uint64(len(body))), body...)
	intEncoders.Put(e)
	return dst
}

// intEncoder encodes columns of integers. It keeps its buffers. Not safe for concurrent use.
type intEncoder struct {
	bytes  BytesEncoder
	once   []byte // differences
	twice  []byte // differences of differences
	packed []byte
}

// encode returns the body of a column behind its first value, good until the next call.
func (e *intEncoder) encode(a []int64) (encoding.MarshalType, []byte) {
	e.packed = e.packed[:0]
	if len(a) == 1 {
		return encoding.MarshalTypeConst, nil
	}
	step, constant := a[1]-a[0], true
	for i := 2; i < len(a) && constant; i++ {
		constant = a[i]-a[i-1] == step
	}
	if constant && step == 0 {
		return encoding.MarshalTypeConst, nil
	}
	if constant {
		e.packed = binary.AppendVarint(e.packed, step)
		return encoding.MarshalTypeDeltaConst, e.packed
	}
	e.once, e.twice = e.once[:0], e.twice[:0]
	var before int64
	for i := 1; i < len(a); i++ {
		d := a[i] - a[i-1]
		e.once = binary.AppendVarint(e.once, d)
		e.twice = binary.AppendVarint(e.twice, d-before)
		before = d
	}
	mode, zipped, plain := encoding.MarshalTypeNearestDelta, encoding.MarshalTypeZSTDNearestDelta, e.once
	size, often := entropy(e.once)
	if other, common := entropy(e.twice); other < size {
		mode, zipped, plain = encoding.MarshalTypeNearestDelta2, encoding.MarshalTypeZSTDNearestDelta2, e.twice
		often = common
	}
	if len(plain) < leastZstd {
		return mode, plain
	}
	if often > 1-rare { // zstd finds longer runs
		e.packed = encoding.CompressZSTDLevel(e.packed, plain, 3)
	} else {
		e.packed = e.bytes.appendFrame(e.packed, plain)
	}
	if len(e.packed) == 0 || float64(len(e.packed)) > worthZstd*float64(len(plain)) {
		return mode, plain
	}
	return zipped, e.packed
}

// entropy returns how many bits src has in it, byte by byte, and the share of the most frequent byte.
func entropy(src []byte) (bits, most float64) {
	var counts [256]int
	for _, b := range src {
		counts[b]++
	}
	total := float64(len(src))
	bits = total * math.Log2(total)
	top := 0
	for _, n := range counts {
		if n > 1 {
			bits -= float64(n) * math.Log2(float64(n))
		}
		top = max(top, n)
	}
	return bits, float64(top) / total
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

	zipped := mode == encoding.MarshalTypeZSTDNearestDelta2 || mode == encoding.MarshalTypeZSTDNearestDelta
	if !zipped && mode != encoding.MarshalTypeNearestDelta2 && mode != encoding.MarshalTypeNearestDelta {
		out, err := encoding.UnmarshalValues(dst, body, mode, first, n)
		if err != nil {
			return dst, rest, fmt.Errorf("mode %d: the column does not hold %d integers", mode, n)
		}
		return out, rest, nil
	}
	second := mode == encoding.MarshalTypeZSTDNearestDelta2 || mode == encoding.MarshalTypeNearestDelta2
	if second && n < 2 {
		return dst, rest, errors.New("one value cannot have deltas of deltas")
	}
	buf := scratch.Get().(*[]byte)
	defer scratch.Put(buf)
	plain := (*buf)[:0]
	if zipped {
		var err error
		if plain, err = encoding.DecompressZSTDLimited(plain, body, maxPlainBytes); err != nil {
			return dst, rest, errors.New("the column does not decompress")
		}
	} else {
		plain = append(plain, body...)
	}
	plainBytes := len(plain)
	plain = append(plain, deltaZeros[:]...)
	*buf = plain
	out, err := appendSums(dst, plain[:plainBytes], first, n, second)
	if err != nil {
		return dst, rest, fmt.Errorf("mode %d: the column does not hold %d integers", mode, n)
	}
	return out, rest, nil
}
