package pki_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"muster/pki"
)

// pemOf is a certificate as PEM.
func pemOf(cert tls.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]})
}

// TestInactive: a certificate that is not active is refused in a new session, in a resumed one, and for renewing, over a
// restart as well; active again it is good.
func TestInactive(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) { testInactive(t, version) })
	}
}

func testInactive(t *testing.T, version uint16) {
	g := openGateway(t, nil)
	g.listen()
	d := g.newDevice(newKey(t)).allow("lamp-1").enroll()
	config := g.clientTLS(d.cert)
	config.MinVersion, config.MaxVersion = version, version
	config.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	good := func(resumed bool) {
		t.Helper()
		name, state, err := g.hello(config)
		if err != nil || name != "lamp-1" || state.DidResume != resumed {
			t.Fatalf("%q, resumed %v, %v", name, state.DidResume, err)
		}
	}
	good(false)
	good(true)
	id := certID(t, d)
	if err := g.SetStatus(t.Context(), id, pki.Inactive); err != nil {
		t.Fatal(err)
	}
	refused := func() {
		t.Helper()
		if _, _, err := g.hello(config); err == nil {
			t.Fatal("came back with a ticket")
		}
		if _, _, err := g.hello(g.clientTLS(d.cert)); err == nil {
			t.Fatal("came back")
		}
		if status, answer := d.post("/.well-known/est/simplereenroll", csr(t, newKey(t)), d.cert); status != http.StatusForbidden {
			t.Fatalf("renewed: %d %s", status, answer)
		}
	}
	refused()
	g.reopen()
	g.listen()
	config = g.clientTLS(d.cert)
	config.MinVersion, config.MaxVersion = version, version
	refused()
	if err := g.SetStatus(t.Context(), id, pki.Active); err != nil {
		t.Fatal(err)
	}
	good(false)
}

// TestDeleted: a certificate that was deleted, and not revoked, is refused in a new session, in a resumed one, for renewing and
// for being registered again, over a restart as well. Who only knows our CA and its CRL refuses it, too; its key may enroll anew.
func TestDeleted(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) { testDeleted(t, version) })
	}
}

func testDeleted(t *testing.T, version uint16) {
	g := openGateway(t, nil)
	g.listen()
	key := newKey(t)
	made, err := g.CreateFromCSR(t.Context(), []byte(csr(t, key)), true)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode([]byte(made.PEM))
	d := g.newDevice(key)
	d.cert = tls.Certificate{Certificate: [][]byte{block.Bytes}, PrivateKey: key}
	d.cert.Leaf = mustLeaf(t, d.cert)
	config := g.clientTLS(d.cert)
	config.MinVersion, config.MaxVersion = version, version
	config.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	for _, resumed := range []bool{false, true} {
		if _, state, err := g.hello(config); err != nil || state.DidResume != resumed {
			t.Fatalf("resumed %v, %v", state.DidResume, err)
		}
	}
	if err := g.SetStatus(t.Context(), made.ID, pki.Inactive); err != nil {
		t.Fatal(err)
	}
	if err := g.Delete(t.Context(), made.ID); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, _, err := g.hello(config); err == nil {
			t.Fatal("came back with a ticket")
		}
		if _, _, err := g.hello(g.clientTLS(d.cert)); err == nil {
			t.Fatal("came back")
		}
		if status, answer := d.post("/.well-known/est/simplereenroll", csr(t, newKey(t)), d.cert); status != http.StatusForbidden {
			t.Fatalf("renewed: %d %s", status, answer)
		}
		_, err := g.Register(t.Context(), pemOf(d.cert), true, true)
		wantError(t, err, http.StatusConflict, "deleted for good")
		entries := crlEntries(t, g)
		if len(entries) != 1 || entries[0].SerialNumber.Cmp(d.cert.Leaf.SerialNumber) != 0 || entries[0].ReasonCode != 5 || entries[0].RevocationTime.IsZero() {
			t.Fatalf("on the CRL: %+v", entries)
		}
		g.reopen()
		g.listen()
		config = g.clientTLS(d.cert)
		config.MinVersion, config.MaxVersion = version, version
	}
	again := g.newDevice(key).allow("lamp-1").enroll()
	if name, _, err := g.hello(g.clientTLS(again.cert)); err != nil || name != "lamp-1" {
		t.Fatalf("the key with a new certificate: %q, %v", name, err)
	}
	// a thing that was deleted leaves its certificate on the CRL, once
	if _, err := g.Forget(t.Context(), []string{certID(t, again)}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if entries := crlEntries(t, g); len(entries) != 2 {
			t.Fatalf("on the CRL: %+v", entries)
		}
		g.reopen()
	}
}

// TestCRLIsOfOurCertificates: a certificate of another CA that is revoked here is refused, and is not on our CRL: its number means
// another certificate there.
func TestCRLIsOfOurCertificates(t *testing.T) {
	g := openGateway(t, nil)
	pinned, ours := newForeignCA(t, "unknown").issue("pump", nil), g.newDevice(newKey(t)).allow("lamp-1")
	g.listen()
	ours.enroll()
	cert, err := g.Register(t.Context(), pemOf(pinned), true, true)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{cert.ID, certID(t, ours)} {
		if err := g.Revoke(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if _, err := g.Identify(mustLeaf(t, pinned)); !errors.Is(err, pki.ErrKeyRevoked) {
			t.Fatal(err)
		}
		if entries := crlEntries(t, g); len(entries) != 1 || entries[0].SerialNumber.Cmp(mustLeaf(t, ours.cert).SerialNumber) != 0 {
			t.Fatalf("on the CRL: %+v", entries)
		}
		g.reopen()
	}
}

func TestStates(t *testing.T) {
	g := openGateway(t, nil)
	d := g.newDevice(newKey(t)).allow("lamp-1")
	g.listen()
	d.enroll()
	id := certID(t, d)
	wantError(t, g.Delete(t.Context(), id), http.StatusNotAcceptable, "make it INACTIVE or REVOKED first")
	if err := g.SetStatus(t.Context(), id, pki.Revoked); err != nil {
		t.Fatal(err)
	}
	wantError(t, g.SetStatus(t.Context(), id, pki.Active), http.StatusNotAcceptable, "for ever")
	wantError(t, g.SetStatus(t.Context(), "none", pki.Active), http.StatusNotFound, "there is no certificate")
	if err := g.Delete(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	wantError(t, g.Delete(t.Context(), id), http.StatusNotFound, "there is no certificate")
	// deleted is not forgiven: the key stays blocked
	for range 2 {
		if _, err := g.Identify(mustLeaf(t, d.cert)); !errors.Is(err, pki.ErrKeyRevoked) {
			t.Fatal(err)
		}
		wantError(t, g.Allow(t.Context(), []pki.Allowed{{Key: d.hash(), ThingName: "lamp-1"}}), http.StatusForbidden, "was revoked")
		g.reopen()
	}
}

// TestHeld: a certificate that is inactive is on hold on the CRL, for those who only know our CA, until it is active again or
// has gone; over a restart as well.
func TestHeld(t *testing.T) {
	g := openGateway(t, nil)
	d := g.newDevice(newKey(t)).allow("lamp-1")
	g.listen()
	d.enroll()
	id := certID(t, d)
	pinned, err := g.Register(t.Context(), pemOf(newForeignCA(t, "unknown").issue("pump", nil)), true, false)
	if err != nil {
		t.Fatal(err)
	}
	made, err := g.CreateFromCSR(t.Context(), []byte(csr(t, newKey(t))), false)
	if err != nil {
		t.Fatal(err)
	}
	reasons := func() map[string]int {
		found := map[string]int{}
		for _, e := range crlEntries(t, g) {
			found[e.SerialNumber.Text(16)] = e.ReasonCode
		}
		return found
	}
	serial, second := mustLeaf(t, d.cert).SerialNumber.Text(16), strings.TrimLeft(made.Serial, "0")
	for _, step := range []struct {
		name string
		do   func() error
		want map[string]int
	}{
		{"made inactive", func() error { return nil }, map[string]int{second: 6}},
		{"inactive", func() error { return g.SetStatus(t.Context(), id, pki.Inactive) }, map[string]int{serial: 6, second: 6}},
		{"active", func() error { return g.SetStatus(t.Context(), id, pki.Active) }, map[string]int{second: 6}},
		{"inactive again", func() error { return g.SetStatus(t.Context(), id, pki.Inactive) }, map[string]int{serial: 6, second: 6}},
		{"revoked", func() error { return g.SetStatus(t.Context(), id, pki.Revoked) }, map[string]int{serial: 0, second: 6}},
		{"deleted", func() error { return g.Delete(t.Context(), made.ID) }, map[string]int{serial: 0, second: 5}},
		{"another CA's", func() error { return g.SetStatus(t.Context(), pinned.ID, pki.Active) }, map[string]int{serial: 0, second: 5}},
	} {
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		for range 2 {
			if got := reasons(); !maps.Equal(got, step.want) {
				t.Fatalf("%s: on the CRL are %v, want %v", step.name, got, step.want)
			}
			g.reopen()
		}
	}
}

func TestCreateFromCSR(t *testing.T) {
	g := openGateway(t, func(o *pki.Options) { o.ServerKeys = true })
	g.listen()
	key := newKey(t)
	cert, err := g.CreateFromCSR(t.Context(), []byte(csr(t, key)), true)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode([]byte(cert.PEM))
	leaf := tls.Certificate{Certificate: [][]byte{block.Bytes}, PrivateKey: key}
	identity, err := g.Identify(mustLeaf(t, leaf))
	if err != nil || identity.ThingName != "" || identity.External || identity.CertificateID != cert.ID {
		t.Fatalf("%+v, %v", identity, err)
	}
	// it renews itself as others do, and stays for no thing
	d := g.newDevice(key)
	status, answer := d.post("/.well-known/est/simplereenroll", csr(t, key), leaf)
	if status != http.StatusOK {
		t.Fatalf("%d %s", status, answer)
	}
	if identity, err := g.Identify(mustLeaf(t, issued(t, answer, key))); err != nil || identity.ThingName != "" {
		t.Fatalf("%+v, %v", identity, err)
	}
	// with a key of ours
	made, public, private, err := g.CreateKeys(t.Context(), false)
	if err != nil || made.Status != pki.Inactive {
		t.Fatal(made, err)
	}
	pair, err := tls.X509KeyPair([]byte(made.PEM), []byte(private))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.Identify(mustLeaf(t, pair)); !errors.Is(err, pki.ErrInactive) {
		t.Fatal(err)
	}
	block, _ = pem.Decode([]byte(public))
	if !slices.Equal(block.Bytes, mustLeaf(t, pair).RawSubjectPublicKeyInfo) {
		t.Fatal("the public key is another")
	}
	_, _, _, err = openGateway(t, nil).CreateKeys(t.Context(), true)
	wantError(t, err, http.StatusBadRequest, "CreateCertificateFromCsr")
}

// TestPinned: a certificate of an unknown issuer is accepted by its bytes when it is registered, on resumed sessions too, and
// no other of its key or name.
func TestPinned(t *testing.T) {
	g := openGateway(t, nil)
	g.listen()
	ca := newForeignCA(t, "unknown")
	cert, other := ca.issue("pump/1 *", nil), ca.issue("pump/1 *", nil)
	_, err := g.Register(t.Context(), pemOf(cert), false, true)
	wantError(t, err, http.StatusBadRequest, "RegisterCertificateWithoutCA")
	config := g.clientTLS(cert)
	config.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	hello := func(want bool) {
		t.Helper()
		if _, _, err := g.hello(config); (err == nil) != want {
			t.Fatalf("got %v, want success %v", err, want)
		}
	}
	hello(false)
	made, err := g.Register(t.Context(), pemOf(cert), true, false)
	if err != nil {
		t.Fatal(err)
	}
	hello(false) // inactive
	if err := g.SetStatus(t.Context(), made.ID, pki.Active); err != nil {
		t.Fatal(err)
	}
	hello(true)
	hello(true)
	if _, _, err := g.hello(g.clientTLS(other)); err == nil {
		t.Fatal("another certificate of that issuer and name is accepted")
	}
	if identity, err := g.Identify(mustLeaf(t, cert)); err != nil || !identity.Pinned || identity.ThingName != "" {
		t.Fatalf("%+v, %v", identity, err)
	}
	_, err = g.Register(t.Context(), pemOf(cert), true, true)
	if !errors.Is(err, pki.ErrExists) {
		t.Fatal(err)
	}
	g.reopen()
	g.listen()
	config = g.clientTLS(cert)
	hello(true)
	if err := g.Revoke(t.Context(), made.ID); err != nil {
		t.Fatal(err)
	}
	hello(false)
	_, err = g.Register(t.Context(), pemOf(ca.issue("late", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })), true, true)
	wantError(t, err, http.StatusBadRequest, "ended at")
	d := g.newDevice(newKey(t)).allow("lamp-1").enroll()
	_, err = g.Register(t.Context(), pemOf(d.cert), true, true)
	wantError(t, err, http.StatusConflict, "issued the certificate itself")
}

// TestForget: what a deleted thing had is refused, and its key may enroll again.
func TestForget(t *testing.T) {
	g := openGateway(t, nil)
	g.listen()
	d := g.newDevice(newKey(t)).allow("lamp-1").enroll()
	id := certID(t, d)
	if err := g.Allow(t.Context(), []pki.Allowed{{Key: d.hash(), ThingName: "lamp-1"}}); !errors.Is(err, pki.ErrKeyUsed) {
		t.Fatal(err)
	}
	ended, err := g.Forget(t.Context(), []string{id, "none"})
	if err != nil || !slices.Equal(ended, []string{id}) {
		t.Fatal(ended, err)
	}
	old := d.cert
	for range 2 {
		if _, err := g.Identify(mustLeaf(t, old)); !errors.Is(err, pki.ErrInactive) {
			t.Fatal(err)
		}
		g.reopen()
	}
	g.listen()
	if certs, err := g.Certificates(t.Context(), "lamp-1"); err != nil || len(certs) != 0 {
		t.Fatal(certs, err)
	}
	d.allow("lamp-2").enroll()
	if identity, err := g.Identify(mustLeaf(t, d.cert)); err != nil || identity.ThingName != "lamp-2" {
		t.Fatalf("%+v, %v", identity, err)
	}
}

func TestListCertificates(t *testing.T) {
	g := openGateway(t, nil)
	var want []string
	for range 5 {
		cert, err := g.CreateFromCSR(t.Context(), []byte(csr(t, newKey(t))), true)
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, cert.ID)
		g.clock.Advance(time.Second)
	}
	for _, ascending := range []bool{true, false} {
		var got []string
		for after := (pki.Place{}); ; {
			page, err := g.ListCertificates(t.Context(), after, ascending, 2)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range page {
				got = append(got, c.ID)
				after = pki.Place{IssuedMs: c.IssuedMs, ID: c.ID}
			}
			if len(page) < 2 {
				break
			}
		}
		if !ascending {
			slices.Reverse(got)
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("ascending %v: %v", ascending, got)
		}
	}
}
