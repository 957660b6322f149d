package tsdb

import (
	"encoding/binary"
	"math"
	"slices"
)

// decodedColumn holds numbers of one column of a block or section, in the order they came. Times are kept as distances from a regular interval and
// numbers as distances of their mantissas from the smallest, each in as few bytes as the largest takes: a sample of a device that keeps time takes two to
// four bytes, and any of them is found without the others. Nothing of it changes.
type decodedColumn struct {
	times   packed // a multiple of everyMs more, by its place
	everyMs int64
	numbers packed // mantissas, or the bits of doubles
	doubles bool
	exp     int8

	ascending bool
	samples   int32
	sizeBytes int32 // without times that are shared

	// Of which rows of its block it has the samples, and between which times it has all of the block. Of a section: the first so many.
	firstRow, endRow int32
	minMs, maxMs     int64

	next *plainPlace // where a section goes on, if that is known
}

// covers says whether it has all samples of its block between the two times.
func (d *decodedColumn) covers(minMs, maxMs int64) bool { return d.minMs <= minMs && d.maxMs >= maxMs }

// timeMs returns the time of sample i.
func (d *decodedColumn) timeMs(i int) int64 { return d.times.at(i) + int64(i)*d.everyMs }

// number returns the value of sample i.
func (d *decodedColumn) number(i int) float64 {
	m := d.numbers.at(i)
	if d.doubles {
		return math.Float64frombits(uint64(m))
	}
	return decimalFloat(m, d.exp)
}

// point returns sample i.
func (d *decodedColumn) point(i int) point {
	if d.doubles {
		return point{d.timeMs(i), d.numbers.at(i), 0, Float}
	}
	return point{d.timeMs(i), d.numbers.at(i), d.exp, Decimal}
}

// search returns the first sample at or after ms. The times ascend.
func (d *decodedColumn) search(ms int64) int {
	lo, hi := 0, int(d.samples)
	for lo < hi {
		if mid := (lo + hi) / 2; d.timeMs(mid) < ms {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}

// setTimes packs times.
func (d *decodedColumn) setTimes(times []int64) {
	d.samples, d.everyMs = int32(len(times)), 0
	least, _, width := spread(times, 0)
	if n := int64(len(times)); n > 2 && width > 1 {
		mean := (times[n-1] - times[0]) / (n - 1)
		for _, unit := range [...]int64{1000, 1} { // devices keep to seconds: the mean of few rows has their jitter
			every := (mean + unit/2) / unit * unit
			if l, _, w := spread(times, every); w < width {
				d.everyMs, least, width = every, l, w
			}
			if width <= 1 {
				break
			}
		}
	}
	d.times = pack(times, d.everyMs, least, width)
}

// setMantissas packs mantissas of one exponent, or the doubles that they stand for where no double is that exact.
func (d *decodedColumn) setMantissas(mantissas []int64, exp int8) {
	least, most, width := spread(mantissas, 0)
	if least > -maxExactMantissa && most < maxExactMantissa && exp >= -22 && exp <= 22 {
		d.exp, d.doubles = exp, false
		d.numbers = pack(mantissas, 0, least, width)
		return
	}
	d.exp, d.doubles = 0, true
	d.numbers = packed{bytes: make([]byte, 0, 8*len(mantissas)), width: 8}
	for _, m := range mantissas {
		d.numbers.bytes = binary.LittleEndian.AppendUint64(d.numbers.bytes, math.Float64bits(decimalFloat(m, exp)))
	}
}

// setDoubles packs doubles: as decimals of few digits if they are such. ints is scratch.
func (d *decodedColumn) setDoubles(values []float64, ints []int64) []int64 {
	ints, exp, ok := decimalsOf(ints[:0], values)
	if ok {
		d.setMantissas(ints, exp)
		return ints
	}
	d.exp, d.doubles = 0, true
	d.numbers = packed{bytes: make([]byte, 0, 8*len(values)), width: 8}
	for _, v := range values {
		d.numbers.bytes = binary.LittleEndian.AppendUint64(d.numbers.bytes, math.Float64bits(v))
	}
	return ints
}

// maxDecimals is how many decimals doubles are tried with.
const maxDecimals = 6

// decimalsOf appends mantissas with one exponent that stand for the very bits of all values, if there are.
func decimalsOf(dst []int64, values []float64) (ints []int64, exp int8, ok bool) {
	decimals := 0
	for i := 0; i < len(values); i++ {
		v := values[i]
		x := math.RoundToEven(v * exactPowers[decimals])
		if m := int64(x); math.Abs(x) < maxExactMantissa && math.Float64bits(float64(m)/exactPowers[decimals]) == math.Float64bits(v) {
			dst = append(dst, m)
			continue
		}
		if decimals++; decimals > maxDecimals {
			return dst, 0, false
		}
		dst, i = dst[:0], -1
	}
	return dst, int8(-decimals), true
}

// appendTimes appends the times of samples from to to-1.
func (d *decodedColumn) appendTimes(dst []int64, from, to int) []int64 {
	dst = slices.Grow(dst, to-from)
	at := d.times.least + int64(from)*d.everyMs
	switch src := d.times.bytes; d.times.width {
	case 1:
		for _, b := range src[from:to] {
			dst = append(dst, at+int64(b))
			at += d.everyMs
		}
	case 2:
		for i := from; i < to; i++ {
			dst = append(dst, at+int64(binary.LittleEndian.Uint16(src[2*i:])))
			at += d.everyMs
		}
	default:
		for i := from; i < to; i++ {
			dst = append(dst, d.timeMs(i))
		}
	}
	return dst
}

// appendNumbers appends the values of samples from to to-1.
func (d *decodedColumn) appendNumbers(dst []float64, from, to int) []float64 {
	dst = slices.Grow(dst, to-from)
	if d.doubles || d.exp > 0 || d.numbers.width != 1 && d.numbers.width != 2 {
		for i := from; i < to; i++ {
			dst = append(dst, d.number(i))
		}
		return dst
	}
	divisor, least, src := exactPowers[-d.exp], d.numbers.least, d.numbers.bytes // as decimalFloat has it
	if d.numbers.width == 1 {
		for _, b := range src[from:to] {
			dst = append(dst, float64(least+int64(b))/divisor)
		}
		return dst
	}
	for i := from; i < to; i++ {
		dst = append(dst, float64(least+int64(binary.LittleEndian.Uint16(src[2*i:])))/divisor)
	}
	return dst
}

// packed are integers, each as its distance from the least: width bytes, little-endian.
type packed struct {
	bytes []byte
	least int64
	width uint8 // 0, 1, 2, 4 or 8
}

// at returns integer i.
func (p *packed) at(i int) int64 {
	switch p.width {
	case 0:
		return p.least
	case 1:
		return p.least + int64(p.bytes[i])
	case 2:
		return p.least + int64(binary.LittleEndian.Uint16(p.bytes[2*i:]))
	case 4:
		return p.least + int64(binary.LittleEndian.Uint32(p.bytes[4*i:]))
	}
	return p.least + int64(binary.LittleEndian.Uint64(p.bytes[8*i:]))
}

// spread returns the least and the most of list, integer i less i*every, and the bytes that the distance between them takes.
func spread(list []int64, every int64) (least, most int64, width uint8) {
	if len(list) == 0 {
		return 0, 0, 0
	}
	least, most = list[0], list[0]
	at := int64(0)
	for _, v := range list {
		least, most = min(least, v-at), max(most, v-at)
		at += every
	}
	switch d := uint64(most - least); {
	case d == 0:
		return least, most, 0
	case d <= math.MaxUint8:
		return least, most, 1
	case d <= math.MaxUint16:
		return least, most, 2
	case d <= math.MaxUint32:
		return least, most, 4
	}
	return least, most, 8
}

// pack packs list, as spread has it.
func pack(list []int64, every, least int64, width uint8) packed {
	room := make([]byte, len(list)*int(width))
	at := least
	switch width {
	case 1:
		for i, v := range list {
			room[i] = byte(v - at)
			at += every
		}
	case 2:
		for i, v := range list {
			binary.LittleEndian.PutUint16(room[2*i:], uint16(v-at))
			at += every
		}
	case 4:
		for i, v := range list {
			binary.LittleEndian.PutUint32(room[4*i:], uint32(v-at))
			at += every
		}
	case 8:
		for i, v := range list {
			binary.LittleEndian.PutUint64(room[8*i:], uint64(v-at))
			at += every
		}
	}
	return packed{room, least, width}
}
