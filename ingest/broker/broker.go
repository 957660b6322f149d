// Package broker is everything of MQTT that is not plain telemetry: sessions, subscriptions, retained messages, wills and
// QoS 2, with the rights of each client checked on publish, subscribe and receive.
//
// All of it is its own: docs/decisions/0005-sessions-of-our-own.md. Nothing of it runs a loop or a goroutine but the tick.
//
// Goroutines: those that serve connections (package lane), and one that ticks every second for expiries, delayed wills and the
// session log. Lock order: Broker.meeting, Broker.mu, session.mu, then the mutexes of lane, index, retained and journal,
// which call nobody. Presence is called under Broker.meeting, Rights.Receive under session.mu.
package broker

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"golang.org/x/time/rate"

	"muster/agent/wire"
	"muster/ingest/lane"
	"muster/tsdb"
	"muster/tsdb/vfs"
)

// Claim is what a connection says of itself.
type Claim struct {
	ClientID string            // may be empty over TLS: then the client id becomes the thing's name
	Cert     *x509.Certificate // nil on the plain listener; else the TLS handshake has proved possession of its key
	Remote   netip.AddrPort
}

// Gate decides who may come in. The text of the error goes to the log; the client sees "not authorized".
type Gate interface {
	Admit(ctx context.Context, c Claim) (lane.Grant, error)
}

// Presence is told when a thing gets its first connection and when it loses its last, and each time that it was heard.
type Presence interface {
	Connected(thing tsdb.ThingID, at time.Time, remote netip.AddrPort)
	Disconnected(thing tsdb.ThingID, at time.Time, reason string)
	// Seen is called for every packet or few: it must be cheap.
	Seen(thing tsdb.ThingID, atMs int64)
}

// Limits bound what clients can make the broker remember. See DefaultLimits.
type Limits struct {
	QueueMessages     int // QoS 1 and 2 messages on their way to one session
	QueueBytes        int // their bytes
	Subscriptions     int // of one session
	Sessions          int
	Retained          int // messages
	RetainedBytes     int
	RetainedPerClient int           // messages
	SessionExpiry     time.Duration // the longest that a session outlives its connection
}

// DefaultLimits are those of specification section 4.
func DefaultLimits() Limits {
	return Limits{QueueMessages: 1000, QueueBytes: 1 << 20, Subscriptions: 100, Sessions: 200_000,
		Retained: 100_000, RetainedBytes: 64 << 20, RetainedPerClient: 100, SessionExpiry: 7 * 24 * time.Hour}
}

// Options of Open. All but Limits are required.
type Options struct {
	Env      *lane.Env
	Gate     Gate
	Presence Presence
	Dir      string // folder of the session log, made if missing
	FS       vfs.FS
	Clock    vfs.Clock
	Log      *slog.Logger
	Metrics  *metrics.Set
	Limits   Limits
}

// Broker serves connections. Safe for concurrent use.
type Broker struct {
	env      *lane.Env
	gate     Gate
	presence Presence
	clock    vfs.Clock
	log      *slog.Logger
	limits   Limits
	journal  *journal
	index    *index
	retained *retainedStore
	anon     atomic.Uint64 // client ids made up
	willSeq  atomic.Uint64 // of the last will; rises over restarts
	kicks    atomic.Uint64 // calls of Kick: a client that was admitted before one is asked about again
	refusals *rate.Limiter // of log lines about clients that were refused: they must not fill the disk
	handlers atomic.Pointer[[]handlerEntry]

	published, droppedQueue, droppedSlow, droppedLarge *metrics.Counter
	takeovers, alarmed                                 *metrics.Counter
	watch                                              watch
	frames                                             sync.Pool // of *frames: one for each goroutine that sends at the moment

	// meeting makes attach and detach one after the other, so that Presence hears of them in the order in which they
	// happened. Taken before mu.
	meeting     sync.Mutex
	lastVersion uint64   // of the newest connection; guarded by meeting
	secret      [16]byte // of this start: makes the names of connections
	// keeping makes a change of a retained message one step in memory and in the journal.
	keeping sync.Mutex

	mu       sync.RWMutex // guards what follows
	sessions map[string]*session
	nextEnd  int64                         // Unix s; no session without a connection ends before
	things   map[string]map[*link]struct{} // the connections of each thing, by name
	links    int                           // how many those are
	wills    map[string]*will              // by client id: those whose connection is gone and whose delay is not over
	closing  bool                          // no session may open any more
	drained  chan struct{}                 // closed when closing is set and no session has a connection
	closed   bool                          // Close was called: nobody publishes any more
	inside   sync.WaitGroup                // calls of Publish and Announce that run

	stop    chan struct{}
	stopped chan struct{}
}

// Open reads the sessions that were kept and starts the broker. The caller closes it.
func Open(opts Options) (*Broker, error) {
	b := &Broker{
		env:          opts.Env,
		gate:         opts.Gate,
		presence:     opts.Presence,
		clock:        opts.Clock,
		log:          opts.Log,
		limits:       opts.Limits,
		index:        newIndex(&opts.Env.Fanout, opts.Env.Topics),
		retained:     newRetainedStore(opts.Limits),
		refusals:     rate.NewLimiter(5, 20),
		published:    opts.Metrics.GetOrCreateCounter(`muster_ingest_publishes_out_total`),
		droppedQueue: opts.Metrics.GetOrCreateCounter(`muster_ingest_dropped_total{reason="queue full"}`),
		droppedSlow:  opts.Metrics.GetOrCreateCounter(`muster_ingest_dropped_total{reason="slow reader, qos 0"}`),
		droppedLarge: opts.Metrics.GetOrCreateCounter(`muster_ingest_dropped_total{reason="larger than the client takes"}`),
		takeovers:    opts.Metrics.GetOrCreateCounter(`muster_ingest_takeovers_total`),
		alarmed:      opts.Metrics.GetOrCreateCounter(`muster_ingest_alarms_total{kind="shared certificate"}`),
		sessions:     make(map[string]*session),
		things:       make(map[string]map[*link]struct{}),
		wills:        make(map[string]*will),
		drained:      make(chan struct{}),
		stop:         make(chan struct{}),
		stopped:      make(chan struct{}),
		frames:       sync.Pool{New: func() any { return &frames{} }},
	}
	b.willSeq.Store(uint64(b.clock.Now().UnixNano()))
	_, err := rand.Read(b.secret[:])
	if err != nil {
		return nil, fmt.Errorf("read randomness: %w", err)
	}
	if b.journal, err = openJournal(opts.FS, opts.Dir, opts.Log); err != nil {
		return nil, err
	}
	if opts.Env.Sparkplug != nil {
		opts.Env.Sparkplug.Command = b.Announce
	}
	b.restore()
	opts.Metrics.NewGauge(`muster_ingest_alarms`, func() float64 { return float64(len(b.watch.alarms())) })
	opts.Metrics.NewGauge(`muster_ingest_sessions`, func() float64 { return float64(b.sessionCount()) })
	opts.Metrics.NewGauge(`muster_ingest_retained_messages`, func() float64 { return float64(b.retained.count()) })
	go b.tick()
	return b, nil
}

// Serve runs one connection until it ends, or returns true when it is parked; then over is called at its end. conn's read deadline must be
// the one by which its CONNECT has to be there; cert is the client certificate, nil on the plain listener.
func (b *Broker) Serve(conn net.Conn, cert *x509.Certificate, over func()) (parked bool) {
	l := &link{b: b, c: lane.New(b.env, conn), cert: cert, remote: addrPort(conn.RemoteAddr()), over: over}
	reason := errors.New("internal error")
	defer func() { // also after a panic, which goes on to the caller
		if !parked {
			l.closed(reason)
		}
	}()
	reason = l.c.Run(l)
	if reason == lane.ErrParked {
		return true
	}
	if l.session == nil && !errors.Is(reason, lane.ErrDisconnected) {
		b.log.Debug("connection refused", "remote", l.remote, "err", reason)
	}
	return false
}

func addrPort(addr net.Addr) netip.AddrPort {
	if tcp, ok := addr.(*net.TCPAddr); ok {
		return tcp.AddrPort()
	}
	ap, _ := netip.ParseAddrPort(addr.String()) // zero for a pipe
	return ap
}

// retain keeps m as the retained message of its topic; false: a quota is full.
func (b *Broker) retain(m *message) bool {
	b.keeping.Lock()
	defer b.keeping.Unlock()
	m.atMs = b.clock.Now().UnixMilli() // nobody else has seen it yet
	if !b.retained.set(m) {
		b.env.Refuse("retained quota")
		return false
	}
	if len(m.payload) == 0 {
		b.journal.delete(retainedKey(m.topic))
	} else {
		b.journal.put(retainedKey(m.topic), appendMessage(make([]byte, 0, 32+m.size()), m))
	}
	return true
}

// route delivers m to all subscribers. It reports whether some of them are in the journal.
func (b *Broker) route(m *message) (journaled bool) {
	var few [4]target
	for _, t := range b.index.targets(few[:0], m.topic, m.origin, b.pick) {
		if s := b.session(t.client); s != nil && s.deliver(m, &t) {
			journaled = true
		}
	}
	return journaled
}

// refuse counts why a connection ends.
func (b *Broker) refuse(v lane.Violation) error {
	b.env.Refuse(v.Reason)
	return v
}

func (b *Broker) session(client string) *session {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.sessions[client]
}

func (b *Broker) sessionCount() int {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return len(b.sessions)
}

// Connected returns how many sessions have a connection.
func (b *Broker) Connected() int {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.links
}

// Published returns how many PUBLISH packets went out, and how many messages were dropped on the way.
func (b *Broker) Published() (sent, dropped uint64) {
	return b.published.Get(), b.droppedQueue.Get() + b.droppedSlow.Get() + b.droppedLarge.Get()
}

// mayPublish is the one place where a publish is allowed: by the rights, and of the topics that begin with $ only the
// thing's own reserved ones, whatever its policy says.
func mayPublish(grant *lane.Grant, topic string, retain bool) bool {
	if topic[0] == '$' && !strings.HasPrefix(topic, wire.ReservedPrefix(grant.ThingName)) {
		return false
	}
	return grant.Rights.Publish(topic) && (!retain || grant.Rights.Retain(topic))
}

func (b *Broker) newClientID() string {
	return fmt.Sprintf("auto-%d-%d", b.clock.Now().UnixNano(), b.anon.Add(1))
}
