package prom

import (
	"bytes"
	"context"
	"encoding/json"
	"math"
	"math/rand/v2"
	"net/url"
	"reflect"
	"strconv"
	"testing"
	"unicode/utf8"

	"github.com/VictoriaMetrics/metrics"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"

	"muster/tsdb/vfs"
)

// TestEncode reads what the encoder wrote with encoding/json and compares it with what went in.
func TestEncode(t *testing.T) {
	values := []float64{0, math.Copysign(0, -1), 1, -1.5, 0.1, 1e-6, 9.99e-7, 1e20, 1e21, -1e300, math.MaxFloat64, math.SmallestNonzeroFloat64, math.Inf(1), math.Inf(-1)}
	times := []int64{0, 1, 10, 999, 1000, 1001, 1772366400123, 1772366400120, -1, -1500}
	texts := []string{"", "plain", `"\/`, "\x00\x1f\t\r\n", "Ås <&> \u2028\u2029 \U0001F600", "bad \xff\xc3 utf-8"}
	var matrix promql.Matrix
	var vector promql.Vector
	for i, text := range texts {
		metric := labels.FromStrings("__name__", "m"+strconv.Itoa(i), "l", text)
		s := promql.Series{Metric: metric}
		for _, v := range values {
			for _, ms := range times {
				s.Floats = append(s.Floats, promql.FPoint{T: ms, F: v})
				vector = append(vector, promql.Sample{Metric: metric, T: ms, F: v})
			}
		}
		matrix = append(matrix, s)
	}
	var gotMatrix []struct {
		Metric map[string]string
		Values [][2]any
	}
	decode(t, matrix, &gotMatrix)
	var gotVector []struct {
		Metric map[string]string
		Value  [2]any
	}
	decode(t, vector, &gotVector)
	point := func(got [2]any, ms int64, v float64) {
		t.Helper()
		back, err := strconv.ParseFloat(got[1].(string), 64)
		if got[0].(float64) != float64(ms)/1000 || err != nil || math.Float64bits(back) != math.Float64bits(v) {
			t.Errorf("(%d, %v) became %v", ms, v, got)
		}
	}
	n := 0
	for i, s := range matrix {
		want := s.Metric.Map()
		for name, v := range want {
			want[name] = validText(v)
		}
		if texts[i] != "bad \xff\xc3 utf-8" && !reflect.DeepEqual(gotMatrix[i].Metric, want) {
			t.Errorf("labels %v became %v", want, gotMatrix[i].Metric)
		}
		if !utf8.ValidString(gotMatrix[i].Metric["l"]) {
			t.Errorf("no UTF-8: %q", gotMatrix[i].Metric["l"])
		}
		for j, p := range s.Floats {
			point(gotMatrix[i].Values[j], p.T, p.F)
			point(gotVector[n].Value, p.T, p.F)
			n++
		}
	}
	var scalar [2]any
	decode(t, promql.Scalar{T: 1500, V: math.NaN()}, &scalar)
	if scalar != [2]any{1.5, "NaN"} {
		t.Errorf("scalar %v", scalar)
	}
	decode(t, promql.String{T: 1500, V: "a\nb"}, &scalar)
	if scalar != [2]any{1.5, "a\nb"} {
		t.Errorf("string %v", scalar)
	}
	// Prometheus writes its test histogram so.
	h := &histogram.FloatHistogram{
		Count: 10, Sum: 1e-9, ZeroThreshold: 0.001, ZeroCount: 2,
		PositiveSpans: []histogram.Span{{Offset: 0, Length: 2}}, PositiveBuckets: []float64{3, 4},
		NegativeSpans: []histogram.Span{{Offset: 0, Length: 1}}, NegativeBuckets: []float64{1},
	}
	const wantHistogram = `{"metric":{},"histogram":[1,{"count":"10","sum":"1e-09","buckets":[[1,"-1","-0.5","1"],[3,"-0.001","0.001","2"],[0,"0.5","1","3"],[0,"1","2","4"]]}]}`
	if got := string(appendSample(nil, &promql.Sample{T: 1000, H: h})); got != wantHistogram {
		t.Errorf("histogram\n got %s\nwant %s", got, wantHistogram)
	}
}

func decode(t *testing.T, v parser.Value, into any) {
	t.Helper()
	text, err := appendValue(nil, v, math.MaxInt)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, into); err != nil {
		t.Fatalf("%v\n%.300s", err, text)
	}
}

func TestAppendString(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		raw := make([]byte, rng.IntN(12))
		for i := range raw {
			raw[i] = byte(rng.Uint32() >> (rng.IntN(2) * 25))
		}
		var got, want string
		if err := json.Unmarshal(appendString(nil, string(raw)), &got); err != nil {
			t.Fatalf("%q: %v", raw, err)
		}
		text, err := json.Marshal(string(raw))
		if err == nil {
			err = json.Unmarshal(text, &want)
		}
		if err != nil || got != want {
			t.Fatalf("%q became %q, want %q (%v)", raw, got, want, err)
		}
	}
}

// FuzzQuery sends any text as a query and as a selector: the answer is JSON, and nothing panics on the way.
func FuzzQuery(f *testing.F) {
	for _, seed := range []string{
		`power_w`, `avg by (city) (power_w)`, `rate(energy_total{thing=~"lamp.*"}[5m:10s] offset 1m) @ end()`, `{"temp°C"}`,
		`topk(2, fw_info) * on (thing) group_left (value) power_w`, `label_replace(power_w, "a", "$1", "thing", "(.*)-.*")`,
		`histogram_quantile(0.9, power_w)`, `quantile_over_time(2, power_w[1y])`, `absent_over_time(x[5m])`, `"a" == 1`, `-1^-2 % 0`,
		`sum without () ({__name__!=""}) > bool Inf`, `predict_linear(power_w[10m], 1e300)`, `clamp(power_w, NaN, -Inf)`, `count_values("a b", power_w)`,
		`topk by (city) (1, power_w)`, `stddev without (thing) (rate(energy_total[5m]))`, `sum by (__name__, value) ({__name__=~".+"} offset 1h)`,
	} {
		f.Add(seed)
	}
	set := metrics.NewSet()
	api, _, _ := openFleet(f, Options{Clock: vfs.NewManual(now), Metrics: set, MaxSamples: 20_000})
	panics := set.GetOrCreateCounter("muster_prom_panics_total")
	f.Fuzz(func(t *testing.T, text string) {
		f := func(path string, form url.Values) {
			form.Set("timeout", "500ms")
			resp := api.Serve(context.Background(), "POST", path, form)
			// "unexpected error" is what the engine makes of a panic below it.
			if !json.Valid(resp.Body) || !utf8.Valid(resp.Body) || bytes.Contains(resp.Body, []byte("unexpected error")) {
				t.Errorf("%s: %d %q", path, resp.Status, resp.Body)
			}
		}
		f("/api/v1/query", url.Values{"query": {text}, "stats": {"all"}})
		f("/api/v1/query_range", url.Values{"query": {text}, "start": {"1772366000"}, "end": {"1772366400"}, "step": {"100"}})
		f("/api/v1/format_query", url.Values{"query": {text}})
		f("/api/v1/series", url.Values{"match[]": {text}})
		if panics.Get() > 0 {
			t.Error("a panic was recovered")
		}
	})
}
