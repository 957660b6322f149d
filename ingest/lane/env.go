package lane

import (
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"muster/ingest/conn"
	"muster/ingest/decode"
	"muster/tsdb"
	"muster/tsdb/vfs"
)

// Rights says what the holder of a grant may do. Implementations are safe for concurrent use and may change their mind at
// any time: they are asked for every packet.
type Rights interface {
	Connect(clientID string) bool
	Publish(topic string) bool
	Retain(topic string) bool
	Subscribe(filter string) bool
	Receive(topic string) bool
}

// Grant is who a connection is and what it may do.
type Grant struct {
	Thing     tsdb.ThingID
	ThingName string
	Rights    Rights
}

// Schemas knows what becomes of the columns that things send. Safe for concurrent use.
type Schemas interface {
	// Epoch rises after every change of an answer of Schema. It is asked for every message.
	Epoch() uint64
	// Schema returns the schema of a thing, nil for none.
	Schema(thing tsdb.ThingID) *decode.Schema
}

// Env is what all connections of one server share. All of it is safe for concurrent use.
type Env struct {
	Store        *tsdb.Store
	Clock        vfs.Clock // time of arrival; the deadlines of sockets follow the real clock
	Log          *slog.Logger
	Limits       Limits
	WriteTimeout time.Duration // a client that reads nothing for so long is cut off
	// Seen is told of every read that completed a packet, in Unix ms; it must be cheap.
	Seen    func(thing tsdb.ThingID, atMs int64)
	Bypass  bool    // telemetry goes to the Handler like any other message
	Schemas Schemas // nil: none
	Topics  *Topics // telemetry besides dt/<thing>
	Quotas  *Quotas // nil: none
	// Sparkplug are the edge nodes; nil: their topics are like any other.
	Sparkplug *Sparkplug
	// Fanout counts the subscriptions that may match telemetry. While it is 0, telemetry goes to the store alone.
	Fanout atomic.Int64
	// Loops serve the connections that can be parked; nil: each connection has its goroutines.
	Loops *conn.Loops
	// Remains are connections whose clients have not read yet why they end, where there are no loops.
	Remains conn.Remains

	MessagesLane, MessagesBroker    *metrics.Counter // PUBLISH in
	BytesIn, BytesOut, Acks, Panics *metrics.Counter
	MalformedPayloads, RowsRefused  *metrics.Counter
	ValuesSkipped                   *metrics.Counter // of payloads that were taken: no column holds them
	set                             *metrics.Set
	workspaces                      chan *workspace // free ones; more are made when it is empty
	mu                              sync.Mutex      // guards refused, samples, nextSample
	refused                         map[string]*metrics.Counter
	samples                         []Sample
	nextSample                      int
	dict                            *tsdb.Dict
	ackMemory                       bool         // acknowledgements do not wait for the disk
	behind                          atomic.Int32 // connections that the store held up: loops do not try until it takes rows again
}

// Sample is one malformed payload, kept so that a person can see what a device sends.
type Sample struct {
	At      time.Time
	Thing   string
	Topic   string
	Reason  string
	Payload []byte // its first 256 bytes
}

const (
	maxSamples     = 100
	maxSampleBytes = 256
)

// NewEnv fills in the parts of an Env that it makes itself. workspaces bounds how many idle ones are kept: about one per core.
func NewEnv(store *tsdb.Store, clock vfs.Clock, log *slog.Logger, set *metrics.Set, limits Limits, writeTimeout time.Duration, workspaces int) *Env {
	return &Env{
		Store:             store,
		Clock:             clock,
		Log:               log,
		Limits:            limits,
		WriteTimeout:      writeTimeout,
		Seen:              func(tsdb.ThingID, int64) {},
		MessagesLane:      set.GetOrCreateCounter(`muster_ingest_messages_total{path="lane"}`),
		MessagesBroker:    set.GetOrCreateCounter(`muster_ingest_messages_total{path="broker"}`),
		BytesIn:           set.GetOrCreateCounter(`muster_ingest_bytes_total{direction="in"}`),
		BytesOut:          set.GetOrCreateCounter(`muster_ingest_bytes_total{direction="out"}`),
		Acks:              set.GetOrCreateCounter(`muster_ingest_acks_total`),
		Panics:            set.GetOrCreateCounter(`muster_ingest_panics_total`),
		MalformedPayloads: set.GetOrCreateCounter(`muster_ingest_malformed_payloads_total`),
		RowsRefused:       set.GetOrCreateCounter(`muster_ingest_rows_refused_total`),
		ValuesSkipped:     set.GetOrCreateCounter(`muster_ingest_values_skipped_total`),
		set:               set,
		workspaces:        make(chan *workspace, workspaces),
		refused:           make(map[string]*metrics.Counter),
		dict:              store.Dict(),
		ackMemory:         store.AckMemory(),
	}
}

// Refuse counts something refused. reason is one of a fixed few: it becomes a label.
func (e *Env) Refuse(reason string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	counter := e.refused[reason]
	if counter == nil {
		counter = e.set.GetOrCreateCounter(fmt.Sprintf("muster_ingest_refused_total{reason=%q}", reason))
		e.refused[reason] = counter
	}
	counter.Inc()
}

// Refused returns how often each reason was counted.
func (e *Env) Refused() map[string]uint64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	counts := make(map[string]uint64, len(e.refused))
	for reason, counter := range e.refused {
		counts[reason] = counter.Get()
	}
	return counts
}

// Malformed returns the last malformed payloads, newest first.
func (e *Env) Malformed() []Sample {
	e.mu.Lock()
	defer e.mu.Unlock()
	list := make([]Sample, 0, len(e.samples))
	for i := range e.samples {
		list = append(list, e.samples[(e.nextSample-1-i+2*len(e.samples))%len(e.samples)])
	}
	return list
}

func (e *Env) keepSample(s Sample) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.samples) < maxSamples {
		e.samples = append(e.samples, s)
		e.nextSample = len(e.samples) % maxSamples
		return
	}
	e.samples[e.nextSample] = s
	e.nextSample = (e.nextSample + 1) % maxSamples
}

// workspace is what handling a PUBLISH takes; it costs too much to keep one per idle connection.
type workspace struct {
	decoder *decode.Decoder
	msg     Publish // here because a handler's argument would be allocated
}

// acquireWorkspace borrows one; releaseWorkspace gives it back, without what points into a connection's buffer.
func (e *Env) acquireWorkspace() *workspace {
	select {
	case w := <-e.workspaces:
		return w
	default:
		return &workspace{decoder: decode.New(e.dict)}
	}
}

func (e *Env) releaseWorkspace(w *workspace) {
	w.msg = Publish{}
	select {
	case e.workspaces <- w:
	default:
	}
}
