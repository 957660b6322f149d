package tsdb

import (
	"encoding/binary"
	"math"
	"math/bits"
)

// addSection adds the samples of one column of a section. at is where a section that grows goes on; it is left as it was
// where that is not known.
func (p *points) addSection(data []byte, rows, col int, r *runPart, rd *runReader, at *plainPlace) {
	before := *p
	if !p.addPlainSection(data, rows, uint16(col), at) {
		*p, *at = before, plainPlace{}
		p.addAnySection(data, rows, col, len(r.metrics), rd)
	}
}

// addAnySection adds the samples of one column of a section, whatever its rows are like.
func (p *points) addAnySection(data []byte, rows, col, columns int, rd *runReader) {
	for rd.reset(data, rows, columns); rd.next(); {
		if rd.row.timeMs < p.minMs || rd.row.timeMs > p.maxMs {
			continue
		}
		for i, s := range rd.row.layout {
			if int(s.col) == col && (s.kind == String) == p.text {
				p.add(point{rd.row.timeMs, rd.row.mantissas[i], s.exp, s.kind})
			}
		}
	}
}

// addPlainSection is addAnySection without decoding the other columns, some five times as fast with eight of them. It gives up, and
// p is then good for nothing, at rows of more than 64 values or with the column twice.
//
// It begins at place, whose zero value is the start of the section, and moves it behind the rows.
func (p *points) addPlainSection(data []byte, rows int, col uint16, place *plainPlace) bool {
	var (
		pos           = place.pos
		timeMs, value = place.timeMs, place.value
		width         = place.width
		at            = place.at - 1
		slotOf        = place.slot
		below, own    uint64 // bits of the values before it, and its own
	)
	if at >= 0 {
		own = 1 << at
		below = own - 1
	}
	for range rows {
		var u uint64
		// Time, tag and mask of nearly every row lie in eight bytes.
		x := binary.LittleEndian.Uint64(data[pos:])
		if ends := ^uint32(x) & (lastBytes & math.MaxUint32); ends != 0 {
			n := bits.TrailingZeros32(ends) + 1 // bits
			u = x & (1<<n - 1)
			u = u&0x7f | u>>1&0x3f80 | u>>2&0x1fc000 | u>>3&0xfe00000
			x >>= n & 63
			pos += n / 8
		} else {
			u, pos = uvarintAt(data, pos)
			x = binary.LittleEndian.Uint64(data[pos:])
		}
		timeMs += unzigzag(u)
		if byte(x) == 0 {
			pos++
			x >>= 8
		} else {
			u, pos = uvarintAt(data, pos)
			if width = int(u); width > 64 {
				return false
			}
			at = -1
			for i := range width {
				u, pos = uvarintAt(data, pos)
				s := slot{col: uint16(u), kind: Kind(data[pos]), exp: int8(data[pos+1])}
				pos += 2
				if s.col != col {
					continue
				}
				if at >= 0 {
					return false
				}
				at, slotOf = i, s
			}
			below, own = 0, 0
			if at >= 0 {
				own = 1 << at
				below = own - 1
			}
			x = binary.LittleEndian.Uint64(data[pos:])
		}
		bytes := (width + 7) / 8
		if bytes > 2 {
			x = binary.LittleEndian.Uint64(data[pos:])
		}
		mask := x & (1<<(8*bytes) - 1)
		pos += bytes
		if mask&own == 0 {
			pos = skipVarints(data, pos, bits.OnesCount64(mask))
		} else {
			pos = skipVarints(data, pos, bits.OnesCount64(mask&below))
			if x := data[pos]; x < 0x80 {
				u, pos = uint64(x), pos+1
			} else {
				u, pos = uvarintAt(data, pos)
			}
			value += unzigzag(u)
			pos = skipVarints(data, pos, bits.OnesCount64(mask&^below&^own))
		}
		switch {
		case at < 0 || timeMs < p.minMs || timeMs > p.maxMs || (slotOf.kind == String) != p.text:
		case p.waits && timeMs <= p.edgeMs && timeMs > p.waiting.timeMs:
			p.waiting = point{timeMs, value, slotOf.exp, slotOf.kind}
		default:
			p.add(point{timeMs, value, slotOf.exp, slotOf.kind})
		}
	}
	*place = plainPlace{pos, timeMs, value, width, at + 1, slotOf}
	return true
}

// plainPlace is where addPlainSection stands between two rows.
type plainPlace struct {
	pos           int
	timeMs, value int64 // of the row before
	width         int   // values in a row
	at            int   // which of them is of the column, counted from 1; 0: none
	slot          slot  // its
}

func unzigzag(u uint64) int64 { return int64(u>>1) ^ -int64(u&1) }

// lastBytes has the bit by which each byte of a varint says that it is not the last.
const lastBytes = 0x8080808080808080

// uvarintAt decodes the uvarint at pos and returns what follows it. At least runPadding bytes follow in data.
func uvarintAt(data []byte, pos int) (uint64, int) {
	x := binary.LittleEndian.Uint64(data[pos:])
	ends := ^x & lastBytes
	if ends == 0 {
		u, n := binary.Uvarint(data[pos:])
		return u, pos + n
	}
	n := bits.TrailingZeros64(ends) + 1 // bits
	x &= 1<<n - 1
	x = x&0x007f007f007f007f | x&0x7f007f007f007f00>>1
	x = x&0x00003fff00003fff | x&0x3fff00003fff0000>>2
	x = x&0x000000000fffffff | x&0x0fffffff00000000>>4
	return x, pos + n/8
}

// skipVarints returns what follows n varints. At least runPadding bytes follow in data.
func skipVarints(data []byte, pos, n int) int {
	for n > 0 {
		ends := ^binary.LittleEndian.Uint64(data[pos:]) & lastBytes
		if here := bits.OnesCount64(ends); here < n {
			n -= here
			pos += 8
			continue
		}
		for ; n > 1; n-- {
			ends &= ends - 1
		}
		return pos + bits.TrailingZeros64(ends)/8 + 1
	}
	return pos
}
