package admin_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"muster/admin"
	"muster/pki"
	"muster/registry"
	"muster/registry/access"
	"muster/registry/account"
	"muster/registry/policy"
	"muster/registry/store"
	"muster/tsdb"
	"muster/tsdb/vfs"
)

var ctx = context.Background()

const (
	adminToken = "the operator's token"
	keyID      = "AKIAEXAMPLE"
	keySecret  = "a secret/of+the operator"
	goodPhrase = "plum-kettle-orbit-77"
)

// clock is the machine's, turned by offset. It waits in real time, a hundred times faster.
type clock struct{ offset atomic.Int64 }

func (c *clock) Now() time.Time {
	return time.Now().Add(time.Duration(c.offset.Load()))
}

func (c *clock) After(d time.Duration) <-chan time.Time { return time.After(d / 100) }

func (c *clock) turn(d time.Duration) { c.offset.Add(int64(d)) }

// gateway is an admin server over the real registry, store, accounts and identity service, on a real socket.
type gateway struct {
	*admin.Server
	t         testing.TB
	url       string
	dir       string
	clock     *clock
	accounts  *account.Accounts
	registry  *registry.Registry
	authority *pki.Authority
	telemetry *telemetry
	traffic   atomic.Uint64
	roots     *x509.CertPool
	stopped   bool
	client    *http.Client // keeps connections, follows nothing, has no cookies
}

// telemetry stands for the twin store, whose own tests show that it answers right.
type telemetry struct {
	fields  []tsdb.Field
	problem atomic.Pointer[string]
}

func (m *telemetry) Twin(dst []tsdb.Field, _ tsdb.ThingID) []tsdb.Field {
	return append(dst, m.fields...)
}

func (m *telemetry) Stats() tsdb.Stats {
	return tsdb.Stats{Series: 7, Samples: 1000, SegmentBytes: 2000, DiskBytes: 3000, SamplesAppended: 1000}
}

func (m *telemetry) Metrics() (list []tsdb.Metric) {
	for _, f := range m.fields {
		list = append(list, tsdb.Metric{ID: f.Metric, Name: f.Name, Kinds: 1 << f.Kind})
	}
	return list
}

func (m *telemetry) Ready() error {
	if p := m.problem.Load(); p != nil {
		return fmt.Errorf("%s", *p)
	}
	return nil
}

// pages is a built UI.
var pages = fstest.MapFS{
	"index.html":              {Data: []byte("<!doctype html><title>muster</title>")},
	"index.html.br":           {Data: []byte("brotli of index")},
	"index.html.gz":           {Data: []byte("gzip of index")},
	"assets/app-1a2b.js.br":   {Data: []byte("brotli of app")},
	"assets/app-1a2b.js.gz":   {Data: gzipped("console.log(1)")},
	"assets/inter-9.woff2.gz": {Data: gzipped("font")},
}

// openGateway starts a gateway; change may adjust its options.
func openGateway(t testing.TB, change func(*admin.Options)) *gateway {
	t.Helper()
	g := &gateway{t: t, dir: t.TempDir(), clock: &clock{}, telemetry: &telemetry{}}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	db, err := store.Open(ctx, filepath.Join(g.dir, "registry.db"))
	must(err)
	t.Cleanup(func() { db.Close() })
	g.registry, err = registry.Open(ctx, registry.Options{Store: db, Clock: g.clock, AccountID: "123456789012", Region: "local"})
	must(err)
	t.Cleanup(func() { g.registry.Close() })
	g.authority, err = pki.Open(pki.Options{Dir: filepath.Join(g.dir, "pki"), FS: vfs.OS{}, Clock: g.clock, Store: db.Identity()})
	must(err)
	book, err := access.Open(ctx, access.Options{
		Store: db.Access(), Things: g.registry, Groups: g.registry, Now: g.clock.Now, Region: "local", AccountID: "123456789012", Default: policy.DefaultDocument,
	})
	must(err)
	g.registry.Taggable("policy", book.Exists)
	g.accounts, err = account.New(account.Options{Store: db.Accounts(), Sealer: g.authority, Clock: g.clock})
	must(err)
	options := admin.Options{
		Addr: "127.0.0.1:0", TLS: g.authority.HTTPConfig(), DataDir: g.dir, FS: vfs.OS{}, Clock: g.clock, Version: "test",
		Log: slog.New(slog.NewTextHandler(testLog{t}, &slog.HandlerOptions{Level: slog.LevelWarn})), Metrics: metrics.NewSet(),
		Accounts: g.accounts, Registry: g.registry, Telemetry: g.telemetry, Identity: g.authority, Access: book, UI: pages,
		Traffic:  func() admin.Traffic { return admin.Traffic{Messages: g.traffic.Load(), Refused: 3} },
		MQTTAddr: func() net.Addr { return &net.TCPAddr{IP: net.IPv4zero, Port: 8883} },
		Query: func(ctx context.Context, method, path string, form url.Values) (int, string, []byte) {
			return 200, "application/json", fmt.Appendf(nil, `{"method":%q,"path":%q,"query":%q}`, method, path, form.Get("query"))
		},
	}
	if change != nil {
		change(&options)
	}
	g.Server, err = admin.Open(options)
	must(err)
	go g.Serve()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		g.client.CloseIdleConnections()
		if err := g.stop(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
	})
	g.url = g.URL("")
	g.roots = x509.NewCertPool()
	if !g.roots.AppendCertsFromPEM(g.authority.RootPEM()) {
		t.Fatal("no root certificate")
	}
	g.client = g.newClient(nil)
	return g
}

// stop shuts the server down, once.
func (g *gateway) stop(ctx context.Context) error {
	if g.stopped {
		return nil
	}
	g.stopped = true
	return g.Shutdown(ctx)
}

func (g *gateway) newClient(cert *tls.Certificate) *http.Client {
	config := &tls.Config{RootCAs: g.roots}
	if cert != nil {
		config.Certificates = []tls.Certificate{*cert}
	}
	transport := &http.Transport{TLSClientConfig: config, DisableCompression: true}
	g.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 20 * time.Second}
}

// bootstrap makes the admin token and the access key.
func (g *gateway) bootstrap() *gateway {
	g.t.Helper()
	err := g.accounts.Apply(ctx, account.Bootstrap{
		AdminToken: adminToken, AccessKeys: []account.BootstrapKey{{ID: keyID, Secret: keySecret, Role: "admin"}},
	})
	if err != nil {
		g.t.Fatal(err)
	}
	return g
}

// token returns a new bearer token of a role.
func (g *gateway) token(role account.Role) string {
	g.t.Helper()
	secret, _, err := g.accounts.NewToken(ctx, string(role)+"-token", role, 0, "test")
	if err != nil {
		g.t.Fatal(err)
	}
	return secret
}

// reply is an answer that was read.
type reply struct {
	t      testing.TB
	status int
	header http.Header
	text   string
}

// json reads the answer into v.
func (r reply) json(v any) {
	r.t.Helper()
	if err := json.Unmarshal([]byte(r.text), v); err != nil {
		r.t.Fatalf("%q is not the JSON looked for: %v", r.text, err)
	}
}

// want fails when the status is another.
func (r reply) want(status int) reply {
	r.t.Helper()
	if r.status != status {
		r.t.Fatalf("status %d, want %d: %s", r.status, status, r.text)
	}
	return r
}

// kind is the kind of an error in our shape.
func (r reply) kind() string {
	var e struct {
		Error struct{ Kind, Message string }
	}
	r.json(&e)
	if e.Error.Message == "" {
		r.t.Fatalf("error without a message: %s", r.text)
	}
	return e.Error.Kind
}

// send makes a request. headers are pairs of name and value.
func (g *gateway) send(client *http.Client, method, path, body string, headers ...string) reply {
	g.t.Helper()
	req, err := http.NewRequest(method, g.url+path, strings.NewReader(body))
	if err != nil {
		g.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	return g.do(client, req)
}

func (g *gateway) do(client *http.Client, req *http.Request) reply {
	g.t.Helper()
	answer, err := client.Do(req)
	if err != nil {
		g.t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		g.t.Fatal(err)
	}
	r := reply{g.t, answer.StatusCode, answer.Header, string(text)}
	checkAnswer(r, req)
	return r
}

// as makes a request with a bearer token.
func (g *gateway) as(token, method, path, body string) reply {
	g.t.Helper()
	return g.send(g.client, method, path, body, "Authorization", "Bearer "+token, "Content-Type", "application/json")
}

// cookieOf returns the session cookie that an answer sets.
func cookieOf(r reply) string {
	r.t.Helper()
	for _, line := range r.header.Values("Set-Cookie") {
		c, err := http.ParseSetCookie(line)
		if err != nil {
			r.t.Fatal(err)
		}
		if c.Name == "__Host-muster" && c.Secure && c.HttpOnly && c.SameSite == http.SameSiteStrictMode && c.Path == "/" && c.Domain == "" {
			return c.Name + "=" + c.Value
		}
	}
	r.t.Fatalf("no session cookie in %v", r.header)
	return ""
}

// testLog writes the server's warnings to the test's log.
type testLog struct{ t testing.TB }

func (l testLog) Write(p []byte) (int, error) {
	l.t.Log(string(bytes.TrimSpace(p)))
	return len(p), nil
}

// selfSigned returns a certificate of a new key, as a device has it before it enrolled.
func selfSigned(t *testing.T, name string) (tls.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, key
}
