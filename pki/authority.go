package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"path"
	"time"

	"github.com/smallstep/pkcs7"

	"muster/agent/wire"
)

// authorityFile holds the root certificate, the intermediate certificate and its sealed key. It is written last at
// first start and in one step: with it the authority exists, without it the next start goes on.
const authorityFile = "authority.pem"

const (
	sealedKeyType    = "MUSTER SEALED KEY" // PEM type: a PKCS#8 key, sealed
	useIntermediate  = "intermediate key"
	useServer        = "server key"
	organizationName = "muster"
)

// openAuthority loads root and intermediate, or makes what is missing.
func (a *Authority) openAuthority() error {
	file := path.Join(a.opts.Dir, authorityFile)
	raw, err := a.opts.FS.ReadFile(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := a.makeAuthority(file); err != nil {
			return err
		}
	case err != nil:
		return fmt.Errorf("read %q: %w", file, err)
	default:
		if err := a.loadAuthority(raw); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	a.time.atLeast(a.inter.NotBefore)
	a.time.end = a.inter.NotAfter
	a.rootPEM = certPEM(a.root)
	if kept, err := a.opts.FS.ReadFile(a.opts.RootFile); err != nil || string(kept) != string(a.rootPEM) {
		if err := a.opts.FS.WriteFile(a.opts.RootFile, a.rootPEM, 0o644); err != nil {
			return fmt.Errorf("write the root certificate %q: %w", a.opts.RootFile, err)
		}
	}
	a.caCerts, err = certsOnly(a.inter, a.root)
	return err
}

func (a *Authority) loadAuthority(raw []byte) error {
	certs, key, err := a.openSealedPEM(raw, useIntermediate)
	if err != nil {
		return err
	}
	if len(certs) != 2 {
		return fmt.Errorf("it has %d certificates instead of root and intermediate: restore it from a backup", len(certs))
	}
	a.root, a.inter, a.interKey = certs[0], certs[1], key
	if err := a.inter.CheckSignatureFrom(a.root); err != nil {
		return fmt.Errorf("the intermediate does not belong to the root, restore it from a backup: %w", err)
	}
	if !key.PublicKey.Equal(a.inter.PublicKey) {
		return errors.New("the intermediate's key and certificate do not belong together: restore it from a backup")
	}
	return nil
}

// makeAuthority makes an intermediate under the root whose key the operator left or put back at RootKeyFile, or under
// a new root.
func (a *Authority) makeAuthority(file string) error {
	now, err := a.time.issuing()
	if err != nil {
		return err
	}
	rootKey, err := a.openRoot(now)
	if err != nil {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "muster intermediate " + shortName(&key.PublicKey), Organization: []string{organizationName}},
		NotBefore:             now.Add(-backdate),
		NotAfter:              earlier(now.Add(interLife), a.root.NotAfter),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	if a.inter, err = sign(template, a.root, &key.PublicKey, rootKey); err != nil {
		return err
	}
	a.interKey = key
	text, err := a.sealedPEM(key, useIntermediate, a.root, a.inter)
	if err != nil {
		return err
	}
	if err := a.opts.FS.WriteFile(file, text, 0o600); err != nil {
		return fmt.Errorf("write %q: %w", file, err)
	}
	a.log.Info("made the certificate authority", "file", a.opts.RootFile)
	return nil
}

// openRoot sets a.root and returns its key: from the operator's files, or made new.
func (a *Authority) openRoot(now time.Time) (*ecdsa.PrivateKey, error) {
	keyText, keyErr := a.opts.FS.ReadFile(a.opts.RootKeyFile)
	certText, certErr := a.opts.FS.ReadFile(a.opts.RootFile)
	if err := errors.Join(notMissing(keyErr), notMissing(certErr)); err != nil {
		return nil, fmt.Errorf("read the root: %w", err)
	}
	if keyErr != nil && certErr == nil {
		return nil, fmt.Errorf("%s is missing but the root certificate %s is there: restore the first from a backup, put the root key back at %s to get a new intermediate, or remove the certificate to start with a new root (all devices must enroll again)",
			path.Join(a.opts.Dir, authorityFile), a.opts.RootFile, a.opts.RootKeyFile)
	}
	var key *ecdsa.PrivateKey
	if keyErr == nil {
		block, _ := pem.Decode(keyText)
		if block == nil {
			return nil, fmt.Errorf("%s has no PEM key", a.opts.RootKeyFile)
		}
		parsed, err := parseKey(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", a.opts.RootKeyFile, err)
		}
		key = parsed
	} else {
		made, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, err
		}
		der, err := x509.MarshalPKCS8PrivateKey(made)
		if err != nil {
			return nil, err
		}
		text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
		if err := a.opts.FS.WriteFile(a.opts.RootKeyFile, text, 0o600); err != nil {
			return nil, fmt.Errorf("write the root key %q: %w", a.opts.RootKeyFile, err)
		}
		key = made
	}
	if certErr == nil {
		certs, err := wire.ParseCertificates(certText)
		if err != nil || len(certs) != 1 || !key.PublicKey.Equal(certs[0].PublicKey) {
			return nil, fmt.Errorf("%s and %s do not belong together", a.opts.RootFile, a.opts.RootKeyFile)
		}
		a.root = certs[0]
		return key, nil
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "muster root " + shortName(&key.PublicKey), Organization: []string{organizationName}},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(rootLife),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLen:            1,
	}
	var err error
	if a.root, err = sign(template, template, &key.PublicKey, key); err != nil {
		return nil, err
	}
	return key, a.opts.FS.WriteFile(a.opts.RootFile, certPEM(a.root), 0o644)
}

// sign completes template with a random serial of 128 bits and the key's id, and signs it.
func sign(template, parent *x509.Certificate, public crypto.PublicKey, key crypto.Signer) (*x509.Certificate, error) {
	var serial [16]byte
	for serial[0] == 0 { // a leading zero would make it shorter than it claims
		rand.Read(serial[:])
	}
	template.SerialNumber = new(big.Int).SetBytes(serial[:])
	spki, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return nil, err
	}
	id := sha256.Sum256(spki) // RFC 7093 section 2, method 1
	template.SubjectKeyId = id[:20]
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		return nil, fmt.Errorf("sign certificate for %q: %w", template.Subject.CommonName, err)
	}
	return x509.ParseCertificate(der)
}

// shortName tells authorities of the same product apart in lists of trusted roots.
func shortName(key *ecdsa.PublicKey) string {
	spki, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		panic("BUG: a P-256 key does not marshal: " + err.Error())
	}
	h := sha256.Sum256(spki)
	return hex.EncodeToString(h[:4])
}

// sealedPEM returns the certificates and the sealed key as one PEM text.
func (a *Authority) sealedPEM(key *ecdsa.PrivateKey, use string, certs ...*x509.Certificate) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	sealed, err := a.ring.seal(use, der)
	if err != nil {
		return nil, err
	}
	return append(certPEM(certs...), pem.EncodeToMemory(&pem.Block{Type: sealedKeyType, Bytes: sealed})...), nil
}

// openSealedPEM reads what sealedPEM wrote.
func (a *Authority) openSealedPEM(text []byte, use string) ([]*x509.Certificate, *ecdsa.PrivateKey, error) {
	certs, err := wire.ParseCertificates(text)
	if err != nil {
		return nil, nil, err
	}
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != sealedKeyType {
			continue
		}
		der, err := a.ring.unseal(use, block.Bytes)
		if err != nil {
			return nil, nil, err
		}
		key, err := parseKey(der)
		return certs, key, err
	}
	return nil, nil, errors.New("it has no sealed key: restore it from a backup")
}

func parseKey(der []byte) (*ecdsa.PrivateKey, error) {
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, err
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("the key is a %T, not an ECDSA key", parsed)
	}
	return key, nil
}

// certsOnly returns certificates as an EST body: a certs-only PKCS#7 in base64 (RFC 7030 section 4.1.3, RFC 8951).
func certsOnly(certs ...*x509.Certificate) ([]byte, error) {
	var ders []byte
	for _, c := range certs {
		ders = append(ders, c.Raw...)
	}
	p7, err := pkcs7.DegenerateCertificate(ders)
	if err != nil {
		return nil, fmt.Errorf("wrap certificates as PKCS#7: %w", err)
	}
	return append(base64.StdEncoding.AppendEncode(nil, p7), '\n'), nil
}

// certID returns the id of a certificate: hex SHA-256 of its DER.
func certID(cert *x509.Certificate) string {
	h := sha256.Sum256(cert.Raw)
	return hex.EncodeToString(h[:])
}

// record makes the row of an active certificate.
func record(cert *x509.Certificate, origin Origin, thing string, issued time.Time) Certificate {
	return Certificate{
		Origin:      origin,
		ChangedMs:   issued.UnixMilli(),
		ID:          certID(cert),
		Key:         wire.HashKey(cert),
		ThingName:   thing,
		Serial:      fmt.Sprintf("%032x", cert.SerialNumber),
		PEM:         string(certPEM(cert)),
		Status:      Active,
		NotBeforeMs: cert.NotBefore.UnixMilli(),
		NotAfterMs:  cert.NotAfter.UnixMilli(),
		IssuedMs:    issued.UnixMilli(),
	}
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// notMissing returns err, but nil for a file that is not there.
func notMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
