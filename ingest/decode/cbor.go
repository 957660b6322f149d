package decode

import (
	"encoding/binary"
	"math"
	"strconv"
	"unicode/utf8"

	"muster/tsdb"
)

// Major types of CBOR (RFC 8949 section 3.1).
const (
	cborUint   = 0
	cborNegint = 1
	cborBytes  = 2
	cborText   = 3
	cborArray  = 4
	cborMap    = 5
	cborTag    = 6
	cborSimple = 7 // and floats
)

// Tags that are understood (RFC 8949 section 3.4).
const (
	tagDateTime   = 0
	tagEpoch      = 1
	tagPosBignum  = 2
	tagNegBignum  = 3
	tagFraction   = 4
	tagSelfMarker = 55799
)

// head is the start of a data item: its type and its argument.
type head struct {
	major byte
	info  byte // the low five bits of the first byte
	arg   uint64
	open  bool // of indefinite length, arg is 0
}

// cborBreak ends an item of indefinite length.
const cborBreak = 0xff

// cborHead reads the head at p[i] and returns the index behind it.
func cborHead(p []byte, i int) (h head, next int, f fault) {
	if i >= len(p) {
		return h, len(p), faultCut
	}
	h.major, h.info = p[i]>>5, p[i]&31
	rest := p[i+1:]
	switch {
	case h.info < 24:
		h.arg = uint64(h.info)
		return h, i + 1, ok
	case h.info < 28:
		size := 1 << (h.info - 24)
		if len(rest) < size {
			return h, len(p), faultCut
		}
		switch size {
		case 1:
			h.arg = uint64(rest[0])
		case 2:
			h.arg = uint64(binary.BigEndian.Uint16(rest))
		case 4:
			h.arg = uint64(binary.BigEndian.Uint32(rest))
		default:
			h.arg = binary.BigEndian.Uint64(rest)
		}
		return h, i + 1 + size, ok
	case h.info == 31 && h.major >= cborBytes && h.major <= cborMap:
		h.open = true
		return h, i + 1, ok
	}
	return h, i, faultCBOR
}

// cborItem reports whether container h, of which n items were read, has another one at p[i], and returns the index of that or
// the one behind the container. An item is a pair in a map.
func cborItem(p []byte, i int, h head, n uint64) (more bool, next int) {
	if !h.open {
		return n < h.arg, i
	}
	if i < len(p) && p[i] == cborBreak {
		return false, i + 1
	}
	return true, i
}

// cbor decodes a payload of the JSON payload's shape: a map with text keys, or an array of them.
func (d *Decoder) cbor(p []byte, arrivalMs int64) (int, fault) {
	h, i, f := d.cborTop(p)
	if f != ok {
		return i, f
	}
	switch h.major {
	case cborMap:
		i, f = d.cborRow(p, i, h, arrivalMs)
	case cborArray:
		for n := uint64(0); ; n++ {
			at := i
			var more bool
			if more, i = cborItem(p, i, h, n); !more {
				break
			}
			var row head
			if row, i, f = cborHead(p, i); f != ok {
				return i, f
			}
			if row.major != cborMap {
				return at, faultCBORElement
			}
			if n == maxRows {
				return at, faultRows
			}
			if i, f = d.cborRow(p, i, row, arrivalMs); f != ok {
				return i, f
			}
		}
	default:
		return 0, faultCBORTop
	}
	if f == ok && i < len(p) {
		return i, faultCBORTrailing
	}
	return i, f
}

// cborTop reads the head of the payload, behind the tag that marks it as CBOR if there is one.
func (d *Decoder) cborTop(p []byte) (h head, next int, f fault) {
	if len(p) == 0 {
		return h, 0, faultEmpty
	}
	h, next, f = cborHead(p, 0)
	if f == ok && h.major == cborTag && h.arg == tagSelfMarker {
		h, next, f = cborHead(p, next)
	}
	return h, next, f
}

// cborRow decodes the map behind h into a row.
func (d *Decoder) cborRow(p []byte, i int, h head, arrivalMs int64) (int, fault) {
	d.begin()
	i, f := d.cborPairs(p, i, h, rootKey, 1)
	if f != ok {
		return i, f
	}
	if d.timeRank > 0 {
		arrivalMs = d.timeMs
	}
	return i, d.finish(arrivalMs)
}

// cborPairs decodes the pairs of the map behind h, whose keys are below parent.
func (d *Decoder) cborPairs(p []byte, i int, h head, parent keyID, depth int) (int, fault) {
	for n := uint64(0); ; n++ {
		more, next := cborItem(p, i, h, n)
		if i = next; !more {
			return i, ok
		}
		name, next, f := d.cborKey(p, i)
		if f != ok {
			return next, f
		}
		key, f := d.keys.findPlain(name, parent)
		if f != ok {
			return i, f
		}
		i = next
		if rank := d.keys.nodes[key].timeRank; rank > 0 {
			i, f = d.cborTime(p, i, rank)
		} else {
			i, f = d.cborValue(p, i, key, depth)
		}
		if f != ok {
			return i, f
		}
	}
}

// cborKey reads the key at p[i].
func (d *Decoder) cborKey(p []byte, i int) (name []byte, next int, f fault) {
	if i < len(p) {
		if size := int(p[i]) - cborText<<5; uint(size) < 24 && size < len(p)-i { // most keys
			return p[i+1 : i+1+size], i + 1 + size, ok
		}
	}
	h, next, f := cborHead(p, i)
	switch {
	case f != ok:
		return nil, next, f
	case h.major != cborText:
		return nil, i, faultCBORKey
	}
	return cborString(p, next, h, &d.text)
}

// cborString returns the text or bytes behind h and the index behind them. Pieces are put together in scratch. It does not
// look whether text is UTF-8.
func cborString(p []byte, i int, h head, scratch *[]byte) (s []byte, next int, f fault) {
	if !h.open {
		if h.arg > uint64(len(p)-i) {
			return nil, len(p), faultCut
		}
		end := i + int(h.arg)
		return p[i:end], end, ok
	}
	s = (*scratch)[:0]
	for {
		if i < len(p) && p[i] == cborBreak {
			*scratch = s
			return s, i + 1, ok
		}
		piece, next, f := cborHead(p, i)
		if f != ok {
			return nil, next, f
		}
		if piece.major != h.major || piece.open {
			return nil, i, faultCBOR
		}
		if piece.arg > uint64(len(p)-next) {
			return nil, len(p), faultCut
		}
		if h.major == cborText && !utf8.Valid(p[next:next+int(piece.arg)]) {
			return nil, next, faultUTF8
		}
		i = next + int(piece.arg)
		s = append(s, p[next:i]...)
	}
}

// cborValue decodes the value of a key, at p[i].
func (d *Decoder) cborValue(p []byte, i int, key keyID, depth int) (int, fault) {
	h, next, f := cborHead(p, i)
	if f != ok {
		return next, f
	}
	switch h.major {
	case cborText:
		return d.cborText(p, i, next, h, key)
	case cborMap:
		if depth == maxDepth {
			return i, faultDepth
		}
		return d.cborPairs(p, next, h, key, depth+1)
	case cborArray:
		if more, end := cborItem(p, next, h, 0); !more {
			return end, ok
		}
		return i, faultArray
	case cborBytes:
		return i, faultCBORBytes
	case cborTag:
		if h.arg == tagDateTime {
			text, next2, f := cborHead(p, next)
			if f != ok {
				return next2, f
			}
			if text.major != cborText {
				return i, faultCBORTag
			}
			return d.cborText(p, i, next2, text, key)
		}
	case cborSimple:
		switch h.info {
		case 20, 21:
			return d.add(i, next, key, tsdb.Value{Mantissa: int64(h.info - 20), Kind: tsdb.Bool})
		case 22, 23: // null, undefined
			return next, ok
		}
	}
	s, next, there, f := d.cborNumber(p, i, h, next)
	if f != ok || !there {
		return next, f
	}
	return d.addScalar(i, next, key, s)
}

// cborText decodes the text of item i, whose head h ends before next, into a column.
func (d *Decoder) cborText(p []byte, i, next int, h head, key keyID) (int, fault) {
	s, next, f := cborString(p, next, h, &d.text)
	if f != ok {
		return next, f
	}
	return d.addString(i, next, key, s)
}

// cborNumber decodes the number at p[i], whose head h ends before behind: an integer, a float, a decimal fraction, or seconds since
// 1970. there is false for an infinity or a NaN, which are left out.
func (d *Decoder) cborNumber(p []byte, i int, h head, behind int) (s scalar, next int, there bool, f fault) {
	next = behind
	if h.major == cborTag && h.arg == tagEpoch {
		if h, next, f = cborHead(p, next); f != ok {
			return s, next, false, f
		}
		if h.major == cborTag {
			return s, i, false, faultCBORTag
		}
	}
	switch h.major {
	case cborUint:
		return scalar{n: whole(false, h.arg)}, next, true, ok
	case cborNegint: // -1 - arg
		if h.arg == math.MaxUint64 {
			return scalar{f: -1 << 64, float: true}, next, true, ok
		}
		return scalar{n: whole(true, h.arg+1)}, next, true, ok
	case cborTag:
		switch h.arg {
		case tagFraction:
			s, next, f = cborFraction(p, next)
			return s, next, f == ok, f
		case tagPosBignum, tagNegBignum:
			return s, i, false, faultBignum
		}
		return s, i, false, faultCBORTag
	case cborSimple:
		switch h.info {
		case 25:
			s, there = d.finite(halfFloat(uint16(h.arg)))
			return s, next, there, ok
		case 26:
			v := math.Float32frombits(uint32(h.arg))
			if v-v != 0 {
				d.skipped++
				return s, next, false, ok
			}
			return single(v), next, true, ok
		case 27:
			s, there = d.finite(math.Float64frombits(h.arg))
			return s, next, there, ok
		}
	}
	return s, i, false, faultCBORValue
}

// finite returns v, or counts it as left out if it is an infinity or a NaN.
func (d *Decoder) finite(v float64) (scalar, bool) {
	if v-v != 0 {
		d.skipped++
		return scalar{}, false
	}
	return double(v), true
}

// halfFloat returns the value of an IEEE 754 binary16.
func halfFloat(h uint16) float64 {
	exp, mant := int(h>>10&31), float64(h&0x3ff)
	var v float64
	switch exp {
	case 0:
		v = math.Ldexp(mant, -24)
	case 31:
		v = math.Inf(1)
		if mant != 0 {
			v = math.NaN()
		}
	default:
		v = math.Ldexp(mant+1024, exp-25)
	}
	if h>>15 != 0 {
		return -v
	}
	return v
}

// cborFraction decodes the array of exponent and mantissa behind tag 4 (RFC 8949 section 3.4.4).
func cborFraction(p []byte, i int) (s scalar, next int, f fault) {
	at := i
	h, i, f := cborHead(p, i)
	if f != ok {
		return s, i, f
	}
	if h.major != cborArray || h.arg != 2 || h.open {
		return s, at, faultFraction
	}
	exp, i, f := cborHead(p, i)
	if f != ok {
		return s, i, f
	}
	mant, i, f := cborHead(p, i)
	if f != ok {
		return s, i, f
	}
	switch {
	case mant.major == cborTag:
		return s, at, faultBignum
	case exp.major > cborNegint || mant.major > cborNegint || mant.major == cborNegint && mant.arg == math.MaxUint64:
		return s, at, faultFraction
	}
	shift := int(min(exp.arg, maxExponent))
	if exp.major == cborNegint {
		shift = -1 - shift
	}
	s.n = whole(mant.major == cborNegint, mant.arg+uint64(mant.major))
	if s.n.mant > 0 {
		s.n.exp += shift
	}
	return s, i, ok
}

// cborTime decodes the value of a time key, at p[i]. A tagged number is in seconds, for others the magnitude tells the unit.
func (d *Decoder) cborTime(p []byte, i int, rank uint8) (int, fault) {
	h, next, f := cborHead(p, i)
	if f != ok {
		return next, f
	}
	outer, behind := h, next
	var ms int64
	at, tag := next, int64(-1)
	if h.major == cborTag && h.arg <= tagEpoch {
		tag = int64(h.arg)
		if h, at, f = cborHead(p, next); f != ok {
			return at, f
		}
	}
	switch {
	case h.major == cborSimple && (h.info == 22 || h.info == 23) && tag < 0:
		return next, ok
	case h.major == cborText && tag != tagEpoch:
		var s []byte
		if s, next, f = cborString(p, at, h, &d.text); f != ok {
			return next, f
		}
		ms, f = parseTime(s)
	case tag == tagDateTime:
		return i, faultTime
	default:
		var s scalar
		var there bool
		s, next, there, f = d.cborNumber(p, i, outer, behind)
		switch {
		case f == faultCBORValue || f == ok && !there:
			return i, faultTime
		case f != ok:
			return next, f
		}
		if tag == tagEpoch {
			var fits bool
			if ms, fits = s.floorMs(); !fits || ms < 0 {
				return i, faultTimeRange
			}
			break
		}
		if s.float {
			d.text = strconv.AppendFloat(d.text[:0], s.f, 'e', -1, 64)
			s.n, _, _ = scanNumber(d.text, 0)
		}
		ms, f = s.n.unixMs()
	}
	if f != ok {
		return i, f
	}
	if rank >= d.timeRank {
		d.timeRank, d.timeMs = rank, ms
	}
	return next, ok
}

// cborSkip returns the index behind the item at p[i], whatever it is, of at most depth levels.
func cborSkip(p []byte, i, depth int) (int, fault) {
	h, next, f := cborHead(p, i)
	for f == ok && h.major == cborTag {
		h, next, f = cborHead(p, next)
	}
	if f != ok {
		return next, f
	}
	switch h.major {
	case cborBytes, cborText:
		if h.open {
			for {
				more, end := cborItem(p, next, h, 0)
				if !more {
					return end, ok
				}
				piece, end, f := cborHead(p, next)
				if f != ok {
					return end, f
				}
				if piece.major != h.major || piece.open {
					return next, faultCBOR
				}
				if _, next, f = cborString(p, end, piece, nil); f != ok {
					return next, f
				}
			}
		}
		_, next, f = cborString(p, next, h, nil)
		return next, f
	case cborArray, cborMap:
		if depth == 0 {
			return i, faultDepth
		}
		for n := uint64(0); ; n++ {
			more, at := cborItem(p, next, h, n)
			if next = at; !more {
				return next, ok
			}
			if next, f = cborSkip(p, next, depth-1); f != ok {
				return next, f
			}
			if h.major == cborMap {
				if next, f = cborSkip(p, next, depth-1); f != ok {
					return next, f
				}
			}
		}
	case cborSimple:
		if h.info == 24 && h.arg < 32 {
			return i, faultCBOR
		}
	}
	return next, ok
}
