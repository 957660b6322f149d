package codec_test

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"muster/tsdb/codec"
)

func roundTripInts(t *testing.T, a []int64) {
	t.Helper()
	enc := codec.AppendInts([]byte("head"), a)
	got, rest, err := codec.DecodeInts([]int64{-7}, append(enc[4:len(enc):len(enc)], "tail"...), len(a))
	if err != nil || string(rest) != "tail" || got[0] != -7 || !slices.Equal(got[1:], a) || string(enc[:4]) != "head" {
		t.Fatalf("%d integers %.5v came back as %.5v, rest %q, %v", len(a), a, got, rest, err)
	}
}

func TestInts(t *testing.T) {
	roundTripInts(t, []int64{0})
	roundTripInts(t, []int64{math.MinInt64})
	roundTripInts(t, []int64{5, 5, 5, 5})
	roundTripInts(t, []int64{5, 7, 9, 11})
	roundTripInts(t, []int64{math.MinInt64, math.MaxInt64, 0, math.MinInt64})
	rng := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{2, 3, 63, 200, 2048, codec.MaxItems} {
		walk, noise := make([]int64, n), make([]int64, n)
		var v int64
		for i := range walk {
			v += rng.Int64N(21) - 10
			walk[i], noise[i] = v, int64(rng.Uint64())
		}
		roundTripInts(t, walk)
		roundTripInts(t, noise)
	}
}

// A long run costs no more than its first value.
func TestIntsSize(t *testing.T) {
	f := func(a []int64, most int) {
		t.Helper()
		if got := len(codec.AppendInts(nil, a)); got > most {
			t.Fatalf("%d integers take %d bytes, want at most %d", len(a), got, most)
		}
	}
	f(slices.Repeat([]int64{400}, 2000), 4)
	step := make([]int64, 2000)
	for i := range step {
		step[i] = int64(i) * 10_000
	}
	f(step, 6)
}

func FuzzInts(f *testing.F) {
	f.Add([]byte{1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, raw []byte) {
		a := make([]int64, min(len(raw)/8, codec.MaxItems))
		if len(a) == 0 {
			return
		}
		for i := range a {
			a[i] = int64(binary.LittleEndian.Uint64(raw[8*i:]))
		}
		roundTripInts(t, a)
	})
}

func FuzzFloatsAndBits(f *testing.F) {
	f.Add([]byte{1, 0, 0, 0, 0, 0, 0xf8, 0x7f, 2, 0, 0, 0, 0, 0, 0, 0x80})
	f.Add(make([]byte, 300))
	f.Fuzz(func(t *testing.T, raw []byte) {
		raw = raw[:min(len(raw), codec.MaxItems)]
		if len(raw) < 8 {
			return
		}
		floats := make([]float64, len(raw)/8)
		for i := range floats {
			floats[i] = math.Float64frombits(binary.LittleEndian.Uint64(raw[8*i:]))
		}
		enc := append(codec.AppendFloats(nil, floats), "tail"...)
		back, rest, err := codec.DecodeFloats(nil, enc, len(floats))
		same := func(a, b float64) bool { return math.Float64bits(a) == math.Float64bits(b) }
		if err != nil || string(rest) != "tail" || !slices.EqualFunc(back, floats, same) {
			t.Fatalf("doubles %v came back as %v, %q, %v", floats, back, rest, err)
		}
		bits := make([]bool, len(raw))
		for i := range bits {
			bits[i] = raw[i] > 10
		}
		enc = codec.AppendBits(nil, bits)
		if most := 1 + max(1, (len(bits)+7)/8); len(enc) > most {
			t.Fatalf("%d bits take %d bytes, want at most %d", len(bits), len(enc), most)
		}
		got, rest, err := codec.DecodeBits(nil, append(enc, "tail"...), len(bits))
		if err != nil || string(rest) != "tail" || !slices.Equal(got, bits) {
			t.Fatalf("bits %v came back as %v, %q, %v", bits, got, rest, err)
		}
	})
}

// Any bytes decode to an error or to exactly n values, without a panic.
func FuzzDecode(f *testing.F) {
	f.Add(codec.AppendInts(nil, []int64{1, 2, 4, 9}), 4)
	f.Add(codec.AppendBits(nil, []bool{true, false, true}), 3)
	f.Add([]byte{1, 0, 9, 0x28, 0xb5, 0x2f, 0xfd, 0xa0, 0xff, 0xff, 0xff, 0x7f}, 8192) // zstd that claims 2 GB
	rng := rand.New(rand.NewPCG(3, 4))
	long := make([]int64, 1000)
	for i := range long {
		long[i] = rng.Int64N(100)
	}
	f.Add(codec.AppendInts(nil, long), 1000)
	f.Fuzz(func(t *testing.T, src []byte, n int) {
		if got, _, err := codec.DecodeInts(nil, src, n); err == nil && len(got) != n {
			t.Fatalf("%d integers, want %d", len(got), n)
		}
		if got, _, err := codec.DecodeFloats(nil, src, n); err == nil && len(got) != n {
			t.Fatalf("%d doubles, want %d", len(got), n)
		}
		if got, _, err := codec.DecodeBits(nil, src, n); err == nil && len(got) != n {
			t.Fatalf("%d bits, want %d", len(got), n)
		}
	})
}

func BenchmarkDecodeInts(b *testing.B) {
	for _, shape := range []struct {
		name string
		next func(rng *rand.Rand, i, v int64) int64
	}{
		{"walk", func(rng *rand.Rand, _, v int64) int64 { return v + rng.Int64N(9) - 4 }},
		{"gauge", func(rng *rand.Rand, _, v int64) int64 { return v + (rng.Int64N(3)-1)*(rng.Int64N(4)/3) }},
		{"times", func(rng *rand.Rand, i, _ int64) int64 { return 1_700_000_000_000 + i*10_000 + rng.Int64N(101) - 50 }},
	} {
		for _, n := range []int{720, 2048} {
			b.Run(fmt.Sprintf("%s=%d", shape.name, n), func(b *testing.B) {
				rng := rand.New(rand.NewPCG(3, 4))
				a := make([]int64, n)
				var v int64
				for i := range a {
					v = shape.next(rng, int64(i), v)
					a[i] = v
				}
				enc := codec.AppendInts(nil, a)
				b.ReportAllocs()
				b.SetBytes(int64(8 * len(a)))
				var got []int64
				for b.Loop() {
					var err error
					if got, _, err = codec.DecodeInts(got[:0], enc, len(a)); err != nil {
						b.Fatal(err)
					}
				}
				if !slices.Equal(got, a) {
					b.Fatal("wrong values")
				}
				b.ReportMetric(float64(len(enc))/float64(len(a)), "bytes/value")
				b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds()/1e6, "M-values/s")
			})
		}
	}
}

func roundTripBytes(t *testing.T, src []byte) int {
	t.Helper()
	var e codec.BytesEncoder
	var d codec.BytesDecoder
	size := 0
	for range 2 {
		enc := e.Append([]byte("head"), src)
		size = len(enc) - 4
		got, rest, err := d.Decode([]byte("old"), append(enc[4:len(enc):len(enc)], "tail"...), len(src))
		if err != nil || string(rest) != "tail" || string(got) != string(src) || string(enc[:4]) != "head" {
			t.Fatalf("%d bytes %.20q came back as %d, %.20q, rest %q, %v", len(src), src, len(got), got, rest, err)
		}
		if len(src) > 0 {
			if _, _, err := d.Decode(nil, enc[4:], len(src)-1); err == nil {
				t.Fatalf("%d bytes past the limit", len(src))
			}
		}
	}
	return size
}

// Each way to keep bytes gives them back, and is as short as it should be.
func TestBytes(t *testing.T) {
	f := func(n, most int, next func(i int) byte) {
		t.Helper()
		src := make([]byte, n)
		for i := range src {
			src[i] = next(i)
		}
		if size := roundTripBytes(t, src); size > most {
			t.Fatalf("%d bytes take %d, want at most %d", n, size, most)
		}
	}
	rng := rand.New(rand.NewPCG(5, 5))
	noise := func(int) byte { return byte(rng.Uint32()) }
	few := func(int) byte { return byte(rng.IntN(4)) }
	seldom := func(int) byte { return byte(max(0, rng.IntN(100)-98)) }
	for _, n := range []int{0, 1, 2, 47, 48, 1000, 1023, 1024, 5000, 1 << 17, 1<<17 + 1, 1 << 20} {
		f(n, n+4, noise)
		f(n, n/3+40, few)
		f(n, n/8+48, seldom)
		f(n, 5, func(int) byte { return 7 })
	}
}

// What is no encoding is an error.
func FuzzBytes(f *testing.F) {
	var e codec.BytesEncoder
	for _, src := range []string{"", "a", "aaaaaaaa", "some bytes, some other bytes, and some more bytes of text, so that there is a table"} {
		f.Add(e.Append(nil, []byte(src)), []byte(src))
	}
	f.Fuzz(func(t *testing.T, data, src []byte) {
		var d codec.BytesDecoder
		if plain, _, err := d.Decode(nil, data, 1<<16); err == nil && len(plain) > 1<<16 {
			t.Fatalf("%d bytes", len(plain))
		}
		roundTripBytes(t, src)
	})
}

// Differences that do not repeat take about what is in them.
func TestIntsEntropy(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 9))
	f := func(n int, most float64, next func(before int64) int64) {
		t.Helper()
		a := make([]int64, n)
		for i := 1; i < n; i++ {
			a[i] = next(a[i-1])
		}
		roundTripInts(t, a)
		if bits := 8 * float64(len(codec.AppendInts(nil, a))) / float64(n); bits > most {
			t.Fatalf("%d integers take %.2f bits each, want at most %.2f", n, bits, most)
		}
	}
	walk := func(before int64) int64 { return before + rng.Int64N(5) - 2 } // 2.3 bits
	for _, n := range []int{400, 1020, 1024, 1025, 2048, 8192} {
		f(n, 3, walk)
	}
	f(100, 5, walk)
	f(400, 1.6, func(before int64) int64 { return before + 3 + rng.Int64N(2) })    // a counter, 1 bit
	f(8192, 12.5, func(before int64) int64 { return before + rng.Int64N(1000) })   // 10 bits
	f(2048, 0.5, func(before int64) int64 { return before + rng.Int64N(200)/199 }) // 0.05 bits
}
