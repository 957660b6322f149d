// Package prom answers PromQL over the twin store: Prometheus' own engine on a storage.Queryable, and the HTTP API that
// Grafana and the UI speak, without knowing an HTTP library.
//
// A series is a column of a thing. Its labels are the column's name, `thing`, and what the Directory says of the thing
// at the time of the query; they are stored nowhere, so a renamed thing or a changed attribute costs no series and holds
// for all of its history. A thing that the Directory does not know has no series. A string column appears as
// <name>_info{value="..."}: 1 while that value was current. Telemetry of other programs has sources in the place of things:
// label sets that are shown as they were sent.
//
// Each query has a goroutine that watches its memory and ends with it. At most Options.MaxConcurrent requests run and Options.MaxQueue wait; each is bounded in
// time, series, samples, decoded bytes and answered bytes, and ends with its context.
package prom

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/util/annotations"

	"muster/tsdb/vfs"
)

// Options of an API. The zero value of each bound means its default.
type Options struct {
	Log     *slog.Logger // default: discards
	Metrics *metrics.Set // default: one of its own
	Clock   vfs.Clock    // default: the machine's
	Version string       // of muster, shown as the build's revision
	// Units returns the units that a column is known to have, for the metadata; nil: none is known.
	Units func(column string) []string

	Timeout        time.Duration // of one request, waiting for a slot included; 10 s
	Lookback       time.Duration // how old a sample may be to count as current; 5 min
	MaxConcurrent  int           // requests running; 2
	MaxQueue       int           // requests waiting; 32
	MaxSamples     int           // that one query holds at a time, 16 bytes each; 5,000,000
	MaxSeries      int           // that one query selects; 200,000
	MaxBufferBytes int           // that one query decodes ahead; 64 MiB
	MaxResultBytes int           // of one answer; 64 MiB
	MaxMemoryBytes int           // by which the heap may grow during one query; 256 MiB
}

// maxPoints is Prometheus' own bound of points per series.
const maxPoints = 11000

// API answers queries over one store. Safe for concurrent use.
type API struct {
	opts      Options
	store     Store
	queryable *queryable
	engine    *promql.Engine
	parser    parser.Parser
	gate      gate
	started   time.Time
	routes    map[string]route

	exports atomic.Int32 // running
	streams atomic.Int32 // the same, of remote reads

	errors  func(kind string) *metrics.Counter
	reads   *metrics.Counter // remote ones
	panics  *metrics.Counter
	seconds *metrics.Histogram
}

// Response is the answer to one request. Body belongs to the caller.
type Response struct {
	Status      int
	ContentType string
	Body        []byte
}

// handler appends the "data" of an answer to dst. On an error what it appended is dropped.
type handler func(ctx context.Context, form url.Values, dst []byte) ([]byte, annotations.Annotations, error)

type route struct {
	serve handler
	post  bool // POST is allowed besides GET
	gated bool // reads the store, so it takes a slot
	count *metrics.Counter
}

// New returns an API over store. dir names the things.
func New(store Store, dir Directory, opts Options) *API {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if opts.Metrics == nil {
		opts.Metrics = metrics.NewSet()
	}
	if opts.Clock == nil {
		opts.Clock = vfs.SystemClock{}
	}
	setDefault(&opts.Timeout, 10*time.Second)
	setDefault(&opts.Lookback, 5*time.Minute)
	setDefault(&opts.MaxConcurrent, 2)
	setDefault(&opts.MaxQueue, 32)
	setDefault(&opts.MaxSamples, 5_000_000)
	setDefault(&opts.MaxSeries, 200_000)
	setDefault(&opts.MaxBufferBytes, 64<<20)
	setDefault(&opts.MaxResultBytes, 64<<20)
	setDefault(&opts.MaxMemoryBytes, 256<<20)

	set := opts.Metrics
	a := &API{
		opts:      opts,
		store:     store,
		queryable: newQueryable(store, dir, opts.MaxSeries, opts.MaxBufferBytes),
		parser:    boundedParser{parser.NewParser(parser.Options{})},
		gate:      gate{slots: make(chan struct{}, opts.MaxConcurrent), maxQueue: int32(opts.MaxQueue)},
		started:   opts.Clock.Now(),
		errors: func(kind string) *metrics.Counter {
			return set.GetOrCreateCounter(fmt.Sprintf(`muster_prom_errors_total{kind=%q}`, kind))
		},
		reads:   set.GetOrCreateCounter(`muster_prom_requests_total{path="read"}`),
		panics:  set.GetOrCreateCounter("muster_prom_panics_total"),
		seconds: set.GetOrCreateHistogram("muster_prom_request_seconds"),
	}
	set.GetOrCreateGauge("muster_prom_requests_running", func() float64 { return float64(len(a.gate.slots)) })
	set.GetOrCreateGauge("muster_prom_requests_waiting", func() float64 { return float64(a.gate.waiting.Load()) })
	a.queryable.maxSamples = opts.MaxSamples
	a.engine = promql.NewEngine(promql.EngineOpts{
		Logger:                   opts.Log,
		MaxSamples:               opts.MaxSamples,
		Timeout:                  opts.Timeout,
		LookbackDelta:            opts.Lookback,
		NoStepSubqueryIntervalFn: func(int64) int64 { return subqueryStep.Milliseconds() },
		EnableAtModifier:         true,
		EnableNegativeOffset:     true,
		Parser:                   a.parser,
	})
	a.routes = map[string]route{
		"query":              {serve: a.query, post: true, gated: true},
		"query_range":        {serve: a.queryRange, post: true, gated: true},
		"query_exemplars":    {serve: a.queryExemplars, post: true},
		"format_query":       {serve: a.formatQuery, post: true},
		"parse_query":        {serve: a.parseQuery, post: true},
		"series":             {serve: a.series, post: true, gated: true},
		"labels":             {serve: a.labelNames, post: true, gated: true},
		"label/values":       {serve: a.labelValues, gated: true},
		"metadata":           {serve: a.metadata},
		"rules":              {serve: constant(`{"groups":[]}`)},
		"alerts":             {serve: constant(`{"alerts":[]}`)},
		"targets":            {serve: constant(`{"activeTargets":[],"droppedTargets":[],"droppedTargetCounts":{}}`)},
		"status/buildinfo":   {serve: a.buildInfo},
		"status/flags":       {serve: a.flags},
		"status/runtimeinfo": {serve: a.runtimeInfo},
		"status/tsdb":        {serve: a.tsdbStatus, gated: true},
	}
	for name, r := range a.routes {
		r.count = set.GetOrCreateCounter(fmt.Sprintf(`muster_prom_requests_total{path=%q}`, name))
		a.routes[name] = r
	}
	return a
}

func setDefault[T int | time.Duration](v *T, otherwise T) {
	if *v <= 0 {
		*v = otherwise
	}
}

// Serve answers one request of the Prometheus HTTP API. path is what follows /prometheus, e.g. "/api/v1/query"; form
// holds the URL query and the form body and may be changed. Cancelling ctx cancels the query. It never panics.
func (a *API) Serve(ctx context.Context, method, path string, form url.Values) (resp Response) {
	start := a.opts.Clock.Now()
	defer func() {
		if p := recover(); p != nil {
			a.panics.Inc()
			a.opts.Log.Error("query panicked", "err", p, "path", path, "query", form.Get("query"), "stack", string(debug.Stack()))
			resp = a.refuse(&apiError{http.StatusInternalServerError, "internal", "internal error, see the log"})
		}
		a.seconds.Update(a.opts.Clock.Now().Sub(start).Seconds())
	}()

	name, ok := strings.CutPrefix(path, "/api/v1/")
	if label, values := strings.CutPrefix(name, "label/"); values {
		if label, ok = strings.CutSuffix(label, "/values"); ok && label != "" && !strings.Contains(label, "/") {
			name = "label/values"
			form = withValue(form, labelParam, label)
		}
	}
	r, known := a.routes[name]
	if !ok || !known {
		// Grafana asks for paths that do not exist and wants this very text [specs/ui.md 4.1].
		return Response{http.StatusNotFound, "text/plain; charset=utf-8", []byte("404 page not found\n")}
	}
	r.count.Inc()
	if method != http.MethodGet && (method != http.MethodPost || !r.post) {
		return a.refuse(&apiError{http.StatusMethodNotAllowed, "bad_data", "method " + method + " is not allowed here"})
	}

	ctx, cancel, err := a.deadline(ctx, form)
	if err != nil {
		return a.refuse(err)
	}
	defer cancel()
	if r.gated {
		if err := a.gate.enter(ctx); err != nil {
			return a.refuse(err)
		}
		defer a.gate.leave()
		var stop func()
		ctx, stop = watch(ctx, a.opts.MaxMemoryBytes)
		defer stop()
	}
	body := append(make([]byte, 0, 512), `{"status":"success","data":`...)
	body, notes, err := r.serve(ctx, form, body)
	if err != nil {
		return a.refuse(causeOf(ctx, err))
	}
	body = appendNotes(body, notes, form.Get("query"))
	return Response{http.StatusOK, "application/json", append(body, '}')}
}

// Query evaluates an instant query and returns a promql.Vector, promql.Matrix, promql.Scalar or promql.String that
// belongs to the caller. It waits for a slot like a request.
func (a *API) Query(ctx context.Context, query string, at time.Time) (parser.Value, error) {
	ctx, cancel := context.WithTimeout(ctx, a.opts.Timeout)
	defer cancel()
	if err := a.gate.enter(ctx); err != nil {
		return nil, err
	}
	defer a.gate.leave()
	ctx, stop := watch(ctx, a.opts.MaxMemoryBytes)
	defer stop()
	data := &scope{queryable: a.queryable}
	q, err := a.engine.NewInstantQuery(ctx, data, nil, query, at)
	if err != nil {
		return nil, err
	}
	if err := data.admit(q.Statement()); err != nil {
		return nil, err
	}
	// Not closed: Close gives the points back to the engine, and they are the caller's now.
	res := q.Exec(ctx)
	return res.Value, causeOf(ctx, res.Err)
}

// deadline bounds ctx by the request's timeout parameter, or by that of the API where it is shorter.
func (a *API) deadline(ctx context.Context, form url.Values) (context.Context, context.CancelFunc, error) {
	timeout := a.opts.Timeout
	if text := form.Get("timeout"); text != "" {
		d, err := parseDuration(text)
		if err != nil {
			return nil, nil, badParam("timeout", err)
		}
		timeout = min(timeout, d)
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	return ctx, cancel, nil
}

// labelParam carries the label's name of /label/<name>/values to its handler; a client's own parameter of that name is replaced.
const labelParam = "\x00label"

func withValue(form url.Values, name, value string) url.Values {
	if form == nil {
		form = url.Values{}
	}
	form.Set(name, value)
	return form
}

func constant(data string) handler {
	return func(_ context.Context, _ url.Values, dst []byte) ([]byte, annotations.Annotations, error) {
		return append(dst, data...), nil, nil
	}
}

// apiError is an error with its place in the HTTP API.
type apiError struct {
	status int
	kind   string // errorType
	text   string
}

func (e *apiError) Error() string { return e.text }

// errBusy refuses a request because the queue is full.
var errBusy = &apiError{http.StatusServiceUnavailable, "unavailable", "too many queries at once; try again in a few seconds"}

func badData(err error) error { return &apiError{http.StatusBadRequest, "bad_data", err.Error()} }

func badParam(name string, err error) error {
	if e := (*apiError)(nil); errors.As(err, &e) {
		return e
	}
	return badData(fmt.Errorf("invalid parameter %q: %w", name, err))
}

// classify finds the place of err in the HTTP API [Prometheus HTTP API, "Format overview"]. 499 is what Prometheus
// answers to a client that has gone.
func classify(err error) *apiError {
	var (
		known    *apiError
		canceled promql.ErrQueryCanceled
		timeout  promql.ErrQueryTimeout
		disk     promql.ErrStorage
	)
	switch {
	case errors.As(err, &known):
		return known
	case errors.As(err, &canceled), errors.Is(err, context.Canceled):
		return &apiError{499, "canceled", err.Error()}
	case errors.As(err, &timeout), errors.Is(err, context.DeadlineExceeded):
		return &apiError{http.StatusServiceUnavailable, "timeout", err.Error()}
	case errors.As(err, &disk):
		return &apiError{http.StatusInternalServerError, "internal", err.Error()}
	}
	return &apiError{http.StatusUnprocessableEntity, "execution", err.Error()}
}

func (a *API) refuse(err error) Response {
	e := classify(err)
	a.errors(e.kind).Inc()
	if e.status == http.StatusInternalServerError {
		a.opts.Log.Error("query failed", "err", err)
	}
	body := append([]byte(nil), `{"status":"error","errorType":`...)
	body = appendString(body, e.kind)
	body = append(body, `,"error":`...)
	body = appendString(body, e.text)
	return Response{e.status, "application/json", append(body, '}')}
}

// appendNotes appends what the engine remarked, ten of each kind at most, in a fixed order.
func appendNotes(dst []byte, notes annotations.Annotations, query string) []byte {
	if len(notes) == 0 {
		return dst
	}
	warnings, infos := notes.AsStrings(query, 10, 10)
	if len(warnings) > 0 {
		slices.Sort(warnings)
		dst = append(dst, `,"warnings":`...)
		dst = appendStrings(dst, warnings)
	}
	if len(infos) > 0 {
		slices.Sort(infos)
		dst = append(dst, `,"infos":`...)
		dst = appendStrings(dst, infos)
	}
	return dst
}
