package pki_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
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

func TestFirstStartAndRestart(t *testing.T) {
	g := openGateway(t, nil)
	root := mustParse(t, g.RootPEM())
	if life := root.NotAfter.Sub(root.NotBefore); life < 19*365*24*time.Hour || !root.IsCA || root.MaxPathLen != 1 {
		t.Fatalf("root: life %v, CA %v, path length %d", life, root.IsCA, root.MaxPathLen)
	}
	if !strings.Contains(g.log.String(), "root key is still on this machine") {
		t.Fatal("the operator is not told to take the root key away")
	}
	onDisk, err := os.ReadFile(filepath.Join(g.dataDir, "ca.pem"))
	if err != nil || !bytes.Equal(onDisk, g.RootPEM()) {
		t.Fatalf("ca.pem is not the root: %v", err)
	}
	for name, want := range map[string]fs.FileMode{"root-key.pem": 0o600, "pki": 0o700, "pki/unlock.key": 0o600, "pki/authority.pem": 0o600, "pki/server.pem": 0o600, "pki/master.key": 0o600} {
		info, err := os.Stat(filepath.Join(g.dataDir, name))
		if err != nil || info.Mode().Perm() != want {
			t.Fatalf("%s has mode %v, want %v (%v)", name, info.Mode().Perm(), want, err)
		}
	}
	sealed, err := g.Seal([]byte("a secret"))
	if err != nil {
		t.Fatal(err)
	}
	// the root key is not needed again
	if err := os.Remove(filepath.Join(g.dataDir, "root-key.pem")); err != nil {
		t.Fatal(err)
	}
	before := g.RootPEM()
	g.log = &syncBuffer{}
	g.opts.Log = slog.New(slog.NewTextHandler(g.log, nil))
	g.reopen()
	if !bytes.Equal(before, g.RootPEM()) {
		t.Fatal("a restart made another root")
	}
	if strings.Contains(g.log.String(), "root key") {
		t.Fatalf("the root key is gone but spoken of: %s", g.log)
	}
	if plain, err := g.Unseal(sealed); err != nil || string(plain) != "a secret" {
		t.Fatalf("unseal after restart: %q, %v", plain, err)
	}
}

func mustParse(t testing.TB, text []byte) *x509.Certificate {
	t.Helper()
	blocks := pemBlocks(text)
	if len(blocks) == 0 {
		t.Fatal("no PEM")
	}
	cert, err := x509.ParseCertificate(blocks[0].Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// Only the file that the operator is told to take away has a private key in clear (threat 17).
func TestNoPrivateKeyInClear(t *testing.T) {
	g := openGateway(t, nil)
	g.listen()
	g.newDevice(newKey(t)).allow("lamp-1").enroll()
	err := filepath.WalkDir(g.dataDir, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		raw, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		found := bytes.Contains(raw, []byte("PRIVATE KEY")) || hasPKCS8(raw)
		if isRootKey := entry.Name() == "root-key.pem"; found != isRootKey {
			t.Errorf("%s: private key in clear: %v, want %v", name, found, isRootKey)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func pemBlocks(text []byte) (blocks []*pem.Block) {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		blocks = append(blocks, block)
	}
	return blocks
}

// hasPKCS8 looks for the DER of an EC private key (RFC 5915: version 1 and an octet string of 32 bytes), also within PEM.
func hasPKCS8(raw []byte) bool {
	marker := []byte{0x02, 0x01, 0x01, 0x04, 0x20}
	if bytes.Contains(raw, marker) {
		return true
	}
	for _, block := range pemBlocks(raw) {
		if bytes.Contains(block.Bytes, marker) {
			return true
		}
	}
	return false
}

func TestPassphrase(t *testing.T) {
	g := openGateway(t, func(o *pki.Options) { o.KeyPassphrase = "correct horse battery" })
	if _, err := os.Stat(filepath.Join(g.dataDir, "pki", "unlock.key")); err == nil {
		t.Fatal("an unlock key was made although there is a passphrase")
	}
	f := func(passphrase, want string) {
		t.Helper()
		opts := g.opts
		opts.KeyPassphrase = passphrase
		_, err := pki.Open(opts)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Fatalf("open with passphrase %q: got %v, want %q", passphrase, err, want)
		}
	}
	f("correct horse battery", "")
	f("correct horse batterx", "the passphrase does not open the gateway's keys")
	f("", "pki.passphrase-file")
}

func TestPassphraseTooShort(t *testing.T) {
	g := openGateway(t, nil)
	g.opts.KeyPassphrase = "short"
	if _, err := pki.Open(g.opts); err == nil || !strings.Contains(err.Error(), "at least 12") {
		t.Fatalf("got %v", err)
	}
}

// A passphrase that is set later locks the keys anew, and the unlock key is gone.
func TestPassphraseLater(t *testing.T) {
	g := openGateway(t, nil)
	root := g.RootPEM()
	g.opts.KeyPassphrase = "correct horse battery"
	g.reopen()
	if _, err := os.Stat(filepath.Join(g.dataDir, "pki", "unlock.key")); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("the unlock key is still there: %v", err)
	}
	g.reopen()
	if !bytes.Equal(root, g.RootPEM()) {
		t.Fatal("another root")
	}
	g.opts.KeyPassphrase = ""
	if _, err := pki.Open(g.opts); err == nil {
		t.Fatal("opens without the passphrase")
	}
}

func TestUnlockKeyMoved(t *testing.T) {
	g := openGateway(t, nil)
	credentials := t.TempDir()
	from := filepath.Join(g.dataDir, "pki", "unlock.key")
	if err := os.Rename(from, filepath.Join(credentials, "muster-unlock-key")); err != nil {
		t.Fatal(err)
	}
	if _, err := pki.Open(g.opts); err == nil || !strings.Contains(err.Error(), "unlock key") {
		t.Fatalf("opens without its unlock key: %v", err)
	}
	if _, err := os.Stat(from); err == nil {
		t.Fatal("a new unlock key was made for an old master key")
	}
	g.opts.CredentialsDirectory = credentials
	g.reopen()
	g.opts.CredentialsDirectory = ""
	g.opts.UnlockKeyFile = filepath.Join(credentials, "muster-unlock-key")
	g.reopen()
	// another gateway's key
	if err := os.WriteFile(g.opts.UnlockKeyFile, []byte(strings.Repeat("ab", 32)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := pki.Open(g.opts); err == nil || !strings.Contains(err.Error(), "belongs to another gateway") {
		t.Fatalf("got %v", err)
	}
}

// A lost intermediate is made anew under the same root with the operator's root key, and never silently otherwise.
func TestNewIntermediateFromRootKey(t *testing.T) {
	g := openGateway(t, nil)
	root := g.RootPEM()
	key, err := os.ReadFile(filepath.Join(g.dataDir, "root-key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"root-key.pem", "pki/authority.pem"} {
		if err := os.Remove(filepath.Join(g.dataDir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := pki.Open(g.opts); err == nil || !strings.Contains(err.Error(), "put the root key back") {
		t.Fatalf("got %v", err)
	}
	if err := os.WriteFile(filepath.Join(g.dataDir, "root-key.pem"), key, 0o600); err != nil {
		t.Fatal(err)
	}
	g.reopen()
	if !bytes.Equal(root, g.RootPEM()) {
		t.Fatal("another root")
	}
	g.listen()
	g.newDevice(newKey(t)).allow("lamp-1").enroll()
}

// A power cut at any point of the first start leaves something that the next start completes, with a root key that
// belongs to the root; one after it loses nothing.
func TestPowerCutAtFirstStart(t *testing.T) {
	g := openGateway(t, nil) // for its database and options
	open := func(files *vfs.Mem) (*pki.Authority, error) {
		opts := g.opts
		opts.Dir, opts.FS, opts.Metrics = "data/pki", files, metrics.NewSet()
		return pki.Open(opts)
	}
	for seed := range uint64(10) {
		for n := 1; ; n++ {
			disk := vfs.NewMem()
			disk.MkdirAll("data", 0o700)
			disk.SyncDir(".")
			disk.FailFrom(n, errors.New("power cut"))
			made, err := open(disk)
			after := disk.PowerCut(seed)
			a, again := open(after)
			if again != nil {
				t.Fatalf("cut at operation %d, seed %d: %v; there was %v", n, seed, again, after.Tree())
			}
			root := mustParse(t, a.RootPEM())
			if kept, err := after.ReadFile("data/ca.pem"); err != nil || !bytes.Equal(kept, a.RootPEM()) {
				t.Fatalf("cut at operation %d, seed %d: ca.pem is not the root: %v", n, seed, err)
			}
			text, err2 := after.ReadFile("data/root-key.pem")
			if err2 != nil {
				t.Fatal(err2)
			}
			key, err2 := x509.ParsePKCS8PrivateKey(pemBlocks(text)[0].Bytes)
			if err2 != nil || !key.(*ecdsa.PrivateKey).PublicKey.Equal(root.PublicKey) {
				t.Fatalf("cut at operation %d, seed %d: the root key is another's: %v", n, seed, err2)
			}
			if err == nil { // the whole first start was done before the cut
				if !bytes.Equal(made.RootPEM(), a.RootPEM()) {
					t.Fatalf("seed %d: the authority was lost after it was opened", seed)
				}
				if n < 10 {
					t.Fatalf("a first start has only %d operations?", n)
				}
				break
			}
		}
	}
}

// A disk that fails while an authority is loaded never leads to another one.
func TestDiskFailsAtLoad(t *testing.T) {
	g := openGateway(t, nil)
	disk := vfs.NewMem()
	open := func() (*pki.Authority, error) {
		opts := g.opts
		opts.Dir, opts.FS, opts.Metrics = "data/pki", disk, metrics.NewSet()
		return pki.Open(opts)
	}
	disk.MkdirAll("data", 0o700)
	made, err := open()
	if err != nil {
		t.Fatal(err)
	}
	for n := 1; ; n++ {
		before := disk.Ops()
		disk.FailAt(n, errors.New("input/output error"))
		if a, err := open(); err == nil && !bytes.Equal(a.RootPEM(), made.RootPEM()) {
			t.Fatalf("operation %d failed: another root", n)
		}
		failed := disk.Ops()-before >= n
		disk.FailAt(0, nil)
		if a, err := open(); err != nil || !bytes.Equal(a.RootPEM(), made.RootPEM()) {
			t.Fatalf("after operation %d failed: %v", n, err)
		}
		if !failed {
			return
		}
	}
}

func TestSealedBytes(t *testing.T) {
	g := openGateway(t, nil)
	sealed, err := g.Seal([]byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range sealed {
		changed := bytes.Clone(sealed)
		changed[i] ^= 1
		if _, err := g.Unseal(changed); err == nil {
			t.Fatalf("byte %d may be changed", i)
		}
	}
	for size := range sealed {
		if _, err := g.Unseal(sealed[:size]); err == nil {
			t.Fatalf("%d of %d bytes are enough", size, len(sealed))
		}
	}
	newer := bytes.Clone(sealed)
	newer[0] = 2
	if _, err := g.Unseal(newer); err == nil || !strings.Contains(err.Error(), "version 2") {
		t.Fatalf("got %v", err)
	}
	if _, err := openGateway(t, nil).Unseal(sealed); err == nil {
		t.Fatal("another gateway opens it")
	}
	if empty, err := g.Seal(nil); err != nil {
		t.Fatal(err)
	} else if plain, err := g.Unseal(empty); err != nil || len(plain) != 0 {
		t.Fatalf("empty: %q, %v", plain, err)
	}
}

// Every bit of master.key counts.
func TestMasterKeyChanged(t *testing.T) {
	g := openGateway(t, nil)
	file := filepath.Join(g.dataDir, "pki", "master.key")
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for i := range good {
		changed := bytes.Clone(good)
		changed[i] ^= 0x10
		if err := os.WriteFile(file, changed, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := pki.Open(g.opts); err == nil {
			t.Fatalf("opens with byte %d changed", i)
		}
	}
	if err := os.WriteFile(file, good[:50], 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := pki.Open(g.opts); err == nil || !strings.Contains(err.Error(), "restore it from a backup") {
		t.Fatalf("cut short: %v", err)
	}
}

// A key file kept from version 1 must open for ever. testdata/master-v1.key is locked with testdata/master-v1.unlock.
func TestKeyFileVersion1(t *testing.T) {
	g := openGateway(t, nil)
	opts := g.opts
	opts.Dir, opts.Metrics = filepath.Join(t.TempDir(), "pki"), metrics.NewSet()
	if err := os.MkdirAll(opts.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	locked, err := os.ReadFile("testdata/master-v1.key")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(opts.Dir, "master.key"), locked, 0o600); err != nil {
		t.Fatal(err)
	}
	opts.UnlockKeyFile = "testdata/master-v1.unlock"
	a, err := pki.Open(opts)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := os.ReadFile("testdata/sealed-v1.bin")
	if err != nil {
		t.Fatal(err)
	}
	if plain, err := a.Unseal(sealed); err != nil || string(plain) != "sealed by version 1" {
		t.Fatalf("got %q, %v", plain, err)
	}
}

func TestAllowedContextEnds(t *testing.T) {
	g := openGateway(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := g.Allow(ctx, []pki.Allowed{{Key: wire.KeyHash{1}, ThingName: "a"}}); err == nil {
		t.Fatal("allowed after its context ended")
	}
}
