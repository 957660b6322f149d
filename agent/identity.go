package agent

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	crand "crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"muster/agent/wire"
)

// identity is a device's key and what was issued for it. It is not changed after it is made: renewing makes a new one.
type identity struct {
	key   *ecdsa.PrivateKey
	hash  wire.KeyHash
	root  *x509.Certificate // nil: not known yet
	leaf  *x509.Certificate // nil: not enrolled
	chain [][]byte          // DER: leaf, intermediate
	// renewAt is at two thirds of the leaf's life, plus up to a twelfth at random, so that a fleet that enrolled in
	// one hour does not renew in one hour.
	renewAt time.Time
}

// Files in Config.Dir.
const (
	keyFile  = "key.pem"
	certFile = "cert.pem"
	rootFile = "ca.pem"
)

// openIdentity loads the identity in cfg.Dir, making the folder and the key if they are missing.
func openIdentity(cfg *Config) (*identity, error) {
	id := &identity{}
	if err := id.openKey(cfg); err != nil {
		return nil, err
	}
	rootPEM := cfg.RootPEM
	if rootPEM == nil && cfg.Dir != "" {
		kept, err := os.ReadFile(filepath.Join(cfg.Dir, rootFile))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		rootPEM = kept
	}
	if rootPEM != nil {
		certs, err := wire.ParseCertificates(rootPEM)
		if err != nil || len(certs) == 0 {
			return nil, errors.New("the gateway's root certificate is not a PEM certificate: copy ca.pem from its data directory")
		}
		id.root = certs[0]
	}
	if id.root != nil && cfg.RootSHA256 != "" && !hasHash(id.root, cfg.RootSHA256) {
		return nil, fmt.Errorf("the root certificate that is here does not have the hash %s: remove %s if the gateway was set up anew", cfg.RootSHA256, filepath.Join(cfg.Dir, rootFile))
	}
	if id.root == nil && cfg.RootSHA256 == "" {
		return nil, errors.New("nothing says which gateway to trust: give its root certificate or the SHA-256 of it")
	}
	if cfg.Dir == "" {
		return id, nil
	}
	text, err := os.ReadFile(filepath.Join(cfg.Dir, certFile))
	if errors.Is(err, fs.ErrNotExist) {
		return id, nil
	}
	if err != nil {
		return nil, err
	}
	certs, err := wire.ParseCertificates(text)
	if err != nil || len(certs) == 0 || !id.key.PublicKey.Equal(certs[0].PublicKey) {
		return nil, fmt.Errorf("%s is not a certificate of the key beside it: remove it to enroll again", filepath.Join(cfg.Dir, certFile))
	}
	if name := certs[0].Subject.CommonName; name != cfg.Thing {
		return nil, fmt.Errorf("the certificate in %s is for thing %q, not %q: use another folder for each thing", cfg.Dir, name, cfg.Thing)
	}
	return id.with(id.root, certs), nil
}

// with returns the identity with a newly issued chain.
func (id *identity) with(root *x509.Certificate, chain []*x509.Certificate) *identity {
	next := &identity{key: id.key, hash: id.hash, root: root, leaf: chain[0]}
	for _, c := range chain {
		next.chain = append(next.chain, c.Raw)
	}
	life := next.leaf.NotAfter.Sub(next.leaf.NotBefore)
	next.renewAt = next.leaf.NotBefore.Add(life/3*2 + rand.N(life/12+1))
	return next
}

func (id *identity) tlsCertificate() tls.Certificate {
	return tls.Certificate{Certificate: id.chain, PrivateKey: id.key, Leaf: id.leaf}
}

// bootstrap returns a self-signed certificate of the key: all that a device has before it is enrolled. Its dates say
// nothing, as a new device may not know the time (RFC 5280 section 4.1.2.5: no end).
func (id *identity) bootstrap(thing string) (tls.Certificate, error) {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: thing},
		NotBefore:    time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC),
		NotAfter:     time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(crand.Reader, template, template, &id.key.PublicKey, id.key)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: id.key}, nil
}

// openKey loads or makes the key.
func (id *identity) openKey(cfg *Config) error {
	var err error
	if cfg.Dir == "" {
		id.key, err = ecdsa.GenerateKey(elliptic.P256(), crand.Reader)
	} else {
		id.key, err = openKeyFile(cfg.Dir)
	}
	if err != nil {
		return err
	}
	spki, err := x509.MarshalPKIXPublicKey(&id.key.PublicKey)
	if err != nil {
		return err
	}
	id.hash = sha256.Sum256(spki)
	return nil
}

func openKeyFile(dir string) (*ecdsa.PrivateKey, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if info, err := os.Stat(dir); err != nil {
		return nil, err
	} else if info.Mode().Perm()&0o022 != 0 {
		return nil, fmt.Errorf("others may write into %s, so its key is not safe: run chmod 700 %s", dir, dir)
	}
	file := filepath.Join(dir, keyFile)
	info, err := os.Stat(file)
	if errors.Is(err, fs.ErrNotExist) {
		return makeKeyFile(file)
	}
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("others may read the key %s: run chmod 600 %s, or remove it and enroll with a new one", file, file)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("%s has no PEM key: remove it to make a new one", file)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%s holds a %T: only ECDSA keys are used", file, parsed)
	}
	return key, nil
}

func makeKeyFile(file string) (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), crand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return key, writeFile(file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600)
}

// save writes what was issued to dir.
func (id *identity) save(dir string) error {
	if dir == "" {
		return nil
	}
	if err := writeFile(filepath.Join(dir, rootFile), certPEM(id.root.Raw), 0o644); err != nil {
		return err
	}
	return writeFile(filepath.Join(dir, certFile), certPEM(id.chain...), 0o644)
}

// writeFile replaces a file so that after a power cut it has the old bytes or the new ones.
func writeFile(name string, data []byte, perm fs.FileMode) error {
	dir := filepath.Dir(name)
	f, err := os.CreateTemp(dir, filepath.Base(name)+".*.tmp") // made with mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // nothing is left of it after the rename
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(perm)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write %q: %w", name, err)
	}
	if err := os.Rename(f.Name(), name); err != nil {
		return err
	}
	folder, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}

func certPEM(ders ...[]byte) []byte {
	var out []byte
	for _, der := range ders {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return out
}

// hasHash says whether the SHA-256 of the certificate is hash, in hex as openssl or sha256sum print it.
func hasHash(cert *x509.Certificate, hash string) bool {
	want, err := wire.ParseKeyHash(hash)
	return err == nil && want == sha256.Sum256(cert.Raw)
}
