// Package intake takes telemetry from other programs: Prometheus remote write 1 and 2, InfluxDB line protocol, and the JSON lines that
// an export writes. It does not know an HTTP library and does not check who sends.
//
// A series goes to the thing that it names, if it says nothing of it that the registry does not say itself, and else to a source, its label
// set (docs/decisions/0006-sources.md). Samples of one thing or source and millisecond become one row; of two for one series and millisecond
// the last counts. A request is answered when its rows are on disk. Rows that cannot be kept are left out, counted and told; the rest
// of the request is kept.
//
// It has no goroutines. Options.MaxConcurrent requests are decoded at a time and Options.MaxQueue wait; each decodes at most MaxBytes and
// holds one worker with its buffers. The wait for the disk after a request's last batch needs no worker.
package intake

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"runtime/debug"
	"sync/atomic"

	"github.com/VictoriaMetrics/metrics"

	"muster/tsdb"
	"muster/tsdb/vfs"
)

// Paths of the requests that Serve answers, all by POST.
const (
	PathRemoteWrite = "/prometheus/api/v1/write"
	PathImport      = "/prometheus/api/v1/import"
	PathInflux      = "/influx/write"
	PathInflux2     = "/influx/api/v2/write"
)

// MaxBody is what a body may have as it is sent.
const MaxBody = 8 << 20

// Store is what this package uses of *tsdb.Store.
type Store interface {
	Dict() *tsdb.Dict
	Source(set *tsdb.LabelSet) (tsdb.ThingID, error)
	Append(thing tsdb.ThingID, timeMs int64, values []tsdb.Value, w tsdb.Waiter) (uint64, error)
}

// Things finds the things that series name. Safe for concurrent use.
type Things interface {
	// Thing returns the labels that the series of a thing have in PromQL, `thing` included; false for a name that is not registered.
	Thing(name string) (id tsdb.ThingID, labels []tsdb.Label, ok bool)
}

// Options of an Intake. Store and Things are needed; the zero value of the others means the default in brackets.
type Options struct {
	Store   Store
	Things  Things
	Clock   vfs.Clock    // [the machine's]
	Log     *slog.Logger // [discards]
	Metrics *metrics.Set // [one of its own]

	MaxConcurrent int // requests that are decoded at a time [2]
	MaxQueue      int // requests that wait for that [32]
	MaxBytes      int // of one body when it is unpacked [32 MiB]
}

// Request is what a client sent.
type Request struct {
	Path   string
	Form   url.Values               // of the URL
	Header func(name string) string // of the request; "" where there is none
	Body   []byte                   // as it was sent; not kept
}

// Response is the answer. Body belongs to the caller.
type Response struct {
	Status      int
	ContentType string // "" without a body
	Header      [][2]string
	Body        []byte
}

// Intake takes requests. Safe for concurrent use.
type Intake struct {
	opts    Options
	idle    chan *worker
	waiting atomic.Int32
	routes  map[string]route
	panics  *metrics.Counter
}

type route struct {
	serve func(ctx context.Context, in *Intake, r *Request) Response
	name  string

	samples, invalid, histograms, exemplars *metrics.Counter
}

// New returns an Intake.
func New(opts Options) *Intake {
	if opts.Clock == nil {
		opts.Clock = vfs.SystemClock{}
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if opts.Metrics == nil {
		opts.Metrics = metrics.NewSet()
	}
	orDefault := func(n *int, otherwise int) {
		if *n <= 0 {
			*n = otherwise
		}
	}
	orDefault(&opts.MaxConcurrent, 2)
	orDefault(&opts.MaxQueue, 32)
	orDefault(&opts.MaxBytes, 32<<20)
	in := &Intake{
		opts: opts, idle: make(chan *worker, opts.MaxConcurrent),
		panics: opts.Metrics.GetOrCreateCounter("muster_intake_panics_total"),
		routes: map[string]route{
			PathRemoteWrite: {serve: remoteWrite, name: "remote_write"},
			PathImport:      {serve: importLines, name: "import"},
			PathInflux:      {serve: influx, name: "influx"},
			PathInflux2:     {serve: influx, name: "influx"},
		},
	}
	for range opts.MaxConcurrent {
		in.idle <- &worker{in: in}
	}
	for path, r := range in.routes {
		counter := func(what string) *metrics.Counter {
			return opts.Metrics.GetOrCreateCounter(fmt.Sprintf(`muster_intake_%s_total{from=%q}`, what, r.name))
		}
		r.samples, r.invalid = counter("samples"), counter("invalid_samples")
		r.histograms, r.exemplars = counter("refused_histograms"), counter("skipped_exemplars")
		in.routes[path] = r
	}
	return in
}

// Serve answers one request. Once ctx ends it gives up waiting, for a turn or for the disk. It never panics.
func (in *Intake) Serve(ctx context.Context, r Request) (resp Response) {
	defer func() {
		if p := recover(); p != nil {
			in.panics.Inc()
			in.opts.Log.Error("taking telemetry panicked", "err", p, "path", r.Path, "stack", string(debug.Stack()))
			resp = text(http.StatusInternalServerError, "internal error, see the log")
		}
	}()
	known, ok := in.routes[r.Path]
	if !ok {
		return text(http.StatusNotFound, "404 page not found")
	}
	return known.serve(ctx, in, &r)
}

// text is an answer with a sentence.
func text(status int, sentence string) Response {
	return Response{Status: status, ContentType: "text/plain; charset=utf-8", Body: []byte(sentence + "\n")}
}

// refusal is an error with its HTTP status.
type refusal struct {
	status int
	text   string
}

func (e *refusal) Error() string { return e.text }

func refuse(status int, format string, args ...any) error {
	return &refusal{status, fmt.Sprintf(format, args...)}
}

// place finds the status and the sentence of err. Whatever may pass by itself is 5xx or 429, so that senders try again.
func place(err error) (int, string) {
	if e, ok := errors.AsType[*refusal](err); ok {
		return e.status, e.text
	}
	switch {
	case errors.Is(err, tsdb.ErrDiskFull), errors.Is(err, tsdb.ErrFailed), errors.Is(err, tsdb.ErrClosed):
		return http.StatusServiceUnavailable, err.Error()
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return http.StatusServiceUnavailable, "the samples were not on disk in time; send them again"
	}
	return http.StatusInternalServerError, err.Error()
}

// acquireWorker waits for a turn.
func (in *Intake) acquireWorker(ctx context.Context) (*worker, error) {
	select {
	case w := <-in.idle:
		return w, nil
	default:
	}
	defer in.waiting.Add(-1)
	if int(in.waiting.Add(1)) > in.opts.MaxQueue {
		return nil, refuse(http.StatusTooManyRequests, "too many requests bring telemetry at once; try again in a few seconds")
	}
	select {
	case w := <-in.idle:
		return w, nil
	case <-ctx.Done():
		return nil, refuse(http.StatusTooManyRequests, "too many requests bring telemetry at once; try again in a few seconds")
	}
}

// take unpacks a body, lets read hand its samples to a worker, and waits until they are on disk. What read returns ends the
// request; samples that cannot be kept are no error but in the tally.
func (in *Intake) take(ctx context.Context, r *Request, encoding string, read func(w *worker, body []byte) error) (tally, error) {
	w, err := in.acquireWorker(ctx)
	if err != nil {
		return tally{}, err
	}
	receipt, total, err := func() (*receipt, tally, error) {
		defer w.release()
		w.begin(ctx)
		var err error
		if w.body, err = w.unpack(encoding, r.Body); err == nil {
			err = read(w, w.body)
		}
		if err == nil {
			err = w.append()
		}
		return w.receipt, w.tally, err
	}()
	if err == nil {
		err = receipt.wait(ctx)
	}
	if err != nil {
		total.written = total.durable
	}
	known := in.routes[r.Path]
	known.samples.Add(total.written)
	known.invalid.Add(total.invalid)
	known.histograms.Add(total.histograms)
	known.exemplars.Add(total.exemplars)
	return total, err
}
