package bench

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// TestHistogramQuantiles holds quantiles against a sorted slice, over values of all magnitudes.
func TestHistogramQuantiles(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	for round := range 200 {
		var all histogram
		var values []int64
		for range 1 + rng.IntN(3) {
			part := new(histogram)
			for range 1 + rng.IntN(2000) {
				v := rng.Int64() >> rng.IntN(63)
				part.record(time.Duration(v))
				values = append(values, v)
			}
			all.add(part)
		}
		slices.Sort(values)
		if got, want := int64(all.max), values[len(values)-1]; got != want {
			t.Fatalf("round %d: max %d, want %d", round, got, want)
		}
		for _, q := range []float64{0, 0.001, 0.1, 0.5, 0.9, 0.99, 0.999, 1} {
			rank := min(max(int(q*float64(len(values))+0.5), 1), len(values))
			exact := values[rank-1]
			got := int64(all.quantile(q))
			if got < exact || float64(got) > float64(exact)*(1+1.0/128) {
				t.Fatalf("round %d: quantile %v of %d values is %d, exactly %d", round, q, len(values), got, exact)
			}
		}
	}
}

func TestHistogramEdges(t *testing.T) {
	h := new(histogram)
	if got := h.quantile(0.5); got != 0 {
		t.Errorf("an empty histogram says %v", got)
	}
	h.record(-5)
	h.record(math.MaxInt64)
	if h.quantile(0) != 0 || h.quantile(1) != math.MaxInt64 || h.total != 2 {
		t.Errorf("got %v, %v of %d", h.quantile(0), h.quantile(1), h.total)
	}
	// every bucket holds its upper end, and the next value is in the next bucket
	for i := range len(h.counts) {
		end := upper(i)
		if bucket(end) != i || end < math.MaxInt64 && bucket(end+1) != i+1 {
			t.Fatalf("bucket %d ends at %d, which is in bucket %d", i, end, bucket(end))
		}
	}
}
