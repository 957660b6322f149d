package decode

import (
	"math"
	"strconv"

	"muster/tsdb"
)

// Digits that a binary number may have to be taken as a decimal: what a double, and a single, surely keeps of one. More is
// the noise of a computation, which a float holds better.
const (
	doubleDigits = 15
	singleDigits = 10 // one more than any single needs, so that eighths and sixteenths stay exact
)

// scalar is a number of a binary format, or of SenML, where it may be one of two that are added: a decimal, or if that would be
// too long a float.
//
// It is small enough for the compiler to keep in registers; a field more, and decoding CBOR takes half as long again.
type scalar struct {
	n     number // if float, mant holds its bits
	float bool
}

func floatScalar(f float64) scalar {
	return scalar{n: number{mant: math.Float64bits(f)}, float: true}
}

// whole returns (-1)^neg * mant.
func whole(neg bool, mant uint64) number {
	n := number{neg: neg && mant > 0, mant: mant}
	n.normalize()
	return n
}

// normalize takes trailing zeros from the mantissa.
func (n *number) normalize() {
	if n.mant == 0 {
		*n = number{}
		return
	}
	for n.mant%10 == 0 {
		n.mant /= 10
		n.exp++
	}
}

// double returns f, which must be finite, as a decimal of at most 15 digits that reads as f again, else as itself.
func double(f float64) scalar {
	if n, found := decimal(math.Abs(f), doubleDigits); found {
		n.neg = f < 0
		return scalar{n: n}
	}
	return floatScalar(f)
}

// single returns f, which must be finite, as a decimal of at most 10 digits that reads as the same double, else as the shortest
// that a single reads as f again: 41.2 sent as a single is 41.2, not 41.20000076293945, and 23.0625 is not 23.06.
func single(f float32) scalar {
	abs := math.Abs(float64(f))
	n, found := decimal(abs, singleDigits)
	if !found {
		n, found = shortest(abs)
	}
	if !found {
		return floatScalar(float64(f))
	}
	n.neg = f < 0
	return scalar{n: n}
}

// decimal returns the shortest decimal that reads as f, if it has at most digits of them, which are at most 15. f must not be
// negative.
//
// A decimal m * 10^-k with m < 2^53 and k <= 22 reads as the correctly rounded m / 10^k, since a double holds both exactly
// (W. Clinger, How to Read Floating Point Numbers Accurately, 1990); so one division proves it.
func decimal(f float64, digits int) (number, bool) {
	if f < 1<<53 && f == math.Trunc(f) {
		return whole(false, uint64(f)), true
	}
	limit := int64(pow10[digits])
	if f < 1e10 {
		for k := 1; k <= 4; k++ { // most sensors
			if m := int64(f*exact10[k] + 0.5); m < limit && float64(m)/exact10[k] == f {
				return number{mant: uint64(m), exp: -k}, true
			}
		}
	}
	low := floorLog10(f)
	for _, k := range [...]int{digits - 1 - low, digits - 2 - low} {
		if m, read, good := scale10(f, k); good && m < limit && read == f {
			n := number{mant: uint64(m), exp: -min(k, len(exact10)-1)}
			n.normalize()
			return n, m > 0
		}
	}
	return number{}, false
}

// shortest returns the shortest decimal of at most 9 digits that a single reads as f.
func shortest(f float64) (number, bool) {
	low := floorLog10(f)
	for digits := 6; digits <= 9; digits++ {
		for _, k := range [...]int{digits - 2 - low, digits - 1 - low} {
			if m, read, good := scale10(f, k); good && m < int64(pow10[digits]) && m > 0 && float32(read) == float32(f) {
				n := number{mant: uint64(m), exp: -min(k, len(exact10)-1)}
				n.normalize()
				return n, true
			}
		}
	}
	return number{}, false
}

// floorLog10 returns the decimal exponent of f, which must be positive, or one less.
func floorLog10(f float64) int {
	exp := int(math.Float64bits(f)>>52) - 1023 // 2^exp <= f < 2^(exp+1)
	return exp * 78913 >> 18                   // log10(2) in 18 binary places, right for all exponents of a double
}

// scale10 returns f * 10^k rounded to a whole number, and what that divided by 10^k again reads as; of a k above 22, for k = 22.
func scale10(f float64, k int) (m int64, read float64, good bool) {
	if k >= 0 {
		k = min(k, len(exact10)-1)
		m = int64(f*exact10[k] + 0.5)
		return m, float64(m) / exact10[k], true
	}
	if -k >= len(exact10) {
		return 0, 0, false // 10^-k is no exact float
	}
	m = int64(f/exact10[-k] + 0.5)
	return m, float64(m) * exact10[-k], true
}

// exact10 holds the powers of ten that a double holds exactly.
var exact10 = [...]float64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19,
	1e20, 1e21, 1e22}

// float returns the double nearest to n, or false if it is too large for one. n must not be cut.
func (n number) float() (float64, bool) {
	var text [48]byte
	b := text[:0]
	if n.neg {
		b = append(b, '-')
	}
	b = strconv.AppendUint(b, n.mant, 10)
	b = append(b, 'e')
	b = strconv.AppendInt(b, int64(n.exp), 10)
	return parseFloat(b)
}

// decimalValue returns n as a column's value, if it is short enough.
func (n number) decimalValue() (tsdb.Value, bool) {
	if n.mant >= maxMantissa || n.cut || int(int8(n.exp)) != n.exp {
		return tsdb.Value{}, false
	}
	m := int64(n.mant)
	if n.neg {
		m = -m
	}
	return tsdb.Value{Mantissa: m, Exp: int8(n.exp), Kind: tsdb.Decimal}, true
}

// value returns s as a column's value.
func (s scalar) value() (tsdb.Value, fault) {
	if !s.float {
		if v, short := s.n.decimalValue(); short {
			return v, ok
		}
	}
	f, fits := s.asFloat()
	if !fits {
		return tsdb.Value{}, faultNumberRange
	}
	return floatValue(f), ok
}

func floatValue(f float64) tsdb.Value {
	return tsdb.Value{Mantissa: int64(math.Float64bits(f)), Kind: tsdb.Float}
}

// asFloat returns s as a double, or false if it is too large for one.
func (s scalar) asFloat() (float64, bool) {
	if s.float {
		return math.Float64frombits(s.n.mant), true
	}
	return s.n.float()
}

// plus returns s + t, exactly if both are decimals and the sum is short enough for a column.
func (s scalar) plus(t scalar) (scalar, fault) {
	switch {
	case !s.float && s.n.mant == 0:
		return t, ok
	case !t.float && t.n.mant == 0:
		return s, ok
	}
	if !s.float && !t.float {
		if n, short := s.n.plus(t.n); short {
			return scalar{n: n}, ok
		}
	}
	a, fits := s.asFloat()
	b, fits2 := t.asFloat()
	if sum := a + b; fits && fits2 && !math.IsInf(sum, 0) {
		return floatScalar(sum), ok
	}
	return scalar{}, faultNumberRange
}

// plus returns the exact sum, or false if it has too many digits.
func (n number) plus(m number) (number, bool) {
	if n.exp < m.exp {
		n, m = m, n
	}
	shift := n.exp - m.exp
	if shift >= len(pow10) || n.mant >= maxMantissa || m.mant >= maxMantissa {
		return number{}, false
	}
	wide := n.mant * pow10[shift]
	if wide/pow10[shift] != n.mant || wide >= maxMantissa {
		return number{}, false
	}
	a, b := int64(wide), int64(m.mant)
	if n.neg {
		a = -a
	}
	if m.neg {
		b = -b
	}
	sum := whole(a+b < 0, uint64(max(a+b, -a-b)))
	sum.exp += m.exp
	if sum.mant == 0 {
		sum.exp = 0
	}
	return sum, sum.mant < maxMantissa
}

// floorMs returns s, in seconds, in whole milliseconds, rounded down. It is false where that is beyond the year 5138, to either
// side.
func (s scalar) floorMs() (int64, bool) {
	const most = 1e14
	if s.float {
		ms := math.Floor(math.Float64frombits(s.n.mant) * 1000)
		return int64(ms), ms > -most && ms < most
	}
	if s.n.mant == 0 {
		return 0, true
	}
	down, fits := s.n.scaled(3)
	if !fits || down >= most {
		return 0, false
	}
	ms := int64(down)
	if s.n.neg {
		ms = -ms
		if e := s.n.exp + 3; e < 0 && (-e >= len(pow10) || s.n.mant%pow10[-e] != 0) {
			ms--
		}
	}
	return ms, true
}
