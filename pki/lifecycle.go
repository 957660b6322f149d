package pki

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"net/http"
	"slices"
	"sync"
)

// special is what must be known of single certificates at every handshake. Most certificates are not in it.
type special struct {
	mu    sync.RWMutex // guards certs
	certs map[[sha256.Size]byte]traits
}

// traits are bits.
type traits uint8

const (
	blocked    traits = 1 << iota // inactive or deleted
	pinned                        // registered without a CA
	registered                    // of a client CA
)

func (s *special) look(id [sha256.Size]byte) traits {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.certs[id]
}

// set notes the state of a certificate.
func (s *special) set(id string, isBlocked bool, origin Origin) {
	raw, ok := rawID(id)
	if !ok {
		return
	}
	var t traits
	switch origin {
	case Pinned:
		t = pinned
	case FromCA:
		t = registered
	}
	if isBlocked {
		t |= blocked
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if t == 0 {
		delete(s.certs, raw)
	} else {
		s.certs[raw] = t
	}
}

func rawID(id string) (raw [sha256.Size]byte, ok bool) {
	text, err := hex.DecodeString(id)
	if err != nil || len(text) != len(raw) {
		return raw, false
	}
	copy(raw[:], text)
	return raw, true
}

func (a *Authority) loadSpecial(ctx context.Context) error {
	a.special.certs = map[[sha256.Size]byte]traits{}
	return a.opts.Store.Special(ctx, a.special.set)
}

// changed tells who wants to know.
func (a *Authority) changed(ctx context.Context, cert Certificate) error {
	if a.opts.Changed == nil {
		return nil
	}
	return a.opts.Changed(ctx, cert)
}

// CreateFromCSR signs a certificate for an operator, for the key of a request in PEM or base64. It is for no thing until
// it is attached to one, and renews itself by EST as others do.
func (a *Authority) CreateFromCSR(ctx context.Context, request []byte, active bool) (Certificate, error) {
	csr, err := parseCSR(request, true)
	if err != nil {
		return Certificate{}, err
	}
	_, row, err := a.issue("", csr.PublicKey, FromCSR)
	if err != nil {
		return Certificate{}, err
	}
	return a.register(ctx, row, active)
}

// CreateKeys makes a key and its certificate. The key is returned once and kept nowhere.
func (a *Authority) CreateKeys(ctx context.Context, active bool) (cert Certificate, publicKey, privateKey string, err error) {
	if !a.opts.ServerKeys {
		return cert, "", "", refusef(http.StatusBadRequest, "server-keys", "this gateway makes no keys for devices: make the key on the device, and send its request to "+
			"CreateCertificateFromCsr (openssl ecparam -name prime256v1 -genkey -noout -out key.pem; openssl req -new -key key.pem -subj /CN=device -out device.csr) "+
			"or enroll it by EST; the setting pki.allow-server-keys turns this on")
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return cert, "", "", err
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return cert, "", "", err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return cert, "", "", err
	}
	_, row, err := a.issue("", &key.PublicKey, FromServer)
	if err != nil {
		return cert, "", "", err
	}
	cert, err = a.register(ctx, row, active)
	return cert, string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})), err
}

// maxCertificate bounds the PEM of a certificate that is registered (AWS).
const maxCertificate = 64 << 10

// Register records a certificate that others issued. Unless it is withoutCA, a client CA must have issued it, and be trusted as
// long as the certificate is to be; else it is accepted by its bytes alone, whoever issued it.
func (a *Authority) Register(ctx context.Context, text []byte, withoutCA, active bool) (Certificate, error) {
	cert, err := parseOne(text)
	if err != nil {
		return Certificate{}, err
	}
	if err := checkDeviceKey(cert.PublicKey, true); err != nil {
		return Certificate{}, err
	}
	now := a.time.now()
	if slices.Equal(cert.RawIssuer, a.inter.RawSubject) && a.signed.check(sha256.Sum256(cert.Raw), cert, a.inter) {
		return Certificate{}, refusef(http.StatusConflict, "exists", "this gateway issued the certificate itself: it is registered, or was deleted for good")
	}
	origin := Pinned
	if !withoutCA {
		origin = FromCA
		if _, err := a.verifyForeign(sha256.Sum256(cert.Raw), cert, now); err != nil {
			return Certificate{}, refusef(http.StatusBadRequest, "validation", "%v; RegisterCertificateWithoutCA takes it without a CA", err)
		}
	} else if now.After(cert.NotAfter) {
		return Certificate{}, refusef(http.StatusBadRequest, "validation", "%v", checkDates(cert, now))
	}
	return a.register(ctx, record(cert, origin, "", now), active)
}

// parseOne reads a PEM text with one certificate.
func parseOne(text []byte) (*x509.Certificate, error) {
	if len(text) > maxCertificate {
		return nil, refusef(http.StatusBadRequest, "validation", "the certificate has %d bytes: at most %d are taken", len(text), maxCertificate)
	}
	block, rest := pem.Decode(bytes.TrimSpace(text))
	if block == nil || block.Type != "CERTIFICATE" || len(bytes.TrimSpace(rest)) > 0 {
		return nil, refusef(http.StatusBadRequest, "validation", "certificatePem must be one certificate in PEM: -----BEGIN CERTIFICATE-----")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, refusef(http.StatusBadRequest, "validation", "the certificate cannot be read: %v", err)
	}
	return cert, nil
}

// register records a certificate as active or inactive.
func (a *Authority) register(ctx context.Context, row Certificate, active bool) (Certificate, error) {
	if !active {
		row.Status = Inactive
	}
	a.statusMu.Lock()
	defer a.statusMu.Unlock()
	if err := a.opts.Store.Register(ctx, row); err != nil {
		return Certificate{}, err
	}
	a.special.set(row.ID, !active, row.Origin)
	if !active {
		a.revoked.hold(row)
	}
	a.opts.Metrics.GetOrCreateCounter(`muster_pki_issued_total{kind="` + string(row.Origin) + `"}`).Inc()
	return row, a.changed(ctx, row)
}

// SetStatus changes the status of a certificate. Revoking is for ever and takes its key (Revoke); what was revoked stays
// so. What is no longer active is refused from then on, on resumed sessions as well; Options.Changed ends connections.
func (a *Authority) SetStatus(ctx context.Context, id string, to Status) error {
	if to == Revoked {
		return a.Revoke(ctx, id)
	}
	a.statusMu.Lock()
	defer a.statusMu.Unlock()
	cert, err := a.registered(ctx, id)
	switch {
	case err != nil:
		return err
	case cert.Status == to:
		return nil
	case cert.Status == Revoked || a.revoked.has(cert.Key):
		return refusef(http.StatusNotAcceptable, "state", "the certificate was revoked, which is for ever: give the device a new key")
	}
	if to != Active { // refused first, so that none gets in between
		a.special.set(id, true, cert.Origin)
	}
	set, err := a.opts.Store.SetStatus(ctx, id, to, a.time.now().UnixMilli())
	if err == nil && !set {
		err = refusef(http.StatusNotAcceptable, "state", "the certificate was revoked in the meantime")
	}
	if err != nil {
		a.special.set(id, cert.Status != Active, cert.Origin)
		return err
	}
	a.special.set(id, to != Active, cert.Origin)
	cert.Status, cert.ChangedMs = to, a.time.now().UnixMilli()
	a.revoked.hold(cert)
	a.log.Info("certificate changed", "id", id, "status", string(to))
	return a.changed(ctx, cert)
}

// registered returns a certificate that is in the register.
func (a *Authority) registered(ctx context.Context, id string) (Certificate, error) {
	cert, ok, err := a.opts.Store.CertificateByID(ctx, id)
	if err == nil && !ok {
		err = noCertificate(id)
	}
	return cert, err
}

// Delete deletes a certificate that is not active. It is never accepted again, unless another CA issued it and it is
// registered anew; one of ours is on the CRL from now on.
func (a *Authority) Delete(ctx context.Context, id string) error {
	a.statusMu.Lock()
	defer a.statusMu.Unlock()
	cert, err := a.registered(ctx, id)
	if err != nil {
		return err
	}
	if cert.Status == Active {
		return refusef(http.StatusNotAcceptable, "state", "the certificate is active: make it INACTIVE or REVOKED first")
	}
	nowMs := a.time.now().UnixMilli()
	if err := a.opts.Store.Delete(ctx, id, nowMs); err != nil {
		return err
	}
	a.special.set(id, true, cert.Origin)
	if cert.Status != Revoked {
		a.revoked.end(nowMs, cert)
	}
	return a.changed(ctx, cert)
}

// Forget ends the certificates of a thing that was deleted: those that were enrolled for it are deleted and their keys are
// free to be allowed again. It returns their ids. Others stay, for another thing.
func (a *Authority) Forget(ctx context.Context, ids []string) (ended []string, err error) {
	a.statusMu.Lock()
	defer a.statusMu.Unlock()
	var certs []Certificate
	for _, id := range ids {
		cert, ok, err := a.opts.Store.CertificateByID(ctx, id)
		if err != nil {
			return nil, err
		}
		if ok && cert.Origin == FromEST && cert.Status != Revoked {
			cert.Status = Inactive
			certs, ended = append(certs, cert), append(ended, id)
			a.special.set(id, true, cert.Origin)
		}
	}
	if len(certs) == 0 {
		return nil, nil
	}
	nowMs := a.time.now().UnixMilli()
	if err := a.opts.Store.Forget(ctx, ended, nowMs); err != nil {
		return nil, err
	}
	a.revoked.end(nowMs, slices.Clone(certs)...)
	for _, cert := range certs {
		if err := a.changed(ctx, cert); err != nil {
			return ended, err
		}
	}
	return ended, nil
}

// ListCertificates returns up to limit (1 to 1000) certificates by age, without PEM.
func (a *Authority) ListCertificates(ctx context.Context, after Place, ascending bool, limit int) ([]Certificate, error) {
	return a.opts.Store.ListCertificates(ctx, after, ascending, max(1, min(limit, 1000)))
}

// Names returns the distinguished names of a certificate's issuer and subject; of one that others issued it needs the PEM.
func (a *Authority) Names(cert Certificate) (issuer, subject string) {
	if parsed, err := parseOne([]byte(cert.PEM)); err == nil {
		return parsed.Issuer.String(), parsed.Subject.String()
	}
	if cert.Origin == FromCA || cert.Origin == Pinned {
		return "", ""
	}
	return a.inter.Subject.String(), deviceName(cert.ThingName).String()
}

// AuthorityID is the id of the intermediate certificate, which issued what is issued here.
func (a *Authority) AuthorityID() string { return certID(a.inter) }

func noCertificate(id string) error {
	return refusef(http.StatusNotFound, "not-found", "there is no certificate %.80s", id)
}
