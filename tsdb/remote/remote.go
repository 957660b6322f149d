// Package remote sends telemetry on to another Prometheus-compatible store: Prometheus remote write, version 1.
//
// It follows the twin store's own log (tsdb.LogFile) and keeps a cursor: what is in the log and behind the cursor is the queue.
// While the other side keeps up, nothing is written but the cursor. A log file that the twin store is done with, and that was
// not sent whole, is kept under a second name in the queue's folder and compressed there (queue.go). Rows become series and
// samples in batch.go, one request in send.go. Why: docs/decisions/0007-remote-write-out.md; bytes: docs/formats/remote.md.
//
// A batch is sent until the other side has taken it or refused it for what it says, and only then is the cursor moved: after
// a kill the last batch is sent again and nothing is left out. The samples of one series go in the order in which they came.
//
// Goroutines: Start starts one, which Stop ends and awaits. Retire is called by the twin store's keeper. Lock: queue.mu, held for
// the names and the position of the queue, also while a file is linked; nothing else is taken under it.
package remote

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"muster/tsdb"
	"muster/tsdb/prom"
	"muster/tsdb/vfs"
)

// Options of a Forwarder. URL, Dir and LogDir are needed; what is zero gets the default in brackets.
type Options struct {
	URL             string // of the other side's write endpoint; redirects are not followed
	BearerTokenFile string // read before each request, so that the token may change [no token]
	CAFile          string // PEM certificates to trust, and no others [those of the machine]
	Dir             string // of cursor and queue
	LogDir          string // of the twin store
	External        []prom.Label

	FS      vfs.FS
	Clock   vfs.Clock
	Log     *slog.Logger // [none]
	Metrics *metrics.Set // [one of its own]

	QueueBytes int64         // of files in Dir; beyond it the oldest go [no limit]
	KeepFree   int64         // free disk space, below which the oldest files in Dir go [256 MiB, a fifth of a small disk]
	Interval   time.Duration // how long samples are gathered [5 s]
	Timeout    time.Duration // of a request [30 s]
	MaxSamples int           // of a request [10,000]
	FirstRetry time.Duration // wait after the first failure; it doubles [1 s]
	LastRetry  time.Duration // the longest wait [1 min]
}

func (o Options) complete() (Options, error) {
	target, err := url.Parse(o.URL)
	switch {
	case err != nil:
		return o, fmt.Errorf("remote.url %q: %w", o.URL, err)
	case target.Scheme != "https" && target.Scheme != "http" || target.Host == "":
		return o, fmt.Errorf("remote.url %q: want an address such as https://metrics.example.com/api/v1/write", target.Redacted())
	case target.User != nil:
		return o, fmt.Errorf("remote.url %q: a name and password do not belong there; put a token into the file of remote.bearer-token-file", target.Redacted())
	}
	if o.FS == nil {
		o.FS = vfs.OS{}
	}
	if o.Clock == nil {
		o.Clock = vfs.SystemClock{}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Metrics == nil {
		o.Metrics = metrics.NewSet()
	}
	orDuration := func(p *time.Duration, d time.Duration) {
		if *p == 0 {
			*p = d
		}
	}
	orDuration(&o.Interval, 5*time.Second)
	orDuration(&o.Timeout, 30*time.Second)
	orDuration(&o.FirstRetry, time.Second)
	orDuration(&o.LastRetry, time.Minute)
	if o.MaxSamples == 0 {
		o.MaxSamples = 10_000
	}
	return o, nil
}

// Forwarder sends what one twin store takes to one other side. Make it with Open before the store is opened, give Retire to the
// store, and then Start it.
type Forwarder struct {
	opts   Options
	log    *slog.Logger
	queue  *queue
	client *http.Client

	store     Store
	directory prom.Directory
	batch     *batch
	failing   bool      // the last request was not taken
	said      time.Time // when the log last said so
	refused   time.Time // when the log last named a refused batch

	cancel context.CancelFunc
	done   chan struct{}

	sent     *metrics.Counter
	dropped  *metrics.Counter
	retries  *metrics.Counter
	lastSent *metrics.Gauge
}

// Store is what a Forwarder asks the twin store.
type Store interface {
	Dict() *tsdb.Dict
	LogEnd() tsdb.LogPosition
	SourceLabels(dst []tsdb.Label, id tsdb.ThingID) ([]tsdb.Label, bool)
}

// Open checks the options, makes the queue's folder and reads the cursor. It sends nothing yet.
func Open(opts Options) (*Forwarder, error) {
	opts, err := opts.complete()
	if err != nil {
		return nil, err
	}
	client, err := newClient(&opts)
	if err != nil {
		return nil, err
	}
	if opts.BearerTokenFile != "" {
		if _, err := readToken(opts.FS, opts.BearerTokenFile); err != nil {
			return nil, err
		}
	}
	q, err := openQueue(&opts)
	if err != nil {
		return nil, err
	}
	f := &Forwarder{
		opts: opts, log: opts.Log, client: client, queue: q, done: make(chan struct{}), cancel: func() {},
		sent:     opts.Metrics.GetOrCreateCounter("muster_remote_samples_total"),
		dropped:  opts.Metrics.GetOrCreateCounter(`muster_remote_samples_dropped_total{reason="refused"}`),
		retries:  opts.Metrics.GetOrCreateCounter("muster_remote_retries_total"),
		lastSent: opts.Metrics.GetOrCreateGauge("muster_remote_last_success_seconds", nil),
	}
	return f, nil
}

// Retire keeps a log file that was not sent whole. It is tsdb.Options.Retire. It never fails: what cannot be kept is lost to the
// other side, counted and named in the log, and the twin store goes on.
func (f *Forwarder) Retire(number uint64, name string) { f.queue.keep(number, name) }

// Start begins to send what is in the log of store and was not sent before. Stop must follow.
func (f *Forwarder) Start(store Store, directory prom.Directory) {
	f.store, f.directory = store, directory
	f.batch = newBatch(store, directory, f.opts.External, f.opts.MaxSamples,
		f.opts.Metrics.GetOrCreateCounter(`muster_remote_samples_dropped_total{reason="thing"}`))
	var ctx context.Context
	ctx, f.cancel = context.WithCancel(context.Background())
	go f.run(ctx)
}

// Stop ends sending, without waiting for the other side, and waits for the goroutine until ctx ends.
func (f *Forwarder) Stop(ctx context.Context) error {
	f.cancel()
	select {
	case <-f.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// run sends batches until ctx ends: at once while there is a full one, else every Interval.
func (f *Forwarder) run(ctx context.Context) {
	defer close(f.done)
	defer f.queue.close()
	for {
		full, err := f.step(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			f.say("telemetry cannot be read for sending on; it is tried again", err)
		}
		if full {
			continue
		}
		if f.queue.tidy() {
			continue // the disk has had its work for now; there may be more
		}
		select {
		case <-ctx.Done():
			return
		case <-f.opts.Clock.After(f.opts.Interval):
		}
	}
}

// step sends one batch, if there is anything to send, and moves the cursor behind it.
func (f *Forwarder) step(ctx context.Context) (full bool, err error) {
	f.batch.reset()
	next, err := f.queue.read(f.store.LogEnd(), f.batch.add)
	if err != nil {
		return false, err
	}
	full = f.batch.full()
	if f.batch.samples > 0 {
		if !f.deliver(ctx, f.batch.encode()) {
			return false, nil
		}
	}
	f.queue.advance(next)
	return full, nil
}

// deliver sends one batch until it is taken or refused. It is false when ctx ended before.
func (f *Forwarder) deliver(ctx context.Context, body []byte) bool {
	wait := f.opts.FirstRetry
	for {
		answer := f.send(ctx, body)
		if ctx.Err() != nil {
			return false
		}
		switch {
		case answer.taken:
			if f.failing {
				f.failing = false
				f.log.Info("telemetry is sent on again", "remote", f.opts.URL)
			}
			f.sent.Add(f.batch.samples)
			f.lastSent.Set(float64(f.opts.Clock.Now().Unix()))
			return true
		case answer.refused:
			f.dropped.Add(f.batch.samples)
			if now := f.opts.Clock.Now(); now.Sub(f.refused) >= sayAgain || now.Before(f.refused) {
				f.refused = now
				f.log.Error("the other side refuses telemetry for what it is; it is dropped", "remote", f.opts.URL, "samples", f.batch.samples, "err", answer.err)
			}
			return true
		}
		f.retries.Inc()
		f.say("telemetry is not taken by the other side; it is kept and sent again", answer.err)
		// Half of the wait is chance, so that many gateways do not come back at once.
		pause := max(wait/2+rand.N(wait/2+1), answer.after)
		wait = min(2*wait, f.opts.LastRetry)
		for f.queue.tidy() && ctx.Err() == nil {
		}
		select {
		case <-ctx.Done():
			return false
		case <-f.opts.Clock.After(pause):
		}
	}
}

// sayAgain is how often the log repeats that the other side is away.
const sayAgain = 10 * time.Minute

func (f *Forwarder) say(what string, err error) {
	now := f.opts.Clock.Now()
	if !f.failing || now.Sub(f.said) >= sayAgain || now.Before(f.said) {
		f.said = now
		f.log.Warn(what, "remote", f.opts.URL, "err", err)
	}
	f.failing = true
}

var errRedirect = errors.New("it answers with a redirect, which is not followed: set remote.url to where it leads")
