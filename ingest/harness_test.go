package ingest_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"muster/agent/wire"
	"muster/ingest"
	"muster/tsdb"
	"muster/tsdb/vfs"
)

// loop is what serves idle connections in all tests.
var loop string

// TestMain runs all tests with each loop of this system, or with the one that MUSTER_TEST_LOOP names.
func TestMain(m *testing.M) {
	loops := []string{ingest.LoopGoroutine}
	if runtime.GOOS == "linux" {
		loops = append(loops, ingest.LoopEpoll)
	}
	if one := os.Getenv("MUSTER_TEST_LOOP"); one != "" {
		loops = []string{one}
	}
	code := 0
	for _, loop = range loops {
		fmt.Println("loop", loop)
		code = max(code, m.Run())
	}
	os.Exit(code)
}

// authority is a tiny CA. One serves all tests: keys are what costs time.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte

	mu     sync.Mutex // guards issued
	issued map[string]tls.Certificate
}

var testCA = sync.OnceValue(func() *authority {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test root"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return &authority{cert: cert, key: key, pem: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), issued: make(map[string]tls.Certificate)}
})

// issue returns a certificate with the common name, good for clients and for 127.0.0.1.
func (a *authority) issue(t *testing.T, name string) tls.Certificate {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	if cert, ok := a.issued[name]; ok {
		return cert
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	cert := tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	a.issued[name] = cert
	return cert
}

func (a *authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// files writes the CA, and certificate and key of name, as PEM for command line clients.
func (a *authority) files(t *testing.T, name string) (ca, cert, key string) {
	t.Helper()
	issued := a.issue(t, name)
	der, err := x509.MarshalPKCS8PrivateKey(issued.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return write("ca.pem", a.pem), write("cert.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: issued.Certificate[0]})),
		write("key.pem", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// gate admits every certificate and every plain client as the thing of its name, with the least-privilege rights, or all.
type gate struct {
	allowAll bool
	panicFor string
	admitted func(name string) // called when a client was admitted, before it has its session

	forbidden sync.Map // "lamp-1 publish dt/lamp-1": what a policy forbids from now on

	mu     sync.Mutex // guards things, revoked
	things map[string]tsdb.ThingID
	denied map[string]bool
}

func (g *gate) Admit(_ context.Context, c ingest.Claim) (ingest.Grant, error) {
	name := c.ClientID
	if c.Cert != nil {
		name = c.Cert.Subject.CommonName
	}
	if name == g.panicFor {
		panic("a fault in the gate")
	}
	grant, err := g.grant(name)
	if err == nil && g.admitted != nil {
		g.admitted(name)
	}
	return grant, err
}

func (g *gate) grant(name string) (ingest.Grant, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.denied[name] {
		return ingest.Grant{}, errors.New("denied by the test")
	}
	if g.things == nil {
		g.things = make(map[string]tsdb.ThingID)
	}
	id, ok := g.things[name]
	if !ok {
		id = tsdb.ThingID(len(g.things) + 1)
		g.things[name] = id
	}
	return ingest.Grant{Thing: id, ThingName: name, Rights: rights{name, g.allowAll, &g.forbidden}}, nil
}

func (g *gate) thing(name string) tsdb.ThingID {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.things[name]
}

type rights struct {
	thing     string
	all       bool
	forbidden *sync.Map
}

// may says whether the thing may do what to a topic, a filter or as a client.
func (r rights) may(what, name string, allowed bool) bool {
	_, forbidden := r.forbidden.Load(r.thing + " " + what + " " + name)
	return (allowed || r.all) && !forbidden
}

func (r rights) own(topic string) bool {
	return topic == wire.TelemetryTopic(r.thing) || strings.HasPrefix(topic, wire.TelemetryTopic(r.thing)+"/") ||
		strings.HasPrefix(topic, wire.ReservedPrefix(r.thing))
}
func (r rights) Connect(clientID string) bool { return r.may("connect", clientID, clientID == r.thing) }
func (r rights) Publish(topic string) bool    { return r.may("publish", topic, r.own(topic)) }
func (r rights) Retain(topic string) bool     { return r.may("retain", topic, r.own(topic)) }
func (r rights) Subscribe(filter string) bool { return r.may("subscribe", filter, r.own(filter)) }
func (r rights) Receive(topic string) bool    { return r.may("receive", topic, r.own(topic)) }

// presence records what it is told.
type presence struct {
	gate *gate

	mu     sync.Mutex // guards events
	events []string
	seen   map[tsdb.ThingID]int
}

func (p *presence) Connected(thing tsdb.ThingID, _ time.Time, _ netip.AddrPort) {
	p.add(thing, "connected")
}
func (p *presence) Disconnected(thing tsdb.ThingID, _ time.Time, reason string) {
	p.add(thing, reason)
}

func (p *presence) Seen(thing tsdb.ThingID, _ int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.seen == nil {
		p.seen = map[tsdb.ThingID]int{}
	}
	p.seen[thing]++
}

func (p *presence) add(thing tsdb.ThingID, what string) {
	name := "?"
	p.gate.mu.Lock()
	for n, id := range p.gate.things {
		if id == thing {
			name = n
		}
	}
	p.gate.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.events = append(p.events, name+": "+what)
}

func (p *presence) has(event string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.events {
		if e == event {
			return true
		}
	}
	return false
}

// fixture is a server with its surroundings. Its parts may be changed before start.
type fixture struct {
	t         *testing.T
	gate      *gate
	presence  *presence
	config    ingest.Config
	fs        vfs.FS
	clock     vfs.Clock // of the server
	dir       string
	log       *lockedBuffer
	broken    bool // the disk is: closing may fail
	ackMemory bool

	store   *tsdb.Store
	metrics *metrics.Set
	server  *ingest.Server
	plain   string
	addr    string
}

// lockedBuffer is a log that several goroutines write.
type lockedBuffer struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

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

func newFixture(t *testing.T, allowAll bool) *fixture {
	g := &gate{allowAll: allowAll}
	return &fixture{t: t, gate: g, presence: &presence{gate: g}, config: ingest.Config{Loop: loop}, fs: vfs.OS{}, clock: vfs.SystemClock{},
		dir: t.TempDir(), log: &lockedBuffer{}}
}

// eachTLS runs test over TLS with both record layers.
func eachTLS(t *testing.T, allowAll bool, test func(t *testing.T, f *fixture)) {
	for name, compact := range map[string]bool{"stdlib": false, "compact": true} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, allowAll)
			f.config.CompactTLS = compact
			test(t, f)
		})
	}
}

// start opens store and server; they are closed with the test.
func (f *fixture) start() *fixture {
	f.t.Helper()
	var err error
	log := slog.New(slog.NewTextHandler(f.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	set := metrics.NewSet()
	f.metrics = set
	f.store, err = tsdb.Open(tsdb.Options{Dir: f.dir + "/tsdb", FS: f.fs, Clock: vfs.SystemClock{}, Log: log, Metrics: set, MemoryBytes: 64 << 20, GroupWait: 2 * time.Millisecond, AckMemory: f.ackMemory})
	if err != nil {
		f.t.Fatal(err)
	}
	f.server, err = ingest.Open(ingest.Options{
		Store: f.store, Gate: f.gate, Presence: f.presence, Things: f.gate, Addr: "127.0.0.1:0", PlainAddr: "127.0.0.1:0", Dir: f.dir + "/sessions",
		TLS: &tls.Config{Certificates: []tls.Certificate{testCA().issue(f.t, "server")}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: testCA().pool(), MinVersion: tls.VersionTLS13},
		FS:  f.fs, Clock: f.clock, Log: log, Metrics: set, Config: f.config,
	})
	if err != nil {
		f.t.Fatal(err)
	}
	f.plain, f.addr = f.server.PlainAddr().String(), f.server.Addr().String()
	served := make(chan struct{})
	go func() {
		defer close(served)
		f.server.Serve()
	}()
	server, store := f.server, f.store
	f.t.Cleanup(func() {
		f.stop(server, store)
		<-served
		if f.t.Failed() {
			f.t.Logf("server log:\n%s", f.log)
		}
	})
	return f
}

// stop is also run by the cleanup; both allow that.
func (f *fixture) stop(server *ingest.Server, store *tsdb.Store) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil && !f.broken {
		f.t.Errorf("shutdown: %v", err)
	}
	if err := store.Close(); err != nil && !errors.Is(err, tsdb.ErrClosed) && !f.broken {
		f.t.Errorf("close store: %v", err)
	}
}

// restart stops and starts the server over the same files.
func (f *fixture) restart() {
	f.t.Helper()
	f.stop(f.server, f.store)
	f.start()
}

// metric returns the lines of the metrics whose name begins with name.
func (f *fixture) metric(name string) string {
	var all bytes.Buffer
	f.metrics.WritePrometheus(&all)
	var lines []string
	for line := range strings.Lines(all.String()) {
		if strings.HasPrefix(line, name) {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "")
}

// client speaks MQTT by hand.
type client struct {
	t       *testing.T
	conn    net.Conn
	version byte
}

const patience = 5 * time.Second

func (f *fixture) dialPlain(version byte) *client {
	f.t.Helper()
	conn, err := net.Dial("tcp", f.plain)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { conn.Close() })
	return &client{t: f.t, conn: conn, version: version}
}

func (f *fixture) dialTLS(version byte, name string) *client {
	f.t.Helper()
	conn, err := tls.Dial("tcp", f.addr, f.tlsConfig(name))
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { conn.Close() })
	return &client{t: f.t, conn: conn, version: version}
}

func (f *fixture) tlsConfig(name string) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{testCA().issue(f.t, name)}, RootCAs: testCA().pool()}
}

// connect dials the plain listener and opens a session.
func (f *fixture) connect(version byte, id string, opts ...connectOption) *client {
	f.t.Helper()
	c := f.dialPlain(version)
	c.open(id, opts...)
	return c
}

type connectSpec struct {
	flags     byte
	keepalive uint16
	props     []byte
	will      []byte
}

type connectOption func(*connectSpec)

func keepSession(sec uint32) connectOption {
	return func(s *connectSpec) {
		s.flags &^= 2
		if sec > 0 {
			s.props = binary.BigEndian.AppendUint32(append(s.props, 17), sec)
		}
	}
}

func withProps(props ...byte) connectOption {
	return func(s *connectSpec) { s.props = append(s.props, props...) }
}

func withKeepalive(sec uint16) connectOption { return func(s *connectSpec) { s.keepalive = sec } }

func withWill(version byte, topic, payload string, qos byte, retain bool) connectOption {
	return func(s *connectSpec) {
		s.flags |= 4 | qos<<3
		if retain {
			s.flags |= 0x20
		}
		if version == 5 {
			s.will = append(s.will, 0)
		}
		s.will = append(str(s.will, topic), str(nil, payload)...)
	}
}

func connectPacket(version byte, id string, opts ...connectOption) []byte {
	spec := connectSpec{flags: 2, keepalive: 60}
	for _, o := range opts {
		o(&spec)
	}
	body := append(str(nil, "MQTT"), version, spec.flags, byte(spec.keepalive>>8), byte(spec.keepalive))
	if version == 5 {
		body = append(append(body, byte(len(spec.props))), spec.props...)
	}
	body = append(str(body, id), spec.will...)
	return packet(0x10, body)
}

// open connects and expects success; it returns whether the session was present.
func (c *client) open(id string, opts ...connectOption) (present bool) {
	c.t.Helper()
	c.send(connectPacket(c.version, id, opts...))
	first, body := c.read()
	if first != 0x20 || len(body) < 2 || body[1] != 0 {
		c.t.Fatalf("connack of %q: %x %x", id, first, body)
	}
	return body[0] == 1
}

func packet(first byte, body []byte) []byte {
	out := []byte{first}
	for n := len(body); ; {
		if n < 128 {
			return append(append(out, byte(n)), body...)
		}
		out = append(out, byte(n)|0x80)
		n >>= 7
	}
}

func str(dst []byte, s string) []byte {
	return append(append(dst, byte(len(s)>>8), byte(len(s))), s...)
}

func publishPacket(version byte, topic, payload string, qos byte, id uint16, retain bool) []byte {
	first := byte(0x30) | qos<<1
	if retain {
		first |= 1
	}
	body := str(nil, topic)
	if qos > 0 {
		body = append(body, byte(id>>8), byte(id))
	}
	if version == 5 {
		body = append(body, 0)
	}
	return packet(first, append(body, payload...))
}

func subscribePacket(version byte, id uint16, filter string, options byte) []byte {
	body := []byte{byte(id >> 8), byte(id)}
	if version == 5 {
		body = append(body, 0)
	}
	return packet(0x82, append(str(body, filter), options))
}

func (c *client) send(b []byte) {
	c.t.Helper()
	if _, err := c.conn.Write(b); err != nil {
		c.t.Fatalf("write: %v", err)
	}
}

func (c *client) tryRead(wait time.Duration) (first byte, body []byte, err error) {
	if err := c.conn.SetReadDeadline(time.Now().Add(wait)); err != nil {
		return 0, nil, err
	}
	var one [1]byte
	if _, err := io.ReadFull(c.conn, one[:]); err != nil {
		return 0, nil, err
	}
	first = one[0]
	size := 0
	for shift := 0; ; shift += 7 {
		if _, err := io.ReadFull(c.conn, one[:]); err != nil {
			return 0, nil, err
		}
		size |= int(one[0]&0x7f) << shift
		if one[0] < 128 {
			break
		}
	}
	body = make([]byte, size)
	_, err = io.ReadFull(c.conn, body)
	return first, body, err
}

func (c *client) read() (first byte, body []byte) {
	c.t.Helper()
	first, body, err := c.tryRead(patience)
	if err != nil {
		c.t.Fatalf("read: %v", err)
	}
	return first, body
}

// expect reads one packet and compares it whole.
func (c *client) expect(want ...byte) {
	c.t.Helper()
	first, body := c.read()
	if got := packet(first, body); !bytes.Equal(got, want) {
		c.t.Fatalf("got %x, want %x", got, want)
	}
}

// expectEnd expects that the server closes the connection; it returns the last packet before.
func (c *client) expectEnd() (last []byte) {
	c.t.Helper()
	for {
		first, body, err := c.tryRead(patience)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			c.t.Fatal("the connection is still open")
		}
		if err != nil {
			return last
		}
		last = packet(first, body)
	}
}

// expectNothing expects silence for a while.
func (c *client) expectNothing(wait time.Duration) {
	c.t.Helper()
	if first, body, err := c.tryRead(wait); !errors.Is(err, os.ErrDeadlineExceeded) {
		c.t.Fatalf("got %x %x, %v; want nothing", first, body, err)
	}
}

func (c *client) subscribe(id uint16, filter string, qos byte) {
	c.t.Helper()
	c.send(subscribePacket(c.version, id, filter, qos))
	first, body := c.read()
	if first != 0x90 || body[len(body)-1] != qos {
		c.t.Fatalf("suback of %q: %x %x", filter, first, body)
	}
}

// received is a PUBLISH that came in.
type received struct {
	topic, payload string
	qos            byte
	id             uint16
	retain, dup    bool
}

// message reads a PUBLISH without answering it.
func (c *client) message() received {
	c.t.Helper()
	first, body := c.read()
	if first>>4 != 3 {
		c.t.Fatalf("got %x %x, want a publish", first, body)
	}
	m := received{qos: first >> 1 & 3, retain: first&1 != 0, dup: first&8 != 0}
	n := int(binary.BigEndian.Uint16(body))
	m.topic, body = string(body[2:2+n]), body[2+n:]
	if m.qos > 0 {
		m.id, body = binary.BigEndian.Uint16(body), body[2:]
	}
	if c.version == 5 {
		body = body[1+int(body[0]):]
	}
	m.payload = string(body)
	return m
}

// eventually polls until ok says yes.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s did not happen", what)
		}
	}
}

// last returns the last value of a column of a thing.
func (f *fixture) last(thing, column string) (float64, bool) {
	id, ok := f.store.Dict().LookupMetric(column)
	if !ok {
		return 0, false
	}
	field, ok := f.store.Last(f.gate.thing(thing), id)
	return field.Number, ok
}
