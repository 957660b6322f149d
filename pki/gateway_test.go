package pki_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/smallstep/pkcs7"

	"muster/agent/wire"
	"muster/pki"
	"muster/registry/store"
	"muster/tsdb/vfs"
)

// gateway is an authority over a real folder and a real database, with the two TLS listeners that it configures.
type gateway struct {
	*pki.Authority
	t       testing.TB
	dataDir string
	opts    pki.Options
	clock   *vfs.Manual
	set     *metrics.Set
	log     *syncBuffer
	mqtt    string // address of a listener with MQTTConfig that answers each line with the peer's name
	http    string // address of an HTTPS server that serves EST
}

// openGateway makes a gateway in a new folder. change may set options.
func openGateway(t testing.TB, change func(*pki.Options)) *gateway {
	t.Helper()
	dataDir := t.TempDir()
	db, err := store.Open(t.Context(), filepath.Join(dataDir, "registry.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	g := &gateway{t: t, dataDir: dataDir, clock: vfs.NewManual(time.Now()), set: metrics.NewSet(), log: &syncBuffer{}}
	g.opts = pki.Options{
		Dir: filepath.Join(dataDir, "pki"), FS: vfs.OS{}, Clock: g.clock, Metrics: g.set, Store: db.Identity(),
		Log: slog.New(slog.NewTextHandler(g.log, nil)),
	}
	if change != nil {
		change(&g.opts)
	}
	g.reopen()
	return g
}

// reopen opens the authority as a new process would.
func (g *gateway) reopen() {
	g.t.Helper()
	g.set = metrics.NewSet()
	g.opts.Metrics = g.set
	a, err := pki.Open(g.opts)
	if err != nil {
		g.t.Fatal(err)
	}
	g.Authority = a
}

// listen starts both listeners.
func (g *gateway) listen() {
	g.t.Helper()
	mqtt, err := tls.Listen("tcp", "127.0.0.1:0", g.MQTTConfig())
	if err != nil {
		g.t.Fatal(err)
	}
	g.mqtt = mqtt.Addr().String()
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			conn, err := mqtt.Accept()
			if err != nil {
				return
			}
			conns.Go(func() { g.greet(conn.(*tls.Conn)) })
		}
	})
	web, err := tls.Listen("tcp", "127.0.0.1:0", g.HTTPConfig())
	if err != nil {
		g.t.Fatal(err)
	}
	g.http = web.Addr().String()
	server := &http.Server{Handler: http.HandlerFunc(g.serveEST), ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0)}
	conns.Go(func() { server.Serve(web) })
	g.t.Cleanup(func() {
		mqtt.Close()
		server.Close()
		conns.Wait()
	})
}

// greet answers with the thing's name and closes.
func (g *gateway) greet(conn *tls.Conn) {
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	if conn.Handshake() != nil {
		return
	}
	identity, err := g.Identify(conn.ConnectionState().PeerCertificates[0])
	if err != nil {
		g.t.Errorf("the handshake let in what Identify refuses: %v", err)
		return
	}
	io.WriteString(conn, identity.ThingName+"\n")
}

// serveEST carries EST as admin does.
func (g *gateway) serveEST(w http.ResponseWriter, r *http.Request) {
	var peer *x509.Certificate
	if len(r.TLS.PeerCertificates) > 0 {
		peer = r.TLS.PeerCertificates[0]
	}
	ctx := pki.WithRemote(r.Context(), r.RemoteAddr)
	body, err := io.ReadAll(io.LimitReader(r.Body, pki.MaxESTBody+1))
	if err != nil {
		return
	}
	var answer []byte
	switch r.URL.Path {
	case wire.PathESTCACerts:
		answer = g.CACerts()
	case wire.PathESTEnroll:
		answer, err = g.Enroll(ctx, peer, body)
	case wire.PathESTReenroll:
		answer, err = g.Reenroll(ctx, peer, body)
	default:
		w.WriteHeader(http.StatusNotFound)
		return
	}
	if refusal := (*pki.Error)(nil); errors.As(err, &refusal) {
		http.Error(w, refusal.Message, refusal.Status)
		return
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/pkcs7-mime; smime-type=certs-only")
	w.Header().Set("Content-Transfer-Encoding", "base64")
	w.Write(answer)
}

// device is a key and what was issued for it.
type device struct {
	g    *gateway
	key  crypto.Signer
	self tls.Certificate // self-signed
	cert tls.Certificate // issued
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (g *gateway) newDevice(key crypto.Signer) *device {
	g.t.Helper()
	return &device{g: g, key: key, self: selfSigned(g.t, key)}
}

func selfSigned(t testing.TB, key crypto.Signer) tls.Certificate {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "new"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func (d *device) hash() wire.KeyHash {
	spki, err := x509.MarshalPKIXPublicKey(d.key.Public())
	if err != nil {
		d.g.t.Fatal(err)
	}
	return sha256.Sum256(spki)
}

func (d *device) allow(thing string) *device {
	d.g.t.Helper()
	if err := d.g.Allow(d.g.t.Context(), []pki.Allowed{{Key: d.hash(), ThingName: thing, ThingTypeName: "lamp"}}); err != nil {
		d.g.t.Fatal(err)
	}
	return d
}

// csr returns a request of key in base64, with a subject and a name that the server must not believe.
func csr(t testing.TB, key crypto.Signer) string {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: "admin", Organization: []string{"evil"}}, DNSNames: []string{"gateway.example"},
	}, key)
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(der)
}

// post sends body over TLS with cert and returns status and answer.
func (d *device) post(path, body string, cert tls.Certificate) (int, string) {
	d.g.t.Helper()
	config := d.g.clientTLS(cert)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}, Timeout: 20 * time.Second}
	response, err := client.Post("https://"+d.g.http+path, "application/pkcs10", strings.NewReader(body))
	if err != nil {
		d.g.t.Fatal(err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		d.g.t.Fatal(err)
	}
	return response.StatusCode, string(answer)
}

func (g *gateway) clientTLS(cert tls.Certificate) *tls.Config {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(g.RootPEM())
	config := &tls.Config{RootCAs: roots, Time: g.clock.Now}
	if len(cert.Certificate) > 0 {
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
	}
	return config
}

// enroll gets the first certificate.
func (d *device) enroll() *device {
	d.g.t.Helper()
	status, answer := d.post(wire.PathESTEnroll, csr(d.g.t, d.key), d.self)
	if status != http.StatusOK {
		d.g.t.Fatalf("enroll: %d %s", status, answer)
	}
	d.cert = issued(d.g.t, answer, d.key)
	return d
}

// issued reads an EST answer.
func issued(t testing.TB, answer string, key crypto.Signer) tls.Certificate {
	t.Helper()
	der, err := base64.StdEncoding.DecodeString(strings.TrimSpace(answer))
	if err != nil {
		t.Fatal(err)
	}
	p7, err := pkcs7.Parse(der)
	if err != nil {
		t.Fatal(err)
	}
	if len(p7.Certificates) != 1 {
		t.Fatalf("the answer has %d certificates, want the issued one alone", len(p7.Certificates))
	}
	return tls.Certificate{Certificate: [][]byte{p7.Certificates[0].Raw}, PrivateKey: key, Leaf: p7.Certificates[0]}
}

// hello connects to the device listener and returns its greeting: the thing's name.
func (g *gateway) hello(config *tls.Config) (name string, state tls.ConnectionState, err error) {
	g.t.Helper()
	dialer := tls.Dialer{NetDialer: &net.Dialer{Timeout: 10 * time.Second}, Config: config}
	conn, err := dialer.DialContext(g.t.Context(), "tcp", g.mqtt)
	if err != nil {
		return "", tls.ConnectionState{}, err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	answer, err := io.ReadAll(conn) // with TLS 1.3 a refusal shows here
	return strings.TrimSpace(string(answer)), conn.(*tls.Conn).ConnectionState(), err
}

func (g *gateway) counter(name string) uint64 { return g.set.GetOrCreateCounter(name).Get() }

// syncBuffer is a log that tests read.
type syncBuffer struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// wantError fails unless err has the status and its sentence contains text.
func wantError(t testing.TB, err error, status int, text string) {
	t.Helper()
	refusal := (*pki.Error)(nil)
	if !errors.As(err, &refusal) {
		t.Fatalf("got error %v, want a refusal with %q", err, text)
	}
	if refusal.Status != status || !strings.Contains(refusal.Message, text) {
		t.Fatalf("got %d %q, want %d and %q", refusal.Status, refusal.Message, status, text)
	}
}
