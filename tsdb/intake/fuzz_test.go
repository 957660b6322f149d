package intake_test

import (
	"bytes"
	"fmt"
	"math"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/klauspost/compress/snappy"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"

	"muster/tsdb"
	"muster/tsdb/intake"
	"muster/tsdb/vfs"
)

// cell is where a sample should be found again.
type cell struct {
	labels string // with the name
	ms     int64
}

// kept reads back every sample of sources.
func kept(t *testing.T, g *gateway) map[cell]uint64 {
	t.Helper()
	got := map[cell]uint64{}
	var samples tsdb.Samples
	for _, m := range g.store.Metrics() {
		for i := range g.store.Sources() {
			id := tsdb.FirstSource + tsdb.ThingID(i)
			list, ok := g.store.SourceLabels(nil, id)
			if !ok {
				t.Fatalf("source %d has no labels", id)
			}
			if err := g.store.Read(&samples, id, m.ID, 0, math.MaxInt64); err != nil {
				t.Fatal(err)
			}
			b := labels.NewBuilder(labels.FromStrings("__name__", m.Name))
			for _, l := range list {
				b.Set(l.Name, l.Value)
			}
			for j, ms := range samples.TimesMs {
				got[cell{b.Labels().String(), ms}] = math.Float64bits(samples.Values[j])
			}
		}
	}
	return got
}

// ofThing says whether labels are those of the registered thing, whose samples are in no source.
func ofThing(set map[string]string) bool {
	same := 1
	for _, l := range (registry{}).AppendLabels(nil, 1) {
		if set[l.Name] == l.Value {
			same++
		}
	}
	return set["thing"] == "lamp-1" && same == len(set)
}

// expected is what generated code decodes from a request, less what the store does not take: the oracle.
func expected(raw []byte, isSecond bool) (want map[cell]uint64, ok bool) {
	want = map[cell]uint64{}
	add := func(pairs []string, ms int64, v float64) {
		set, name, seen := map[string]string{}, "", map[string]bool{}
		for i := 0; i+1 < len(pairs); i += 2 {
			n, v := pairs[i], pairs[i+1]
			if n == "__name__" && !seen[n] {
				seen[n], name = true, v
				continue
			}
			if v == "" {
				continue
			}
			if seen[n] || n == "" || len(n) > 256 || len(v) > 1024 || !utf8.ValidString(n) || !utf8.ValidString(v) {
				return
			}
			seen[n], set[n] = true, v
		}
		if name == "" || len(name) > 512 || !utf8.ValidString(name) || len(set) > 64 || ms < 0 || ms >= tsdb.MaxTimeMs || ofThing(set) {
			return
		}
		set["__name__"] = name
		want[cell{labels.FromMap(set).String(), ms}] = math.Float64bits(v)
	}
	if !isSecond {
		var req prompb.WriteRequest
		if req.Unmarshal(raw) != nil {
			return nil, false
		}
		for _, ts := range req.Timeseries {
			var pairs []string
			for _, l := range ts.Labels {
				pairs = append(pairs, l.Name, l.Value)
			}
			for _, s := range ts.Samples {
				add(pairs, s.Timestamp, s.Value)
			}
		}
		return want, true
	}
	var req writev2.Request
	if req.Unmarshal(raw) != nil {
		return nil, false
	}
	for _, ts := range req.Timeseries {
		var pairs []string
		for _, ref := range ts.LabelsRefs {
			if int(ref) >= len(req.Symbols) {
				return nil, false
			}
			pairs = append(pairs, req.Symbols[ref])
		}
		for _, s := range ts.Samples {
			add(pairs, s.Timestamp, s.Value)
		}
	}
	return want, true
}

// FuzzRemoteWrite: any message is answered; where it is taken, what the store has is what Prometheus' own decoder reads from it.
func FuzzRemoteWrite(f *testing.F) {
	list := []series{
		{labels: labels.FromStrings("__name__", "up", "job", "node"), times: []int64{1, 2, 2}, values: []float64{1, 0.1, math.Float64frombits(staleNaN)}, exemplars: 1},
		{labels: labels.FromStrings("__name__", "up", "thing", "lamp-1"), times: []int64{-5}, values: []float64{1}},
		{labels: labels.FromStrings("__name__", "up", "floor", "2", "thing", "lamp-1"), times: []int64{5}, values: []float64{1}},
		{labels: labels.FromStrings("job", "node"), times: []int64{7}, values: []float64{1}},
	}
	f.Add(first(list...), false)
	f.Add(second(list...), true)
	f.Add([]byte{4<<3 | 2, 0, 5<<3 | 2, 4, 1 << 3, 0, 1 << 3, 0}, true) // references that are not packed
	f.Fuzz(func(t *testing.T, raw []byte, isSecond bool) {
		g := open(t, vfs.NewMem(), intake.Options{})
		contentType := type1
		if isSecond {
			contentType = type2
		}
		resp := g.post(intake.PathRemoteWrite, snappy.Encode(nil, raw), "Content-Type", contentType)
		want, ok := expected(raw, isSecond)
		got := kept(t, g)
		whole := resp.Status == 204 || bytes.Contains(resp.Body, []byte("the rest is kept"))
		if !whole && resp.Status != 400 {
			t.Fatalf("%d %s", resp.Status, resp.Body)
		}
		if whole && ok && fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("\n got %v\nwant %v", got, want)
		}
		g.store.Close()
	})
}

// FuzzInflux: a point that is written with all its escapes comes back as it was, and any text is answered.
func FuzzInflux(f *testing.F) {
	f.Add("cpu", "host", "a b,c=d", "usage", "text with \"quotes\" and \\", 1.5, "cpu v=1\n\nx")
	f.Add("m", "t", "v", "f", "", -0.001, "\\,\\ =\"\n#\r\n,")
	name := strings.NewReplacer(",", `\,`, " ", `\ `)
	key := strings.NewReplacer(",", `\,`, " ", `\ `, "=", `\=`)
	quoted := strings.NewReplacer(`\`, `\\`, `"`, `\"`)
	f.Fuzz(func(t *testing.T, measurement, tag, value, field, text string, number float64, raw string) {
		g := open(t, vfs.NewMem(), intake.Options{})
		defer g.store.Close()
		if resp := g.post(intake.PathInflux, []byte(raw)); resp.Status != 204 && resp.Status != 400 {
			t.Fatalf("%q: %d %s", raw, resp.Status, resp.Body)
		}
		for _, s := range []string{measurement, tag, value, field} {
			// Line breaks cannot be escaped, nor can a backslash before what it would escape.
			if s == "" || strings.ContainsAny(s, "\\\n\r\t") || !utf8.ValidString(s) || len(s) > 200 {
				return
			}
		}
		if math.IsNaN(number) || math.IsInf(number, 0) || tag == "__name__" || tag == "thing" || strings.HasPrefix(measurement, "#") || len(text) > 1024 {
			return
		}
		line := fmt.Sprintf(`%s,%s=%s %s=%v,s="%s" 1772366400000000000`, name.Replace(measurement), key.Replace(tag), key.Replace(value), key.Replace(field), number, quoted.Replace(text))
		h := open(t, vfs.NewMem(), intake.Options{})
		defer h.store.Close()
		if resp := h.post(intake.PathInflux, []byte(line)); resp.Status != 204 {
			t.Fatalf("%q: %d %s", line, resp.Status, resp.Body)
		}
		m, ok := h.store.Dict().LookupMetric(measurement + "_" + field)
		last, there := h.store.Last(tsdb.FirstSource, m)
		if field == "s" {
			return // one column for both
		}
		if !ok || !there || math.Float64bits(last.Number) != math.Float64bits(number) || last.TimeMs != nowMs {
			t.Fatalf("%q: %+v %v %v", line, last, ok, there)
		}
		if list, ok := h.store.SourceLabels(nil, tsdb.FirstSource); !ok || len(list) != 1 || list[0] != (tsdb.Label{Name: tag, Value: value}) {
			t.Fatalf("%q: %q", line, list)
		}
		m, _ = h.store.Dict().LookupMetric(measurement + "_s")
		if last, _ := h.store.Last(tsdb.FirstSource, m); last.Text != text {
			t.Fatalf("%q: text %q, want %q", line, last.Text, text)
		}
	})
}
