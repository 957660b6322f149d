package tsdb_test

import (
	"context"
	"math"
	"testing"

	"muster/tsdb"
	"muster/tsdb/vfs"
)

// A float64 is a decimal where it is the nearest one to a short decimal, and comes back in every bit.
func TestFloatValue(t *testing.T) {
	f := func(v float64, mantissa int64, exp int8) {
		t.Helper()
		got := tsdb.FloatValue(3, v)
		if want := (tsdb.Value{Metric: 3, Mantissa: mantissa, Exp: exp}); got != want {
			t.Errorf("%v is %+v, want %+v", v, got, want)
		}
	}
	f(0, 0, 0)
	f(41.2, 412, -1)
	f(-0.001, -1, -3)
	f(1e14, 1e14, 0)
	f(48.137154, 48137154, -6)
	f(123456789.125, 123456789125, -3)
	f(1e-9, 1, -9)
	raw := func(v float64) {
		t.Helper()
		if got := tsdb.FloatValue(3, v); got.Kind != tsdb.Float || uint64(got.Mantissa) != math.Float64bits(v) {
			t.Errorf("%v is %+v, want a float", v, got)
		}
	}
	raw(math.Copysign(0, -1))
	raw(math.NaN())
	raw(math.Float64frombits(0x7ff0000000000002)) // Prometheus' staleness marker
	raw(math.Inf(-1))
	raw(1.0 / 3)
	raw(1e300)
	raw(1e15)
	raw(5e-324)
	raw(0.30000000000000004)
}

// FuzzFloatValue: every bit pattern comes back, from the value, from memory and from a segment.
func FuzzFloatValue(f *testing.F) {
	for _, v := range []float64{0, math.Copysign(0, -1), 41.2, 1.0 / 3, math.NaN(), math.Inf(1), 1e15, 999999999999999, 5e-324, math.MaxFloat64} {
		f.Add(math.Float64bits(v), int64(412), uint8(1))
	}
	f.Add(uint64(0x7ff0000000000002), int64(-1), uint8(9))
	f.Fuzz(func(t *testing.T, bits uint64, mantissa int64, exp uint8) {
		list := []float64{math.Float64frombits(bits), float64(mantissa) / math.Pow(10, float64(exp%12)), 1.5}
		s := open(t, small(vfs.NewMem()))
		m := metric(t, s, "v")
		for i, v := range list {
			value := tsdb.FloatValue(m, v)
			if math.Float64bits(value.Float()) != math.Float64bits(v) {
				t.Fatalf("%x is %+v", math.Float64bits(v), value)
			}
			appendRow(t, s, 1, int64(i), value)
		}
		for round := range 2 {
			var got tsdb.Samples
			must(t, s.Read(&got, 1, m, 0, 10))
			for i, v := range list {
				if math.Float64bits(got.Values[i]) != math.Float64bits(v) {
					t.Fatalf("round %d: %x came back as %x", round, math.Float64bits(v), math.Float64bits(got.Values[i]))
				}
			}
			must(t, s.Seal(context.Background()))
		}
		must(t, s.Close())
	})
}
