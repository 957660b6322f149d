package decode

import (
	"math"
	"strconv"
)

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
			return floatScalar(-1 << 64), next, true, ok
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
			d.text = strconv.AppendFloat(d.text[:0], math.Float64frombits(s.n.mant), 'e', -1, 64)
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
