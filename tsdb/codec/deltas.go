package codec

import (
	"encoding/binary"
	"errors"
	"slices"
)

const (
	// deltaPadding is how many bytes follow the varints that appendSums decodes, so that it reads eight at a time.
	deltaPadding = 8
	// moreBytes has the bit by which each byte of a varint says that another one follows.
	moreBytes = 0x8080808080808080
)

var (
	deltaZeros [deltaPadding]byte
	errDeltas  = errors.New("the deltas do not decode")
	fourths    = makeFourths()
)

// four is where the first four varints of eight bytes are, whose lower seven bits each stand one after the other.
type four struct {
	bytes  uint8 // that they take; 0: one of them has more than two
	shifts [4]uint8
	masks  [4]uint16
}

// makeFourths returns it by the bits of the bytes behind which the varint goes on.
func makeFourths() (all [256]four) {
	for more := range all {
		f, at := four{}, 0
		for i := range 4 {
			f.shifts[i], f.masks[i] = uint8(7*at), 1<<7-1
			if more>>at&1 == 1 {
				at++
				f.masks[i] = 1<<14 - 1
			}
			if more>>at&1 == 1 {
				f = four{}
				break
			}
			at++
			f.bytes = uint8(at)
		}
		all[more] = f
	}
	return all
}

// appendSums appends first and n-1 integers more, each by its zigzag varint in src: its difference from the one before, or with second the
// difference of that from the difference before. deltaPadding bytes follow src in its memory. This is what VictoriaMetrics' lib/encoding makes of nearest
// delta and nearest delta 2, in one pass and without a branch for each number: jitter takes one byte or two, at random.
func appendSums(dst []int64, src []byte, first int64, n int, second bool) ([]int64, error) {
	size := len(src)
	src = src[: size+deltaPadding : size+deltaPadding]
	start := len(dst)
	dst = append(slices.Grow(dst, n), first)
	out := dst[start : start+n]
	keep, step := int64(0), int64(0) // the difference before, or 0
	if second {
		keep = -1
	}
	v, pos, i := first, 0, 1
	for i < n {
		if pos >= size {
			return dst[:start], errDeltas
		}
		x := binary.LittleEndian.Uint64(src[pos:])
		more := x & moreBytes
		if i+8 <= n && more == 0 {
			o := out[i : i+8 : i+8]
			step = step&keep + unzigzag(x&0x7f)
			v += step
			o[0] = v
			step = step&keep + unzigzag(x>>8&0x7f)
			v += step
			o[1] = v
			step = step&keep + unzigzag(x>>16&0x7f)
			v += step
			o[2] = v
			step = step&keep + unzigzag(x>>24&0x7f)
			v += step
			o[3] = v
			step = step&keep + unzigzag(x>>32&0x7f)
			v += step
			o[4] = v
			step = step&keep + unzigzag(x>>40&0x7f)
			v += step
			o[5] = v
			step = step&keep + unzigzag(x>>48&0x7f)
			v += step
			o[6] = v
			step = step&keep + unzigzag(x>>56)
			v += step
			o[7] = v
			i, pos = i+8, pos+8
			continue
		}
		if f := &fourths[uint8(more>>7*0x0102040810204080>>56)]; f.bytes > 0 && i+4 <= n {
			x = x&0x007f007f007f007f | x&0x7f007f007f007f00>>1
			x = x&0x00003fff00003fff | x&0x3fff00003fff0000>>2
			x = x&0x000000000fffffff | x&0x0fffffff00000000>>4
			o := out[i : i+4 : i+4]
			step = step&keep + unzigzag(x&uint64(f.masks[0]))
			v += step
			o[0] = v
			step = step&keep + unzigzag(x>>(f.shifts[1]&63)&uint64(f.masks[1]))
			v += step
			o[1] = v
			step = step&keep + unzigzag(x>>(f.shifts[2]&63)&uint64(f.masks[2]))
			v += step
			o[2] = v
			step = step&keep + unzigzag(x>>(f.shifts[3]&63)&uint64(f.masks[3]))
			v += step
			o[3] = v
			i, pos = i+4, pos+int(f.bytes)
			continue
		}
		u, k := binary.Uvarint(src[pos:size])
		if k <= 0 {
			return dst[:start], errDeltas
		}
		step = step&keep + unzigzag(u)
		v += step
		out[i] = v
		i, pos = i+1, pos+k
	}
	if pos != size {
		return dst[:start], errDeltas
	}
	return dst[:start+n], nil
}
