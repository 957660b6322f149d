package codec

import (
	"encoding/binary"
	"math/bits"
	"slices"
)

// How numbers are kept: the first byte. They are small numbers, zigzag, after one of two others is taken off.
const (
	numbersLater   = 1 << iota // less the number before, of the first less 0; else less a center, which follows as a varint
	numbersClasses             // as classes and bits; else as uvarints
	numbersKnown   = numbersLater | numbersClasses
)

const (
	// A class is a number below plainClasses, or how many bits a number has and its two bits after the first one: those further down
	// are noise, and are kept as they are. So many numbers of few sizes are bytes for huff0, and those of 64 bits still have one of 256.
	plainClasses = 16
	classBits    = 2
	// centerSamples is how many numbers the center is the median of.
	centerSamples = 31
)

// AppendNumbers encodes numbers in no order, such as what different things have in one column, and returns dst grown by them.
func (e *BytesEncoder) AppendNumbers(dst []byte, a []int64) []byte {
	center := middle(a)
	var later, apart sizes
	apart.add(center)
	before := int64(0)
	for _, v := range a {
		later.add(v - before)
		apart.add(v - center)
		before = v
	}
	var how byte
	if later.bits <= apart.bits {
		how |= numbersLater
		apart = later
	}
	if len(a) >= fewBytes || apart.classes < apart.uvarints {
		how |= numbersClasses
	}
	dst = append(dst, how)
	if how&numbersLater == 0 {
		dst = binary.AppendVarint(dst, center)
		before = center
	} else {
		before = 0
	}
	e.plain = slices.Grow(e.plain[:0], len(a))
	if how&numbersClasses == 0 {
		for _, v := range a {
			e.plain = binary.AppendUvarint(e.plain, zigzag(v-before))
			if how&numbersLater != 0 {
				before = v
			}
		}
		return e.Append(dst, e.plain)
	}
	e.rest = slices.Grow(e.rest[:0], 8*len(a)+8)
	classes, rest, at := e.plain[:len(a)], e.rest[:cap(e.rest)], 0
	var word uint64 // bits that are not in rest
	var held int    // how many
	for i, v := range a {
		z := zigzag(v - before)
		if how&numbersLater != 0 {
			before = v
		}
		if z < plainClasses {
			classes[i] = byte(z)
			continue
		}
		n := bits.Len64(z) - 1 - classBits // bits that are noise
		classes[i] = byte(plainClasses + (n-2)<<classBits + int(z>>n&(1<<classBits-1)))
		noise := z & (1<<n - 1)
		word |= noise << held
		if held += n; held >= 64 {
			binary.LittleEndian.PutUint64(rest[at:], word)
			at += 8
			held -= 64
			word = noise >> (n - held)
		}
	}
	binary.LittleEndian.PutUint64(rest[at:], word)
	at += (held + 7) / 8
	dst = e.Append(dst, classes)
	return append(dst, rest[:at]...)
}

// sizes are what numbers take, in bits: those that they have, and before classes and uvarints are compressed.
type sizes struct{ bits, classes, uvarints int }

func (s *sizes) add(v int64) {
	n := bits.Len64(zigzag(v))
	s.bits += n
	s.classes += 8 + max(0, n-1-classBits)
	s.uvarints += 8 * max(1, (n+6)/7)
}

// middle returns the median of some of a, 0 if there are none.
func middle(a []int64) int64 {
	if len(a) == 0 {
		return 0
	}
	var some [centerSamples]int64
	n := min(len(a), centerSamples)
	for i := range n {
		some[i] = a[i*len(a)/n]
	}
	slices.Sort(some[:n])
	return some[n/2]
}

// DecodeNumbers decodes what AppendNumbers made, at most limit numbers, into dst, which is replaced, and returns what follows them in src.
func (d *BytesDecoder) DecodeNumbers(dst []int64, src []byte, limit int) (a []int64, rest []byte, err error) {
	dst = dst[:0]
	if len(src) == 0 || src[0]&^numbersKnown != 0 {
		return dst, src, errBytes
	}
	how, src := src[0], src[1:]
	var before int64
	if how&numbersLater == 0 {
		center, k := binary.Varint(src)
		if k <= 0 {
			return dst, src, errShort
		}
		before, src = center, src[k:]
	}
	most := limit
	if how&numbersClasses == 0 {
		most = limit * binary.MaxVarintLen64
	}
	if d.plain, src, err = d.Decode(d.plain, src, most); err != nil {
		return dst, src, err
	}
	if how&numbersClasses == 0 {
		for plain := d.plain; len(plain) > 0; {
			z, k := binary.Uvarint(plain)
			if k <= 0 || len(dst) == limit {
				return dst, src, errBytes
			}
			plain = plain[k:]
			v := before + unzigzag(z)
			if how&numbersLater != 0 {
				before = v
			}
			dst = append(dst, v)
		}
		return dst, src, nil
	}
	dst = slices.Grow(dst, len(d.plain))[:len(d.plain)]
	at, later := 0, how&numbersLater != 0 // at: bits of src
	for i, class := range d.plain {
		z := uint64(class)
		if class >= plainClasses {
			class -= plainClasses
			n := int(class>>classBits) + 2
			z = (1<<classBits|uint64(class)&(1<<classBits-1))<<n | bitsAt(src, at)&(1<<n-1)
			at += n
		}
		v := before + unzigzag(z)
		if later {
			before = v
		}
		dst[i] = v
	}
	size := (at + 7) / 8
	if size > len(src) {
		return dst[:0], src, errShort
	}
	return dst, src[size:], nil
}

// bitsAt returns 64 bits of src from the bit at on; past its end there are zeros.
func bitsAt(src []byte, at int) uint64 {
	from, off := at>>3, uint(at&7)
	if from+9 <= len(src) {
		return binary.LittleEndian.Uint64(src[from:])>>off | uint64(src[from+8])<<(64-off)
	}
	var last [16]byte
	if from < len(src) {
		copy(last[:], src[from:])
	}
	return binary.LittleEndian.Uint64(last[:])>>off | uint64(last[8])<<(64-off)
}

func zigzag(v int64) uint64 { return uint64(v<<1) ^ uint64(v>>63) }

func unzigzag(z uint64) int64 { return int64(z>>1) ^ -int64(z&1) }
