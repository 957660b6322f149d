package intake_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"

	"muster/tsdb"
	"muster/tsdb/intake"
	"muster/tsdb/prom"
	"muster/tsdb/vfs"
)

// nowMs is the time of the tests' gateway: 2026-03-01T12:00:00Z.
const nowMs = 1_772_366_400_000

const staleNaN = 0x7ff0000000000002

// gateway is a store on a disk in memory, what answers queries over it, and what takes telemetry.
type gateway struct {
	t      testing.TB
	disk   *vfs.Mem
	store  *tsdb.Store
	api    *prom.API
	intake *intake.Intake
}

// registry has one thing, lamp-1, with id 1.
type registry struct{}

func (registry) ThingName(id tsdb.ThingID) (string, bool)     { return "lamp-1", id == 1 }
func (registry) ThingByName(name string) (tsdb.ThingID, bool) { return 1, name == "lamp-1" }
func (registry) AppendLabels(dst []prom.Label, _ tsdb.ThingID) []prom.Label {
	return append(dst, prom.Label{Name: "city", Value: "Oslo"}, prom.Label{Name: "thing_type", Value: "lamp"})
}

func open(t testing.TB, disk *vfs.Mem, opts intake.Options) *gateway {
	t.Helper()
	store, err := tsdb.Open(tsdb.Options{Dir: "data", FS: disk, GroupWait: time.Microsecond, LogFileBytes: 256 << 10, ReserveBytes: 4 << 10})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	clock := vfs.NewManual(time.UnixMilli(nowMs))
	api := prom.New(store, registry{}, prom.Options{Clock: clock, Lookback: time.Hour})
	opts.Store, opts.Things, opts.Clock = store, api, clock
	return &gateway{t, disk, store, api, intake.New(opts)}
}

// post sends a body; headers alternate names and values.
func (g *gateway) post(path string, body []byte, headers ...string) intake.Response {
	g.t.Helper()
	u, err := url.Parse(path)
	if err != nil {
		g.t.Fatal(err)
	}
	return g.intake.Serve(context.Background(), intake.Request{Path: u.Path, Form: u.Query(), Body: body, Header: func(name string) string {
		if i := slices.Index(headers, name); i >= 0 {
			return headers[i+1]
		}
		return ""
	}})
}

// export returns all samples as lines, sorted.
func (g *gateway) export(match string) string {
	g.t.Helper()
	run, resp := g.api.Export(url.Values{"match[]": {match}})
	if run == nil {
		g.t.Fatalf("export: %s", resp.Body)
	}
	var out bytes.Buffer
	if err := run(context.Background(), &out); err != nil {
		g.t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

const everything = `{__name__!=""}`

// ServeHTTP is the door for real clients.
func (g *gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(err)
	}
	resp := g.intake.Serve(r.Context(), intake.Request{Path: r.URL.Path, Form: r.URL.Query(), Header: r.Header.Get, Body: body})
	for _, h := range resp.Header {
		w.Header().Set(h[0], h[1])
	}
	w.WriteHeader(resp.Status)
	w.Write(resp.Body)
}

// send sends a request over a socket, as Prometheus does.
func send(t *testing.T, g *gateway, body []byte, contentType string) *http.Response {
	t.Helper()
	server := httptest.NewServer(g)
	t.Cleanup(server.Close)
	req, err := http.NewRequest("POST", server.URL+intake.PathRemoteWrite, bytes.NewReader(snappy.Encode(nil, body)))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Encoding", "snappy")
	req.Header.Set("Content-Type", contentType)
	req.Header.Set("X-Prometheus-Remote-Write-Version", "2.0.0")
	resp, err := server.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}

// series is one series for both versions of the message.
type series struct {
	labels     labels.Labels
	times      []int64
	values     []float64
	histograms int
	exemplars  int
}

func first(list ...series) []byte {
	var req prompb.WriteRequest
	for _, s := range list {
		ts := prompb.TimeSeries{Labels: prompb.FromLabels(s.labels, nil)}
		for i := range s.times {
			ts.Samples = append(ts.Samples, prompb.Sample{Timestamp: s.times[i], Value: s.values[i]})
		}
		for range s.histograms {
			ts.Histograms = append(ts.Histograms, prompb.Histogram{Timestamp: nowMs, Sum: 3})
		}
		for range s.exemplars {
			ts.Exemplars = append(ts.Exemplars, prompb.Exemplar{Labels: prompb.FromLabels(labels.FromStrings("trace_id", "x"), nil), Value: 1})
		}
		req.Timeseries = append(req.Timeseries, ts)
	}
	req.Metadata = []prompb.MetricMetadata{{Type: prompb.MetricMetadata_COUNTER, MetricFamilyName: "up", Help: "help"}}
	raw, err := req.Marshal()
	if err != nil {
		panic(err)
	}
	return raw
}

func second(list ...series) []byte {
	symbols := writev2.NewSymbolTable()
	var req writev2.Request
	for _, s := range list {
		ts := writev2.TimeSeries{LabelsRefs: symbols.SymbolizeLabels(s.labels, nil)}
		for i := range s.times {
			ts.Samples = append(ts.Samples, writev2.Sample{Timestamp: s.times[i], Value: s.values[i], StartTimestamp: 5})
		}
		for range s.histograms {
			ts.Histograms = append(ts.Histograms, writev2.Histogram{Timestamp: nowMs, Sum: 3})
		}
		for range s.exemplars {
			ts.Exemplars = append(ts.Exemplars, writev2.Exemplar{LabelsRefs: symbols.SymbolizeLabels(labels.FromStrings("trace_id", "x"), nil), Value: 1})
		}
		ts.Metadata.HelpRef = symbols.Symbolize("help")
		req.Timeseries = append(req.Timeseries, ts)
	}
	req.Symbols = symbols.Symbols()
	raw, err := req.Marshal()
	if err != nil {
		panic(err)
	}
	return raw
}

const (
	type1 = "application/x-protobuf;proto=prometheus.WriteRequest"
	type2 = "application/x-protobuf;proto=io.prometheus.write.v2.Request"
)

// TestRemoteWrite sends messages that Prometheus' own encoders made, in both versions.
func TestRemoteWrite(t *testing.T) {
	list := []series{
		{labels: labels.FromStrings("__name__", "up", "job", "node", "instance", "a:9100"), times: []int64{nowMs - 15_000, nowMs}, values: []float64{1, math.Float64frombits(staleNaN)}},
		{labels: labels.FromStrings("__name__", "load1", "instance", "a:9100", "job", "node"), times: []int64{nowMs - 15_000}, values: []float64{0.57}},
		{labels: labels.FromStrings("__name__", "power_w", "thing", "lamp-1"), times: []int64{nowMs}, values: []float64{41.2}},
		{labels: labels.FromStrings("__name__", "power_w", "thing", "lamp-1", "city", "Oslo", "thing_type", "lamp"), times: []int64{nowMs + 1}, values: []float64{42}},
		{labels: labels.FromStrings("__name__", "power_w", "thing", "lamp-1", "city", "Rome"), times: []int64{nowMs}, values: []float64{43}, exemplars: 2},
		{labels: labels.FromStrings("__name__", "power_w", "thing", "lamp-2"), times: []int64{nowMs}, values: []float64{44}},
		{labels: labels.FromStrings("__name__", "odd name", "läbel", "wert"), times: []int64{nowMs, nowMs}, values: []float64{1, math.Inf(-1)}},
	}
	const want = `{"metric":{"__name__":"load1","instance":"a:9100","job":"node"},"values":[0.57],"timestamps":[1772366385000]}
{"metric":{"__name__":"odd name","läbel":"wert"},"values":["-Infinity"],"timestamps":[1772366400000]}
{"metric":{"__name__":"power_w","city":"Oslo","thing":"lamp-1","thing_type":"lamp"},"values":[41.2,42],"timestamps":[1772366400000,1772366400001]}
{"metric":{"__name__":"power_w","city":"Rome","thing":"lamp-1"},"values":[43],"timestamps":[1772366400000]}
{"metric":{"__name__":"power_w","thing":"lamp-2"},"values":[44],"timestamps":[1772366400000]}
{"metric":{"__name__":"up","instance":"a:9100","job":"node"},"values":[1,null],"timestamps":[1772366385000,1772366400000]}`
	for _, isSecond := range []bool{false, true} {
		t.Run(fmt.Sprint("second=", isSecond), func(t *testing.T) {
			g := open(t, vfs.NewMem(), intake.Options{})
			body, contentType := first(list...), type1
			if isSecond {
				body, contentType = second(list...), type2
			}
			resp := send(t, g, body, contentType)
			if resp.StatusCode != 204 {
				t.Fatalf("status %d", resp.StatusCode)
			}
			written := fmt.Sprint(resp.Header["X-Prometheus-Remote-Write-Samples-Written"], resp.Header["X-Prometheus-Remote-Write-Histograms-Written"])
			if want := map[bool]string{false: "[] []", true: "[9] [0]"}[isSecond]; written != want {
				t.Errorf("written %s, want %s", written, want)
			}
			if got := g.export(everything); got != want {
				t.Errorf("\n got %s\nwant %s", got, want)
			}
			if g.store.Stats().RowsAppended != 7 { // up and load1 share one
				t.Errorf("%d rows", g.store.Stats().RowsAppended)
			}
			// what is on disk is what was answered
			g = open(t, g.disk.PowerCut(1), intake.Options{})
			if got := g.export(everything); got != want {
				t.Errorf("after a power cut\n got %s\nwant %s", got, want)
			}
		})
	}
}

// TestRemoteWriteRefusals: what is wrong is told with the right status, and the rest of a request is kept.
func TestRemoteWriteRefusals(t *testing.T) {
	good := series{labels: labels.FromStrings("__name__", "good"), times: []int64{nowMs}, values: []float64{1}}
	f := func(status int, want string, kept bool, body []byte, headers ...string) {
		t.Helper()
		g := open(t, vfs.NewMem(), intake.Options{MaxBytes: 4 << 20})
		resp := g.post(intake.PathRemoteWrite, body, headers...)
		if resp.Status != status || !strings.Contains(string(resp.Body), want) {
			t.Errorf("%d %s, want %d %s", resp.Status, resp.Body, status, want)
		}
		if got := strings.Contains(g.export(everything), "good"); got != kept {
			t.Errorf("%s: kept %v, want %v", want, got, kept)
		}
	}
	both := func(status int, want string, kept bool, bad series) {
		t.Helper()
		f(status, want, kept, snappy.Encode(nil, first(bad, good)), "Content-Type", type1, "Content-Encoding", "snappy")
		f(status, want, kept, snappy.Encode(nil, second(good, bad)), "Content-Type", type2, "Content-Encoding", "snappy")
	}
	both(204, "", true, good)
	both(400, "1 of 2 samples were left out, the rest is kept; the first: a series has no __name__", true,
		series{labels: labels.FromStrings("job", "x"), times: []int64{nowMs}, values: []float64{1}})
	both(400, "does not lie between 1970 and 2200", true, series{labels: labels.FromStrings("__name__", "bad"), times: []int64{-1}, values: []float64{1}})
	both(400, "native histograms are not kept", true, series{labels: labels.FromStrings("__name__", "bad"), histograms: 1})
	both(400, "at most 1024", true, series{labels: labels.FromStrings("__name__", "bad", "l", strings.Repeat("x", 1025)), times: []int64{nowMs}, values: []float64{1}})
	both(400, "at most 512", true, series{labels: labels.FromStrings("__name__", strings.Repeat("x", 513)), times: []int64{nowMs}, values: []float64{1}})
	both(204, "", true, series{labels: labels.FromStrings("__name__", "bad"), exemplars: 3})

	whole := snappy.Encode(nil, first(good))
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	f(204, "", true, whole)                                           // old senders say nothing
	f(204, "", true, whole, "Content-Type", "application/x-protobuf") // or this
	f(204, "", true, z.EncodeAll(second(good), nil), "Content-Type", type2, "Content-Encoding", "zstd")
	f(204, "", true, z.EncodeAll(first(good), nil), "Content-Type", type1, "Content-Encoding", "zstd")
	f(204, "", false, snappy.Encode(nil, nil))
	f(415, "Content-Type", false, whole, "Content-Type", "application/json")
	f(415, "Content-Type", false, whole, "Content-Type", "application/x-protobuf;proto=io.prometheus.write.v3.Request")
	f(415, "Content-Encoding", false, whole, "Content-Encoding", "gzip")
	f(400, "does not unpack", false, []byte("no snappy"), "Content-Encoding", "snappy")
	f(400, "does not unpack", false, []byte("no zstd"), "Content-Encoding", "zstd")
	f(400, "not valid Protocol Buffers", false, snappy.Encode(nil, first(good)[:5]))
	f(400, "first symbol", false, snappy.Encode(nil, []byte{4<<3 | 2, 1, 'x'}), "Content-Type", type2)
	f(400, "symbol 9 of 1", false, snappy.Encode(nil, []byte{4<<3 | 2, 0, 5<<3 | 2, 4, 1<<3 | 2, 2, 9, 9}), "Content-Type", type2)
	f(400, "odd number", false, snappy.Encode(nil, []byte{4<<3 | 2, 0, 5<<3 | 2, 3, 1<<3 | 2, 1, 0}), "Content-Type", type2)
	// bombs
	bomb := bytes.Repeat([]byte{0x1a, 0}, 4<<20)
	f(413, "more than 4 MiB", false, snappy.Encode(nil, bomb))
	f(413, "more than 100 times", false, z.EncodeAll(bomb, nil), "Content-Encoding", "zstd")
	f(413, "more than 100 times", false, []byte("\xff\xff\xff\x01"), "Content-Encoding", "snappy")
}

// TestLargeRequest sends more than one batch, many label sets and twice the same time.
func TestLargeRequest(t *testing.T) {
	var list []series
	for i := range 50 {
		s := series{labels: labels.FromStrings("__name__", fmt.Sprint("m", i%7), "i", fmt.Sprint(i))}
		for j := range 1500 {
			s.times = append(s.times, nowMs+int64(j)*1000)
			s.values = append(s.values, float64(i)+float64(j)/4)
		}
		list = append(list, s, series{labels: s.labels, times: s.times[:1], values: []float64{-1}})
	}
	g := open(t, vfs.NewMem(), intake.Options{})
	resp := g.post(intake.PathRemoteWrite, snappy.Encode(nil, second(list...)), "Content-Type", type2)
	if resp.Status != 204 || resp.Header[0][1] != "75050" {
		t.Fatalf("%d %s %v", resp.Status, resp.Body, resp.Header)
	}
	for i := range 50 {
		lines := strings.Split(g.export(fmt.Sprintf(`{i="%d"}`, i)), "\n")
		if len(lines) != 1 || !strings.Contains(lines[0], fmt.Sprintf(`"values":[-1,%v,`, float64(i)+0.25)) || strings.Count(lines[0], ",") != 2*1499+3 {
			t.Fatalf("series %d: %.200s", i, lines)
		}
	}
}

// TestDiskFull: a full disk is a 503, which senders repeat; when there is space again the same request is taken.
func TestDiskFull(t *testing.T) {
	disk := vfs.NewMem()
	g := open(t, disk, intake.Options{})
	body := snappy.Encode(nil, first(series{labels: labels.FromStrings("__name__", "good"), times: []int64{nowMs}, values: []float64{1}}))
	disk.SetCapacity(1)
	resp := g.post(intake.PathRemoteWrite, body)
	if resp.Status != 503 || !strings.Contains(string(resp.Body), "disk is full") || len(resp.Header) != 1 || resp.Header[0][0] != "Retry-After" {
		t.Fatalf("%d %s %v", resp.Status, resp.Body, resp.Header)
	}
	if resp = g.post(intake.PathInflux, []byte("a b=1")); resp.Status != 503 || !strings.Contains(string(resp.Body), `"code":"unavailable"`) {
		t.Fatalf("%d %s", resp.Status, resp.Body)
	}
	disk.SetCapacity(0)
	for deadline := time.Now().Add(10 * time.Second); resp.Status != 204; resp = g.post(intake.PathRemoteWrite, body) {
		if time.Now().After(deadline) {
			t.Fatalf("still %d %s", resp.Status, resp.Body)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// TestInflux: points become series, and lines that are wrong are named.
func TestInflux(t *testing.T) {
	f := func(query, body string, status int, answer, want string) {
		t.Helper()
		g := open(t, vfs.NewMem(), intake.Options{})
		resp := g.post(intake.PathInflux+query, []byte(body))
		if resp.Status != status || !strings.Contains(string(resp.Body), answer) {
			t.Errorf("%q: %d %s, want %d %s", body, resp.Status, resp.Body, status, answer)
		}
		got := g.export(everything)
		got = strings.ReplaceAll(strings.ReplaceAll(got, `{"metric":`, ""), `"timestamps":`, "")
		if got != want {
			t.Errorf("%q\n got %s\nwant %s", body, got, want)
		}
	}
	f("", `cpu,host=a,region=eu usage=0.64,count=3i,ok=true,big=18446744073709551615u 1772366400000000000`+"\n", 204, "",
		`{"__name__":"cpu_big","host":"a","region":"eu"},"values":[18446744073709552000],[1772366400000]}`+"\n"+
			`{"__name__":"cpu_count","host":"a","region":"eu"},"values":[3],[1772366400000]}`+"\n"+
			`{"__name__":"cpu_ok","host":"a","region":"eu"},"values":[1],[1772366400000]}`+"\n"+
			`{"__name__":"cpu_usage","host":"a","region":"eu"},"values":[0.64],[1772366400000]}`)
	f("", "m v=1e3", 204, "", `{"__name__":"m_v"},"values":[1000],[1772366400000]}`) // now
	f("?precision=s", "m v=.5 1772366399\r\n\n# comment\nm v=2 1772366398", 204, "", `{"__name__":"m_v"},"values":[2,0.5],[1772366398000,1772366399000]}`)
	f("?precision=h", "m v=1 492324", 204, "", `{"__name__":"m_v"},"values":[1],[1772366400000]}`)
	f("?precision=us", "m v=1 1772366400000999", 204, "", `{"__name__":"m_v"},"values":[1],[1772366400000]}`)
	f("", `m\ m\,x,t\=g=a\ b\,c\=d,u=\x f\ f=1`, 204, "", `{"__name__":"m m,x_f f","t=g":"a b,c=d","u":"\\x"},"values":[1],[1772366400000]}`)
	f("", `m fw="1.\"0\\ \n, x=",n=1`, 204, "", `{"__name__":"m_fw_info","value":"1.\"0\\ \\n, x="},"values":[1],[1772366400000]}`+"\n"+
		`{"__name__":"m_n"},"values":[1],[1772366400000]}`)
	f("", "m s=\"two\nlines\" 1772366400000000000\nm bad\nm v=1", 400, "line 3: a field is not name=value; lines with errors=1 dropped=1",
		`{"__name__":"m_s_info","value":"two\nlines"},"values":[1],[1772366400000]}`+"\n"+`{"__name__":"m_v"},"values":[1],[1772366400000]}`)
	f("", "power,thing=lamp-1 w=5", 204, "", `{"__name__":"power_w","city":"Oslo","thing":"lamp-1","thing_type":"lamp"},"values":[5],[1772366400000]}`)
	// each of these is one bad line between two good ones
	bad := func(line, answer string) {
		t.Helper()
		f("", "a v=1\n"+line+"\nb v=1", 400, answer, `{"__name__":"a_v"},"values":[1],[1772366400000]}`+"\n"+`{"__name__":"b_v"},"values":[1],[1772366400000]}`)
	}
	bad("m", "partial write: line 2: there are no fields")
	bad(",t=1 v=1", "the measurement has no name")
	bad("m,t v=1", "a tag is not name=value")
	bad("m,t= v=1", "the value of tag")
	bad("m,t=a=b v=1", "the value of tag")
	bad("m v", "a field is not name=value")
	bad("m v=", "is missing")
	bad("m v=1i2", "is no number")
	bad("m v=NaN", "is no number")
	bad("m v=inf", "is no number")
	bad("m v=0x10", "is no number")
	bad("m v=1_0", "is no number")
	bad("m v=9223372036854775808i", "is no number")
	bad("m v=-1u", "is no number")
	bad("m v=maybe", "is no number")
	bad("m v=1 now", "is no whole number")
	bad("m v=1 1 1", "more behind the point")
	bad("m v=1 -5000000", "does not lie between 1970 and 2200")
	bad("m,__name__=x v=1", "__name__ is reserved")
	bad("m,t=1,t=2 v=1", "twice")
	bad("m,t=\xff v=1", "not UTF-8")
	bad("m,t="+strings.Repeat("x", 1025)+" v=1", "at most 1024")
	bad(`m v="`+strings.Repeat("x", 1025)+`"`, "at most 1024")
	f("", `m v="no end`, 400, "has no end", "")
	f("?precision=day", "m v=1", 400, "precision", "")
	f("?precision=s", "m v=1 1772366400000", 400, "is precision right?", "")

	g := open(t, vfs.NewMem(), intake.Options{})
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	z.Write([]byte("m v=7"))
	z.Close()
	if resp := g.post(intake.PathInflux2+"?bucket=x&org=y&precision=ns", packed.Bytes(), "Content-Encoding", "gzip"); resp.Status != 204 {
		t.Errorf("gzip: %d %s", resp.Status, resp.Body)
	}
	if resp := g.post(intake.PathInflux2, packed.Bytes(), "Content-Encoding", "br"); resp.Status != 415 {
		t.Errorf("brotli: %d %s", resp.Status, resp.Body)
	}
	if got := g.export("m_v"); !strings.Contains(got, "[7]") {
		t.Errorf("gzip: %s", got)
	}
}

// TestImport: what one gateway exports another imports, exactly, in its memory and on its disk.
func TestImport(t *testing.T) {
	a := open(t, vfs.NewMem(), intake.Options{})
	var list []series
	for i := range 5 {
		s := series{labels: labels.FromStrings("__name__", fmt.Sprint("m", i), "a", "\"\\\n ü")}
		for j := range 20_000 {
			s.times = append(s.times, nowMs+int64(j))
			s.values = append(s.values, math.Sqrt(float64(i*j)))
		}
		list = append(list, s)
	}
	list = append(list,
		series{labels: labels.FromStrings("__name__", "power_w", "thing", "lamp-1"), times: []int64{1, 2}, values: []float64{0.1, 1e-9}},
		series{labels: labels.FromStrings("__name__", "odd"), times: []int64{1, 2, 3, 4, 5, 6, 7},
			values: []float64{math.NaN(), math.Inf(1), math.Inf(-1), math.Float64frombits(staleNaN), 1e300, 5e-324, 0.5}})
	if resp := a.post(intake.PathRemoteWrite, snappy.Encode(nil, first(list...))); resp.Status != 204 {
		t.Fatalf("%d %s", resp.Status, resp.Body)
	}
	text := a.export(everything)
	if n := strings.Count(text, "\n") + 1; n != 5*3+2 {
		t.Fatalf("%d lines", n)
	}
	b := open(t, vfs.NewMem(), intake.Options{})
	if resp := b.post(intake.PathImport, []byte(text)); resp.Status != 204 {
		t.Fatalf("%d %s", resp.Status, resp.Body)
	}
	if got := b.export(everything); got != text {
		t.Errorf("the copy differs: %d bytes, want %d", len(got), len(text))
	}
	if b.store.Stats().Things != 3 || b.store.Sources() != 2 || len(b.store.Twin(nil, 1)) != 1 {
		t.Errorf("%d sources, %+v", b.store.Sources(), b.store.Stats())
	}
	var odd tsdb.Samples
	id, _ := b.store.Dict().LookupMetric("odd")
	for i := range b.store.Sources() {
		if err := b.store.Read(&odd, tsdb.FirstSource+tsdb.ThingID(i), id, 0, 10); err != nil {
			t.Fatal(err)
		}
		for j, v := range odd.Values {
			if want := list[6].values[j]; math.Float64bits(v) != math.Float64bits(want) {
				t.Errorf("odd value %d is %x, want %x", j, math.Float64bits(v), math.Float64bits(want))
			}
		}
	}
	// bad lines are named and the others kept
	c := open(t, vfs.NewMem(), intake.Options{})
	resp := c.post(intake.PathImport, []byte(`{"metric":{"__name__":"a"},"values":[1,2],"timestamps":[1]}

{"metric":{"__name__":"b"},"values":["x"],"timestamps":[1]}
{"metric":{"__name__":"c"},"values":[1.5,"2"],"timestamps":[1,2]}
nonsense
{"metric":{"x":"y"},"values":[1],"timestamps":[1]}
{"metric":{"__name__":"d"},"values":[],"timestamps":[]}`))
	if want := "4 lines could not be kept whole, the rest is; the first: line 1: values and timestamps"; resp.Status != 400 || !strings.Contains(string(resp.Body), want) {
		t.Errorf("%d %s, want %s", resp.Status, resp.Body, want)
	}
	if got, want := c.export(everything), `{"metric":{"__name__":"c"},"values":[1.5,2],"timestamps":[1,2]}`; got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
}

// TestTurns: a request beyond those that run and wait is refused, and one whose client has gone gives its turn up.
func TestTurns(t *testing.T) {
	g := open(t, vfs.NewMem(), intake.Options{MaxConcurrent: 1, MaxQueue: 1})
	entered := make(chan struct{})
	done := make(chan int, 2)
	hold := intake.Request{Path: intake.PathInflux, Form: url.Values{}, Body: []byte("m v=1"), Header: func(string) string { return "" }}
	release := g.intake.Hold()
	go func() {
		close(entered)
		done <- g.intake.Serve(context.Background(), hold).Status
	}()
	<-entered
	for g.intake.Waiting() == 0 {
		time.Sleep(time.Millisecond)
	}
	if resp := g.post(intake.PathInflux, []byte("m v=1")); resp.Status != 429 {
		t.Errorf("one too many: %d %s", resp.Status, resp.Body)
	}
	release()
	if status := <-done; status != 204 {
		t.Errorf("the one that waited: %d", status)
	}
	release = g.intake.Hold()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if resp := g.intake.Serve(ctx, hold); resp.Status != 429 {
		t.Errorf("a client that has gone: %d", resp.Status)
	}
	release()
	if resp := g.post("/influx/query", nil); resp.Status != 404 {
		t.Errorf("unknown path: %d", resp.Status)
	}
}
