package pki_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"muster/pki"
)

// foreignCA is a CA that is not ours.
type foreignCA struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newForeignCA(t testing.TB, subject string) *foreignCA {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: subject}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &foreignCA{t: t, cert: cert, key: key}
}

func (ca *foreignCA) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.cert.Raw})
}

// issue makes a client certificate; change may alter it.
func (ca *foreignCA) issue(name string, change func(*x509.Certificate)) tls.Certificate {
	ca.t.Helper()
	key := newKey(ca.t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(8), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(0, 6, 0),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if change != nil {
		change(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, key.Public(), ca.key)
	if err != nil {
		ca.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// below makes an intermediate CA; change may alter its certificate. pemText holds both, the root first.
func (ca *foreignCA) below(subject string, change func(*x509.Certificate)) (inter *foreignCA, pemText []byte) {
	ca.t.Helper()
	pair := ca.issue(subject, func(c *x509.Certificate) {
		c.IsCA, c.BasicConstraintsValid, c.KeyUsage, c.ExtKeyUsage = true, true, x509.KeyUsageCertSign, nil
		if change != nil {
			change(c)
		}
	})
	inter = &foreignCA{t: ca.t, cert: mustLeaf(ca.t, pair), key: pair.PrivateKey.(*ecdsa.PrivateKey)}
	return inter, append(ca.pem(), inter.pem()...)
}

func TestDeviceListenerRefuses(t *testing.T) {
	g := openGateway(t, nil)
	g.listen()
	d := g.newDevice(newKey(t)).allow("lamp-1").enroll()
	f := func(what string, config *tls.Config) {
		t.Helper()
		if name, _, err := g.hello(config); err == nil {
			t.Fatalf("%s: got in as %q", what, name)
		}
	}
	f("no certificate", g.clientTLS(tls.Certificate{}))
	f("self-signed", g.clientTLS(d.self))
	f("self-signed of an allowed key", g.clientTLS(g.newDevice(newKey(t)).allow("lamp-2").self))
	f("foreign CA", g.clientTLS(newForeignCA(t, "other").issue("lamp-1", nil)))
	// a CA with our intermediate's name
	certs, err := g.Certificates(t.Context(), "lamp-1")
	if err != nil || len(certs) != 1 {
		t.Fatal(certs, err)
	}
	twin := newForeignCA(t, d.cert.Leaf.Issuer.CommonName)
	f("a CA of the same name", g.clientTLS(twin.issue("lamp-1", nil)))
	// a device's certificate is no CA
	below := &foreignCA{t: t, cert: d.cert.Leaf, key: d.key.(*ecdsa.PrivateKey)}
	f("signed by a device", g.clientTLS(below.issue("lamp-9", nil)))
	old := g.clientTLS(d.cert)
	g.clock.Advance(31 * 24 * time.Hour)
	f("expired", old)
	for _, reason := range []string{"foreign", "expired"} {
		if g.counter(`muster_pki_refused_total{reason="`+reason+`"}`) == 0 {
			t.Fatalf("%s was not counted", reason)
		}
	}
}

func TestTLSVersions(t *testing.T) {
	g := openGateway(t, nil)
	g.listen()
	d := g.newDevice(newKey(t)).allow("lamp-1").enroll()
	f := func(good bool, change func(*tls.Config)) {
		t.Helper()
		config := g.clientTLS(d.cert)
		change(config)
		name, state, err := g.hello(config)
		if good != (err == nil && name == "lamp-1") {
			t.Fatalf("got %q, %v, suite %s", name, err, tls.CipherSuiteName(state.CipherSuite))
		}
	}
	f(true, func(c *tls.Config) { c.MinVersion = tls.VersionTLS13 })
	f(true, func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 })
	f(false, func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 })
	for _, suite := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
		if suite.SupportedVersions[0] == tls.VersionTLS13 {
			continue
		}
		aead := strings.HasPrefix(suite.Name, "TLS_ECDHE_ECDSA") && (strings.Contains(suite.Name, "GCM") || strings.Contains(suite.Name, "POLY1305"))
		f(aead, func(c *tls.Config) { c.MaxVersion, c.CipherSuites = tls.VersionTLS12, []uint16{suite.ID} })
	}
	// the HTTP listener: 1.3 only
	config := g.clientTLS(tls.Certificate{})
	config.MaxVersion = tls.VersionTLS12
	if conn, err := tls.Dial("tcp", g.http, config); err == nil {
		conn.Close()
		t.Fatal("HTTP over TLS 1.2")
	}
}

// A revoked device does not come back, not by its certificate, nor by the ticket of an earlier session, nor by another
// certificate of the key, nor by enrolling or renewing (threat 2).
func TestRevoke(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) { testRevoke(t, version) })
	}
}

func testRevoke(t testing.TB, version uint16) {
	var told []string
	g := openGateway(t, func(o *pki.Options) {
		o.Changed = func(_ context.Context, c pki.Certificate) error {
			told = append(told, c.ThingName+" "+string(c.Status))
			return nil
		}
	})
	g.listen()
	d := g.newDevice(newKey(t)).allow("lamp-1").enroll()
	other := g.newDevice(newKey(t)).allow("lamp-2").enroll()
	_, answer := d.post("/.well-known/est/simplereenroll", csr(t, d.key), d.cert)
	second := issued(t, answer, d.key)
	config := g.clientTLS(d.cert)
	config.MinVersion, config.MaxVersion = version, version
	config.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	for i := range 3 {
		name, state, err := g.hello(config)
		if err != nil || name != "lamp-1" || state.DidResume != (i > 0) {
			t.Fatalf("connection %d: %q, resumed %v, %v", i, name, state.DidResume, err)
		}
	}
	told = nil
	id := certID(t, d)
	if err := g.Revoke(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if len(told) != 2 || told[0] != "lamp-1 REVOKED" || told[1] != "lamp-1 REVOKED" {
		t.Fatalf("told %v", told)
	}
	check := func() {
		t.Helper()
		if _, _, err := g.hello(config); err == nil {
			t.Fatal("came back with a ticket")
		}
		for _, cert := range []tls.Certificate{d.cert, second} {
			if _, _, err := g.hello(g.clientTLS(cert)); err == nil {
				t.Fatal("came back with a certificate")
			}
			if status, answer := d.post("/.well-known/est/simplereenroll", csr(t, newKey(t)), cert); status != http.StatusForbidden {
				t.Fatalf("renewed: %d %s", status, answer)
			}
		}
		if status, answer := d.post("/.well-known/est/simpleenroll", csr(t, d.key), d.self); status != http.StatusForbidden || !strings.Contains(answer, "was revoked") {
			t.Fatalf("enrolled: %d %s", status, answer)
		}
		if status, answer := other.post("/.well-known/est/simplereenroll", csr(t, d.key), other.cert); status != http.StatusForbidden {
			t.Fatalf("the revoked key got a certificate of another thing: %d %s", status, answer)
		}
		if err := g.Allow(t.Context(), []pki.Allowed{{Key: d.hash(), ThingName: "lamp-1"}}); err == nil {
			t.Fatal("a revoked key was allowed")
		}
		if name, _, err := g.hello(g.clientTLS(other.cert)); err != nil || name != "lamp-2" {
			t.Fatalf("another device suffers: %v", err)
		}
	}
	check()
	if err := g.RemoveAllowed(t.Context(), d.hash()); err != nil {
		t.Fatal(err)
	}
	if err := g.Allow(t.Context(), []pki.Allowed{{Key: d.hash(), ThingName: "lamp-1"}}); !errors.Is(err, pki.ErrKeyRevoked) {
		t.Fatalf("got %v", err)
	}
	if err := g.Revoke(t.Context(), id); err != nil {
		t.Fatalf("revoking twice: %v", err)
	}
	if err := g.Revoke(t.Context(), "nothing"); !errors.Is(err, pki.ErrNotFound) {
		t.Fatalf("got %v", err)
	}
	if entries := crlEntries(t, g); len(entries) != 2 {
		t.Fatalf("the CRL has %d certificates, want both of the key", len(entries))
	}
	// over a restart
	g.reopen()
	g.listen()
	check()
	if len(crlEntries(t, g)) != 2 {
		t.Fatal("the CRL forgot")
	}
}

func certID(t testing.TB, d *device) string {
	t.Helper()
	identity, err := d.g.Identify(d.cert.Leaf)
	if err != nil {
		t.Fatal(err)
	}
	return identity.CertificateID
}

func crlEntries(t testing.TB, g *gateway) []x509.RevocationListEntry {
	t.Helper()
	crl, err := x509.ParseRevocationList(g.CRL())
	if err != nil {
		t.Fatal(err)
	}
	return crl.RevokedCertificateEntries
}

func TestRevokeThing(t *testing.T) {
	g := openGateway(t, nil)
	g.listen()
	d := g.newDevice(newKey(t)).allow("lamp-1").enroll()
	key := newKey(t)
	_, answer := d.post("/.well-known/est/simplereenroll", csr(t, key), d.cert)
	renewed := issued(t, answer, key)
	if err := g.RevokeThing(t.Context(), "lamp-1"); err != nil {
		t.Fatal(err)
	}
	for _, cert := range []tls.Certificate{d.cert, renewed} {
		if _, err := g.Identify(mustLeaf(t, cert)); !errors.Is(err, pki.ErrKeyRevoked) {
			t.Fatalf("got %v", err)
		}
	}
	if err := g.RevokeThing(t.Context(), "nobody"); err != nil {
		t.Fatal(err)
	}
}

func TestCRLIsKeptAndRenewed(t *testing.T) {
	g := openGateway(t, nil)
	first := g.CRL()
	if &first[0] != &g.CRL()[0] {
		t.Fatal("a CRL was signed for nothing")
	}
	g.clock.Advance(4 * 24 * time.Hour)
	number := func(der []byte) *big.Int {
		crl, err := x509.ParseRevocationList(der)
		if err != nil {
			t.Fatal(err)
		}
		return crl.Number
	}
	if number(g.CRL()).Cmp(number(first)) <= 0 {
		t.Fatal("the CRL's number does not rise")
	}
}

func TestClientCA(t *testing.T) {
	g := openGateway(t, nil)
	g.listen()
	ca := newForeignCA(t, "theirs")
	other := newForeignCA(t, "others")
	if err := g.AddClientCA(ca.pem(), true); err != nil {
		t.Fatal(err)
	}
	if err := g.AddClientCA(other.pem(), false); err != nil {
		t.Fatal(err)
	}
	f := func(cert tls.Certificate, want pki.Identity, sentence string) {
		t.Helper()
		got, err := g.Identify(mustLeaf(t, cert))
		if sentence != "" {
			wantError(t, err, http.StatusForbidden, sentence)
		} else if got.CertificateID = ""; err != nil || got != want {
			t.Fatalf("got %+v, %v; want %+v", got, err, want)
		}
		if name, _, err := g.hello(g.clientTLS(cert)); (err == nil) != (sentence == "") || err == nil && name != want.ThingName {
			t.Fatalf("hello: %q, %v", name, err)
		}
	}
	f(ca.issue("truck-1", nil), pki.Identity{ThingName: "truck-1", External: true, AutoRegister: true}, "")
	f(other.issue("truck-2", nil), pki.Identity{ThingName: "truck-2", External: true}, "")
	f(ca.issue("truck-3", func(c *x509.Certificate) { c.ExtKeyUsage = nil }), pki.Identity{ThingName: "truck-3", External: true, AutoRegister: true}, "")
	f(ca.issue("truck/+/#", nil), pki.Identity{}, "no thing name")
	f(ca.issue("truck-4", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }), pki.Identity{}, "not valid now")
	f(ca.issue("truck-5", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }), pki.Identity{}, "issued neither")
	// what they issue cannot be renewed here
	d := g.newDevice(newKey(t))
	status, answer := d.post("/.well-known/est/simplereenroll", csr(t, d.key), ca.issue("truck-1", nil))
	if status != http.StatusForbidden || !strings.Contains(answer, "not issued here") {
		t.Fatalf("got %d %s", status, answer)
	}
	wantError(t, g.AddClientCA([]byte("x"), true), http.StatusBadRequest, "no self-signed certificate")
	leaf := ca.issue("x", nil)
	wantError(t, g.AddClientCA(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Certificate[0]}), true), http.StatusBadRequest, "not a CA")
}

// What was verified once is refused all the same once the certificate, or the CA between it and the root, has ended or the certificate is
// revoked; and what differs by one byte was never verified.
func TestClientCAVerifiedOnce(t *testing.T) {
	g := openGateway(t, nil)
	start := g.clock.Now()
	inter, caPEM := newForeignCA(t, "theirs").below("below", func(c *x509.Certificate) { c.NotAfter = start.Add(48 * time.Hour) })
	if err := g.AddClientCA(newForeignCA(t, "others").pem(), true); err != nil {
		t.Fatal(err)
	}
	if err := g.AddClientCA(caPEM, false); err != nil {
		t.Fatal(err)
	}
	short := mustLeaf(t, inter.issue("truck-1", func(c *x509.Certificate) { c.NotAfter = start.Add(24 * time.Hour) }))
	pair := inter.issue("truck-2", nil)
	long := mustLeaf(t, pair)
	f := func(cert *x509.Certificate, sentence string) {
		t.Helper()
		got, err := g.Identify(cert)
		if sentence != "" {
			wantError(t, err, http.StatusForbidden, sentence)
		} else if err != nil || !got.External || got.AutoRegister {
			t.Fatalf("%+v, %v", got, err)
		}
	}
	twice := func(cert *x509.Certificate, sentence string) {
		t.Helper()
		f(cert, sentence)
		f(cert, sentence)
	}
	twice(short, "")
	twice(long, "")
	forged := bytes.Clone(short.Raw)
	forged[len(forged)-1] ^= 1
	cert, err := x509.ParseCertificate(forged)
	if err != nil {
		t.Fatal(err)
	}
	twice(cert, "issued neither")
	made, err := g.Register(t.Context(), pemOf(pair), false, true)
	if err != nil {
		t.Fatal(err)
	}
	for _, status := range []pki.Status{pki.Inactive, pki.Active} {
		if err := g.SetStatus(t.Context(), made.ID, status); err != nil {
			t.Fatal(err)
		}
		if _, err := g.Identify(long); (err == nil) != (status == pki.Active) || err != nil && !errors.Is(err, pki.ErrInactive) {
			t.Fatalf("%s: %v", status, err)
		}
	}
	g.clock.Advance(23 * time.Hour)
	twice(short, "")
	g.clock.Advance(2 * time.Hour)
	twice(short, "not valid now")
	twice(long, "")
	if err := g.Revoke(t.Context(), made.ID); err != nil {
		t.Fatal(err)
	}
	twice(long, "was revoked")
	other := mustLeaf(t, inter.issue("truck-3", nil))
	twice(other, "")
	g.clock.Advance(24 * time.Hour)
	twice(other, "not valid now")
}

// The server certificate is renewed at two thirds of its life and for other names, while connections are served.
func TestServerCertificate(t *testing.T) {
	g := openGateway(t, func(o *pki.Options) { o.ServerNames = []string{"gw.example", "192.0.2.7"} })
	g.listen()
	current := func() *x509.Certificate {
		t.Helper()
		conn, err := tls.Dial("tcp", g.http, g.clientTLS(tls.Certificate{}))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0]
	}
	first := current()
	for _, name := range []string{"localhost", "127.0.0.1", "::1", "gw.example", "192.0.2.7"} {
		if err := first.VerifyHostname(name); err != nil {
			t.Fatal(err)
		}
	}
	if life := first.NotAfter.Sub(g.clock.Now()); life < 89*24*time.Hour || life > 90*24*time.Hour {
		t.Fatalf("life %v", life)
	}
	g.reopen()
	g.listen()
	if !current().Equal(first) {
		t.Fatal("a restart made another certificate for nothing")
	}
	g.opts.ServerNames = []string{"gw2.example"}
	g.reopen()
	g.listen()
	second := current()
	if second.VerifyHostname("gw2.example") != nil || second.VerifyHostname("gw.example") == nil {
		t.Fatalf("names %v", second.DNSNames)
	}
	running := make(chan struct{})
	ctx, stop := context.WithCancel(t.Context())
	go func() {
		defer close(running)
		g.Run(ctx)
	}()
	deadline := time.Now().Add(10 * time.Second)
	g.clock.Advance(50 * 24 * time.Hour) // before two thirds
	for range 20 {
		g.clock.Advance(10 * time.Minute)
	}
	if !current().Equal(second) {
		t.Fatal("renewed too early")
	}
	g.clock.Advance(11 * 24 * time.Hour)
	for current().Equal(second) {
		if time.Now().After(deadline) {
			t.Fatal("not renewed at two thirds of its life")
		}
		g.clock.Advance(10 * time.Minute)
	}
	stop()
	<-running
	if third := current(); third.VerifyHostname("gw2.example") != nil {
		t.Fatalf("names %v", third.DNSNames)
	}
	g.opts.ServerNames = []string{"not a name"}
	if _, err := pki.Open(g.opts); err == nil || !strings.Contains(err.Error(), "does not belong into a host name") {
		t.Fatalf("got %v", err)
	}
}

// A server certificate that was damaged is made anew.
func TestServerCertificateDamaged(t *testing.T) {
	g := openGateway(t, nil)
	damaged := "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
	if err := os.WriteFile(filepath.Join(g.dataDir, "pki", "server.pem"), []byte(damaged), 0o600); err != nil {
		t.Fatal(err)
	}
	g.reopen()
	g.listen()
	g.newDevice(newKey(t)).allow("lamp-1").enroll()
}

// The device listener needs no help from the client beyond its own certificate, and takes one that sends its chain.
func TestChainSentOrNot(t *testing.T) {
	g := openGateway(t, nil)
	g.listen()
	d := g.newDevice(newKey(t)).allow("lamp-1").enroll()
	conn, err := net.Dial("tcp", g.mqtt)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	withChain := d.cert
	withChain.Certificate = append(withChain.Certificate, g.newDevice(newKey(t)).self.Certificate[0]) // even nonsense
	config := g.clientTLS(withChain)
	config.ServerName = "localhost"
	client := tls.Client(conn, config)
	line, err := bufio.NewReader(client).ReadString('\n')
	if err != nil || line != "lamp-1\n" {
		t.Fatalf("%q, %v", line, err)
	}
}

func BenchmarkIdentify(b *testing.B) {
	g := openGateway(b, nil)
	g.listen()
	leaf := g.newDevice(newKey(b)).allow("lamp-1").enroll().cert.Leaf
	for b.Loop() {
		if _, err := g.Identify(leaf); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkIdentifyForeign is a device of a client CA, below an intermediate.
func BenchmarkIdentifyForeign(b *testing.B) {
	g := openGateway(b, nil)
	inter, caPEM := newForeignCA(b, "theirs").below("below", nil)
	if err := g.AddClientCA(caPEM, false); err != nil {
		b.Fatal(err)
	}
	cert := mustLeaf(b, inter.issue("truck-1", nil))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := g.Identify(cert); err != nil {
			b.Fatal(err)
		}
	}
}
