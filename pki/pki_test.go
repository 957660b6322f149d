package pki_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"muster/agent/wire"
	"muster/pki"
	"muster/tsdb/vfs"
)

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
