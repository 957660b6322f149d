package tsdb

import "math"

const (
	// maxShortMantissa and maxShortDecimals bound the decimals that FloatValue looks for: 15 digits are always those that were
	// written, and more than nine after the point are seldom measured.
	maxShortMantissa = 1e15
	maxShortDecimals = 9
)

// FloatValue returns a value of column m that is f in every bit, negative zero and the payload of NaN included: a Decimal where f is the
// float64 nearest to a short one, as measured values are, which compresses best; else a Float.
func FloatValue(m MetricID, f float64) Value {
	if scaled := f; math.Abs(f) < maxShortMantissa && (f != 0 || !math.Signbit(f)) {
		for exp := 0; exp <= maxShortDecimals && math.Abs(scaled) < maxShortMantissa; exp++ {
			if mantissa := math.RoundToEven(scaled); mantissa/exactPowers[exp] == f {
				return Value{Metric: m, Mantissa: int64(mantissa), Exp: int8(-exp)}
			}
			if exp < maxShortDecimals {
				scaled = f * exactPowers[exp+1]
			}
		}
	}
	return Value{Metric: m, Mantissa: int64(math.Float64bits(f)), Kind: Float}
}
