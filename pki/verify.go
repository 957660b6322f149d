package pki

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"math"
	"net/http"
	"slices"
	"sync"
	"time"

	"muster/agent/wire"
)

// Identity is who a client certificate stands for.
type Identity struct {
	ThingName     string // by its common name; "" where that is no thing name, in a certificate that was registered
	CertificateID string // hex SHA-256 of the DER
	Pinned        bool   // registered without a CA
	Registered    bool   // of a client CA, and registered
	External      bool   // issued by a client CA, not by us
	AutoRegister  bool   // the client CA's: make the thing on first connect
}

// clientCA is a CA of others whose certificates are accepted.
type clientCA struct {
	roots, intermediates *x509.CertPool
	autoRegister         bool
	verified             *chainCache
}

// AddClientCA accepts the client certificates of another CA; a certificate's common name is its thing name. pemText
// holds the CA's certificate and, where devices' certificates come from intermediates, those as well: what a client
// sends besides its own certificate is not used. Certificates of such a CA are revoked by taking the CA away.
func (a *Authority) AddClientCA(pemText []byte, autoRegister bool) error {
	certs, err := wire.ParseCertificates(pemText)
	if err != nil {
		return refusef(http.StatusBadRequest, "invalid", "the client CA has a certificate that cannot be read: %v", err)
	}
	ca := clientCA{roots: x509.NewCertPool(), intermediates: x509.NewCertPool(), autoRegister: autoRegister, verified: &chainCache{}}
	rootCount := 0
	for _, cert := range certs {
		if !cert.IsCA {
			return refusef(http.StatusBadRequest, "invalid", "the certificate of %q is not a CA's: give the certificate of the CA that issued it", cert.Subject)
		}
		if slices.Equal(cert.RawIssuer, cert.RawSubject) {
			ca.roots.AddCert(cert)
			rootCount++
		} else {
			ca.intermediates.AddCert(cert)
		}
	}
	if rootCount == 0 {
		return refusef(http.StatusBadRequest, "invalid", "the client CA's file has no self-signed certificate in PEM: put the root first, then the intermediates")
	}
	a.addCA.Lock()
	defer a.addCA.Unlock()
	all := append(slices.Clone(*a.clientCAs.Load()), ca)
	a.clientCAs.Store(&all)
	return nil
}

// Identify returns who cert stands for, or an *Error (401 or 403): it must come from our intermediate or a client CA,
// be valid now, be for clients, and be neither inactive nor revoked; or it was registered without a CA. The handshake has proved that the client has its key.
func (a *Authority) Identify(cert *x509.Certificate) (Identity, error) { return a.identify(cert) }

func (a *Authority) identify(cert *x509.Certificate) (Identity, error) {
	if cert == nil {
		return Identity{}, refusef(http.StatusUnauthorized, "no-certificate", "there is no client certificate")
	}
	if a.revoked.has(wire.HashKey(cert)) {
		return Identity{}, ErrKeyRevoked
	}
	id := sha256.Sum256(cert.Raw)
	known := a.special.look(id)
	if known&blocked != 0 {
		return Identity{}, ErrInactive
	}
	identity := Identity{ThingName: cert.Subject.CommonName, CertificateID: hex.EncodeToString(id[:]), Pinned: known&pinned != 0, Registered: known&registered != 0}
	now := a.time.now()
	if identity.Pinned {
		identity.ThingName = ""
		return identity, checkDates(cert, now)
	}
	if slices.Equal(cert.RawIssuer, a.inter.RawSubject) && a.signed.check(id, cert, a.inter) {
		if err := checkLeaf(cert, now); err != nil {
			return Identity{}, err
		}
	} else {
		ca, err := a.verifyForeign(id, cert, now)
		if err != nil {
			return Identity{}, err
		}
		identity.External, identity.AutoRegister = true, ca.autoRegister
	}
	if !identity.External && identity.ThingName == plainName {
		identity.ThingName = ""
		return identity, nil
	}
	if err := wire.CheckThingName(identity.ThingName); err != nil {
		if identity.Registered {
			identity.ThingName = ""
			return identity, nil
		}
		return Identity{}, refusef(http.StatusForbidden, "name", "the certificate's common name is no thing name: %v", err)
	}
	return identity, nil
}

// checkLeaf checks a certificate that our intermediate signed.
func checkLeaf(cert *x509.Certificate, now time.Time) error {
	if err := checkDates(cert, now); err != nil {
		return err
	}
	if cert.IsCA || !slices.Contains(cert.ExtKeyUsage, x509.ExtKeyUsageClientAuth) {
		return refusef(http.StatusForbidden, "usage", "the certificate of %q is not for clients", cert.Subject.CommonName)
	}
	return nil
}

func checkDates(cert *x509.Certificate, now time.Time) error {
	if now.Before(cert.NotBefore) {
		return refusef(http.StatusForbidden, "expired", "the certificate of %q is not valid before %s", cert.Subject.CommonName, cert.NotBefore.Format(time.RFC3339))
	}
	if now.After(cert.NotAfter) {
		return refusef(http.StatusForbidden, "expired", "the certificate of %q ended at %s: the device must enroll again", cert.Subject.CommonName, cert.NotAfter.Format(time.RFC3339))
	}
	return nil
}

// verifyForeign finds the client CA of cert, whose SHA-256 is id. A connect asks twice, in the handshake and when the device is admitted.
func (a *Authority) verifyForeign(id [sha256.Size]byte, cert *x509.Certificate, now time.Time) (clientCA, error) {
	all := *a.clientCAs.Load()
	for _, ca := range all {
		if ca.verified.valid(id, now) {
			return ca, nil
		}
	}
	for _, ca := range all {
		chains, err := cert.Verify(x509.VerifyOptions{
			Roots: ca.roots, Intermediates: ca.intermediates, CurrentTime: now,
			KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		})
		if err == nil && !cert.IsCA {
			ca.verified.add(id, chains[0])
			return ca, nil
		}
		if invalid, ok := err.(x509.CertificateInvalidError); ok && invalid.Reason == x509.Expired {
			return clientCA{}, refusef(http.StatusForbidden, "expired", "the certificate of %q is not valid now: %v", cert.Subject.CommonName, err)
		}
	}
	return clientCA{}, refusef(http.StatusForbidden, "foreign", "the certificate of %.64q was issued neither by this gateway nor by a client CA it knows", cert.Subject.CommonName)
}

// aeadSuites are the cipher suites of TLS 1.2 for a server with an ECDSA key; those of TLS 1.3 are fixed.
var aeadSuites = []uint16{
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
}

// MQTTConfig returns the TLS configuration of the device listener: TLS 1.3, and 1.2 with AEAD suites, which many
// modems still need. A client certificate is required and checked as by Identify, on resumed sessions as well.
func (a *Authority) MQTTConfig() *tls.Config {
	config := a.tlsConfig()
	config.MinVersion = tls.VersionTLS12
	config.CipherSuites = aeadSuites
	config.ClientAuth = tls.RequireAnyClientCert
	// VerifyConnection, as VerifyPeerCertificate is not called for resumed sessions: a revoked device would come back.
	config.VerifyConnection = func(state tls.ConnectionState) error {
		if len(state.PeerCertificates) == 0 {
			return refusef(http.StatusUnauthorized, "no-certificate", "there is no client certificate")
		}
		peer := state.PeerCertificates[0]
		if _, err := a.identify(peer); err != nil {
			a.noteRefusal(context.Background(), "connect", peer, err)
			return err
		}
		return nil
	}
	return config
}

// HTTPConfig returns the TLS configuration of the HTTP listener: TLS 1.3 only. A client certificate is asked for and
// any may come, self-signed ones of allowed keys among them: what it is good for, Enroll, Reenroll and Identify say.
func (a *Authority) HTTPConfig() *tls.Config {
	config := a.tlsConfig()
	config.MinVersion = tls.VersionTLS13
	config.ClientAuth = tls.RequestClientCert
	return config
}

func (a *Authority) tlsConfig() *tls.Config {
	return &tls.Config{
		Time:           a.time.now,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return a.server.Load(), nil },
	}
}

// signedCache remembers which certificates our intermediate has signed: a fact of their bytes that never changes, so
// that a device that comes back costs a hash instead of an ECDSA check. 40 bytes per certificate.
type signedCache struct {
	mu    sync.RWMutex // guards known
	known map[[sha256.Size]byte]struct{}
}

// maxSigned bounds the cache. Only certificates with a good signature get in, so strangers cannot fill it.
const maxSigned = 1 << 16

// check says whether issuer signed cert, whose SHA-256 is id.
func (s *signedCache) check(id [sha256.Size]byte, cert, issuer *x509.Certificate) bool {
	s.mu.RLock()
	_, ok := s.known[id]
	s.mu.RUnlock()
	if ok {
		return true
	}
	if cert.CheckSignatureFrom(issuer) != nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known == nil || len(s.known) >= maxSigned {
		s.known = map[[sha256.Size]byte]struct{}{}
	}
	s.known[id] = struct{}{}
	return true
}

// chainCache remembers which certificates a client CA has issued and when the whole chain is valid: but for the time, a fact of the bytes of
// certificate and CA that never changes. What Identify asks besides, such as the certificate's status, it asks each time.
type chainCache struct {
	mu    sync.RWMutex // guards known
	known map[[sha256.Size]byte]validity
}

// validity is a span of time, Unix seconds, both ends included as in certificates (RFC 5280 section 4.1.2.5).
type validity struct{ from, to int64 }

// valid says whether a chain of the certificate with this SHA-256 was verified and is valid at now.
func (c *chainCache) valid(id [sha256.Size]byte, now time.Time) bool {
	c.mu.RLock()
	span, ok := c.known[id]
	c.mu.RUnlock()
	return ok && !now.Before(time.Unix(span.from, 0)) && !now.After(time.Unix(span.to, 0))
}

// add notes a verified chain of the certificate with this SHA-256. Like signedCache it lets no strangers in.
func (c *chainCache) add(id [sha256.Size]byte, chain []*x509.Certificate) {
	span := validity{from: math.MinInt64, to: math.MaxInt64}
	for _, cert := range chain {
		span.from, span.to = max(span.from, cert.NotBefore.Unix()), min(span.to, cert.NotAfter.Unix())
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known == nil || len(c.known) >= maxSigned {
		c.known = map[[sha256.Size]byte]validity{}
	}
	c.known[id] = span
}

func hashSPKI(csr *x509.CertificateRequest) wire.KeyHash {
	return sha256.Sum256(csr.RawSubjectPublicKeyInfo)
}
