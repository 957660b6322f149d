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
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
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
	things   map[string]map[*link]struct{} // the connections of each thing, by name
	links    int                           // how many those are
	wills    map[string]*will              // by client id: those whose connection is gone and whose delay is not over
	closing  error                         // set once: no session may open any more
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

// restore makes the sessions and retained messages of the journal. A record that cannot be read is logged and left out.
func (b *Broker) restore() {
	bad := 0
	now := b.clock.Now().Unix()
	type state struct {
		id       uint16
		released bool
	}
	states := make(map[string]state) // by the key of the delivery
	of := func(client string) *session {
		s := b.sessions[client]
		if s == nil {
			s = newSession(b, client)
			b.sessions[client] = s
		}
		return s
	}
	var deliveries, wills []func()
	var lost []openRecord
	b.journal.each(func(key string, value []byte) {
		kind := key[0]
		if kind == keyRetained {
			if m, ok := decodeMessage(value); !ok || m.topic != key[1:] || !b.retained.set(m) {
				bad++
			}
			return
		}
		client, rest, ok := strings.Cut(key[1:], "\x00")
		switch {
		case !ok:
			bad++
		case kind == keyWill:
			wills = append(wills, func() {
				if !b.restoreWill(client, rest, value) {
					bad++
				}
			})
		case kind == keyOpen:
			if o, ok := decodeOpen(client, value); ok {
				lost = append(lost, o)
			} else {
				bad++
			}
		case kind == keySession:
			if !of(client).decode(value) {
				bad++
			}
		case kind == keySubscription:
			if sub, ok := decodeSubscription(rest, value); ok {
				of(client).subs[rest] = sub
			} else {
				bad++
			}
		case kind == keyReceived && len(rest) == 2:
			s := of(client)
			if s.received == nil {
				s.received = make(map[uint16]bool)
			}
			s.received[binary.BigEndian.Uint16([]byte(rest))] = false
		case kind == keyState && len(value) == 3:
			states[client+"\x00"+rest] = state{id: binary.BigEndian.Uint16(value[1:]), released: value[0] == 1}
		case kind == keyQueue && len(rest) == 8:
			d, ok := decodeDelivery(binary.BigEndian.Uint64([]byte(rest)), value)
			if !ok {
				bad++
				return
			}
			deliveries = append(deliveries, func() {
				s := of(client)
				if st, sent := states[client+"\x00"+rest]; sent {
					d.id, d.released = st.id, st.released
					s.flight = append(s.flight, d)
				} else {
					s.pending = append(s.pending, d)
				}
			})
		default:
			bad++
		}
	})
	for _, place := range deliveries {
		place()
	}
	for client, s := range b.sessions {
		s.restoreOrder()
		if s.expirySec == 0 { // its own record was lost
			s.expirySec = uint32(b.limits.SessionExpiry / time.Second)
		}
		if s.offSince == 0 || s.offSince > now { // connected until the end, or the clock was turned back
			s.offSince = now
		}
		for _, sub := range s.subs {
			b.index.add(client, sub, true)
		}
	}
	for _, place := range wills {
		place()
	}
	b.tellLost(lost)
	if bad > 0 {
		b.log.Error("records of the session log could not be read and were left out", "count", bad)
	}
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

// attach gives the connection l the session of client, taking it over from an older connection. present says that an old
// session goes on.
func (b *Broker) attach(l *link, client string, grant lane.Grant, clean bool, expirySec uint32) (present bool, err error) {
	b.meeting.Lock()
	present, fire, err := b.attachLocked(l, client, grant, clean, expirySec)
	if err == nil {
		if old := l.id.took; old != nil {
			b.noteTakeover(l, old)
		}
		b.presence.Connected(grant.Thing, b.clock.Now(), l.remote)
		b.tellConnected(l)
	}
	b.meeting.Unlock()
	if fire != nil {
		b.fireWill(fire)
	}
	return present, err
}

// attachLocked does it; fire is a will to publish now. Broker.meeting is held.
func (b *Broker) attachLocked(l *link, client string, grant lane.Grant, clean bool, expirySec uint32) (present bool, fire *will, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.sessions[client]
	if b.closing != nil {
		return false, nil, b.closing
	}
	if s == nil && len(b.sessions) >= b.limits.Sessions {
		return false, nil, b.refuse(lane.Violation{Code: codeQuota, Return: 0x03, Reason: "too many sessions"})
	}
	if l.will != nil { // nobody knows l yet
		b.saveWill(l.will)
	}
	if fire = b.wills[client]; fire != nil { // one with a delay, or that was left by a crash
		delete(b.wills, client)
	}
	if s != nil {
		s.mu.Lock()
		// A session that ends with its connection ends with the one that is taken over.
		over := clean || s.over(b.clock.Now()) || s.link != nil && !s.kept()
		if old := s.link; old != nil {
			s.link = nil
			l.id.took = old
			old.c.End(errTakenOver)
			fire = old.takeWill()
		}
		// A will with a delay does not fire when its session goes on in time [MQTT-3.1.3-9].
		if fire != nil && !over && fire.delaySec > 0 {
			b.forgetWill(fire)
			fire = nil
		}
		if over {
			s.forget()
			s.mu.Unlock()
			s = nil
		}
	}
	present = s != nil
	if s == nil {
		s = newSession(b, client)
		b.sessions[client] = s
		s.mu.Lock()
	}
	s.thing, s.thingName, s.rights = grant.Thing, grant.ThingName, grant.Rights
	s.link, s.offSince, s.fresh = l, 0, 0
	s.unsent = len(s.flight)
	for _, d := range s.flight {
		d.sent = false
	}
	for id := range s.received {
		s.received[id] = false
	}
	if s.kept() && expirySec == 0 {
		s.unsave()
	}
	fresh := !s.kept()
	s.expirySec = expirySec
	if s.kept() && fresh {
		s.saveAll()
	} else {
		s.save()
	}
	l.session = s
	s.mu.Unlock()
	conns := b.things[grant.ThingName]
	if conns == nil {
		conns = make(map[*link]struct{})
		b.things[grant.ThingName] = conns
	}
	conns[l] = struct{}{}
	b.links++
	return present, fire, nil
}

// detach takes the connection l from its session, once, and decides on the session's life and the will.
func (b *Broker) detach(l *link, will *will, reason error) {
	b.meeting.Lock()
	fire, last := b.detachLocked(l, will)
	b.tellDisconnected(l, reason)
	if last {
		b.presence.Disconnected(l.grant.Thing, b.clock.Now(), reason.Error())
	}
	b.meeting.Unlock()
	if fire != nil {
		b.fireWill(fire)
	}
	if last {
		b.env.Sparkplug.Forget(l.grant.Thing)
	}
}

// detachLocked does it; fire is a will to publish now, last says that the thing has no other connection. Broker.meeting is held.
func (b *Broker) detachLocked(l *link, w *will) (fire *will, last bool) {
	now := b.clock.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	s := l.session
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.link == l {
		s.link = nil
		s.offSince = now.Unix()
		if s.kept() {
			s.save()
		} else {
			delete(b.sessions, s.client)
			s.forget()
		}
	}
	if w != nil {
		if delay := min(w.delaySec, s.expirySec); delay > 0 && b.closing == nil {
			w.at = now.Add(time.Duration(delay) * time.Second)
			b.wills[s.client] = w
			b.saveWill(w)
		} else {
			fire = w
		}
	}
	conns := b.things[l.grant.ThingName]
	delete(conns, l)
	b.links--
	if len(conns) == 0 {
		delete(b.things, l.grant.ThingName)
	}
	if b.closing != nil && len(b.things) == 0 {
		close(b.drained)
	}
	return fire, len(conns) == 0
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

// Kick closes the connections of a thing now. The session stays for as long as it would without.
func (b *Broker) Kick(thing, reason string) {
	b.kicks.Add(1)
	for _, l := range b.linksOf(thing) {
		l.c.End(lane.Violation{Code: codeAdministrative, Reason: reason})
	}
}

// Review closes the connections of a thing, or of all where thing is empty, that may no longer connect: their rights have
// changed. All else of the rights is asked for every packet anyhow.
func (b *Broker) Review(thing string) {
	b.kicks.Add(1)
	for _, l := range b.linksOf(thing) {
		if !l.grant.Rights.Connect(l.session.client) {
			l.c.End(lane.Violation{Code: codeNotAuthorized, Reason: "the policy no longer lets it connect"})
		}
	}
}

// linksOf returns the connections of one thing, or of all where thing is empty.
func (b *Broker) linksOf(thing string) []*link {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if thing != "" {
		return slices.Collect(maps.Keys(b.things[thing]))
	}
	var list []*link
	for _, conns := range b.things {
		list = slices.AppendSeq(list, maps.Keys(conns))
	}
	return list
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

// Drain ends every connection: what is on disk is acknowledged, v5 clients are told that the server shuts down. Those that
// are not done when ctx ends are cut off. No session opens any more. Called once.
func (b *Broker) Drain(ctx context.Context) {
	reason := lane.Violation{Code: 0x8b, Return: 0x03, Reason: "server shutting down"}
	b.mu.Lock()
	b.closing = reason
	if len(b.things) == 0 {
		close(b.drained)
	}
	b.mu.Unlock()
	for _, l := range b.linksOf("") {
		l.c.Drain(reason)
	}
	if err := b.env.Store.Sync(ctx); err != nil {
		b.log.Warn("rows were not committed at shutdown and are not acknowledged", "err", err)
	}
	select {
	case <-b.drained:
	case <-ctx.Done():
		for _, l := range b.linksOf("") {
			l.c.Abort(reason)
		}
	}
}

// Close fires the wills that wait, and syncs and closes the session log. Every Serve must have returned.
func (b *Broker) Close() error {
	b.leave()
	close(b.stop)
	<-b.stopped
	for client, w := range b.wills {
		delete(b.wills, client)
		b.fireWill(w)
	}
	return b.journal.close()
}

// tick runs what time makes due, every second.
func (b *Broker) tick() {
	defer close(b.stopped)
	next := b.clock.After(time.Second)
	for {
		select {
		case <-b.stop:
			return
		case <-b.journal.wanted:
			b.journal.run()
			continue
		case <-next:
			next = b.clock.After(time.Second)
		}
		now := b.clock.Now()
		b.endSessions(now)
		for _, w := range b.dueWills(now) {
			b.fireWill(w)
		}
		b.endRetained(now)
		b.watch.forget(now)
		b.journal.run()
	}
}

func (b *Broker) endSessions(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for client, s := range b.sessions {
		s.mu.Lock()
		if s.over(now) {
			delete(b.sessions, client)
			s.forget()
		}
		s.mu.Unlock()
	}
}

func (b *Broker) endRetained(now time.Time) {
	b.keeping.Lock()
	defer b.keeping.Unlock()
	for _, topic := range b.retained.expired(func(m *message) bool { return m.expired(now) }) {
		b.journal.delete(retainedKey(topic))
	}
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
