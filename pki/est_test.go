package pki_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/smallstep/pkcs7"

	"muster/agent/wire"
	"muster/pki"
)

func TestEnroll(t *testing.T) {
	g := openGateway(t, func(o *pki.Options) { o.Life = 10 * 24 * time.Hour })
	g.listen()
	d := g.newDevice(newKey(t)).allow("lamp-1").enroll()
	leaf := d.cert.Leaf
	if got := leaf.Subject.String(); got != "CN=lamp-1,O=muster" {
		t.Fatalf("subject %q, want only what the server writes", got)
	}
	if len(leaf.DNSNames)+len(leaf.IPAddresses)+len(leaf.EmailAddresses)+len(leaf.URIs) != 0 {
		t.Fatalf("names of the request got into the certificate: %v", leaf.DNSNames)
	}
	if leaf.IsCA || len(leaf.ExtKeyUsage) != 1 || leaf.ExtKeyUsage[0] != x509.ExtKeyUsageClientAuth {
		t.Fatalf("CA %v, usage %v", leaf.IsCA, leaf.ExtKeyUsage)
	}
	if bits := leaf.SerialNumber.BitLen(); bits < 121 || bits > 128 {
		t.Fatalf("the serial has %d bits", bits)
	}
	now := g.clock.Now()
	if early := now.Sub(leaf.NotBefore); early < 5*time.Minute || early > 5*time.Minute+time.Second {
		t.Fatalf("backdated by %v", early)
	}
	if life := leaf.NotAfter.Sub(now); life > 10*24*time.Hour || life < 10*24*time.Hour-2*time.Second {
		t.Fatalf("life %v", life)
	}
	name, _, err := g.hello(g.clientTLS(d.cert))
	if err != nil || name != "lamp-1" {
		t.Fatalf("hello: %q, %v", name, err)
	}
	certs, err := g.Certificates(t.Context(), "lamp-1")
	if err != nil || len(certs) != 1 || certs[0].Status != pki.Active || certs[0].Key != d.hash() {
		t.Fatalf("recorded: %+v, %v", certs, err)
	}
	if got := g.counter(`muster_pki_issued_total{kind="enroll"}`); got != 1 {
		t.Fatalf("counter %d", got)
	}
}

func TestEnrollRefusals(t *testing.T) {
	g := openGateway(t, nil)
	g.listen()
	f := func(d *device, body string, cert tls.Certificate, wantStatus int, want, reason string) {
		t.Helper()
		counter := `muster_pki_refused_total{reason="` + reason + `"}`
		before := g.counter(counter)
		status, answer := d.post(wire.PathESTEnroll, body, cert)
		if status != wantStatus || !strings.Contains(answer, want) {
			t.Fatalf("got %d %q, want %d %q", status, answer, wantStatus, want)
		}
		if g.counter(counter) != before+1 {
			t.Fatalf("%s was not counted", counter)
		}
	}
	known := g.newDevice(newKey(t)).allow("lamp-1")
	// no certificate
	f(known, csr(t, known.key), tls.Certificate{}, http.StatusUnauthorized, "needs a TLS client certificate", "no-certificate")
	// an unknown key
	stranger := g.newDevice(newKey(t))
	f(stranger, csr(t, stranger.key), stranger.self, http.StatusForbidden, stranger.hash().String()+" is not on the allow-list", "unknown-key")
	// an unknown key with the request of a known one, and the other way round
	f(stranger, csr(t, known.key), stranger.self, http.StatusForbidden, "not on the allow-list", "unknown-key")
	f(known, csr(t, stranger.key), known.self, http.StatusBadRequest, "for another key than the TLS connection", "csr")
	// not a request
	f(known, "", known.self, http.StatusBadRequest, "not base64", "csr")
	f(known, "?", known.self, http.StatusBadRequest, "not base64", "csr")
	f(known, base64.StdEncoding.EncodeToString([]byte("hello")), known.self, http.StatusBadRequest, "not PKCS#10", "csr")
	f(known, strings.Repeat("A", pki.MaxESTBody+1), known.self, http.StatusRequestEntityTooLarge, "at most 16384", "csr")
	// a request that somebody changed
	der, err := base64.StdEncoding.DecodeString(csr(t, known.key))
	if err != nil {
		t.Fatal(err)
	}
	der[len(der)-1] ^= 1
	f(known, base64.StdEncoding.EncodeToString(der), known.self, http.StatusBadRequest, "not signed by its own key", "csr")
	// a request for a CA
	f(known, csrWith(t, known.key, pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 19}, Critical: true, Value: []byte{0x30, 3, 1, 1, 0xFF}}), known.self,
		http.StatusBadRequest, "certificate of a CA", "csr")
	f(known, csrWith(t, known.key, pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3, 4}, Critical: true, Value: []byte{5, 0}}), known.self,
		http.StatusBadRequest, "critical extension 1.2.3.4", "csr")

	// none of these has used up the entry; the second try with it does
	known.enroll()
	f(known, csr(t, known.key), known.self, http.StatusForbidden, "has enrolled already", "used-key")
	// and so after a restart (threat 4)
	g.reopen()
	if _, err := g.Enroll(t.Context(), mustLeaf(t, known.self), []byte(csr(t, known.key))); !errors.Is(err, pki.ErrKeyUsed) {
		t.Fatalf("after a restart: %v", err)
	}
	if !strings.Contains(g.log.String(), "reason=unknown-key") || !strings.Contains(g.log.String(), "reason=used-key") {
		t.Fatalf("the log gives no reason:\n%s", g.log)
	}
}

func mustLeaf(t testing.TB, cert tls.Certificate) *x509.Certificate {
	t.Helper()
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	return leaf
}

func csrWith(t testing.TB, key crypto.Signer, ext ...pkix.Extension) string {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{ExtraExtensions: ext}, key)
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(der)
}

func TestRequestForms(t *testing.T) {
	g := openGateway(t, nil)
	f := func(name string, form func(der []byte) string) {
		t.Helper()
		d := g.newDevice(newKey(t)).allow("lamp-" + name)
		der, err := base64.StdEncoding.DecodeString(csr(t, d.key))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := g.Enroll(t.Context(), mustLeaf(t, d.self), []byte(form(der))); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	f("plain", base64.StdEncoding.EncodeToString)
	f("lines", func(der []byte) string {
		text := base64.StdEncoding.EncodeToString(der)
		return text[:64] + "\r\n" + text[64:128] + "\n" + text[128:] + "\r\n\r\n"
	})
	f("pem", func(der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
	})
	f("oldpem", func(der []byte) string {
		return "\n" + string(pem.EncodeToMemory(&pem.Block{Type: "NEW CERTIFICATE REQUEST", Bytes: der})) + "\n"
	})
}

func TestKinds(t *testing.T) {
	strict := openGateway(t, nil)
	lax := openGateway(t, func(o *pki.Options) { o.AllowRSA = true })
	f := func(g *gateway, thing, want string, make func() (crypto.Signer, error)) {
		t.Helper()
		key, err := make()
		if err != nil {
			t.Fatal(err)
		}
		d := g.newDevice(key).allow(thing)
		_, err = g.Enroll(t.Context(), mustLeaf(t, d.self), []byte(csr(t, key)))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Fatalf("%s: got %v, want %q", thing, err, want)
		}
	}
	ec := func(c elliptic.Curve) func() (crypto.Signer, error) {
		return func() (crypto.Signer, error) { return ecdsa.GenerateKey(c, rand.Reader) }
	}
	rsaOf := func(bits int) func() (crypto.Signer, error) {
		return func() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, bits) }
	}
	f(strict, "p256", "", ec(elliptic.P256()))
	f(strict, "p384", "", ec(elliptic.P384()))
	f(strict, "p521", "not accepted", ec(elliptic.P521()))
	f(strict, "ed25519", "", func() (crypto.Signer, error) { _, key, err := ed25519.GenerateKey(rand.Reader); return key, err })
	f(strict, "rsa", "not accepted", rsaOf(2048))
	f(lax, "rsa", "", rsaOf(2048))
	f(lax, "rsa-short", "1024 bits", rsaOf(1024))
}

// Of many requests with one allowed key at the same time exactly one gets a certificate.
func TestEnrollRace(t *testing.T) {
	g := openGateway(t, nil)
	d := g.newDevice(newKey(t)).allow("lamp-1")
	peer := mustLeaf(t, d.self)
	body := []byte(csr(t, d.key))
	var wg sync.WaitGroup
	errs := make(chan error, 16)
	for range cap(errs) {
		wg.Go(func() {
			_, err := g.Enroll(t.Context(), peer, body)
			errs <- err
		})
	}
	wg.Wait()
	close(errs)
	good := 0
	for err := range errs {
		if err == nil {
			good++
		} else if !errors.Is(err, pki.ErrKeyUsed) {
			t.Fatal(err)
		}
	}
	certs, err := g.Certificates(t.Context(), "lamp-1")
	if err != nil || good != 1 || len(certs) != 1 {
		t.Fatalf("%d answers, %d certificates, %v", good, len(certs), err)
	}
}

func TestReenroll(t *testing.T) {
	g := openGateway(t, nil)
	g.listen()
	d := g.newDevice(newKey(t)).allow("lamp-1").enroll()
	// the same key
	status, answer := d.post(wire.PathESTReenroll, csr(t, d.key), d.cert)
	if status != http.StatusOK {
		t.Fatalf("same key: %d %s", status, answer)
	}
	same := issued(t, answer, d.key)
	// a new key; the old certificate stays valid
	key := newKey(t)
	status, answer = d.post(wire.PathESTReenroll, csr(t, key), same)
	if status != http.StatusOK {
		t.Fatalf("new key: %d %s", status, answer)
	}
	for _, cert := range []tls.Certificate{d.cert, same, issued(t, answer, key)} {
		if name, _, err := g.hello(g.clientTLS(cert)); err != nil || name != "lamp-1" {
			t.Fatalf("hello: %q, %v", name, err)
		}
	}
	f := func(cert tls.Certificate, body string, wantStatus int, want string) {
		t.Helper()
		status, answer := d.post(wire.PathESTReenroll, body, cert)
		if status != wantStatus || !strings.Contains(answer, want) {
			t.Fatalf("got %d %q, want %d %q", status, answer, wantStatus, want)
		}
	}
	// a self-signed certificate, even of an enrolled key, renews nothing
	f(d.self, csr(t, d.key), http.StatusForbidden, "issued neither by this gateway")
	f(tls.Certificate{}, csr(t, d.key), http.StatusUnauthorized, "needs the current certificate")
	// another thing's key
	other := g.newDevice(newKey(t)).allow("lamp-2").enroll()
	f(other.cert, csr(t, key), http.StatusConflict, "belongs to another thing")
	waiting := g.newDevice(newKey(t)).allow("lamp-3")
	f(other.cert, csr(t, waiting.key), http.StatusConflict, "belongs to another thing")
	// after its end
	g.clock.Advance(31 * 24 * time.Hour)
	f(d.cert, csr(t, d.key), http.StatusForbidden, "must enroll again")
	// which an operator makes possible
	if err := g.Allow(t.Context(), []pki.Allowed{{Key: d.hash(), ThingName: "lamp-1"}}); !errors.Is(err, pki.ErrKeyUsed) {
		t.Fatalf("a used key is allowed again: %v", err)
	}
	if err := g.RemoveAllowed(t.Context(), d.hash()); err != nil {
		t.Fatal(err)
	}
	d.allow("lamp-1").enroll()
}

func TestCACerts(t *testing.T) {
	g := openGateway(t, nil)
	der, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(g.CACerts())))
	if err != nil {
		t.Fatal(err)
	}
	p7, err := pkcs7.Parse(der)
	if err != nil {
		t.Fatal(err)
	}
	root := mustParse(t, g.RootPEM())
	if len(p7.Certificates) != 2 || !p7.Certificates[1].Equal(root) || p7.Certificates[0].CheckSignatureFrom(root) != nil {
		t.Fatalf("want intermediate and root, got %d certificates", len(p7.Certificates))
	}
}

// Ten thousand strangers leave a list of bounded length and a log of bounded length (threat 1).
func TestManyStrangers(t *testing.T) {
	g := openGateway(t, nil)
	template := mustLeaf(t, g.newDevice(newKey(t)).self)
	body := []byte(csr(t, newKey(t)))
	for i := range 10_000 {
		peer := *template
		peer.RawSubjectPublicKeyInfo = fmt.Append(nil, "key ", i)
		ctx := pki.WithRemote(t.Context(), "192.0.2.1:4711")
		if _, err := g.Enroll(ctx, &peer, body); err == nil {
			t.Fatal("a stranger got in")
		}
	}
	refused := g.Refused()
	if len(refused) != 256 {
		t.Fatalf("%d keys are kept", len(refused))
	}
	if refused[0].Remote != "192.0.2.1:4711" || refused[0].Reason != "unknown-key" || refused[0].Count != 1 {
		t.Fatalf("%+v", refused[0])
	}
	if lines := strings.Count(g.log.String(), "certificate refused"); lines == 0 || lines > 30 {
		t.Fatalf("%d lines in the log", lines)
	}
	if got := g.counter(`muster_pki_refused_total{reason="unknown-key"}`); got != 10_000 {
		t.Fatalf("counted %d", got)
	}
	// the same again is one entry; allowing it takes it off the list
	d := g.newDevice(newKey(t))
	for range 3 {
		g.clock.Advance(time.Minute)
		g.Enroll(t.Context(), mustLeaf(t, d.self), body)
	}
	if top := g.Refused()[0]; top.Key != d.hash() || top.Count != 3 || top.LastSeenMs-top.FirstSeenMs != 2*60_000 {
		t.Fatalf("%+v", top)
	}
	d.allow("lamp-1")
	for _, k := range g.Refused() {
		if k.Key == d.hash() {
			t.Fatal("an allowed key is still on the list of refused ones")
		}
	}
}

func TestEnrolledHook(t *testing.T) {
	var got string
	g := openGateway(t, nil)
	hookErr := error(nil)
	g.opts.Enrolled = func(_ context.Context, thing, typ string) error {
		got = thing + " " + typ
		return hookErr
	}
	g.reopen()
	d := g.newDevice(newKey(t)).allow("lamp-1")
	hookErr = errors.New("no room for things")
	if _, err := g.Enroll(t.Context(), mustLeaf(t, d.self), []byte(csr(t, d.key))); !errors.Is(err, hookErr) {
		t.Fatalf("got %v", err)
	}
	hookErr = nil
	if _, err := g.Enroll(t.Context(), mustLeaf(t, d.self), []byte(csr(t, d.key))); err != nil || got != "lamp-1 lamp" {
		t.Fatalf("got %q, %v", got, err)
	}
}

// The clock says 1970, or goes back: nothing is issued, and what was issued stays valid (threat 20).
func TestClock(t *testing.T) {
	g := openGateway(t, nil)
	g.listen()
	d := g.newDevice(newKey(t)).allow("lamp-1").enroll()
	now := g.clock.Now()
	waiting := g.newDevice(newKey(t)).allow("lamp-2")
	f := func(at time.Time, trusted bool) {
		t.Helper()
		g.clock.Jump(at.Sub(g.clock.Now()))
		err := g.TimeTrusted()
		if (err == nil) != trusted {
			t.Fatalf("at %v: %v", at, err)
		}
		if trusted {
			return
		}
		_, err = g.Enroll(t.Context(), mustLeaf(t, waiting.self), []byte(csr(t, waiting.key)))
		wantError(t, err, http.StatusServiceUnavailable, "not yet trusted")
		if identity, err := g.Identify(d.cert.Leaf); err != nil || identity.ThingName != "lamp-1" {
			t.Fatalf("at %v a good device is refused: %v", at, err)
		}
		if g.CRL() == nil {
			t.Fatal("no CRL")
		}
	}
	f(time.Unix(0, 0), false)
	f(now.AddDate(-10, 0, 0), false)
	f(now.Add(-time.Hour), false)
	f(now.Add(-2*time.Minute), true) // NTP at work
	// far ahead: nothing is issued and the time is not kept
	g.clock.Jump(now.AddDate(11, 0, 0).Sub(g.clock.Now()))
	_, err := g.Enroll(t.Context(), mustLeaf(t, waiting.self), []byte(csr(t, waiting.key)))
	wantError(t, err, http.StatusServiceUnavailable, "intermediate certificate ended")
	f(now.Add(time.Second), true)
	// over a restart
	g.clock.Jump(time.Unix(1, 0).Sub(g.clock.Now()))
	g.reopen()
	f(time.Unix(1, 0), false)
	f(now.Add(time.Second), true)
	waiting.enroll()
}

// A first start with a clock that was never set makes no authority.
func TestFirstStartWithoutTime(t *testing.T) {
	g := openGateway(t, nil)
	opts := g.opts
	opts.Dir = filepath.Join(t.TempDir(), "pki")
	g.clock.Jump(time.Unix(0, 0).Sub(g.clock.Now()))
	_, err := pki.Open(opts)
	wantError(t, err, http.StatusServiceUnavailable, "the clock says 1970-01-01T00:00:00Z")
	if _, err := os.Stat(filepath.Join(opts.Dir, "authority.pem")); err == nil {
		t.Fatal("an authority was made")
	}
}
