package conformance

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"muster/ingest"
	"muster/tsdb"
	"muster/tsdb/vfs"
)

// setup is a way to run a server, and what the cases publish.
type setup struct {
	name   string
	tls    bool
	loop   string
	app    bool // messages are no telemetry
	config ingest.Config
}

// setups cover plain and TLS, both record layers, both ways to serve a connection, and telemetry by the lane and by the broker.
func setups() []setup {
	all := []setup{
		{name: "plain,goroutine,lane", loop: ingest.LoopGoroutine},
		{name: "plain,goroutine,app", loop: ingest.LoopGoroutine, app: true},
		{name: "stdlib,lane", loop: ingest.LoopGoroutine, tls: true},
		{name: "stdlib,bypass", loop: ingest.LoopGoroutine, tls: true, config: ingest.Config{Bypass: true}},
		{name: "compact,goroutine,bypass", loop: ingest.LoopGoroutine, tls: true, config: ingest.Config{CompactTLS: true, Bypass: true}},
	}
	if runtime.GOOS == "linux" {
		all = append(all,
			setup{name: "plain,epoll,lane", loop: ingest.LoopEpoll, config: ingest.Config{Coalesce: time.Millisecond}},
			setup{name: "plain,epoll,bypass", loop: ingest.LoopEpoll, config: ingest.Config{Bypass: true, Coalesce: -1}},
			setup{name: "compact,epoll,lane", loop: ingest.LoopEpoll, tls: true, config: ingest.Config{CompactTLS: true, Coalesce: -1}},
			setup{name: "compact,epoll,app", loop: ingest.LoopEpoll, tls: true, app: true, config: ingest.Config{CompactTLS: true, Coalesce: -1}})
	}
	return all
}

// gate admits every client as the thing of its client id, but those whose id begins with "denied". All may do everything
// but use topics and filters with a level "secret".
type gate struct {
	mu     sync.Mutex // guards things
	things map[string]tsdb.ThingID
}

func (g *gate) Admit(_ context.Context, c ingest.Claim) (ingest.Grant, error) {
	name := c.ClientID
	if name == "" {
		name = "fleet"
	}
	if strings.HasPrefix(name, "denied") {
		return ingest.Grant{}, errors.New("denied by the test")
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.things == nil {
		g.things = map[string]tsdb.ThingID{}
	}
	id, ok := g.things[name]
	if !ok {
		id = tsdb.ThingID(len(g.things) + 1)
		g.things[name] = id
	}
	return ingest.Grant{Thing: id, ThingName: name, Rights: rights{}}, nil
}

type rights struct{}

func (rights) Connect(string) bool       { return true }
func (rights) Publish(topic string) bool { return !strings.Contains(topic, "secret") }
func (rights) Retain(string) bool        { return true }
func (rights) Subscribe(f string) bool   { return !strings.Contains(f, "secret") }
func (rights) Receive(topic string) bool { return !strings.Contains(topic, "secret") }

// presence hears nothing.
type presence struct{}

func (presence) Connected(tsdb.ThingID, time.Time, netip.AddrPort) {}
func (presence) Disconnected(tsdb.ThingID, time.Time, string)      {}
func (presence) Seen(tsdb.ThingID, int64)                          {}

// identity is a CA with one certificate, which servers and clients share.
type identity struct {
	pool *x509.CertPool
	cert tls.Certificate
}

var testIdentity = sync.OnceValues(func() (*identity, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "fleet"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &identity{pool: pool, cert: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}}, nil
})

// server is a running server with its surroundings.
type server struct {
	setup
	*ingest.Server
	store    *tsdb.Store
	files    vfs.FS
	clock    vfs.Clock
	log      *lockedBuffer
	sessions tls.ClientSessionCache
}

// start runs a server until the test ends. files and clock hold the sessions; nil: in memory, and the system's.
func (s setup) start(t testing.TB, files vfs.FS, clock vfs.Clock) *server {
	t.Helper()
	if files == nil {
		files = vfs.NewMem()
	}
	if clock == nil {
		clock = vfs.SystemClock{}
	}
	r := &server{setup: s, files: files, clock: clock, log: &lockedBuffer{}, sessions: tls.NewLRUClientSessionCache(0)}
	id, err := testIdentity()
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(r.log, nil))
	set := metrics.NewSet()
	r.store, err = tsdb.Open(tsdb.Options{Dir: "tsdb", FS: vfs.NewMem(), Clock: vfs.SystemClock{}, Log: log, Metrics: set, MemoryBytes: 16 << 20, GroupWait: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	s.config.Loop = s.loop
	r.Server, err = ingest.Open(ingest.Options{Store: r.store, Gate: &gate{}, Presence: presence{}, Addr: "127.0.0.1:0", PlainAddr: "127.0.0.1:0",
		Dir: "sessions", TLS: &tls.Config{Certificates: []tls.Certificate{id.cert}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: id.pool},
		FS: files, Clock: clock, Log: log, Metrics: set, Config: s.config})
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		r.Serve()
	}()
	t.Cleanup(func() {
		r.stop(t)
		<-served
		if t.Failed() {
			t.Logf("log of the server:\n%s", r.log)
		}
	})
	return r
}

// stop ends the server; the cleanup does it too, and both may.
func (r *server) stop(t testing.TB) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := r.Shutdown(ctx); err != nil {
		t.Errorf("shutdown: %v", err)
	}
	if n := r.Stats().Panics; n != 0 {
		t.Errorf("%d panics: a connection that one ends has not been refused", n)
	}
	if err := r.store.Close(); err != nil && !errors.Is(err, tsdb.ErrClosed) {
		t.Errorf("close store: %v", err)
	}
}

// dial opens a connection without a word of MQTT.
func (r *server) dial(t testing.TB) net.Conn {
	t.Helper()
	var conn net.Conn
	id, err := testIdentity()
	switch {
	case err != nil:
	case r.tls:
		conn, err = tls.Dial("tcp", r.Addr().String(), &tls.Config{Certificates: []tls.Certificate{id.cert}, RootCAs: id.pool, ClientSessionCache: r.sessions})
	default:
		conn, err = net.Dial("tcp", r.PlainAddr().String())
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// lockedBuffer is a log that several goroutines write.
type lockedBuffer struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

var _ io.Writer = (*lockedBuffer)(nil)

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
