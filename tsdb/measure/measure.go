package measure

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"muster/tsdb"
	"muster/tsdb/prom"
)

const help = `Usage: muster bench tsdb [flags]

Measures the twin store by itself, without network and gateway: a deterministic fleet (gauges of limited decimals that wander, counters, GPS,
states, texts; 8 values to a message; every 10 s with 50 ms of jitter; 2 % late, 0.2 % out of order) goes into stores of its own on the
file system of --dir. Prints samples per second of CPU until they are on disk, bytes, memory, start times and query times, beside their
goals. Every figure is the median of --runs.

With --vs the same load goes to a running VictoriaMetrics or Prometheus as well (remote write, then the same queries over HTTP for both);
--vs-pid and --vs-dir say whose CPU, memory and disk to measure. Prometheus needs --web.enable-remote-write-receiver, and for the late
messages storage.tsdb.out_of_order_time_window; VictoriaMetrics needs -retentionPeriod=100y. A peer that has just been started tells
its memory best: --part memory and --part store by themselves.

Examples:
  muster bench tsdb
  muster bench tsdb --devices 500 --rows 8192 --runs 1 --json
  victoria-metrics -storageDataPath=/tmp/vm -httpListenAddr=127.0.0.1:8428 -retentionPeriod=100y &
  muster bench tsdb --vs http://127.0.0.1:8428 --vs-pid $! --vs-dir /tmp/vm

Flags:
`

// measurement is one run of `muster bench tsdb`.
type measurement struct {
	devices, rows, runs int
	seed                uint64
	scale               float64
	dir                 string
	newDecoder          func(*tsdb.Dict) Decoder
	part                string
	vs                  *peer
	progress            io.Writer
}

// Main is `muster bench tsdb`: it measures, writes the table to stdout and returns the exit code: 0, 1 after an error, 2 if the arguments
// are wrong. A goal that is missed is no error. newDecoder makes a decoder of JSON messages over a dictionary.
func Main(ctx context.Context, args []string, stdout, stderr io.Writer, newDecoder func(*tsdb.Dict) Decoder) int {
	m := &measurement{newDecoder: newDecoder, progress: stderr}
	flags := flag.NewFlagSet("tsdb", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprint(stderr, help)
		flags.PrintDefaults()
	}
	var asJSON bool
	var vs peer
	flags.IntVar(&m.devices, "devices", 1800, "devices, 20 to 100000, each with 8 series")
	flags.IntVar(&m.rows, "rows", 720, "messages of each device, 400 to 1000000: 720 are two hours")
	flags.IntVar(&m.runs, "runs", 3, "runs of each figure, 1 to 100")
	flags.Uint64Var(&m.seed, "seed", 1, "seed of the fleet")
	flags.Float64Var(&m.scale, "series-scale", 1, "devices of the memory figure, in 100,000")
	flags.StringVar(&m.dir, "dir", "", "`folder` of the stores, on the disk to measure; default: a temporary one, removed at the end")
	flags.StringVar(&m.part, "part", "all", "`figures` to measure: memory, store (the others) or all")
	flags.BoolVar(&asJSON, "json", false, "print JSON")
	flags.StringVar(&vs.url, "vs", "", "`URL` of a VictoriaMetrics or Prometheus to compare with")
	flags.IntVar(&vs.pid, "vs-pid", 0, "its process `id`")
	flags.StringVar(&vs.dir, "vs-dir", "", "its data `folder`")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return 2
	}
	var wrong string
	switch {
	case flags.NArg() > 0:
		wrong = fmt.Sprintf("unexpected argument %q", flags.Arg(0))
	case m.devices < cities || m.devices > 100_000:
		wrong = fmt.Sprintf("--devices %d: want %d to 100000", m.devices, cities)
	case m.rows < 400 || m.rows > 1_000_000:
		wrong = fmt.Sprintf("--rows %d: want 400 to 1000000", m.rows)
	case m.runs < 1 || m.runs > 100:
		wrong = fmt.Sprintf("--runs %d: want 1 to 100", m.runs)
	case !(m.scale > 0 && m.scale <= 10):
		wrong = fmt.Sprintf("--series-scale %v: want more than 0 and up to 10", m.scale)
	case m.part != "all" && m.part != "memory" && m.part != "store":
		wrong = fmt.Sprintf("--part %q: want memory, store or all", m.part)
	case (vs.url == "") != (vs.pid == 0) || (vs.url == "") != (vs.dir == ""):
		wrong = "--vs, --vs-pid and --vs-dir belong together"
	}
	if wrong != "" {
		fmt.Fprintf(stderr, "bench tsdb: %s\nsee `muster bench tsdb --help`\n", wrong)
		return 2
	}
	if vs.url != "" {
		vs.url = strings.TrimRight(vs.url, "/")
		m.vs = &vs
	}
	t, err := m.run(ctx)
	if err == nil {
		if asJSON {
			err = t.writeJSON(stdout)
		} else {
			err = t.write(stdout)
		}
	}
	if err != nil {
		fmt.Fprintln(stderr, "bench tsdb:", err)
		return 1
	}
	return 0
}

// run measures everything.
func (m *measurement) run(ctx context.Context) (_ *table, err error) {
	temporary := m.dir == ""
	if temporary {
		m.dir, err = os.MkdirTemp("", "muster-tsdb-")
	} else {
		err = os.MkdirAll(m.dir, 0o700)
		if entries, listErr := os.ReadDir(m.dir); err == nil && listErr == nil && len(entries) > 0 {
			err = fmt.Errorf("--dir %s is not empty", m.dir)
		}
	}
	if err != nil {
		return nil, err
	}
	if temporary {
		defer os.RemoveAll(m.dir)
	}
	t := &table{Load: fmt.Sprintf("%d devices x %d columns, %d messages each: %d samples; seed %d; medians of %d; %s/%s, %d cores",
		m.devices, columns, m.rows, m.devices*m.rows*columns, m.seed, m.runs, runtime.GOOS, runtime.GOARCH, runtime.NumCPU())}
	if m.vs != nil {
		if t.Peer, err = m.vs.name(ctx); err != nil {
			return nil, err
		}
	}
	if m.part != "store" { // first, in a process that has not yet grown
		if err := m.memoryFigure(ctx, t); err != nil {
			return nil, err
		}
	}
	if m.part != "memory" {
		kept, err := m.loadFigures(ctx, t)
		if err != nil {
			return nil, err
		}
		if err := m.startFigures(ctx, t, kept); err != nil {
			return nil, err
		}
		if err := m.queryFigures(ctx, t, kept); err != nil {
			return nil, err
		}
	}
	if m.part != "store" && m.vs != nil { // last, so that these series are in no other figure of the peer
		if err := m.peerMemory(ctx, t); err != nil {
			return nil, err
		}
	}
	return t, nil
}

func (m *measurement) say(format string, args ...any) {
	fmt.Fprintf(m.progress, "measuring "+format+"\n", args...)
}

func (m *measurement) memoryFigure(ctx context.Context, t *table) error {
	series := int(scaleDevices*m.scale) * columns
	m.say("memory of %d series", series)
	dir, err := m.folder("memory")
	if err != nil {
		return err
	}
	bytes, err := m.memory(ctx, dir)
	if err != nil {
		return err
	}
	t.most(fmt.Sprintf("memory of each of %d series", series), "B", bytes, 150)
	return os.RemoveAll(dir)
}

// peerMemory completes the memory figure, which is the first.
func (m *measurement) peerMemory(ctx context.Context, t *table) error {
	m.say("memory of the peer")
	bytes, err := m.vs.memory(ctx, m)
	if err != nil {
		return err
	}
	t.Figures[0].beside(bytes)
	return nil
}

// loadFigures returns the folder of a loaded store.
func (m *measurement) loadFigures(ctx context.Context, t *table) (kept string, err error) {
	var rows, texts []loaded
	for run := range m.runs {
		m.say("load, run %d of %d", run+1, m.runs)
		for _, as := range []struct {
			name    string
			decoder func(*tsdb.Dict) Decoder
			results *[]loaded
		}{{"json", m.newDecoder, &texts}, {"rows", nil, &rows}} {
			if kept != "" {
				if err := os.RemoveAll(kept); err != nil {
					return "", err
				}
			}
			if kept, err = m.folder(fmt.Sprintf("%s-%d", as.name, run)); err != nil {
				return "", err
			}
			l, err := m.load(ctx, kept, as.decoder)
			if err != nil {
				return "", err
			}
			*as.results = append(*as.results, l)
		}
	}
	var vs peerLoaded
	if m.vs != nil {
		m.say("load of the peer")
		if vs, err = m.vs.load(ctx, m); err != nil {
			return "", err
		}
	}
	beside := func(figure float64) {
		if m.vs != nil {
			t.last().beside(figure)
		}
	}
	middle := func(list []loaded, of func(loaded) float64) float64 {
		values := make([]float64, len(list))
		for i, l := range list {
			values[i] = of(l)
		}
		return median(values)
	}
	million := func(samples int, cpu time.Duration) float64 { return float64(samples) / cpu.Seconds() / 1e6 }
	durable := func(l loaded) float64 { return million(l.samples, l.durable) }
	all := func(l loaded) float64 { return million(l.samples, l.all) }
	t.least("million samples per CPU-second, rows to durable", "M/s", middle(rows, durable), 5)
	beside(million(vs.samples, max(vs.durable, 1)))
	t.note("the same, sealed and merged as well", "M/s", middle(rows, all))
	beside(million(vs.samples, max(vs.all, 1)))
	t.least("million samples per CPU-second, JSON to durable", "M/s", middle(texts, durable), 2)
	beside(million(vs.samples, max(vs.durable, 1)))
	t.note("the same, sealed and merged as well", "M/s", middle(texts, all))
	beside(million(vs.samples, max(vs.all, 1)))
	each := func(bytes int64, samples int) float64 { return float64(bytes) / float64(max(samples, 1)) }
	size := middle(rows, func(l loaded) float64 { return each(l.stats.SegmentBytes, l.samples) })
	t.most("bytes on disk of a sealed sample", "B", size, 0.60)
	beside(each(vs.bytes, vs.samples))
	written := middle(rows, func(l loaded) float64 { return l.written / float64(l.samples) })
	t.most("bytes written for a sample, log and segments", "B", written, 3*size)
	beside(each(vs.written, vs.samples))
	return kept, nil
}

// A log is sealed when it has one of these, by default (tsdb.Options).
const (
	logBytes   = 64 << 20
	logSamples = 32_000_000
)

func (m *measurement) startFigures(ctx context.Context, t *table, kept string) error {
	m.say("starts")
	dir, err := m.folder("log")
	if err != nil {
		return err
	}
	took, st, err := m.startWithLog(ctx, dir)
	if err != nil {
		return err
	}
	t.most(fmt.Sprintf("start with a full log, %.1f M samples in %d MiB", float64(st.Samples)/1e6, st.LogBytes>>20), "s", took.Seconds(), 1)
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if took, err = m.start(tsdb.Options{Dir: kept}); err != nil {
		return err
	}
	t.most(fmt.Sprintf("start with %.1f M samples", float64(m.devices*m.rows*columns)/1e6), "s", took.Seconds(), 1)
	return nil
}

func (m *measurement) queryFigures(ctx context.Context, t *table, kept string) (err error) {
	m.say("queries")
	s, err := tsdb.Open(tsdb.Options{Dir: kept})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	endMs := int64(firstMs) + int64(m.rows)*stepMs
	us, err := m.lastValue(s)
	if err != nil {
		return err
	}
	t.most("last value, in process", "us", us, 1)
	us, samples, err := m.readHour(s, endMs)
	if err != nil {
		return err
	}
	t.note(fmt.Sprintf("read one series, 1 h, %d samples, in process", samples), "us", us)
	api := prom.New(s, directory{m.devices}, prom.Options{})
	list := questions(m.devices, endMs)
	for _, q := range list {
		ms, err := m.time(ctx, q, inProcess(api))
		if err != nil {
			return err
		}
		t.most(q.name+", PromQL in process", "ms", ms, q.goal)
	}
	if m.vs == nil {
		return nil
	}
	own, stop, err := serve(api)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	for _, q := range list {
		ms, err := m.time(ctx, q, own.ask)
		if err != nil {
			return err
		}
		t.most(q.name+", over HTTP", "ms", ms, q.goal)
		if ms, err = m.time(ctx, q, m.vs.ask); err != nil {
			return err
		}
		t.last().beside(ms)
		if t.Peer == victoriaMetrics && q.there > 0 {
			t.last().asThere(q.there)
		}
	}
	return nil
}

// median runs f m.runs times and returns the middle result.
func (m *measurement) median(f func() (time.Duration, error)) (time.Duration, error) {
	var took []time.Duration
	for range m.runs {
		d, err := f()
		if err != nil {
			return 0, err
		}
		took = append(took, d)
	}
	slices.Sort(took)
	return took[len(took)/2], nil
}

// median returns the middle of values, which it sorts.
func median(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}
