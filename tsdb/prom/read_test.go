package prom

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/snappy"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/prompb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
)

func readRequest(t *testing.T, types []prompb.ReadRequest_ResponseType, queries ...*prompb.Query) []byte {
	t.Helper()
	raw, err := (&prompb.ReadRequest{Queries: queries, AcceptedResponseTypes: types}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return snappy.Encode(nil, raw)
}

func equal(name, value string) *prompb.LabelMatcher {
	return &prompb.LabelMatcher{Type: prompb.LabelMatcher_EQ, Name: name, Value: value}
}

// sampled decodes a sampled answer to a line per series: how many samples, the first and the last.
func sampled(t *testing.T, resp Response, encoding string) string {
	t.Helper()
	if resp.Status != 200 || resp.ContentType != "application/x-protobuf" || encoding != "snappy" {
		t.Fatalf("%d %s %s %s", resp.Status, resp.ContentType, encoding, resp.Body)
	}
	raw, err := snappy.Decode(nil, resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var answer prompb.ReadResponse
	if err := answer.Unmarshal(raw); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for i, r := range answer.Results {
		for _, ts := range r.Timeseries {
			var builder labels.ScratchBuilder
			a, z := ts.Samples[0], ts.Samples[len(ts.Samples)-1]
			fmt.Fprintln(&b, i, ts.ToLabels(&builder, nil), len(ts.Samples), a.Timestamp, a.Value, z.Timestamp, z.Value)
		}
	}
	return b.String()
}

// streamed decodes a streamed answer to the same lines, and returns how many frames it had.
func streamed(t *testing.T, resp Response, encoding string) (string, int) {
	t.Helper()
	if resp.Status != 200 || resp.ContentType != "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse" || encoding != "" {
		t.Fatalf("%d %s %s %s", resp.Status, resp.ContentType, encoding, resp.Body)
	}
	var lines []string
	counts, firsts, lasts := map[string]int{}, map[string]string{}, map[string]string{}
	frames := 0
	for body := resp.Body; len(body) > 0; frames++ {
		size, n := binary.Uvarint(body)
		sum, frame := binary.BigEndian.Uint32(body[n:]), body[n+4:n+4+int(size)]
		if crc32.Checksum(frame, crc32.MakeTable(crc32.Castagnoli)) != sum {
			t.Fatal("the checksum of a frame is wrong")
		}
		body = body[n+4+int(size):]
		var answer prompb.ChunkedReadResponse
		if err := answer.Unmarshal(frame); err != nil {
			t.Fatal(err)
		}
		for _, s := range answer.ChunkedSeries {
			var builder labels.ScratchBuilder
			key := fmt.Sprint(answer.QueryIndex, " ", s.ToLabels(&builder, nil))
			if counts[key] == 0 {
				lines = append(lines, key)
			}
			for _, c := range s.Chunks {
				chunk, err := chunkenc.FromData(chunkenc.Encoding(c.Type), c.Data)
				if err != nil {
					t.Fatal(err)
				}
				it := chunk.Iterator(nil)
				var ms int64
				for it.Next() != chunkenc.ValNone {
					var v float64
					ms, v = it.At()
					if ms < c.MinTimeMs || ms > c.MaxTimeMs {
						t.Fatalf("%d is not within %d and %d", ms, c.MinTimeMs, c.MaxTimeMs)
					}
					lasts[key] = fmt.Sprint(ms, " ", v)
					if counts[key]++; counts[key] == 1 {
						firsts[key] = lasts[key]
					}
				}
				if ms != c.MaxTimeMs || it.Err() != nil {
					t.Fatalf("a chunk ends at %d, want %d: %v", ms, c.MaxTimeMs, it.Err())
				}
			}
		}
	}
	var b strings.Builder
	for _, key := range lines {
		fmt.Fprintln(&b, key, counts[key], firsts[key], lasts[key])
	}
	return b.String(), frames
}

// readAll is a remote read with all that it streams. most is the largest piece.
func readAll(api *API, body []byte) (resp Response, encoding string, most int, err error) {
	run, resp, encoding := api.RemoteRead(context.Background(), body)
	if run != nil {
		err = run(context.Background(), writerFunc(func(part []byte) (int, error) {
			most = max(most, len(part))
			resp.Body = append(resp.Body, part...)
			return len(part), nil
		}))
	}
	return resp, encoding, most, err
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// TestRemoteRead asks as Prometheus does, for both forms of the answer, and decodes them with Prometheus' own code.
func TestRemoteRead(t *testing.T) {
	api, _, w := openFleet(t, Options{})
	ms := now.UnixMilli()
	long := sourceOf(t, w.store, "job", "long")
	for i := range 200_000 {
		w.row(long, ms-200_000+int64(i), "noise", float64(i)/3)
	}
	queries := []*prompb.Query{
		{StartTimestampMs: ms - 100_000, EndTimestampMs: ms, Matchers: []*prompb.LabelMatcher{equal("__name__", "power_w"), {Type: prompb.LabelMatcher_RE, Name: "city", Value: "O.*"}}},
		{StartTimestampMs: 0, EndTimestampMs: ms, Matchers: []*prompb.LabelMatcher{equal("job", "long")}, Hints: &prompb.ReadHints{StepMs: 1000, Func: "rate"}},
		{StartTimestampMs: ms + 1, EndTimestampMs: ms + 2, Matchers: []*prompb.LabelMatcher{equal("__name__", "power_w")}},
	}
	want := `0 {__name__="power_w", city="Oslo", thing="lamp-1", thing_type="street-light"} 11 1772366300000 10 1772366400000 10
0 {__name__="power_w", city="Oslo", thing="lamp-2", thing_type="street-light"} 11 1772366300000 20 1772366400000 20
1 {__name__="noise", job="long"} 200000 1772366200000 0 1772366399999 66666.33333333333
`
	resp, encoding, _, _ := readAll(api, readRequest(t, nil, queries...))
	if got := sampled(t, resp, encoding); got != want {
		t.Errorf("sampled\n got %s\nwant %s", got, want)
	}
	stream := readRequest(t, []prompb.ReadRequest_ResponseType{prompb.ReadRequest_STREAMED_XOR_CHUNKS, prompb.ReadRequest_SAMPLES}, queries...)
	resp, encoding, _, err := readAll(api, stream)
	if err != nil {
		t.Fatal(err)
	}
	got, frames := streamed(t, resp, encoding)
	if got != want || frames < 3 {
		t.Errorf("streamed in %d frames\n got %s\nwant %s", frames, got, want)
	}
	f := func(status int, want string, body []byte) {
		t.Helper()
		resp, _, _, _ := readAll(api, body)
		if resp.Status != status || !strings.Contains(string(resp.Body), want) {
			t.Errorf("%d %s, want %d %s", resp.Status, resp.Body, status, want)
		}
	}
	f(400, "no snappy block", []byte("x"))
	f(400, "not valid Protocol Buffers", snappy.Encode(nil, []byte("x")))
	f(400, "no matchers", readRequest(t, nil, &prompb.Query{}))
	f(400, "matcher type 9", readRequest(t, nil, &prompb.Query{Matchers: []*prompb.LabelMatcher{{Type: 9}}}))
	f(400, "too large; shorten", readRequest(t, nil, &prompb.Query{Matchers: []*prompb.LabelMatcher{{Type: prompb.LabelMatcher_RE, Name: "a`", Value: "`" + strings.Repeat("(.{30}){30}|", 250)}}}))
	f(400, "more than 64 queries", readRequest(t, nil, slices.Repeat(queries[2:], 65)...))
	f(400, "larger than 1024 KiB", snappy.Encode(nil, make([]byte, 2<<20)))
	small := New(w.store, directory(), Options{MaxResultBytes: 1 << 20})
	if resp, _, _, _ := readAll(small, readRequest(t, nil, queries...)); resp.Status != 422 || !strings.Contains(string(resp.Body), "query.max-result") {
		t.Errorf("%d %.200s", resp.Status, resp.Body)
	}
	// What is streamed has no end, but a frame has.
	resp, encoding, most, err := readAll(small, stream)
	if got, _ := streamed(t, resp, encoding); err != nil || got != want || len(resp.Body) < 1<<20 || most > frameBytes+frameBytes/4 {
		t.Errorf("%d bytes, at most %d at once, %v: %.300s", len(resp.Body), most, err, got)
	}
	// A client that reads nothing more ends it, and gives its place back.
	for range maxStreams + 1 {
		run, resp, _ := api.RemoteRead(context.Background(), stream)
		if run == nil {
			t.Fatalf("%s", resp.Body)
		}
		if err := run(context.Background(), writerFunc(func([]byte) (int, error) { return 0, io.ErrClosedPipe })); err != io.ErrClosedPipe {
			t.Errorf("a stream whose client has gone ended with %v", err)
		}
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	run, _, _ := api.RemoteRead(context.Background(), stream)
	if err := run(ended, io.Discard); err != context.Canceled {
		t.Errorf("a stream that was canceled ended with %v", err)
	}
}

// FuzzRemoteRead: any request is answered.
func FuzzRemoteRead(f *testing.F) {
	store := openStore(f)
	fillFleet(f, store)
	api := New(store, directory(), Options{})
	raw, _ := (&prompb.ReadRequest{Queries: []*prompb.Query{{EndTimestampMs: now.UnixMilli(), Matchers: []*prompb.LabelMatcher{equal("__name__", "on")}}}}).Marshal()
	f.Add(raw)
	f.Fuzz(func(t *testing.T, raw []byte) {
		if resp, _, _, err := readAll(api, snappy.Encode(nil, raw)); resp.Status == 500 || err != nil {
			t.Fatalf("%s", resp.Body)
		}
	})
}

// TestExport: parameters are checked before a byte is written, series are listed once, and exports at once are bounded.
func TestExport(t *testing.T) {
	api, _, w := openFleet(t, Options{MaxSeries: 5})
	f := func(form url.Values, want string) {
		t.Helper()
		run, resp := api.Export(form)
		if run == nil {
			if got := fmt.Sprint(resp.Status, " ", string(resp.Body)); !strings.HasPrefix(got, want) {
				t.Errorf("%v\n got %s\nwant %s", form, got, want)
			}
			return
		}
		var out bytes.Buffer
		if err := run(context.Background(), &out); err != nil {
			t.Fatal(err)
		}
		if got := out.String(); got != want {
			t.Errorf("%v\n got %s\nwant %s", form, got, want)
		}
	}
	at := fmt.Sprint(now.Unix())
	w.sync()
	f(url.Values{"match[]": {`{thing="lamp-2",__name__=~"power_w|on"}`, `{__name__="on",thing=~"lamp-2|lamp-9"}`}, "start": {at}, "end": {at}},
		`{"metric":{"__name__":"on","city":"Oslo","thing":"lamp-2","thing_type":"street-light"},"values":[1],"timestamps":[1772366400000]}
{"metric":{"__name__":"power_w","city":"Oslo","thing":"lamp-2","thing_type":"street-light"},"values":[20],"timestamps":[1772366400000]}
`)
	f(url.Values{"match[]": {`fw_info{thing="lamp-1"}`}, "start": {fmt.Sprint(now.Unix() - 20)}, "end": {fmt.Sprint(now.Unix() - 10)}},
		`{"metric":{"__name__":"fw_info","city":"Oslo","thing":"lamp-1","thing_type":"street-light","value":"1.1"},"values":[1,1],"timestamps":[1772366380000,1772366390000]}
`)
	f(url.Values{"match[]": {`nothing`}}, "")
	f(nil, `400 {"status":"error","errorType":"bad_data","error":"no match[] parameter provided`)
	f(url.Values{"match[]": {`{`}}, `400 `)
	f(url.Values{"match[]": {`up`}, "start": {"x"}}, `400 `)
	// more series in all than one query may have, but not of one metric
	run, _ := api.Export(url.Values{"match[]": {`{__name__!=""}`}})
	var out bytes.Buffer
	if err := run(context.Background(), &out); err != nil || strings.Count(out.String(), "\n") < 8 {
		t.Errorf("%d lines, %v", strings.Count(out.String(), "\n"), err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	first, _ := api.Export(url.Values{"match[]": {`{__name__="on"}`}})
	second, _ := api.Export(url.Values{"match[]": {`{__name__="on"}`}})
	f(url.Values{"match[]": {`{__name__="on"}`}}, `429 `)
	if first(ctx, &out) == nil || second(ctx, &out) == nil {
		t.Error("an export whose client has gone has no error")
	}
	f(url.Values{"match[]": {`nothing`}}, "")
}
