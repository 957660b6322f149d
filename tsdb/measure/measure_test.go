package measure

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/klauspost/compress/s2"

	"muster/tsdb"
)

// The fleet is the same for the same seed, keeps time, and is as late and as disordered as it says.
func TestFleet(t *testing.T) {
	const devices, rounds = 100, 500
	make := func(seed uint64) (all []message) {
		f := newFleet(0, devices, seed)
		for range rounds {
			all = f.round(all)
		}
		return f.rest(all)
	}
	all := make(1)
	if !reflect.DeepEqual(all, make(1)) {
		t.Fatal("the same seed gives another fleet")
	}
	if reflect.DeepEqual(all, make(2)) {
		t.Fatal("another seed gives the same fleet")
	}
	late := 0
	var newest [devices]int64
	seen := map[string]bool{}
	for _, m := range all {
		if m.timeMs < newest[m.device] {
			late++
		}
		newest[m.device] = max(newest[m.device], m.timeMs)
		due := (m.timeMs - firstMs - int64(m.device)*37%stepMs + stepMs/2) / stepMs
		if off := m.timeMs - firstMs - int64(m.device)*37%stepMs - due*stepMs; off < -jitterMs || off > jitterMs {
			t.Fatalf("%+v is %d ms off", m, off)
		}
		seen[fmt.Sprint(m.device, due)] = true
	}
	if len(all) != devices*rounds || len(seen) != len(all) {
		t.Fatalf("%d messages, %d of them once, want %d", len(all), len(seen), devices*rounds)
	}
	if share := float64(late) / float64(len(all)); share < 0.018 || share > 0.025 {
		t.Fatalf("%.4f of the messages come late", share)
	}
}

// jsonDecoder is a Decoder for tests: slow, and by another's parser.
func jsonDecoder(dict *tsdb.Dict) Decoder {
	return func(payload []byte, add func(int64, []tsdb.Value) error) error {
		var object map[string]any
		if err := json.Unmarshal(payload, &object); err != nil {
			return err
		}
		var values []tsdb.Value
		for name, v := range object {
			id, err := dict.Metric([]byte(name))
			if err != nil {
				return err
			}
			switch v := v.(type) {
			case bool:
				values = append(values, tsdb.Value{Metric: id, Kind: tsdb.Bool, Mantissa: map[bool]int64{true: 1}[v]})
			case string:
				text, err := dict.String([]byte(v))
				if err != nil {
					return err
				}
				values = append(values, tsdb.Value{Metric: id, Kind: tsdb.String, Mantissa: int64(text)})
			case float64:
				if name != "ts" {
					values = append(values, tsdb.Value{Metric: id, Kind: tsdb.Float, Mantissa: int64(math.Float64bits(v))})
				}
			}
		}
		return add(int64(object["ts"].(float64)), values)
	}
}

// wireSeries is one series of a remote write request, as another program reads it.
type wireSeries struct {
	labels  string // name="value", joined by commas
	samples int
	value   float64
	timeMs  int64
}

// readWriteRequest reads the fields of remote write 1.0 and refuses others.
func readWriteRequest(raw []byte) (all []wireSeries, err error) {
	err = fields(raw, func(field int, part []byte, _ uint64) error {
		if field != 1 {
			return fmt.Errorf("WriteRequest has field %d", field)
		}
		var s wireSeries
		err := fields(part, func(field int, part []byte, _ uint64) error {
			var texts [3]string
			if field == 1 {
				err := fields(part, func(field int, part []byte, _ uint64) error { texts[field] = string(part); return nil })
				s.labels += fmt.Sprintf(",%s=%q", texts[1], texts[2])
				return err
			}
			s.samples++
			return fields(part, func(field int, _ []byte, n uint64) error {
				if field == 1 {
					s.value = math.Float64frombits(n)
				} else {
					s.timeMs = int64(n)
				}
				return nil
			})
		})
		s.labels = strings.TrimPrefix(s.labels, ",")
		all = append(all, s)
		return err
	})
	return all, err
}

// fields calls f for each field of a protobuf message.
func fields(raw []byte, f func(field int, part []byte, n uint64) error) error {
	for len(raw) > 0 {
		tag, size := binary.Uvarint(raw)
		raw = raw[max(size, 0):]
		var part []byte
		var n uint64
		switch tag & 7 {
		case 0:
			n, size = binary.Uvarint(raw)
		case 1:
			n, size = binary.LittleEndian.Uint64(raw), 8
		case 2:
			length, used := binary.Uvarint(raw)
			size = used + int(length)
			if used <= 0 || size > len(raw) {
				return errors.New("a field is cut")
			}
			part = raw[used:size]
		default:
			return fmt.Errorf("wire type %d", tag&7)
		}
		if size <= 0 {
			return errors.New("a number is cut")
		}
		raw = raw[size:]
		if err := f(int(tag>>3), part, n); err != nil {
			return err
		}
	}
	return nil
}

// A message says the same as a row, as JSON and as remote write.
func TestFormsAgree(t *testing.T) {
	f := newFleet(0, 4, 1)
	var messages []message
	for range 50 {
		messages = f.round(messages)
	}
	dict := tsdb.NewDict()
	palette, err := newPalette(dict)
	if err != nil {
		t.Fatal(err)
	}
	sent, err := readWriteRequest(appendWriteRequest(nil, messages))
	if err != nil || len(sent) != len(messages)*columns {
		t.Fatalf("%d series of %d messages: %v", len(sent), len(messages), err)
	}
	for i := range messages {
		m := &messages[i]
		want := map[string]string{}
		row := palette.row(m)
		for c, v := range row {
			name := dict.MetricName(v.Metric)
			want[name] = fmt.Sprint(v.Float())
			labels, value, text := `__name__="`+name, v.Float(), ""
			if v.Kind == tsdb.String {
				want[name] = dict.StringValue(uint32(v.Mantissa))
				labels, value, text = labels+"_info", 1, `",value="`+want[name]
			}
			labels += `",city="` + city(m.device) + `",thing="` + thingName(m.device) + text + `"`
			if got := sent[i*columns+c]; got != (wireSeries{labels, 1, value, m.timeMs}) {
				t.Fatalf("remote write: got %v, want %s %v at %d", got, labels, value, m.timeMs)
			}
		}
		got := map[string]string{}
		err := jsonDecoder(dict)(appendJSON(nil, m), func(ms int64, values []tsdb.Value) error {
			for _, v := range values {
				got[dict.MetricName(v.Metric)] = fmt.Sprint(v.Float())
				if v.Kind == tsdb.String {
					got[dict.MetricName(v.Metric)] = dict.StringValue(uint32(v.Mantissa))
				}
			}
			if ms != m.timeMs {
				t.Fatalf("JSON: time %d, want %d", ms, m.timeMs)
			}
			return nil
		})
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("JSON %s\n got %v\nwant %v", appendJSON(nil, m), got, want)
		}
	}
}

// fakePeer counts samples and answers every query with as many series as the question wants.
type fakePeer struct {
	mu      sync.Mutex // guards what follows
	samples int
	queries []string
}

func (p *fakePeer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case r.URL.Path == "/api/v1/write":
		body, _ := io.ReadAll(r.Body)
		raw, err := s2.Decode(nil, body)
		var list []wireSeries
		if err == nil {
			list, err = readWriteRequest(raw)
		}
		if err != nil || r.Header.Get("Content-Encoding") != "snappy" {
			http.Error(w, fmt.Sprint(err), http.StatusBadRequest)
			return
		}
		for _, s := range list {
			p.samples += s.samples
		}
		w.WriteHeader(http.StatusNoContent)
	case strings.HasPrefix(r.URL.Path, "/internal/"):
	default:
		query := r.FormValue("query")
		p.queries = append(p.queries, query)
		series := 1
		if strings.HasPrefix(query, "avg") {
			series = 20
		} else if strings.HasPrefix(query, "topk") {
			series = 10
		}
		fmt.Fprintf(w, `{"status":"success","data":{"resultType":"vector","result":[%s]}}`, strings.TrimSuffix(strings.Repeat(`{"metric":{}},`, series), ","))
	}
}

// The whole command: every figure is there, and the peer has got the same load.
func TestCommand(t *testing.T) {
	peer := &fakePeer{}
	server := httptest.NewServer(peer)
	defer server.Close()
	var out, errs bytes.Buffer
	args := []string{"--devices", "20", "--rows", "400", "--runs", "1", "--series-scale", "0.002", "--dir", t.TempDir(), "--json",
		"--vs", server.URL, "--vs-pid", fmt.Sprint(os.Getpid()), "--vs-dir", t.TempDir()}
	if code := Main(t.Context(), args, &out, &errs, jsonDecoder); code != 0 {
		t.Fatalf("exit %d: %s", code, &errs)
	}
	var got table
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if want := 20*400*columns + 200*scaleRounds*columns; peer.samples > want || peer.samples < want*9/10 { // of the memory figure's, late ones are not sent
		t.Fatalf("the peer has got %d samples, want %d", peer.samples, want)
	}
	withPeer, withRatio := 0, 0
	for _, f := range got.Figures {
		if f.RatioMet != nil {
			withRatio++
			if *f.RatioMet != (*f.Ratio <= f.GoalRatio) || !(f.GoalRatio > 0.5 && f.GoalRatio < 0.8) {
				t.Errorf("%s: ratio %v, its goal %v, met %v", f.Name, *f.Ratio, f.GoalRatio, *f.RatioMet)
			}
		}
		if !(f.Value > 0) && !strings.HasPrefix(f.Name, "memory") { // so few series may cost less than a page
			t.Errorf("%s is %v", f.Name, f.Value)
		}
		if f.Peer != nil {
			withPeer++
		}
	}
	if got.Peer != "VictoriaMetrics" || len(got.Figures) != 21 || withPeer != 12 || withRatio != 3 || len(peer.queries) != 5*asked {
		t.Fatalf("peer %q, %d figures, %d of them beside the peer's, %d queries", got.Peer, len(got.Figures), withPeer, len(peer.queries))
	}
	var text strings.Builder
	if err := got.write(&text); err != nil || !strings.Contains(text.String(), "ratio") || !strings.Contains(text.String(), "<= 0.71") {
		t.Fatalf("%v\n%s", err, text.String())
	}
}

func TestUsage(t *testing.T) {
	f := func(want string, args ...string) {
		t.Helper()
		var out, errs bytes.Buffer
		if code := Main(t.Context(), args, &out, &errs, jsonDecoder); code != 2 || !strings.Contains(errs.String(), want) {
			t.Errorf("%v: exit %d, %s", args, code, &errs)
		}
	}
	f("--devices 3", "--devices", "3")
	f("belong together", "--vs", "http://127.0.0.1:1")
	f("unexpected argument", "x")
	f("not defined", "--nonsense")
}

func TestDigits(t *testing.T) {
	f := func(v float64, want string) {
		t.Helper()
		if got := digits(v); got != want {
			t.Errorf("%v: %s, want %s", v, got, want)
		}
	}
	f(0, "0")
	f(0.0932, "0.0932")
	f(5, "5.00")
	f(123.4, "123")
	f(-12.34, "-12.3")
}
