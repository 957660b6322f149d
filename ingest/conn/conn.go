// Package conn accepts connections: it limits how many come from one address and at all, finishes the TLS handshake within a
// deadline, and hands each connection to the server in a goroutine of its own, where a panic ends that connection only. The
// server may give it to Loops then, where it needs no goroutine while it is idle.
//
// It knows nothing of MQTT. Every goroutine that a Door starts has ended when Abort returns, those of Loops when Close does.
package conn

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"muster/ingest/conn/record"
)

// Options of New. All are required.
type Options struct {
	Log     *slog.Logger
	Metrics *metrics.Set
	// Serve serves one connection until it ends and closes it; or it returns true, goes on with it elsewhere and calls over at its end.
	// The read deadline of conn is the one by which the client must have said who it is. cert is the verified client
	// certificate, nil without TLS.
	Serve func(conn net.Conn, cert *x509.Certificate, over func()) (parked bool)
	// Refused counts a connection that was turned away, by reason.
	Refused func(reason string)

	CompactTLS    bool          // after a handshake of TLS 1.3, package record goes on instead of crypto/tls
	Ciphers       int           // that package record keeps built, for each listener; 0: record.DefaultCache
	HelloTimeout  time.Duration // what a client may take, all its pauses together, for the handshake and its first packet
	MaxConns      int           // of devices; those of TLS count once they have shown a certificate
	MaxHandshakes int           // handshakes that compute at the same time
	AddressRate   float64       // new connections per second of one address
	AddressBurst  int
	// ProxyFrom are the addresses of load balancers: a connection from there begins with a PROXY protocol header (version 2).
	ProxyFrom []netip.Prefix
}

// Door is where connections come in, over all listeners.
type Door struct {
	opts      Options
	rates     *addressRates
	strangers *shares       // connections whose client has not shown a certificate
	turns     *turns        // handshakes whose client has said a whole hello and is not slow
	slow      *shares       // those whose client is
	hands     chan struct{} // a token per handshake that computes
	paused    atomic.Int64  // what clients take after their hello, in ns: a mean of the last ones
	total     *metrics.Counter
	panics    *metrics.Counter
	wg        sync.WaitGroup

	mu        sync.Mutex        // guards what follows
	conns     map[net.Conn]bool // true: a stranger
	unknown   int               // strangers of conns
	parked    int               // connections that are served elsewhere
	listeners []*Listener
	closed    bool
}

// New returns a Door without listeners.
func New(opts Options) *Door {
	d := &Door{
		opts:      opts,
		rates:     newAddressRates(opts.AddressRate, opts.AddressBurst),
		strangers: newShares(maxStrangers),
		turns:     newTurns(maxBegun),
		slow:      newShares(maxSlowHandshakes),
		hands:     make(chan struct{}, opts.MaxHandshakes),
		total:     opts.Metrics.GetOrCreateCounter(`muster_ingest_connections_total`),
		panics:    opts.Metrics.GetOrCreateCounter(`muster_ingest_panics_total`),
		conns:     make(map[net.Conn]bool),
	}
	opts.Metrics.NewGauge(`muster_ingest_connections`, func() float64 { return float64(d.Open()) })
	return d
}

// Listener accepts on one address.
type Listener struct {
	door  *Door
	tcp   net.Listener
	shake handshake // nil: plain
}

// handshake makes one as the server of raw. It returns the connection to go on with, and what the peer has shown.
type handshake func(ctx context.Context, raw net.Conn) (net.Conn, tls.ConnectionState, error)

// handshakeOf returns the handshake of a listener with config.
func (d *Door) handshakeOf(config *tls.Config) (handshake, error) {
	if d.opts.CompactTLS {
		layer, err := record.New(record.Options{TLS: config, Metrics: d.opts.Metrics, Cache: d.opts.Ciphers})
		if err != nil {
			return nil, err
		}
		return layer.Handshake, nil
	}
	return func(ctx context.Context, raw net.Conn) (net.Conn, tls.ConnectionState, error) {
		conn := tls.Server(raw, config)
		err := conn.HandshakeContext(ctx)
		return conn, conn.ConnectionState(), err
	}, nil
}

// Listen binds addr; without TLS settings it is a plain listener. Accept does the rest.
func (d *Door) Listen(addr string, secure *tls.Config) (*Listener, error) {
	l := &Listener{door: d}
	if secure != nil {
		var err error
		if l.shake, err = d.handshakeOf(secure); err != nil {
			return nil, err
		}
	}
	config := listenConfig()
	tcp, err := config.Listen(context.Background(), "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen on %q: %w; another program may use the port: choose another address", addr, err)
	}
	l.tcp = tcp
	d.mu.Lock()
	defer d.mu.Unlock()
	d.listeners = append(d.listeners, l)
	return l, nil
}

const (
	keepAlive      = time.Minute      // a connection is silent for so long before TCP asks whether the peer is there,
	keepAliveAgain = 15 * time.Second // and again; the system gives up after some times
)

// Addr returns the bound address.
func (l *Listener) Addr() net.Addr { return l.tcp.Addr() }

// Accept accepts until Close.
func (l *Listener) Accept() {
	pause := time.Duration(0)
	for {
		raw, err := l.tcp.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			// Out of descriptors, or a client that is gone already: the next may do better.
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			l.door.opts.Log.Warn("connection not accepted", "err", err)
			time.Sleep(pause)
			continue
		}
		pause = 0
		l.door.admit(raw, l.shake)
	}
}

// admit turns raw away or serves it in a goroutine.
func (d *Door) admit(raw net.Conn, shake handshake) {
	proxied := d.byProxy(addrOf(raw))
	if !proxied && !d.rates.allow(addrOf(raw), time.Now()) {
		d.opts.Refused("address rate")
		_ = raw.Close() // turned away
		return
	}
	if !d.enter(raw, shake != nil) {
		_ = raw.Close() // the same
		return
	}
	go func() {
		parked := false
		defer func() { d.leave(raw, parked, recover()) }()
		conn, ok := raw, true
		if proxied {
			if conn, ok = d.behindProxy(raw); !ok {
				return
			}
		}
		if shake == nil {
			_ = raw.SetDeadline(time.Now().Add(d.opts.HelloTimeout)) // an error here is one of the first read too
			parked = d.opts.Serve(conn, nil, d.over)
			return
		}
		parked = d.serveTLS(raw, conn, shake)
	}()
}

// Adopt serves a connection that another listener has accepted, until it ends. cert is its verified client certificate.
func (d *Door) Adopt(conn net.Conn, cert *x509.Certificate) {
	if !d.enter(conn, false) {
		_ = conn.Close() // turned away
		return
	}
	parked := false
	defer func() { d.leave(conn, parked, recover()) }()
	_ = conn.SetReadDeadline(time.Now().Add(d.opts.HelloTimeout)) // an error here is one of the first read too
	parked = d.opts.Serve(conn, cert, d.over)
}

// enter counts raw; false: it has to go. A stranger takes no place of a device: they have bounds of their own.
func (d *Door) enter(raw net.Conn, stranger bool) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed || !stranger && !d.hasPlace() {
		return false
	}
	d.conns[raw] = stranger
	if stranger {
		d.unknown++
	}
	d.total.Inc()
	d.wg.Add(1)
	return true
}

// recognize gives a stranger the place of a device; false: there is none.
func (d *Door) recognize(raw net.Conn) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.hasPlace() {
		return false
	}
	d.conns[raw] = false
	d.unknown--
	return true
}

// hasPlace says whether one more device may be connected. The mutex is held.
func (d *Door) hasPlace() bool {
	if len(d.conns)-d.unknown+d.parked >= d.opts.MaxConns {
		d.opts.Refused("too many connections")
		return false
	}
	return true
}

// over is the end of a parked connection.
func (d *Door) over() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.parked--
	d.wg.Done()
}

// leave is deferred around all work of a connection, with the panic that ended it, if one did. A connection that is parked is
// counted until its over, which may have come already.
func (d *Door) leave(raw net.Conn, parked bool, p any) {
	if p != nil {
		d.panics.Inc()
		d.opts.Log.Error("panic in a connection, which ends", "err", p, "remote", raw.RemoteAddr(), "stack", string(debug.Stack()))
	}
	_ = raw.Close() // mostly closed already
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.conns[raw] {
		d.unknown--
	}
	delete(d.conns, raw)
	if parked {
		d.parked++
	} else {
		d.wg.Done()
	}
}

// serveTLS serves accepted, which comes from the address of raw: the same, or what a proxy says. It is a stranger's until its client has
// shown a certificate.
func (d *Door) serveTLS(accepted, raw net.Conn, shake handshake) (parked bool) {
	host := hostOf(addrOf(raw))
	if !d.strangers.take(host) {
		d.opts.Refused("too many handshakes")
		return false // turned away
	}
	hello := &helloConn{Conn: raw, door: d, host: host, left: d.opts.HelloTimeout}
	conn, cert, err := hello.finish(shake)
	if err != nil {
		d.opts.Refused("tls handshake")
		d.opts.Log.Debug("tls handshake", "remote", raw.RemoteAddr(), "err", err)
		return false
	}
	defer func() {
		if !parked {
			_ = conn.Close() // for a record layer that has keys to wipe; mostly done
		}
	}()
	// A TLS listener is for certificates; the plain rules must never apply to a client that came without one.
	if cert == nil {
		d.opts.Refused("no client certificate")
		return false // turned away
	}
	if !d.recognize(accepted) {
		return false // the same
	}
	_ = raw.SetDeadline(time.Now().Add(max(hello.left, minFirstPacket))) // an error here is one of the first read too
	return d.opts.Serve(conn, cert, d.over)
}

func addrOf(raw net.Conn) netip.Addr {
	if tcp, ok := raw.RemoteAddr().(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// Open returns how many connections there are now.
func (d *Door) Open() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.conns) + d.parked
}

// Total returns how many connections were ever let in.
func (d *Door) Total() uint64 { return d.total.Get() }

// Close stops accepting. Connections go on.
func (d *Door) Close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	for _, l := range d.listeners {
		_ = l.tcp.Close() // a listener that cannot be closed accepts nothing either: enter says no
	}
}

// Abort closes the connections that are left and returns when all have ended. Close comes before it.
func (d *Door) Abort() {
	d.mu.Lock()
	for raw := range d.conns {
		_ = raw.Close() // given up
	}
	d.mu.Unlock()
	d.wg.Wait()
}
