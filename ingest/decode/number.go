package decode

// maxMantissa bounds the mantissa of a column: 18 significant decimal digits, which an int64 holds with room for sums.
const maxMantissa = 1e18

// number is a JSON number as it was written: (-1)^neg * mant * 10^exp. mant has at most 19 digits and does not end in zero;
// cut says that further digits, not all zero, were left out of it.
type number struct {
	mant uint64
	exp  int
	neg  bool
	cut  bool
}

// maxExponent is where counting an exponent stops: far beyond every float, and no overflow of a 32-bit int together with
// the digits of the largest packet.
const maxExponent = 1e8

// scanNumber reads the number at p[i] (RFC 8259 section 6) and returns the index behind it. On a fault the index is its place.
func scanNumber(p []byte, i int) (n number, next int, f fault) {
	if i < len(p) && p[i] == '-' {
		n.neg = true
		i++
	}
	start := i
	var mant uint64
	exp := 0
	for ; i < len(p); i++ {
		c := p[i] - '0'
		if c > 9 {
			break
		}
		if mant < maxMantissa {
			mant = mant*10 + uint64(c)
		} else {
			exp++
			n.cut = n.cut || c != 0
		}
	}
	if i == start || p[start] == '0' && i > start+1 {
		return n, start, faultNumber // no digit, or a leading zero
	}
	if i < len(p) && p[i] == '.' {
		i++
		start = i
		for ; i < len(p); i++ {
			c := p[i] - '0'
			if c > 9 {
				break
			}
			if mant < maxMantissa {
				mant = mant*10 + uint64(c)
				exp--
			} else {
				n.cut = n.cut || c != 0
			}
		}
		if i == start {
			return n, i, faultNumber
		}
	}
	if i < len(p) && p[i]|0x20 == 'e' {
		var e int
		if e, i, f = scanExponent(p, i+1); f != ok {
			return n, i, f
		}
		exp += e
	}
	if mant == 0 {
		return n, i, ok
	}
	for mant%10 == 0 {
		mant /= 10
		exp++
	}
	n.mant, n.exp = mant, exp
	return n, i, ok
}

// scanExponent reads the sign and digits behind the e of a number.
func scanExponent(p []byte, i int) (exp, next int, f fault) {
	neg := false
	if i < len(p) && (p[i] == '+' || p[i] == '-') {
		neg = p[i] == '-'
		i++
	}
	start := i
	for ; i < len(p); i++ {
		c := p[i] - '0'
		if c > 9 {
			break
		}
		if exp < maxExponent {
			exp = exp*10 + int(c)
		}
	}
	if i == start {
		return 0, i, faultNumber
	}
	if neg {
		exp = -exp
	}
	return exp, i, ok
}
