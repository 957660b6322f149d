package remote_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/klauspost/compress/snappy"
	"github.com/prometheus/prometheus/prompb"

	"muster/tsdb"
	"muster/tsdb/prom"
	"muster/tsdb/remote"
	"muster/tsdb/vfs"
)

// receiver is the other side: it decodes with Prometheus' own code, keeps what it took, and answers as it is told.
type receiver struct {
	t      *testing.T
	server *httptest.Server

	mu       sync.Mutex
	answer   func(w http.ResponseWriter, r *http.Request) bool // nil: takes; true: takes
	series   map[string][]string                               // labels -> "ms=value", in the order of arrival
	times    map[string]int64                                  // newest of each series
	disorder int                                               // samples that came after a newer one of their series
	samples  int
	requests int
}

func newReceiver(t *testing.T) *receiver {
	r := &receiver{t: t, series: map[string][]string{}, times: map[string]int64{}}
	r.server = httptest.NewServer(r)
	t.Cleanup(r.server.Close)
	return r
}

func (r *receiver) answers(f func(w http.ResponseWriter, r *http.Request) bool) {
	r.mu.Lock()
	r.answer = f
	r.mu.Unlock()
}

func status(code int) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, _ *http.Request) bool {
		http.Error(w, "because of the test", code)
		return false
	}
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	r.mu.Lock()
	r.requests++
	answer := r.answer
	r.mu.Unlock()
	if answer != nil && !answer(w, request) {
		return
	}
	packed, err := io.ReadAll(request.Body)
	if err != nil {
		return // the client is gone
	}
	plain, err := snappy.Decode(nil, packed)
	if err != nil {
		r.t.Errorf("snappy: %v", err)
	}
	var message prompb.WriteRequest
	if err := message.Unmarshal(plain); err != nil {
		r.t.Errorf("protobuf: %v", err)
	}
	for name, want := range map[string]string{"Content-Type": "application/x-protobuf", "Content-Encoding": "snappy", "X-Prometheus-Remote-Write-Version": "0.1.0"} {
		if got := request.Header.Get(name); got != want {
			r.t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range message.Timeseries {
		var labels []string
		for i, l := range s.Labels {
			labels = append(labels, l.Name+"="+l.Value)
			if i > 0 && l.Name <= s.Labels[i-1].Name {
				r.t.Errorf("labels out of order: %v", s.Labels)
			}
		}
		key := strings.Join(labels, " ")
		for i, x := range s.Samples {
			if i > 0 && x.Timestamp <= s.Samples[i-1].Timestamp {
				r.t.Errorf("samples out of order: %v", s.Samples)
			}
			if x.Timestamp < r.times[key] {
				r.disorder++
			}
			r.times[key] = x.Timestamp
			value := fmt.Sprint(x.Value)
			if math.Float64bits(x.Value) == 0x7ff0000000000002 {
				value = "stale"
			}
			r.series[key] = append(r.series[key], fmt.Sprintf("%d=%s", x.Timestamp, value))
			r.samples++
		}
	}
	w.WriteHeader(http.StatusNoContent)
}

func (r *receiver) got(key string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.series[key], " ")
}

func (r *receiver) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.samples
}

func (r *receiver) asked() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.requests
}

// fleet is a registry of things called lamp-<id>; things above 1000 are unknown.
type fleet struct{}

func (fleet) ThingName(id tsdb.ThingID) (string, bool) {
	return fmt.Sprint("lamp-", id), id <= 1000
}
func (fleet) ThingByName(string) (tsdb.ThingID, bool) { return 0, false }
func (fleet) AppendLabels(dst []prom.Label, id tsdb.ThingID) []prom.Label {
	return append(dst, prom.Label{Name: "thing_type", Value: "lamp"}, prom.Label{Name: "City", Value: fmt.Sprint("c", id%2)}, prom.Label{Name: "a-b", Value: "x"})
}

// site is a twin store and its forwarder.
type site struct {
	t       *testing.T
	fs      vfs.FS
	dir     string
	opts    remote.Options
	metrics *metrics.Set
	store   *tsdb.Store
	forward *remote.Forwarder
	stopped bool
}

func newSite(t *testing.T, fsys vfs.FS, dir, url string) *site {
	return &site{t: t, fs: fsys, dir: dir, metrics: metrics.NewSet(), opts: remote.Options{URL: url,
		Interval: 5 * time.Millisecond, FirstRetry: time.Millisecond, LastRetry: 20 * time.Millisecond, KeepFree: 1, MaxSamples: 500,
		External: []prom.Label{{Name: "gateway", Value: "gw-1"}}}}
}

// open opens forwarder and store as the gateway does.
func (s *site) open() {
	s.t.Helper()
	o := s.opts
	o.FS, o.Metrics, o.Dir, o.LogDir = s.fs, s.metrics, filepath.Join(s.dir, "remote"), filepath.Join(s.dir, "tsdb")
	o.Log = slog.New(slog.NewTextHandler(s.t.Output(), nil))
	var err error
	if s.forward, err = remote.Open(o); err != nil {
		s.t.Fatal(err)
	}
	s.store, err = tsdb.Open(tsdb.Options{Dir: o.LogDir, FS: s.fs, GroupWait: 1, LogBytes: 64 << 10, LogFileBytes: 16 << 10, ReserveBytes: 1, Retire: s.forward.Retire})
	if err != nil {
		s.t.Fatal(err)
	}
	s.forward.Start(s.store, fleet{})
	s.stopped = false
	s.t.Cleanup(s.close)
}

func (s *site) close() {
	s.t.Helper()
	if s.stopped {
		return
	}
	s.stopped = true
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := s.forward.Stop(ctx); err != nil {
		s.t.Error(err)
	}
	if err := s.store.Close(); err != nil {
		s.t.Error(err)
	}
}

func (s *site) append(thing tsdb.ThingID, ms int64, column string, mantissa int64) {
	s.t.Helper()
	m, err := s.store.Dict().Metric([]byte(column))
	if err == nil {
		_, err = s.store.Append(thing, ms, []tsdb.Value{{Metric: m, Mantissa: mantissa, Exp: -1}}, nil)
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) appendText(thing tsdb.ThingID, ms int64, column, text string) {
	s.t.Helper()
	m, err := s.store.Dict().Metric([]byte(column))
	if err != nil {
		s.t.Fatal(err)
	}
	id, err := s.store.Dict().String([]byte(text))
	if err == nil {
		_, err = s.store.Append(thing, ms, []tsdb.Value{{Metric: m, Mantissa: int64(id), Kind: tsdb.String}}, nil)
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) counter(name string) uint64 { return s.metrics.GetOrCreateCounter(name).Get() }

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

// labels of a series of thing id.
func labels(name string, id tsdb.ThingID) string {
	return fmt.Sprintf("City=c%d __name__=%s a_b=x gateway=gw-1 thing=lamp-%d thing_type=lamp", id%2, name, id)
}

func TestSeriesArriveAsPromQLShowsThem(t *testing.T) {
	r := newReceiver(t)
	s := newSite(t, vfs.NewMem(), "d", r.server.URL)
	s.open()
	s.append(1, 1000, "power_w", 415)
	s.append(2, 1000, "power_w", -5)
	s.append(1, 3000, "power_w", 425)
	s.append(1, 2000, "power_w", 420) // late
	s.append(2000, 1000, "power_w", 1)
	s.appendText(1, 1000, "fw", "1.2")
	s.appendText(1, 2000, "fw", "1.3")
	var set tsdb.LabelSet
	set.Add([]byte("job"), []byte("node"))
	set.Add([]byte("gateway"), []byte("other"))
	source, err := s.store.Source(&set)
	if err != nil {
		t.Fatal(err)
	}
	s.append(source, 5000, "up", 10)
	eventually(t, "everything arrived", func() bool { return r.count() >= 8 })
	for key, want := range map[string]string{
		labels("power_w", 2):                 "1000=-0.5",
		labels("fw_info", 1) + " value=1.2":  "1000=1 2000=stale",
		labels("fw_info", 1) + " value=1.3":  "2000=1",
		"__name__=up gateway=other job=node": "5000=1",
	} {
		if got := r.got(key); got != want {
			t.Errorf("%s\n got %s\nwant %s", key, got, want)
		}
	}
	// How rows are cut into requests depends on time; inside one they are sorted.
	if got := r.got(labels("power_w", 1)); !strings.HasPrefix(got, "1000=41.5 ") || !strings.Contains(got, "2000=42") || !strings.Contains(got, "3000=42.5") {
		t.Errorf("late rows: %s", got)
	}
	if n := s.counter(`muster_remote_samples_dropped_total{reason="thing"}`); n != 1 {
		t.Errorf("%d samples of an unknown thing were counted", n)
	}
}

// check says whether n rows of thing 1 arrived in order: 1, 2, 3 ..., with at most twice rows that came twice.
func (r *receiver) check(t *testing.T, n int64, twice int) {
	t.Helper()
	key := labels("n", 1)
	eventually(t, fmt.Sprintf("row %d arrived", n), func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.times[key] >= n
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	seen := map[string]bool{}
	repeated := 0
	for _, x := range r.series[key] {
		if seen[x] {
			repeated++
		}
		seen[x] = true
	}
	for i := int64(1); i <= n; i++ {
		if want := fmt.Sprintf("%d=%v", i, float64(i)/10); !seen[want] {
			t.Fatalf("row %s of %d is missing, %d arrived", want, n, len(r.series[key]))
		}
	}
	if repeated > twice {
		t.Errorf("%d rows came twice, at most %d may", repeated, twice)
	}
	t.Logf("%d rows, %d twice, %d requests", n, repeated, r.requests)
}

// TestNothingIsLostWhileTheOtherSideIsAway: 5xx, refused connections, slow answers, seals that end the log's files, and
// orderly restarts of the gateway: each row arrives, once.
func TestNothingIsLostWhileTheOtherSideIsAway(t *testing.T) {
	for name, fsys := range map[string]vfs.FS{"memory": vfs.NewMem(), "os": vfs.OS{}} {
		t.Run(name, func(t *testing.T) {
			r := newReceiver(t)
			s := newSite(t, fsys, filepath.Join(t.TempDir(), "d"), r.server.URL)
			s.open()
			n := int64(0)
			rows := func(count int) {
				for range count {
					n++
					s.append(1, n, "n", n)
				}
			}
			rows(700)
			r.check(t, n, 0)
			r.answers(status(503))
			for range 5 {
				rows(2000)
				if err := s.store.Seal(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			eventually(t, "the queue holds files", func() bool { return s.counter("muster_remote_retries_total") > 3 })
			s.close()
			s.open()
			rows(3000)
			if err := s.store.Seal(t.Context()); err != nil {
				t.Fatal(err)
			}
			packed, err := fsys.List(filepath.Join(s.dir, "remote"))
			if err != nil || len(packed) < 4 {
				t.Fatalf("the queue has %v, %v", packed, err)
			}
			eventually(t, "waiting files are packed", func() bool {
				names, _ := fsys.List(filepath.Join(s.dir, "remote"))
				return strings.Contains(fmt.Sprint(names), ".zst")
			})
			r.answers(nil)
			r.check(t, n, 0)
			rows(100)
			r.check(t, n, 0)
			eventually(t, "what was sent leaves the queue", func() bool {
				names, _ := fsys.List(filepath.Join(s.dir, "remote"))
				return len(names) <= 2
			})
			if r.disorder > 0 {
				t.Errorf("%d samples came after newer ones of their series", r.disorder)
			}
		})
	}
}

// TestKilled cuts the power under a gateway that sends: after the start everything that was acknowledged arrives, and only
// the last batch twice.
func TestKilled(t *testing.T) {
	r := newReceiver(t)
	mem := vfs.NewMem()
	n, batches := int64(0), 0
	for round := range 12 {
		s := newSite(t, mem, "d", r.server.URL)
		s.open()
		batches += s.opts.MaxSamples
		for range 1500 {
			n++
			s.append(1, n, "n", n)
		}
		if round%3 == 1 {
			if err := s.store.Seal(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.store.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		sent := r.count()
		for r.count() < sent+round*100 && r.count() < int(n) {
			time.Sleep(100 * time.Microsecond)
		}
		r.answers(status(503)) // the old process goes on in a file system of its own: it gets nothing more through
		mem = mem.PowerCut(uint64(round))
		s.close()
		r.answers(nil)
	}
	s := newSite(t, mem, "d", r.server.URL)
	s.open()
	r.check(t, n, batches)
}

func TestAnswers(t *testing.T) {
	f := func(what string, answer func(http.ResponseWriter, *http.Request) bool, kept bool) {
		t.Helper()
		r := newReceiver(t)
		r.answers(answer)
		s := newSite(t, vfs.NewMem(), "d", r.server.URL)
		s.open()
		s.append(1, 1, "n", 10)
		if err := s.store.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		if kept {
			eventually(t, what+": it is tried again", func() bool { return r.asked() > 2 })
			r.answers(nil)
			eventually(t, what+": it arrives then", func() bool { return r.count() == 1 })
			return
		}
		eventually(t, what+": it is dropped", func() bool {
			return s.counter(`muster_remote_samples_dropped_total{reason="refused"}`) == 1
		})
		r.answers(nil)
		s.append(1, 2, "n", 20)
		eventually(t, what+": what follows arrives", func() bool { return r.got(labels("n", 1)) == "2=2" })
	}
	f("500", status(500), true)
	f("503", status(503), true)
	f("429", status(429), true)
	f("401, a token that has ended", status(401), true)
	f("404, a wrong address", status(404), true)
	f("400, such as samples out of order", status(400), false)
	f("413", status(413), false)
	f("422", status(422), false)
	f("the connection breaks", func(w http.ResponseWriter, _ *http.Request) bool {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err == nil {
			conn.Close()
		}
		return false
	}, true)
	other := newReceiver(t)
	f("a redirect", func(w http.ResponseWriter, request *http.Request) bool {
		http.Redirect(w, request, other.server.URL, http.StatusTemporaryRedirect)
		return false
	}, true)
	if other.asked() != 0 {
		t.Error("a redirect was followed")
	}
}

// TestRetryAfter turns the clock by hand: nothing is asked before the other side said it may be.
func TestRetryAfter(t *testing.T) {
	r := newReceiver(t)
	r.answers(func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("Retry-After", "120")
		w.WriteHeader(http.StatusTooManyRequests)
		return false
	})
	clock := vfs.NewManual(time.Unix(1_800_000_000, 0))
	s := newSite(t, vfs.NewMem(), "d", r.server.URL)
	s.opts.Clock = clock
	s.open()
	s.append(1, 1, "n", 10)
	if err := s.store.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the answer", func() bool {
		if clock.Waiting() == 1 && r.asked() == 0 {
			clock.Advance(5 * time.Second) // of the interval, as it had found nothing at first
		}
		return r.asked() == 1 && clock.Waiting() == 1
	})
	r.answers(nil)
	clock.Advance(119 * time.Second)
	if clock.Waiting() != 1 || r.asked() != 1 {
		t.Fatal("asked again before the time")
	}
	clock.Advance(2 * time.Second)
	eventually(t, "it arrives", func() bool { return r.count() == 1 })
}

// TestSlow: a request that does not end is given up and made again.
func TestSlow(t *testing.T) {
	r := newReceiver(t)
	hold := make(chan struct{})
	defer close(hold)
	first := true
	r.answers(func(w http.ResponseWriter, request *http.Request) bool {
		r.mu.Lock()
		wait := first
		first = false
		r.mu.Unlock()
		if wait {
			select {
			case <-hold:
			case <-request.Context().Done():
			}
			return false
		}
		return true
	})
	s := newSite(t, vfs.NewMem(), "d", r.server.URL)
	s.opts.Timeout = 50 * time.Millisecond
	s.open()
	s.append(1, 1, "n", 10)
	eventually(t, "it arrives the second time", func() bool { return r.count() == 1 })
}

// TestQueueGivesWay: a queue that is too large, or a disk that is nearly full, costs the oldest rows of the queue, which is counted;
// the store takes rows all the time.
func TestQueueGivesWay(t *testing.T) {
	f := func(what string, limit func(*site, *vfs.Mem)) {
		t.Helper()
		r := newReceiver(t)
		r.answers(status(503))
		mem := vfs.NewMem()
		s := newSite(t, mem, "d", r.server.URL)
		limit(s, mem)
		s.open()
		const n = 12_000
		for i := int64(1); i <= n; i++ {
			s.append(1, i, "n", int64(uint32(i*2_654_435_761))) // noise, which takes space in the log
			if i%2000 == 0 {
				if err := s.store.Seal(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
		}
		s.append(1, n+1, "n", n+1)
		dropped := s.counter("muster_remote_queue_dropped_bytes_total") + s.counter("muster_remote_lost_files_total")
		if dropped == 0 {
			t.Fatalf("%s: nothing was dropped", what)
		}
		r.answers(nil)
		eventually(t, what+": the newest row arrives", func() bool {
			r.mu.Lock()
			defer r.mu.Unlock()
			return r.times[labels("n", 1)] == n+1
		})
		if r.count() > n {
			t.Errorf("%s: all rows arrived", what)
		}
	}
	f("a limit", func(s *site, _ *vfs.Mem) { s.opts.QueueBytes = 20 << 10 })
	f("a disk with little room", func(s *site, m *vfs.Mem) { s.opts.KeepFree = 1 << 41 })
}

// TestCursor: a damaged cursor sends again what is in the log; one of a newer version stops the start.
func TestCursor(t *testing.T) {
	r := newReceiver(t)
	mem := vfs.NewMem()
	s := newSite(t, mem, "d", r.server.URL)
	s.open()
	s.append(1, 1, "n", 10)
	eventually(t, "it arrives", func() bool { return r.count() == 1 })
	name := filepath.Join("d", "remote", "cursor")
	eventually(t, "the cursor is written", func() bool { _, err := mem.ReadFile(name); return err == nil })
	s.close()
	good, err := mem.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for bit := range len(good) * 8 {
		if err := mem.FlipBit(name, int64(bit)); err != nil {
			t.Fatal(err)
		}
		o := s.opts
		o.FS, o.Dir, o.LogDir = mem, filepath.Join("d", "remote"), filepath.Join("d", "tsdb")
		log := &strings.Builder{}
		o.Log = slog.New(slog.NewTextHandler(log, nil))
		if _, err := remote.Open(o); err == nil && !strings.Contains(log.String(), "is damaged") {
			t.Errorf("bit %d turned, and the cursor was used: %s", bit, log)
		}
		if err := mem.FlipBit(name, int64(bit)); err != nil {
			t.Fatal(err)
		}
	}
	if err := mem.WriteFile(name, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.open()
	s.append(1, 2, "n", 20)
	eventually(t, "the log is sent again", func() bool { return strings.HasSuffix(r.got(labels("n", 1)), "2=2") && r.count() >= 3 })
	s.close()
	if err := mem.WriteFile(name, []byte("muster-remote-cursor 2 something\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	o := s.opts
	o.FS, o.Dir, o.LogDir = mem, filepath.Join("d", "remote"), filepath.Join("d", "tsdb")
	if _, err := remote.Open(o); err == nil || !strings.Contains(err.Error(), "newer version") {
		t.Errorf("a newer cursor: %v", err)
	}
}

func TestSettings(t *testing.T) {
	mem := vfs.NewMem()
	if err := mem.WriteFile("token", []byte(" secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := mem.WriteFile("empty", []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f := func(want string, o remote.Options) {
		t.Helper()
		o.FS, o.Dir, o.LogDir = mem, "d/remote", "d/tsdb"
		if _, err := remote.Open(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	f("want an address such as", remote.Options{URL: "metrics.example.com"})
	f("want an address such as", remote.Options{URL: "ftp://metrics.example.com"})
	f("remote.bearer-token-file", remote.Options{URL: "https://u:p@metrics.example.com"})
	f("must have one line with a token", remote.Options{URL: "https://x/", BearerTokenFile: "empty"})
	f("remote.bearer-token-file", remote.Options{URL: "https://x/", BearerTokenFile: "missing"})
	f("has no PEM certificate", remote.Options{URL: "https://x/", CAFile: "token"})

	r := newReceiver(t)
	var authorization string
	r.answers(func(_ http.ResponseWriter, request *http.Request) bool {
		r.mu.Lock()
		authorization = request.Header.Get("Authorization")
		r.mu.Unlock()
		return true
	})
	s := newSite(t, mem, "d", r.server.URL)
	s.opts.BearerTokenFile = "token"
	s.open()
	s.append(1, 1, "n", 1)
	eventually(t, "it arrives", func() bool { return r.count() == 1 })
	if authorization != "Bearer secret" {
		t.Errorf("Authorization: %q", authorization)
	}
}
