package decode

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"muster/tsdb"
)

// What encodeCBOR makes an item of, besides uint64, int64, float32, float64, bool, nil and string.
type (
	cborPairs  []any // key, value, key, value
	cborList   []any
	cborOpen   struct{ of any } // of indefinite length: pairs, list, or a string in two pieces
	cborTagged struct {
		tag uint64
		of  any
	}
	cborHalf      uint16
	cborBytesItem []byte
	cborRaw       []byte // as it is
)

// encodeCBOR appends v in the plainest way: the twin of the decoder.
func encodeCBOR(dst []byte, v any) []byte {
	head := func(major byte, n uint64) {
		switch {
		case n < 24:
			dst = append(dst, major<<5|byte(n))
		case n <= math.MaxUint8:
			dst = append(dst, major<<5|24, byte(n))
		case n <= math.MaxUint16:
			dst = binary.BigEndian.AppendUint16(append(dst, major<<5|25), uint16(n))
		case n <= math.MaxUint32:
			dst = binary.BigEndian.AppendUint32(append(dst, major<<5|26), uint32(n))
		default:
			dst = binary.BigEndian.AppendUint64(append(dst, major<<5|27), n)
		}
	}
	items := func(list []any) {
		for _, item := range list {
			dst = encodeCBOR(dst, item)
		}
	}
	switch v := v.(type) {
	case nil:
		return append(dst, 0xf6)
	case bool:
		if v {
			return append(dst, 0xf5)
		}
		return append(dst, 0xf4)
	case int:
		return encodeCBOR(dst, int64(v))
	case uint64:
		head(0, v)
	case int64:
		if v < 0 {
			head(1, uint64(-1-v))
		} else {
			head(0, uint64(v))
		}
	case cborHalf:
		dst = binary.BigEndian.AppendUint16(append(dst, 0xf9), uint16(v))
	case float32:
		dst = binary.BigEndian.AppendUint32(append(dst, 0xfa), math.Float32bits(v))
	case float64:
		dst = binary.BigEndian.AppendUint64(append(dst, 0xfb), math.Float64bits(v))
	case string:
		head(3, uint64(len(v)))
		dst = append(dst, v...)
	case cborBytesItem:
		head(2, uint64(len(v)))
		dst = append(dst, v...)
	case cborPairs:
		head(5, uint64(len(v)/2))
		items(v)
	case cborList:
		head(4, uint64(len(v)))
		items(v)
	case cborTagged:
		head(6, v.tag)
		return encodeCBOR(dst, v.of)
	case cborOpen:
		switch of := v.of.(type) {
		case cborPairs:
			dst = append(dst, 0xbf)
			items(of)
		case cborList:
			dst = append(dst, 0x9f)
			items(of)
		case string:
			half := len(of) / 2
			for half > 0 && !utf8.RuneStart(of[half]) {
				half--
			}
			dst = encodeCBOR(append(dst, 0x7f), of[:half])
			dst = encodeCBOR(dst, of[half:])
		}
		dst = append(dst, cborBreak)
	case cborRaw:
		return append(dst, v...)
	default:
		panic(fmt.Sprintf("%T", v))
	}
	return dst
}

// fraction is a decimal fraction.
func fraction(mant, exp int64) cborTagged { return cborTagged{4, cborList{exp, mant}} }

func TestCBOR(t *testing.T) {
	dict := tsdb.NewDict()
	shared := New(dict)
	f := func(item any, want string) {
		t.Helper()
		payload := encodeCBOR(nil, item)
		for _, d := range []*Decoder{New(dict), shared, shared} {
			for _, contentType := range []string{"application/cbor", ""} {
				rows, err := d.Decode([]byte(contentType), payload, arrival)
				if err != nil {
					t.Fatalf("%x: %v", payload, err)
				}
				if got := render(dict, rows); got != want {
					t.Fatalf("%x\n got %s\nwant %s", payload, got, want)
				}
			}
		}
	}
	// the columns of the JSON payload
	f(cborPairs{"a", 1, "b", cborPairs{"c", true, "d", nil}, "s", "x", "l", cborList{}, "off", false}, `arrival a=1e0 b_c=true s="x" off=false`)
	f(cborOpen{cborPairs{"a", cborOpen{cborPairs{"b", cborOpen{"long text"}}}, cborOpen{"key"}, 2, "l", cborOpen{cborList{}}}}, `arrival a_b="long text" key=2e0`)
	f(cborPairs{"temp °C", 1, "3v3", 2, `back\slash`, 3, `\u0061`, 4}, `arrival temp___C=1e0 _3v3=2e0 back_slash=3e0 _u0061=4e0`)
	f(cborPairs{"a", 1, "a", 2, "a_b", 3, "a", cborPairs{"b", 4}}, `arrival a=2e0 a_b=4e0`)
	f(cborList{cborPairs{"ts", 1, "a", 1}, cborPairs{}, cborPairs{"a", 2}}, `1000 a=1e0; arrival a=2e0`)
	f(cborOpen{cborList{cborPairs{"a", 1}}}, `arrival a=1e0`)
	f(cborTagged{55799, cborPairs{"a", 1}}, `arrival a=1e0`)
	f(cborPairs{}, ``)
	f(cborList{}, ``)
	f(cborPairs{"a", cborRaw{0xf7}, "b", 1}, `arrival b=1e0`)
	// integers
	f(cborPairs{"a", 1500, "b", -20, "c", 0, "d", uint64(999999999999999999), "e", uint64(math.MaxUint64), "f", cborRaw{0x3b, 255, 255, 255, 255, 255, 255, 255, 255}},
		`arrival a=15e2 b=-2e1 c=0e0 d=999999999999999999e0 e=~1.8446744073709552e+19 f=~-1.8446744073709552e+19`)
	f(cborPairs{"a", int64(math.MinInt64), "b", uint64(1234567890123456780)}, `arrival a=~-9.223372036854776e+18 b=123456789012345678e1`)
	// floats: decimals where they are short
	f(cborPairs{"a", 41.2, "b", -0.05, "c", 1e-7, "d", 5e20, "e", 0.30000000000000004, "f", 1.0 / 3, "g", math.Copysign(0, -1), "h", 1e300},
		`arrival a=412e-1 b=-5e-2 c=1e-7 d=5e20 e=~0.30000000000000004 f=~0.3333333333333333 g=0e0 h=~1e+300`)
	f(cborPairs{"a", float32(41.2), "b", float32(23.0625), "c", float32(1e-3), "d", float32(3.4e38), "e", float32(1234567.125), "f", float32(-1) / 3},
		`arrival a=412e-1 b=230625e-4 c=1e-3 d=~3.3999999521443642e+38 e=1234567125e-3 f=-33333334e-8`)
	f(cborPairs{"a", cborHalf(0x3e00), "b", cborHalf(0xc000), "c", cborHalf(0x0001), "d", cborHalf(0x4dc4), "e", cborHalf(0x7bff)},
		`arrival a=15e-1 b=-2e0 c=~5.960464477539063e-08 d=230625e-4 e=65504e0`)
	// no number is no column
	f(cborPairs{"a", math.NaN(), "b", math.Inf(1), "c", float32(math.Inf(-1)), "d", cborHalf(0x7e00), "e", 1}, `arrival e=1e0`)
	// decimal fractions
	f(cborPairs{"a", fraction(27315, -2), "b", fraction(-5, 3), "c", fraction(1200, -2), "d", fraction(0, 99), "e", fraction(1, -200), "f", fraction(1, 128)},
		`arrival a=27315e-2 b=-5e3 c=12e0 d=0e0 e=~1e-200 f=~1e+128`)
	// times
	f(cborPairs{"ts", 1700000001, "a", 1}, `1700000001000 a=1e0`)
	f(cborPairs{"ts", uint64(1700000001234), "a", 1}, `1700000001234 a=1e0`)
	f(cborPairs{"ts", 1700000001.2345, "a", 1}, `1700000001234 a=1e0`)
	f(cborPairs{"ts", 1700000001.23456789, "a", 1}, `1700000001234 a=1e0`)
	f(cborPairs{"ts", cborTagged{1, 1700000001.5}, "a", 1}, `1700000001500 a=1e0`)
	f(cborPairs{"ts", cborTagged{1, uint64(17000000012)}, "a", 1}, `17000000012000 a=1e0`)
	f(cborPairs{"ts", cborTagged{0, "2023-11-14T22:13:21.5Z"}, "a", 1}, `1700000001500 a=1e0`)
	f(cborPairs{"time", "2023-11-14T22:13:21.5Z", "a", 1}, `1700000001500 a=1e0`)
	f(cborPairs{"ts", fraction(17000000012345, -4), "a", 1}, `1700000001234 a=1e0`)
	f(cborPairs{"ts", nil, "time", 5, "a", 1}, `5000 a=1e0`)
	f(cborPairs{"time", 5, "ts", 7, "timestamp", 6, "a", 1}, `7000 a=1e0`)
	f(cborPairs{"a", cborPairs{"ts", cborTagged{1, 3}, "at", cborTagged{0, "2023-11-14T22:13:21Z"}}}, `arrival a_ts=3e0 a_at="2023-11-14T22:13:21Z"`)
	if got := shared.Skipped(); got == 0 {
		t.Fatal("what was left out was not counted")
	}
}

func TestCBORMalformed(t *testing.T) {
	f := func(item any, offset int, want fault) {
		t.Helper()
		payload := encodeCBOR(nil, item)
		rows, err := New(tsdb.NewDict()).Decode([]byte("application/cbor"), payload, arrival)
		var m *Malformed
		if !errors.As(err, &m) || rows != nil {
			t.Fatalf("%.80x = %v, %v, want malformed: %s", payload, rows, err, reasons[want])
		}
		if m.Reason != reasons[want] || m.Offset != offset {
			t.Fatalf("%.80x\n got %q at %d\nwant %q at %d", payload, m.Reason, m.Offset, reasons[want], offset)
		}
	}
	raw := func(text string) cborRaw {
		b, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	f(raw(""), 0, faultEmpty)
	f(7, 0, faultCBORTop)
	f("text", 0, faultCBORTop)
	f(cborTagged{24, cborPairs{}}, 0, faultCBORTop)
	f(raw("a1"), 1, faultCut)
	f(raw("a16161"), 3, faultCut)
	f(raw("a1616118"), 4, faultCut)
	f(raw("a161611b00000000000000"), 11, faultCut)
	f(raw("bf6161"), 3, faultCut)
	f(raw("bf616101"), 4, faultCut)
	f(raw("d9d9f7"), 3, faultCut)
	// lengths that promise more than there is
	f(raw("bb7fffffffffffffff616101"), 12, faultCut)
	f(raw("9b7fffffffffffffff"), 9, faultCut)
	f(raw("a161617b7fffffffffffffff61"), 13, faultCut)
	f(raw("a17bffffffffffffffff61"), 11, faultCut)
	f(raw("a161617f7a7fffffff61ff"), 11, faultCut)
	// not well-formed
	f(raw("a161611c"), 3, faultCBOR)
	f(raw("a161611f"), 3, faultCBOR)
	f(raw("a16161ff"), 3, faultCBOR)
	f(raw("a16161df"), 3, faultCBOR)
	f(raw("a161617f01ff"), 4, faultCBOR)
	f(raw("a161617f7f6161ffff"), 4, faultCBOR)
	f(raw("a161617f42ffffff"), 4, faultCBOR)
	f(raw("a1616101ff"), 4, faultCBORTrailing)
	f(raw("a1616101a0"), 4, faultCBORTrailing)
	// what is not supported
	f(cborList{1}, 1, faultCBORElement)
	f(cborList{cborList{}}, 1, faultCBORElement)
	f(cborPairs{1, 1}, 1, faultCBORKey)
	f(cborPairs{"a", 1, cborBytesItem("k"), 1}, 4, faultCBORKey)
	f(cborPairs{"a", cborBytesItem("k")}, 3, faultCBORBytes)
	f(cborPairs{"a", cborList{1}}, 3, faultArray)
	f(cborPairs{"a", cborRaw{0xf8, 0xff}}, 3, faultCBORValue)
	f(cborPairs{"a", cborRaw{0xe0}}, 3, faultCBORValue)
	f(cborPairs{"a", cborTagged{2, cborBytesItem("\x01")}}, 3, faultBignum)
	f(cborPairs{"a", cborTagged{3, cborBytesItem("\x01")}}, 3, faultBignum)
	f(cborPairs{"a", cborTagged{4, cborList{1, cborTagged{2, cborBytesItem("\x01")}}}}, 4, faultBignum)
	f(cborPairs{"a", cborTagged{4, cborList{1}}}, 4, faultFraction)
	f(cborPairs{"a", cborTagged{4, cborList{1.5, 2}}}, 4, faultFraction)
	f(cborPairs{"a", fraction(1, math.MaxInt64)}, 3, faultNumberRange)
	f(cborPairs{"a", cborTagged{5, cborList{1, 2}}}, 3, faultCBORTag)
	f(cborPairs{"a", cborTagged{0, 5}}, 3, faultCBORTag)
	f(cborPairs{"a", cborTagged{1, cborTagged{1, 5}}}, 3, faultCBORTag)
	f(cborPairs{"a", cborTagged{55799, 5}}, 3, faultCBORTag)
	f(cborPairs{"a", "\xff"}, 3, faultUTF8)
	f(cborPairs{"\xff", 1}, 1, faultUTF8)
	f(raw("a161617f61c361a9ff"), 5, faultUTF8) // a rune cut in two pieces
	f(cborPairs{"a", strings.Repeat("x", 1025)}, 3, faultStringLen)
	f(cborPairs{strings.Repeat("n", 129), 1}, 1, faultNameLen)
	f(cborPairs{"", 1}, 2, faultName)
	deep := any(1)
	for range 9 {
		deep = cborPairs{"a", deep}
	}
	f(deep, 24, faultDepth)
	f(cborPairs{"ts", true}, 4, faultTime)
	f(cborPairs{"ts", math.NaN()}, 4, faultTime)
	f(cborPairs{"ts", "yesterday"}, 4, faultTime)
	f(cborPairs{"ts", cborTagged{0, 5}}, 4, faultTime)
	f(cborPairs{"ts", cborTagged{1, "5"}}, 4, faultTime)
	f(cborPairs{"ts", -1}, 4, faultTimeRange)
	f(cborPairs{"ts", cborTagged{1, -1.5}}, 4, faultTimeRange)
	f(cborPairs{"ts", cborTagged{1, 1e300}}, 4, faultTimeRange)
	rows := make(cborList, maxRows+1)
	for i := range rows {
		rows[i] = cborPairs{}
	}
	f(rows, 1003, faultRows)
	wide := cborPairs{}
	for i := range maxColumns + 1 {
		wide = append(wide, "c"+strconv.Itoa(1000+i), 1)
	}
	f(wide, 3+256*7+6, faultColumns)
}

// TestDecimals: a float becomes a decimal that reads as the same float, which is the shortest one, and only noise stays a float.
func TestDecimals(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	parse := func(n number) float64 {
		f, fits := n.float()
		if !fits {
			t.Fatalf("%+v is no float", n)
		}
		return f
	}
	digits := func(text string) int {
		mantissa, _, _ := strings.Cut(strings.TrimPrefix(text, "-"), "e")
		return len(strings.TrimRight(strings.Replace(mantissa, ".", "", 1), "0"))
	}
	for range 100_000 {
		var f float64
		switch rng.IntN(5) {
		case 0:
			f = math.Float64frombits(rng.Uint64())
		case 1:
			f = float64(rng.Int64N(1e15)) * math.Pow10(rng.IntN(30)-20)
		case 2:
			f = float64(rng.Int64N(1e6)) / exact10[rng.IntN(7)]
		case 3:
			f = math.Ldexp(float64(rng.IntN(1<<20)), -rng.IntN(24))
		case 4:
			f = rng.NormFloat64() * 100
		}
		if f-f != 0 {
			continue
		}
		s := double(f)
		text := strconv.FormatFloat(f, 'e', -1, 64)
		switch {
		case s.float && math.Float64frombits(s.n.mant) != f:
			t.Fatalf("%v became %v", f, math.Float64frombits(s.n.mant))
		case s.float && digits(text) <= 15 && math.Abs(f) > 1e-7 && math.Abs(f) < 1e36:
			t.Fatalf("%s has few digits and stayed a float", text)
		case !s.float && parse(s.n) != f:
			t.Fatalf("%s became %+v", text, s.n)
		case !s.float && f != 0 && f != math.Trunc(f) && len(strconv.FormatUint(s.n.mant, 10)) != digits(text):
			t.Fatalf("%s became %+v", text, s.n)
		}
		// singles
		g := float32(f)
		if g-g != 0 {
			continue
		}
		s = single(g)
		text = strconv.FormatFloat(float64(g), 'e', -1, 32)
		switch {
		case s.float && float32(math.Float64frombits(s.n.mant)) != g:
			t.Fatalf("single %v became %v", g, math.Float64frombits(s.n.mant))
		case s.float && math.Abs(float64(g)) > 1e-13 && math.Abs(float64(g)) < 1e30:
			t.Fatalf("single %s stayed a float", text)
		case !s.float && float32(parse(s.n)) != g:
			t.Fatalf("single %s became %+v", text, s.n)
		case !s.float && g != 0 && math.Abs(float64(g)) < 1e28 && parse(s.n) != float64(g) && len(strconv.FormatUint(s.n.mant, 10)) > digits(text):
			t.Fatalf("single %s became %+v", text, s.n)
		}
	}
	for h := range 1 << 16 {
		sign, exp, mant := h>>15, h>>10&31, h&0x3ff
		want := math.Ldexp(1+float64(mant)/1024, exp-15)
		if exp == 0 {
			want = math.Ldexp(float64(mant)/1024, -14)
		}
		if exp == 31 {
			continue
		}
		if sign == 1 {
			want = -want
		}
		if got := halfFloat(uint16(h)); got != want {
			t.Fatalf("half %04x = %v, want %v", h, got, want)
		}
	}
}

// TestSums holds the sum of decimals against rationals.
func TestSums(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	rat := func(n number) *big.Rat {
		text := fmt.Sprintf("%de%d", n.mant, n.exp)
		if n.neg {
			text = "-" + text
		}
		r, good := new(big.Rat).SetString(text)
		if !good {
			t.Fatal(text)
		}
		return r
	}
	random := func() number {
		n := whole(rng.IntN(2) == 0, rng.Uint64N(uint64(math.Pow10(rng.IntN(18)+1))))
		if n.mant > 0 {
			n.exp += rng.IntN(24) - 12
		}
		return n
	}
	exact := 0
	for range 50_000 {
		a, b := random(), random()
		if rng.IntN(10) == 0 {
			b = a
			b.neg = !a.neg && a.mant > 0
		}
		want := new(big.Rat).Add(rat(a), rat(b))
		sum, f := scalar{n: a}.plus(scalar{n: b})
		if f != ok {
			t.Fatalf("%+v + %+v: %s", a, b, reasons[f])
		}
		if !sum.float {
			exact++
			if rat(sum.n).Cmp(want) != 0 {
				t.Fatalf("%+v + %+v = %+v", a, b, sum.n)
			}
		} else if w, _ := want.Float64(); math.Abs(math.Float64frombits(sum.n.mant)-w) > math.Abs(w)*1e-9+1e-9 {
			t.Fatalf("%+v + %+v = %v, want %v", a, b, math.Float64frombits(sum.n.mant), w)
		}
		// seconds to milliseconds, rounded down
		if ms, fits := (scalar{n: a}).floorMs(); fits {
			scaled := new(big.Rat).Mul(rat(a), big.NewRat(1000, 1))
			floor := new(big.Int).Div(scaled.Num(), scaled.Denom()) // Euclidean: the denominator is positive
			if floor.Int64() != ms {
				t.Fatalf("%+v s = %d ms, want %s", a, ms, floor)
			}
		}
	}
	if exact < 20_000 {
		t.Fatalf("only %d sums were exact", exact)
	}
}
