package codec_test

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"muster/tsdb/codec"
)

func roundTripNumbers(t *testing.T, a []int64) int {
	t.Helper()
	var e codec.BytesEncoder
	var d codec.BytesDecoder
	size := 0
	for range 2 {
		enc := e.AppendNumbers([]byte("head"), a)
		size = len(enc) - 4
		got, rest, err := d.DecodeNumbers([]int64{-7}, append(enc[4:len(enc):len(enc)], "tail"...), len(a))
		if err != nil || string(rest) != "tail" || !slices.Equal(got, a) || string(enc[:4]) != "head" {
			t.Fatalf("%d numbers %.5v came back as %d, %.5v, rest %q, %v", len(a), a, len(got), got, rest, err)
		}
		for cut := range min(size, 20) { // what is cut short is an error
			if _, _, err := d.DecodeNumbers(nil, enc[4:len(enc)-cut-1], len(a)); err == nil {
				t.Fatalf("%d numbers without the last %d bytes of %d", len(a), cut+1, size)
			}
		}
		if len(a) > 0 {
			if _, _, err := d.DecodeNumbers(nil, enc[4:], len(a)-1); err == nil {
				t.Fatalf("%d numbers past the limit", len(a))
			}
		}
	}
	return size
}

// Numbers come back, and take about as many bits as there are of them to choose from.
func TestNumbers(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 5))
	f := func(n int, most float64, next func(i int) int64) {
		t.Helper()
		a := make([]int64, n)
		for i := range a {
			a[i] = next(i)
		}
		if bits := 8 * float64(roundTripNumbers(t, a)) / float64(max(n, 1)); bits > most {
			t.Fatalf("%d numbers take %.2f bits each, want at most %.2f", n, bits, most)
		}
	}
	any := func(int) int64 { return int64(rng.Uint64()) }
	for _, n := range []int{0, 1, 2, 30, 31, 32, 200, 255, 256, 1023, 1024, 5000, 1 << 17} {
		f(n, 96, any)
	}
	const n = 3500
	f(n, 64.5, any)
	f(n, 0.1, func(int) int64 { return math.MinInt64 })
	f(n, 1.2, func(int) int64 { return rng.Int64N(2) })
	f(n, 7.2, func(int) int64 { return 200 + rng.Int64N(100) })                    // 6.6
	f(n, 17.3, func(int) int64 { return 48_137_154 + rng.Int64N(1e5) })            // 16.6
	f(n, 20.8, func(int) int64 { return rng.Int64N(1e6) })                         // 19.9
	f(n, 7.3, func(int) int64 { return 2300 + int64(30*rng.NormFloat64()) })       // 6.95
	f(n, 8, func(i int) int64 { return int64(i)*37 + rng.Int64N(101) })            // 7.4 as differences
	f(n, 1.8, func(int) int64 { return int64(rng.IntN(50)/49) * rng.Int64() })     // a fiftieth far away
	f(n, 9.1, func(i int) int64 { return rng.Int64N(100) << (8 * (i % 50 / 49)) }) // the same, of noise
}

// What is no encoding is an error, and numbers of any size come back.
func FuzzNumbers(f *testing.F) {
	var e codec.BytesEncoder
	for _, n := range []int{0, 1, 3, 300, 1200} {
		a := make([]int64, n)
		for i := range a {
			a[i] = int64(i*i*i) << (i % 40)
		}
		raw := make([]byte, 0, 8*n)
		for _, v := range a {
			raw = binary.LittleEndian.AppendUint64(raw, uint64(v))
		}
		f.Add(e.AppendNumbers(nil, a), raw)
	}
	f.Fuzz(func(t *testing.T, data, raw []byte) {
		var d codec.BytesDecoder
		if a, _, err := d.DecodeNumbers(nil, data, 1<<12); err == nil && len(a) > 1<<12 {
			t.Fatalf("%d numbers", len(a))
		}
		a := make([]int64, len(raw)/8)
		for i := range a {
			a[i] = int64(binary.LittleEndian.Uint64(raw[8*i:]))
		}
		roundTripNumbers(t, a)
	})
}

func BenchmarkNumbers(b *testing.B) {
	rng := rand.New(rand.NewPCG(3, 4))
	a := make([]int64, 3500)
	for i := range a {
		a[i] = rng.Int64N(1e6)
	}
	var e codec.BytesEncoder
	var d codec.BytesDecoder
	var enc []byte
	b.Run("encode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			enc = e.AppendNumbers(enc[:0], a)
		}
		b.ReportMetric(b.Elapsed().Seconds()*1e9/float64(b.N*len(a)), "ns/number")
		b.ReportMetric(float64(len(enc))/float64(len(a)), "bytes/number")
	})
	enc = e.AppendNumbers(enc[:0], a)
	var got []int64
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var err error
			if got, _, err = d.DecodeNumbers(got, enc, len(a)); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(b.Elapsed().Seconds()*1e9/float64(b.N*len(a)), "ns/number")
	})
}
