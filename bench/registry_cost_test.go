package bench

import (
	"math"
	"math/rand/v2"
	"testing"
)

func TestMedianOf(t *testing.T) {
	f := func(values []float64, wantMedian, wantLow, wantHigh float64) {
		t.Helper()
		median, low, high := medianOf(values)
		if median != wantMedian || low != wantLow || high != wantHigh {
			t.Errorf("%v: %v, %v to %v; want %v, %v to %v", values, median, low, high, wantMedian, wantLow, wantHigh)
		}
	}
	f([]float64{3}, 3, math.Inf(-1), math.Inf(1))
	f([]float64{3, 1, 2, 4, 5}, 3, math.Inf(-1), math.Inf(1))
	// tables of the sign test: of 6 the ends, of 10 the second and the ninth
	f([]float64{1, 2, 3, 4, 5, 6}, 3.5, 1, 6)
	f([]float64{10, 9, 8, 7, 6, 5, 4, 3, 2, 1}, 5.5, 2, 9)

	// the true median is between them 19 times of 20
	rng := rand.New(rand.NewPCG(1, 1))
	inside := 0
	for range 2000 {
		values := make([]float64, 30)
		for i := range values {
			values[i] = rng.NormFloat64()
		}
		if _, low, high := medianOf(values); low < 0 && high > 0 {
			inside++
		}
	}
	if inside < 1900 || inside > 1970 {
		t.Errorf("of 2000 intervals %d have the median in them", inside)
	}
}
