package bench

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Names of the files that --make-ca writes.
const (
	caCertFile = "bench-ca.pem"
	caKeyFile  = "bench-ca-key.pem"
)

// caFiles names both files as the flag --bench-ca takes them.
func caFiles(dir string) string {
	return filepath.Join(dir, caCertFile) + "," + filepath.Join(dir, caKeyFile)
}

// authority is a certificate authority for simulated devices and for brokers under test. Safe for concurrent use.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// newAuthority makes an authority that is good for a year.
func newAuthority() (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          serial(),
		Subject:               pkix.Name{CommonName: "muster bench devices"},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().AddDate(1, 0, 0),
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return &authority{cert: cert, key: key}, err
}

// saveAuthority makes an authority and its files in dir.
func saveAuthority(dir string) (*authority, error) {
	ca, err := newAuthority()
	if err == nil {
		err = ca.save(dir)
	}
	return ca, err
}

// save writes the certificate and the key into dir, which is made if missing.
func (a *authority) save(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, caCertFile), a.certPEM(), 0o644); err != nil {
		return err
	}
	text, err := keyPEM(a.key)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, caKeyFile), text, 0o600)
}

// loadAuthority reads what save wrote, or any ECDSA authority in PEM.
func loadAuthority(certFile, keyFile string) (*authority, error) {
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, fmt.Errorf("read the authority of the devices: %w", err)
	}
	key, isECDSA := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !isECDSA {
		return nil, fmt.Errorf("%s: want an ECDSA key, as `muster bench fleet --make-ca DIR` makes one", keyFile)
	}
	return &authority{cert: pair.Leaf, key: key}, nil
}

func (a *authority) certPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

// device issues a client certificate on a new P-256 key; its common name is the thing.
func (a *authority) device(thing string) (tls.Certificate, error) {
	return a.issue(&x509.Certificate{
		Subject:     pkix.Name{CommonName: thing},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
}

// server issues a server certificate for this machine's loopback addresses.
func (a *authority) server() (tls.Certificate, error) {
	return a.issue(&x509.Certificate{
		Subject:     pkix.Name{CommonName: "localhost"},
		DNSNames:    []string{"localhost"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
}

// issue completes template and signs it.
func (a *authority) issue(template *x509.Certificate) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template.SerialNumber = serial()
	template.NotBefore = time.Now().Add(-time.Hour)
	template.NotAfter = time.Now().AddDate(0, 0, 90)
	template.KeyUsage = x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

// serial returns a random positive serial number of 127 bits.
func serial() *big.Int {
	raw := make([]byte, 16)
	rand.Read(raw) // never fails (crypto/rand)
	raw[0] &= 0x7f
	return new(big.Int).SetBytes(raw)
}

func keyPEM(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), err
}

// writePair writes a certificate and its key as two PEM files.
func writePair(cert tls.Certificate, certFile, keyFile string) error {
	text, err := keyPEM(cert.PrivateKey.(*ecdsa.PrivateKey))
	if err != nil {
		return err
	}
	chain := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]})
	return errors.Join(os.WriteFile(certFile, chain, 0o644), os.WriteFile(keyFile, text, 0o600))
}

// tlsSettings says how the devices of a fleet speak TLS.
type tlsSettings struct {
	caFile     string // PEM of the broker's root; the system's roots if empty
	certDir    string // <thing>.crt and <thing>.key of each device
	benchCA    string // "CERT,KEY": the authority that issues the devices' certificates on the way
	serverName string // name in the broker's certificate; host of the address if empty
}

// base returns the TLS configuration of every client of addr, without a certificate.
func (s tlsSettings) base(addr string) (*tls.Config, error) {
	base := &tls.Config{ServerName: s.serverName, MinVersion: tls.VersionTLS12}
	if base.ServerName == "" {
		host, _, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, fmt.Errorf("address %q: %w", addr, err)
		}
		base.ServerName = host
	}
	if s.caFile != "" {
		text, err := os.ReadFile(s.caFile)
		if err != nil {
			return nil, fmt.Errorf("read the root certificate of the broker: %w", err)
		}
		base.RootCAs = x509.NewCertPool()
		if !base.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("%s holds no certificate in PEM", s.caFile)
		}
	}
	return base, nil
}

// client returns a function that makes the TLS configuration of a thing. It is safe for concurrent use.
func (s tlsSettings) client(addr string) (func(thing string) (*tls.Config, error), error) {
	base, err := s.base(addr)
	if err != nil {
		return nil, err
	}
	issue := func(thing string) (tls.Certificate, error) {
		path := filepath.Join(s.certDir, thing)
		return tls.LoadX509KeyPair(path+".crt", path+".key")
	}
	if s.benchCA != "" {
		certFile, keyFile, both := strings.Cut(s.benchCA, ",")
		if !both {
			return nil, fmt.Errorf("bench-ca %q: want CERT,KEY, two files with a comma between", s.benchCA)
		}
		ca, err := loadAuthority(certFile, keyFile)
		if err != nil {
			return nil, err
		}
		issue = ca.device
	}
	return func(thing string) (*tls.Config, error) {
		cert, err := issue(thing)
		if err != nil {
			return nil, err
		}
		config := base.Clone()
		config.Certificates = []tls.Certificate{cert}
		return config, nil
	}, nil
}
