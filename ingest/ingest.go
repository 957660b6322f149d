// Package ingest is the front door: devices connect here over MQTT 3.1.1 and 5, and their telemetry is on disk before it is
// acknowledged.
//
// A connection comes in through package conn (limits, TLS), is read by package lane (framing, screening, telemetry straight
// into the store) and belongs to a session of package broker (everything else of MQTT). Who may come in and what a client
// may do is decided by the Gate and the Rights that main.go joins to the registry.
package ingest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"muster/ingest/broker"
	"muster/ingest/conn"
	"muster/ingest/lane"
	"muster/tsdb"
	"muster/tsdb/vfs"
)

// What the registry and the identity service implement, and what they are told.
type (
	// Claim is what a connection says of itself.
	Claim = broker.Claim
	// Gate decides who may come in.
	Gate = broker.Gate
	// Grant is who a connection is and what it may do.
	Grant = lane.Grant
	// Rights answer for every packet, for ever: a change of policy needs no new connection.
	Rights = lane.Rights
	// Presence is told when a thing gets its first connection and when it loses its last.
	Presence = broker.Presence
	// Schemas knows what becomes of the columns that things send.
	Schemas = lane.Schemas
	// Rates are quotas per second.
	Rates = lane.Rates
	// Topics are patterns of further topics whose messages are telemetry.
	Topics = lane.Topics
	// Alarm is something that a person should look into.
	Alarm = broker.Alarm
	// Sample is a malformed payload that was kept.
	Sample = lane.Sample
)

// ParseTopics reads patterns such as sensors/{thing}/data. See Topics.
func ParseTopics(texts []string) (*Topics, error) { return lane.ParseTopics(texts) }

// Options of Open.
type Options struct {
	Store    *tsdb.Store
	Gate     Gate
	Presence Presence
	Things   Things      // for Publish on telemetry topics; nil: there are none
	Schemas  Schemas     // of telemetry; nil: none
	TLS      *tls.Config // must require and verify client certificates; nil: no TLS listener
	Addr     string      // of the TLS listener; port 0: any
	// PlainAddr is for development and load tests: no TLS, the client id is the thing's name. Empty: none. Addresses other
	// than loopback are refused unless PlainAnywhere.
	PlainAddr     string
	PlainAnywhere bool
	Dir           string // folder of the session log, made if missing
	FS            vfs.FS
	Clock         vfs.Clock
	Log           *slog.Logger
	Metrics       *metrics.Set
	Config        Config
}

// Server is the front door. Safe for concurrent use.
type Server struct {
	env    *lane.Env
	broker *broker.Broker
	door   *conn.Door
	loops  *conn.Loops    // nil: none
	things Things         // nil: none
	drain  time.Duration  // Config.Drain
	tls    *conn.Listener // nil: none
	plain  *conn.Listener // nil: none
	wg     sync.WaitGroup
	once   sync.Once
	done   chan struct{} // closed when Shutdown has ended
	err    error         // of Shutdown
}

// Open reads the sessions that were kept and binds the listeners. Nothing is accepted before Serve.
func Open(opts Options) (*Server, error) {
	cfg, err := opts.Config.complete(opts.Store.AckMemory())
	if err != nil {
		return nil, err
	}
	if opts.PlainAddr != "" && !opts.PlainAnywhere {
		if err := checkLoopback(opts.PlainAddr); err != nil {
			return nil, err
		}
	}
	env := lane.NewEnv(opts.Store, opts.Clock, opts.Log, opts.Metrics, cfg.Packets, cfg.WriteTimeout, cfg.MaxHandshakes)
	env.Seen, env.Bypass, env.Schemas, env.Topics = opts.Presence.Seen, cfg.Bypass, opts.Schemas, cfg.Topics
	if cfg.Sparkplug {
		env.Sparkplug = lane.NewSparkplug(func(name string) (tsdb.ThingID, bool) {
			if opts.Things == nil {
				return 0, false
			}
			return opts.Things.ThingByName(name)
		}, opts.Metrics)
	}
	env.Quotas = lane.NewQuotas(cfg.ThingRates, cfg.TotalRates, opts.Metrics)
	if cfg.Loop == LoopEpoll {
		var store conn.Store = opts.Store
		if opts.Store.AckMemory() { // nobody waits for it: rows may wait for others
			store = nil
		}
		env.Loops, err = conn.StartLoops(conn.LoopOptions{Log: opts.Log, Metrics: opts.Metrics, Count: max(1, runtime.GOMAXPROCS(0)/2), Coalesce: cfg.Coalesce, Store: store})
		if err != nil {
			return nil, err
		}
	}
	b, err := broker.Open(broker.Options{Env: env, Gate: opts.Gate, Presence: opts.Presence, Dir: opts.Dir, FS: opts.FS,
		Clock: opts.Clock, Log: opts.Log, Metrics: opts.Metrics, Limits: cfg.Sessions})
	s := &Server{env: env, broker: b, loops: env.Loops, things: opts.Things, drain: cfg.Drain, done: make(chan struct{})}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open sessions: %w", err), s.closeLoops())
	}
	s.door = conn.New(conn.Options{Log: opts.Log, Metrics: opts.Metrics, Serve: b.Serve, Refused: env.Refuse, CompactTLS: cfg.CompactTLS, Ciphers: cfg.Ciphers,
		HelloTimeout: cfg.HelloTimeout, MaxConns: cfg.MaxConns, MaxHandshakes: cfg.MaxHandshakes,
		AddressRate: cfg.AddressRate, AddressBurst: cfg.AddressBurst, ProxyFrom: cfg.ProxyFrom})
	if opts.TLS != nil {
		s.tls, err = s.door.Listen(opts.Addr, opts.TLS)
	}
	if err == nil && opts.PlainAddr != "" {
		s.plain, err = s.door.Listen(opts.PlainAddr, nil)
	}
	if err != nil {
		s.door.Close()
		return nil, errors.Join(err, b.Close(), s.closeLoops())
	}
	return s, nil
}

func (s *Server) closeLoops() error {
	if s.loops == nil {
		s.env.Remains.Close()
		return nil
	}
	return s.loops.Close()
}

// checkLoopback says whether addr can be reached from this machine only.
func checkLoopback(addr string) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("mqtt.plain-addr %q: %w", addr, err)
	}
	if ip, err := netip.ParseAddr(host); host == "localhost" || err == nil && ip.IsLoopback() {
		return nil
	}
	return fmt.Errorf("mqtt.plain-addr %q is not a loopback address: without TLS anybody could be any device; use 127.0.0.1, or mqtt.plain-anywhere in a closed network", addr)
}

// Addr returns the address of the TLS listener, nil if there is none.
func (s *Server) Addr() net.Addr { return addrOf(s.tls) }

// PlainAddr returns the address of the plain listener, nil if there is none.
func (s *Server) PlainAddr() net.Addr { return addrOf(s.plain) }

func addrOf(l *conn.Listener) net.Addr {
	if l == nil {
		return nil
	}
	return l.Addr()
}

// Serve accepts connections until Shutdown has ended.
func (s *Server) Serve() {
	for _, l := range []*conn.Listener{s.tls, s.plain} {
		if l != nil {
			s.wg.Go(l.Accept)
		}
	}
	s.wg.Wait()
	<-s.done
}

// ServeConn serves MQTT on a connection that someone else has accepted (MQTT over WebSocket), until it ends. conn's client
// certificate is looked for in its TLS state; without one it is refused.
func (s *Server) ServeConn(conn net.Conn) {
	cert := clientCert(conn)
	if cert == nil {
		s.env.Refuse("no client certificate")
		_ = conn.Close() // turned away
		return
	}
	s.door.Adopt(conn, cert)
}

// clientCert finds the client certificate of a connection that has a TLS state, or wraps one that has.
func clientCert(c net.Conn) *x509.Certificate {
	for c != nil {
		if t, ok := c.(interface{ ConnectionState() tls.ConnectionState }); ok {
			if certs := t.ConnectionState().PeerCertificates; len(certs) > 0 {
				return certs[0]
			}
			return nil
		}
		inner, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			return nil
		}
		c = inner.NetConn()
	}
	return nil
}

// Shutdown closes every connection, one after the other over Config.Drain: it acknowledges what is on disk and tells v5 clients. Who connects
// meanwhile reads that the server is unavailable. Then it stops accepting and syncs the sessions. What is not done when ctx ends is cut
// off. The store must still be open. A second call waits for the first.
func (s *Server) Shutdown(ctx context.Context) error {
	s.once.Do(func() {
		defer close(s.done)
		s.broker.Drain(ctx, s.drain)
		s.door.Close()
		s.door.Abort() // those that have no session yet
		s.err = errors.Join(s.broker.Close(), s.closeLoops())
	})
	<-s.done
	return s.err
}

// Kick closes the connections of a thing now: it was deleted, or its certificate revoked. reason is what a v5 client reads.
func (s *Server) Kick(thingName, reason string) { s.broker.Kick(thingName, reason) }

// Review closes the connections of a thing, or of all where thingName is empty, whose rights no longer let them connect.
func (s *Server) Review(thingName string) { s.broker.Review(thingName) }

// Malformed returns the last malformed payloads, newest first.
func (s *Server) Malformed() []Sample { return s.env.Malformed() }

// Alarms returns the clients that take each other's session, the newest first: perhaps two devices have the same certificate.
func (s *Server) Alarms() []Alarm { return s.broker.Alarms() }

// Stats are counters since the start, but for Connections.
type Stats struct {
	Connections      int // sessions that are connected now
	ConnectionsTotal uint64
	Refused          uint64            // connections, packets and requests that were turned away
	RefusedBy        map[string]uint64 // the same by reason
	Messages         uint64            // PUBLISH that came in
	MessagesLane     uint64            // PUBLISH that were telemetry, straight into the store
	MessagesBroker   uint64            // all other PUBLISH
	BytesIn          uint64
	BytesOut         uint64
	PublishesOut     uint64
	Dropped          uint64 // messages that a subscriber did not get: its queue was full, it was slow or away
	Malformed        uint64 // payloads
	Acks             uint64 // PUBACKs
	Panics           uint64
}

// Stats returns the counters.
func (s *Server) Stats() Stats {
	sent, dropped := s.broker.Published()
	refusedBy := s.env.Refused()
	refused := uint64(0)
	for _, n := range refusedBy {
		refused += n
	}
	return Stats{
		Connections:      s.broker.Connected(),
		ConnectionsTotal: s.door.Total(),
		Refused:          refused,
		RefusedBy:        refusedBy,
		Messages:         s.env.MessagesLane.Get() + s.env.MessagesBroker.Get(),
		MessagesLane:     s.env.MessagesLane.Get(),
		MessagesBroker:   s.env.MessagesBroker.Get(),
		BytesIn:          s.env.BytesIn.Get(),
		BytesOut:         s.env.BytesOut.Get(),
		PublishesOut:     sent,
		Dropped:          dropped,
		Malformed:        s.env.MalformedPayloads.Get(),
		Acks:             s.env.Acks.Get(),
		Panics:           s.env.Panics.Get(),
	}
}
