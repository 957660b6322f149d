package decode

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"

	"muster/tsdb"
)

// packers compress by each encoding.
var packers = map[string]func(t testing.TB, payload []byte) []byte{
	"gzip": func(t testing.TB, p []byte) []byte {
		var b bytes.Buffer
		return packed(t, &b, gzip.NewWriter(&b), p)
	},
	"zlib": func(t testing.TB, p []byte) []byte {
		var b bytes.Buffer
		return packed(t, &b, zlib.NewWriter(&b), p)
	},
	"zstd": func(t testing.TB, p []byte) []byte {
		w, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
		if err != nil {
			t.Fatal(err)
		}
		return w.EncodeAll(p, nil)
	},
	"zstd stream": func(t testing.TB, p []byte) []byte { // without the size in its header
		var b bytes.Buffer
		w, err := zstd.NewWriter(&b, zstd.WithEncoderConcurrency(1))
		if err != nil {
			t.Fatal(err)
		}
		return packed(t, &b, w, p)
	},
}

func packed(t testing.TB, b *bytes.Buffer, w io.WriteCloser, p []byte) []byte {
	if _, err := w.Write(p); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestUnpack(t *testing.T) {
	dict := tsdb.NewDict()
	d := New(dict)
	var big strings.Builder // 200 KB of rows that are not all the same
	rng := rand.New(rand.NewPCG(1, 1))
	for i := range 1000 {
		fmt.Fprintf(&big, "%s{\"ts\":%d", ",["[:1+i/1000][:1], 1700000000+i)
		for c := range 10 {
			fmt.Fprintf(&big, `,"column%d":%d`, c, rng.IntN(100000))
		}
		big.WriteString("}")
	}
	bigJSON := "[" + big.String()[1:] + "]"
	for name, pack := range packers {
		f := func(contentType, payload string) {
			t.Helper()
			want, err := New(dict).Decode([]byte(contentType), []byte(payload), arrival)
			if err != nil {
				t.Fatal(err)
			}
			text := render(dict, want)
			for range 2 {
				rows, err := d.Decode([]byte(contentType), pack(t, []byte(payload)), arrival)
				if err != nil {
					t.Fatalf("%s of %.60q: %v", name, payload, err)
				}
				if got := render(dict, rows); got != text {
					t.Fatalf("%s of %.60q\n got %.200s\nwant %.200s", name, payload, got, text)
				}
			}
		}
		f("", `{"a":1}`)
		f("", streetLight)
		f("application/json; charset=utf-8", `{"a":1.5,"s":"x"}`)
		f("", "m,t=x a=1\nm b=2 5")
		f("", string(encodeCBOR(nil, cborPairs{"a", 1.5})))
		f("application/senml+json", `[{"n":"a","v":1}]`)
		f("application/vnd.eclipse.sparkplug.b", string(spPayload(5, spMetric{"a", -1, 3, 0, uint32(1)})))
		f("", bigJSON)
	}
	// gzip in several members, as gzip allows
	payload := append(packers["gzip"](t, []byte(`{"a":`)), packers["gzip"](t, []byte(`1}`))...)
	rows, err := d.Decode(nil, payload, arrival)
	if got := render(dict, rows); err != nil || got != `arrival a=1e0` {
		t.Fatalf("%s %v", got, err)
	}
}

// A content encoding that is said is believed.
func TestContentEncoding(t *testing.T) {
	dict := tsdb.NewDict()
	d := New(dict)
	f := func(said string, payload []byte, want string) {
		t.Helper()
		d.Encoding = []byte(said)
		rows, err := d.Decode(nil, payload, arrival)
		got := render(dict, rows)
		if err != nil {
			got = err.(*Malformed).Reason
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", said, got, want)
		}
	}
	plain := []byte(`{"a":1}`)
	const row = "arrival a=1e0"
	for _, said := range []string{"gzip", "x-gzip", "GZIP", " gzip"} {
		f(said, packers["gzip"](t, plain), row)
		f(said, plain, reasons[faultPromised])
	}
	f("deflate", packers["zlib"](t, plain), row)
	f("deflate", packers["gzip"](t, plain), reasons[faultPromised])
	f("zstd", packers["zstd"](t, plain), row)
	f("identity", plain, row)
	f("identity", packers["gzip"](t, plain), reasons[faultUnknown])
	f("br", plain, reasons[faultEncoding])
	f("", packers["gzip"](t, plain), row)
	f("gzip", nil, reasons[faultPromised])
	d.Encoding = []byte("gzip")
	payload := packers["gzip"](t, plain)
	if n := testing.AllocsPerRun(300, func() { _, _ = d.Decode(nil, payload, arrival) }); n != 0 {
		t.Errorf("%v allocations per message", n)
	}
}

func TestUnpackMalformed(t *testing.T) {
	d := New(tsdb.NewDict())
	var good [][]byte
	for _, pack := range packers {
		good = append(good, pack(t, []byte(`{"a":1}`)))
	}
	f := func(payload []byte, want fault) {
		t.Helper()
		rows, err := d.Decode(nil, payload, arrival)
		var m *Malformed
		if !errors.As(err, &m) || rows != nil || m.Reason != reasons[want] {
			t.Fatalf("%.60x: %v %v, want %s", payload, rows, err, reasons[want])
		}
		// the decoder goes on
		for _, payload := range good {
			if _, err := d.Decode(nil, payload, arrival); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, pack := range packers {
		whole := pack(t, []byte(streetLight))
		for cut := 4; cut < len(whole); cut++ {
			f(whole[:cut], faultInflate)
		}
		broken := bytes.Clone(whole)
		broken[len(broken)-1] ^= 1 // a checksum, or for zstd the last of it
		if name != "zstd" {
			f(broken, faultInflate)
		}
		if !strings.HasPrefix(name, "zstd") {
			f(append(bytes.Clone(whole), "more"...), faultInflate)
		}
		// packed twice
		f(pack(t, whole), faultUnknown)
		f(pack(t, []byte(`{"a":`)), faultEnd)
		f(pack(t, nil), faultEmpty)
		// 1 MiB is allowed, more is not; nor is a ratio of more than 100
		if rows, err := d.Decode([]byte("text/vnd.influx.line"), pack(t, fill(maxUnpacked)), arrival); err != nil || len(rows) != 1 {
			t.Fatalf("%s: 1 MiB: %v", name, err)
		}
		f(pack(t, fill(maxUnpacked+1)), faultInflated)
		f(pack(t, bytes.Repeat([]byte("\n"), 200_000)), faultInflated)
	}
	f([]byte{0x1f, 0x8b}, faultInflate)
	f([]byte("x\x9c"), faultInflate)
	f([]byte("\x28\xb5\x2f\xfd"), faultInflate)
}

// fill returns n bytes of line protocol, comments that do not compress by more than 100 and one point.
func fill(n int) []byte {
	rng := rand.New(rand.NewPCG(2, 2))
	b := make([]byte, 0, n)
	for len(b) < n-20 {
		b = append(b, '#')
		b = strconv.AppendUint(b, rng.Uint64(), 36)
		b = append(b, '\n')
	}
	b = append(b[:n-20], "\nm a=1"...)
	for len(b) < n {
		b = append(b, '\n')
	}
	return b
}

// bombs are small payloads that claim to be, or are, very large.
func bombs(t testing.TB) map[string][]byte {
	zeros := make([]byte, 1<<20)
	var gz, zl, zs bytes.Buffer
	gw, _ := gzip.NewWriterLevel(&gz, gzip.BestCompression)
	zw, _ := zlib.NewWriterLevel(&zl, zlib.BestCompression)
	sw, err := zstd.NewWriter(&zs, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(1<<20))
	if err != nil {
		t.Fatal(err)
	}
	for range 10 { // 10 MiB by 10 KiB: the most that deflate does
		for _, w := range []io.Writer{gw, zw} {
			if _, err := w.Write(zeros); err != nil {
				t.Fatal(err)
			}
		}
	}
	for range 40 {
		if _, err := sw.Write(zeros); err != nil {
			t.Fatal(err)
		}
	}
	for _, w := range []io.Closer{gw, zw, sw} {
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	// zstd by hand: run-length blocks of 128 KiB in 4 bytes each, 10 KiB of them for 320 MiB; with a window of 128 KiB ...
	blocks := func(head ...byte) []byte {
		b := append([]byte{0x28, 0xb5, 0x2f, 0xfd}, head...)
		const size = 128 << 10
		for len(b) < 10<<10 {
			b = append(b, byte(size<<3&0xff|1<<1), byte(size<<3>>8&0xff), byte(size<<3>>16), 0)
		}
		return b
	}
	return map[string][]byte{
		"gzip":          gz.Bytes(),
		"gzip members":  bytes.Repeat(packers["gzip"](t, zeros[:20<<10]), 200),
		"zlib":          zl.Bytes(),
		"zstd":          zs.Bytes(),
		"zstd blocks":   blocks(0x00, 0x38),
		"zstd claims":   blocks(0xe0, 0, 0, 0, 0x80, 2, 0, 0, 0),       // content size 10 GiB, in one segment
		"zstd window":   blocks(0x00, 0xf8),                            // window of 2 TiB
		"zstd windowed": blocks(0xc0, 0x38, 0, 0, 0, 0x80, 2, 0, 0, 0), // content size 10 GiB, window of 128 KiB
	}
}

// TestBombs: what unpacks to gigabytes is refused in milliseconds and little memory.
func TestBombs(t *testing.T) {
	all := bombs(t)
	d := New(tsdb.NewDict())
	for _, pack := range packers { // the decoders themselves
		if _, err := d.Decode(nil, pack(t, []byte(`{"a":1}`)), arrival); err != nil {
			t.Fatal(err)
		}
	}
	goroutines := runtime.NumGoroutine()
	var before, after runtime.MemStats
	for name, bomb := range all {
		if len(bomb) > 128<<10 {
			t.Fatalf("%s has %d bytes, more than a packet", name, len(bomb))
		}
		runtime.ReadMemStats(&before)
		fastest := time.Hour
		for range 5 {
			start := time.Now()
			rows, err := d.Decode(nil, bomb, arrival)
			var m *Malformed
			if !errors.As(err, &m) || rows != nil || m.Reason != reasons[faultInflated] {
				t.Fatalf("%s: %v %v", name, rows, err)
			}
			fastest = min(fastest, time.Since(start))
		}
		runtime.ReadMemStats(&after)
		if allocated := after.TotalAlloc - before.TotalAlloc; allocated > 10<<20 { // 2 MiB each; garbage, not growth
			t.Errorf("%s: %d bytes were allocated in 5 calls", name, allocated)
		}
		t.Logf("%s: %d bytes, refused in %v, %d bytes allocated in 5 calls", name, len(bomb), fastest, after.TotalAlloc-before.TotalAlloc)
		if fastest > 50*time.Millisecond {
			t.Errorf("%s: refused in %v", name, fastest)
		}
	}
	if n := runtime.NumGoroutine(); n > goroutines {
		t.Errorf("%d goroutines, %d before", n, goroutines)
	}
	if cap(d.unpacked.out) > maxUnpacked+maxZstdBlock+1 {
		t.Errorf("the buffer has %d bytes", cap(d.unpacked.out))
	}
}

// FuzzUnpack: bytes do no harm, and what the standard readers of a whole payload make of it is what is decoded, if it is within the limits.
func FuzzUnpack(f *testing.F) {
	for _, pack := range packers {
		f.Add(pack(f, []byte(streetLight)))
		f.Add(pack(f, []byte("m a=1\nm b=2")))
	}
	for _, bomb := range bombs(f) {
		f.Add(bomb[:min(len(bomb), 200)])
	}
	var u unpacker
	f.Fuzz(func(t *testing.T, payload []byte) {
		got, fault := u.unpack(payload)
		var want []byte
		var err error
		switch encodingOf(payload) {
		case identity:
			if fault != ok || !bytes.Equal(got, payload) {
				t.Fatalf("%x became %x", payload, got)
			}
			return
		case encodedGzip:
			var r *gzip.Reader
			if r, err = gzip.NewReader(bytes.NewReader(payload)); err == nil {
				want, err = io.ReadAll(io.LimitReader(r, 2<<20))
			}
		case encodedZlib:
			var r io.ReadCloser
			if r, err = zlib.NewReader(bytes.NewReader(payload)); err == nil {
				want, err = io.ReadAll(io.LimitReader(r, 2<<20))
			}
		case encodedZstd:
			r, nerr := zstd.NewReader(bytes.NewReader(payload), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxZstdBytes))
			if nerr != nil {
				t.Fatal(nerr)
			}
			defer r.Close()
			want, err = io.ReadAll(io.LimitReader(r, 2<<20))
		}
		limit := min(maxUnpacked, maxRatio*len(payload))
		switch {
		case len(got) > limit:
			t.Fatalf("%x became %d bytes", payload, len(got))
		case fault == ok && (err != nil || !bytes.Equal(got, want)):
			t.Fatalf("%x became %x, want %x %v", payload, got, want, err)
		case fault == faultInflate && err == nil && encodingOf(payload) == encodedGzip && len(want) <= limit:
			t.Fatalf("%x was refused, want %x", payload, want)
		}
	})
}

// TestUnpackResident: bombs in a row do not make the process grow.
func TestUnpackResident(t *testing.T) {
	resident := func() int {
		statm, err := os.ReadFile("/proc/self/statm")
		if err != nil {
			t.Skip("needs /proc")
		}
		pages, err := strconv.Atoi(strings.Fields(string(statm))[1])
		if err != nil {
			t.Fatal(err)
		}
		return pages * os.Getpagesize()
	}
	all := bombs(t)
	d := New(tsdb.NewDict())
	runtime.GC()
	before := resident()
	for range 20 {
		for _, bomb := range all {
			if _, err := d.Decode(nil, bomb, arrival); err == nil {
				t.Fatal("a bomb was taken")
			}
		}
	}
	if grown := resident() - before; grown > 8<<20 {
		t.Errorf("the process grew by %d bytes", grown)
	}
}
