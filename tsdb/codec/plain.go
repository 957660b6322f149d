package codec

import (
	"encoding/binary"
	"fmt"
	"math"
)

// How the first byte of doubles and bits says they are stored.
const (
	modeConst = 1 // one value for all
	modePlain = 2 // every double in 8 bytes; every bit in a bitmap
	modeRuns  = 3 // bits: lengths of runs, the first of zeros
)

// AppendFloats encodes doubles bit by bit, NaN payloads and negative zero included, and returns dst grown by them.
func AppendFloats(dst []byte, a []float64) []byte {
	if len(a) == 0 || len(a) > MaxItems {
		panic(fmt.Sprintf("BUG: a column of %d doubles", len(a)))
	}
	first, same := math.Float64bits(a[0]), true
	for _, v := range a[1:] {
		same = same && math.Float64bits(v) == first
	}
	if same {
		return binary.LittleEndian.AppendUint64(append(dst, modeConst), first)
	}
	dst = append(dst, modePlain)
	for _, v := range a {
		dst = binary.LittleEndian.AppendUint64(dst, math.Float64bits(v))
	}
	return dst
}

// DecodeFloats decodes n doubles, appends them to dst, and returns what follows them in src.
func DecodeFloats(dst []float64, src []byte, n int) ([]float64, []byte, error) {
	if n < 1 || n > MaxItems {
		return dst, src, fmt.Errorf("a column of %d values", n)
	}
	if len(src) < 9 {
		return dst, src, errShort
	}
	mode, src := src[0], src[1:]
	switch {
	case mode == modeConst:
		v := math.Float64frombits(binary.LittleEndian.Uint64(src))
		for range n {
			dst = append(dst, v)
		}
		return dst, src[8:], nil
	case mode != modePlain:
		return dst, src, fmt.Errorf("doubles of mode %d", mode)
	case len(src) < 8*n:
		return dst, src, errShort
	}
	for i := range n {
		dst = append(dst, math.Float64frombits(binary.LittleEndian.Uint64(src[8*i:])))
	}
	return dst, src[8*n:], nil
}

// AppendBits encodes bits as one value, runs or a bitmap, whichever is shortest, and returns dst grown by them.
func AppendBits(dst []byte, a []bool) []byte {
	if len(a) == 0 || len(a) > MaxItems {
		panic(fmt.Sprintf("BUG: a column of %d bits", len(a)))
	}
	start, mapBytes := len(dst), (len(a)+7)/8
	dst = append(dst, modeRuns)
	run, current, runs := 0, false, 0
	for _, bit := range a {
		if bit != current {
			dst = binary.AppendUvarint(dst, uint64(run))
			runs, run, current = runs+1, 0, bit
		}
		run++
		if len(dst)-start > mapBytes {
			break
		}
	}
	switch {
	case runs == 0: // the loop saw zeros only
		return append(dst[:start], modeConst, 0)
	case runs == 1 && a[0] && run == len(a):
		return append(dst[:start], modeConst, 1)
	case len(dst)-start <= mapBytes:
		return binary.AppendUvarint(dst, uint64(run))
	}
	dst = append(dst[:start], modePlain)
	for i := 0; i < len(a); i += 8 {
		var b byte
		for j, bit := range a[i:min(i+8, len(a))] {
			if bit {
				b |= 1 << j
			}
		}
		dst = append(dst, b)
	}
	return dst
}

// DecodeBits decodes n bits, appends them to dst, and returns what follows them in src.
func DecodeBits(dst []bool, src []byte, n int) ([]bool, []byte, error) {
	if n < 1 || n > MaxItems {
		return dst, src, fmt.Errorf("a column of %d values", n)
	}
	if len(src) < 2 {
		return dst, src, errShort
	}
	mode, src := src[0], src[1:]
	switch mode {
	case modeConst:
		if src[0] > 1 {
			return dst, src, fmt.Errorf("a bit of value %d", src[0])
		}
		for range n {
			dst = append(dst, src[0] == 1)
		}
		return dst, src[1:], nil
	case modePlain:
		size := (n + 7) / 8
		if len(src) < size {
			return dst, src, errShort
		}
		for i := range n {
			dst = append(dst, src[i/8]>>(i%8)&1 == 1)
		}
		return dst, src[size:], nil
	case modeRuns:
		for left, bit := n, false; left > 0; bit = !bit {
			run, k := binary.Uvarint(src)
			if k <= 0 || run > uint64(left) || run == 0 && left != n {
				return dst, src, errShort
			}
			src = src[k:]
			left -= int(run)
			for range run {
				dst = append(dst, bit)
			}
		}
		return dst, src, nil
	}
	return dst, src, fmt.Errorf("bits of mode %d", mode)
}
