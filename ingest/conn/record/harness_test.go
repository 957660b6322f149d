package record

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"sync"
	"testing"
	"time"
	_ "unsafe" // for the names below

	"github.com/VictoriaMetrics/metrics"
)

// crypto/tls has no setting for the suites of TLS 1.3; these two names it keeps for others.
//
//go:linkname goSuites crypto/tls.defaultCipherSuitesTLS13
var goSuites []uint16

//go:linkname goSuitesNoAES crypto/tls.defaultCipherSuitesTLS13NoAES
var goSuitesNoAES []uint16

var allSuites = []uint16{tls.TLS_AES_128_GCM_SHA256, tls.TLS_AES_256_GCM_SHA384, tls.TLS_CHACHA20_POLY1305_SHA256}

// useSuite makes crypto/tls choose one suite until the test ends. Tests with it do not run in parallel.
func useSuite(t *testing.T, id uint16) {
	t.Helper()
	saved, savedNoAES := goSuites, goSuitesNoAES
	goSuites, goSuitesNoAES = []uint16{id}, []uint16{id}
	t.Cleanup(func() { goSuites, goSuitesNoAES = saved, savedNoAES })
}

// eachSuite runs test with crypto/tls bound to each suite.
func eachSuite(t *testing.T, test func(t *testing.T, id uint16)) {
	for _, id := range allSuites {
		t.Run(tls.CipherSuiteName(id), func(t *testing.T) {
			useSuite(t, id)
			test(t, id)
		})
	}
}

// pki is a CA with a server and a client.
type pki struct {
	pool           *x509.CertPool
	server, client tls.Certificate
}

var testPKI = sync.OnceValue(func() pki {
	caKey, caDER := issue(nil, nil, "ca")
	ca, err := x509.ParseCertificate(caDER)
	if err != nil {
		panic(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca)
	pair := func(name string) tls.Certificate {
		key, der := issue(ca, caKey, name)
		return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	}
	return pki{pool: pool, server: pair("server"), client: pair("lamp-1")}
})

func issue(ca *x509.Certificate, caKey *ecdsa.PrivateKey, name string) (*ecdsa.PrivateKey, []byte) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}}
	if ca == nil {
		ca, caKey = template, key
		template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
		template.ExtKeyUsage = nil
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca, &key.PublicKey, caKey)
	if err != nil {
		panic(err)
	}
	return key, der
}

func pemOf(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func serverConfig() *tls.Config {
	p := testPKI()
	return &tls.Config{Certificates: []tls.Certificate{p.server}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: p.pool}
}

func clientConfig() *tls.Config {
	p := testPKI()
	return &tls.Config{Certificates: []tls.Certificate{p.client}, RootCAs: p.pool, ServerName: "127.0.0.1"}
}

func newLayer(t testing.TB, config *tls.Config) *Layer {
	t.Helper()
	l, err := New(Options{TLS: config, Metrics: metrics.NewSet()})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// socketPair returns both ends of a TCP connection. They have no deadline: a machine that has other things to do fails no test, and one that
// waits in vain ends with the time limit of them all, which shows where it was.
func socketPair(t testing.TB) (client, server net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err = net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err = l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		client.Close()
		server.Close()
	})
	return client, server
}

// handshaker is one of the two servers that are compared.
type handshaker func(ctx context.Context, raw net.Conn) (net.Conn, tls.ConnectionState, error)

// stdlib makes handshakes that crypto/tls goes on with.
func stdlib(config *tls.Config) handshaker {
	return func(ctx context.Context, raw net.Conn) (net.Conn, tls.ConnectionState, error) {
		c := tls.Server(raw, config)
		err := c.HandshakeContext(ctx)
		return c, c.ConnectionState(), err
	}
}

// connect makes a handshake of crypto/tls' client with a server.
func connect(t testing.TB, server handshaker, config *tls.Config) (client *tls.Conn, conn net.Conn, state tls.ConnectionState) {
	t.Helper()
	raw, serverRaw := socketPair(t)
	client = tls.Client(raw, config)
	failed := make(chan error, 1)
	go func() { failed <- client.HandshakeContext(t.Context()) }()
	conn, state, err := server(t.Context(), serverRaw)
	if err != nil {
		t.Fatalf("handshake of the server: %v", err)
	}
	if err := <-failed; err != nil {
		t.Fatalf("handshake of the client: %v", err)
	}
	t.Cleanup(func() { conn.Close() })
	return client, conn, state
}

// peer is a client whose records a test makes one by one: a State on the other side.
type peer struct {
	t     testing.TB
	raw   net.Conn
	state State
}

// connectPeer makes a handshake with crypto/tls' client and takes it over.
func connectPeer(t testing.TB, server handshaker) (*peer, net.Conn) {
	t.Helper()
	raw, serverRaw := socketPair(t)
	tapped := &tap{Conn: raw, buf: make([]byte, HeaderSize)}
	config := clientConfig()
	config.KeyLogWriter = &tapped.log
	config.ClientSessionCache = tls.NewLRUClientSessionCache(1) // else it asks for no ticket
	client := tls.Client(tapped, config)
	failed := make(chan error, 1)
	go func() { failed <- client.HandshakeContext(t.Context()) }()
	conn, state, err := server(t.Context(), serverRaw)
	if err != nil {
		t.Fatalf("handshake of the server: %v", err)
	}
	if err := <-failed; err != nil {
		t.Fatalf("handshake of the client: %v", err)
	}
	t.Cleanup(func() { conn.Close() })
	if tapped.from < tapped.to {
		t.Fatal("the test has read a part of the ticket")
	}
	p := &peer{t: t, raw: raw}
	k := &tapped.log
	if err := p.state.Init(NewCache(4), state.CipherSuite, k.server[:k.serverSize], k.client[:k.clientSize], 0); err != nil {
		t.Fatal(err)
	}
	if typ, message := p.next(); typ != TypeHandshake || message[0] != 4 {
		t.Fatalf("first record of the server: type %d, %x; want a ticket", typ, message)
	}
	return p, conn
}

// send sends one record.
func (p *peer) send(typ ContentType, content []byte, padding int) {
	p.t.Helper()
	if _, err := p.raw.Write(p.state.seal(nil, typ, content, padding)); err != nil {
		p.t.Fatal(err)
	}
}

// keyUpdate sends a KeyUpdate and goes on with the next key.
func (p *peer) keyUpdate(request byte) {
	p.t.Helper()
	p.send(TypeHandshake, []byte{typeKeyUpdate, 0, 0, 1, request}, 0)
	p.state.update(&p.state.out)
}

// tryNext reads one record.
func (p *peer) tryNext() (ContentType, []byte, error) {
	head := make([]byte, HeaderSize)
	if _, err := io.ReadFull(p.raw, head); err != nil {
		return 0, nil, err
	}
	size, err := Size(head)
	if err != nil {
		return 0, nil, err
	}
	record := append(head, make([]byte, size-HeaderSize)...)
	if _, err := io.ReadFull(p.raw, record[HeaderSize:]); err != nil {
		return 0, nil, err
	}
	content, typ, err := p.state.Open(nil, record)
	return typ, content, err
}

func (p *peer) next() (ContentType, []byte) {
	p.t.Helper()
	typ, content, err := p.tryNext()
	if err != nil {
		p.t.Fatalf("read a record: %v", err)
	}
	return typ, content
}

// expect reads one record and compares it.
func (p *peer) expect(typ ContentType, content string) {
	p.t.Helper()
	if gotType, got := p.next(); gotType != typ || string(got) != content {
		p.t.Fatalf("got a record of type %d, %.100q; want %d, %.100q", gotType, got, typ, content)
	}
}

// expectUpdate reads a KeyUpdate and goes on with the next key.
func (p *peer) expectUpdate(request byte) {
	p.t.Helper()
	p.expect(TypeHandshake, string([]byte{typeKeyUpdate, 0, 0, 1, request}))
	p.state.update(&p.state.in)
}

// newPair returns the two ends of a connection that never had a handshake.
func newPair(t testing.TB, id uint16) (a, b *State) {
	t.Helper()
	s, err := suiteOf(id)
	if err != nil {
		t.Fatal(err)
	}
	one, two := make([]byte, s.secretSize()), make([]byte, s.secretSize())
	for i := range one {
		one[i], two[i] = byte(i), byte(200-i)
	}
	a, b = new(State), new(State)
	cache := NewCache(8)
	if err := a.Init(cache, id, one, two, 0); err != nil {
		t.Fatal(err)
	}
	if err := b.Init(cache, id, two, one, 0); err != nil {
		t.Fatal(err)
	}
	return a, b
}

// echo sends back what it reads, until the end; the result says how it ended, nil for a close_notify.
func echo(conn net.Conn) <-chan error {
	ended := make(chan error, 1)
	go func() {
		_, err := io.Copy(conn, conn)
		conn.Close()
		ended <- err
	}()
	return ended
}

// text is n bytes that tell where they belong.
func text(n int) []byte {
	b := make([]byte, 0, n+16)
	for i := 0; len(b) < n; i++ {
		b = fmt.Appendf(b, "%d,", i)
	}
	return b[:n]
}
