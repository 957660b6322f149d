package pki

import (
	"cmp"
	"context"
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"net/http"

	"muster/agent/wire"
)

// CACerts returns the body of EST's cacerts: intermediate and root as certs-only PKCS#7 in base64
// (application/pkcs7-mime). The caller must not change it.
func (a *Authority) CACerts() []byte { return a.caCerts }

// Enroll answers EST's simpleenroll: the first certificate of a key on the allow-list.
//
// peer is the certificate of the TLS connection, self-signed or any other: the handshake has proved that the client
// has its key, and nothing but the key is looked at. body is the request (parseCSR), for the same key. The answer is
// the certificate as certs-only PKCS#7 in base64. The entry of the allow-list is used up with it.
// Errors are *Error with an HTTP status, or a fault of the database.
func (a *Authority) Enroll(ctx context.Context, peer *x509.Certificate, body []byte) ([]byte, error) {
	answer, err := a.enroll(ctx, peer, body)
	if err != nil {
		a.noteRefusal(ctx, "enroll", peer, err)
		return nil, err
	}
	a.opts.Metrics.GetOrCreateCounter(`muster_pki_issued_total{kind="enroll"}`).Inc()
	return answer, nil
}

func (a *Authority) enroll(ctx context.Context, peer *x509.Certificate, body []byte) ([]byte, error) {
	if peer == nil {
		return nil, refusef(http.StatusUnauthorized, "no-certificate", "enrolling needs a TLS client certificate of the allowed key: a self-signed one will do")
	}
	key := wire.HashKey(peer)
	if a.revoked.has(key) {
		return nil, ErrKeyRevoked
	}
	entry, ok, err := a.opts.Store.AllowedKey(ctx, key)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, refusef(http.StatusForbidden, "unknown-key", "the key %s is not on the allow-list: let an operator allow it", key)
	}
	if entry.UsedMs != 0 {
		return nil, refuseUsed()
	}
	csr, err := parseCSR(body, a.opts.AllowRSA)
	if err != nil {
		return nil, err
	}
	if hashSPKI(csr) != key {
		return nil, refusef(http.StatusBadRequest, "csr", "the request is for another key than the TLS connection's: use the same for both")
	}
	if a.opts.Enrolled != nil {
		if err := a.opts.Enrolled(ctx, entry.ThingName, entry.ThingTypeName); err != nil {
			return nil, err
		}
	}
	cert, row, err := a.issue(entry.ThingName, csr.PublicKey, FromEST)
	if err != nil {
		return nil, err
	}
	if err := a.opts.Store.Issue(ctx, row); err != nil {
		if errors.Is(err, ErrKeyUsed) {
			return nil, refuseUsed() // another request was faster
		}
		return nil, err
	}
	if err := a.changed(ctx, row); err != nil {
		return nil, err
	}
	return certsOnly(cert)
}

// Reenroll answers EST's simplereenroll: a new certificate for the thing of peer, which must be a valid certificate of
// ours. The request may be for the same key or a new one. The old certificate stays valid until its end, so that a
// device that loses the answer can ask again. Body, answer and errors are as for Enroll.
func (a *Authority) Reenroll(ctx context.Context, peer *x509.Certificate, body []byte) ([]byte, error) {
	answer, err := a.reenroll(ctx, peer, body)
	if err != nil {
		a.noteRefusal(ctx, "reenroll", peer, err)
		return nil, err
	}
	a.opts.Metrics.GetOrCreateCounter(`muster_pki_issued_total{kind="reenroll"}`).Inc()
	return answer, nil
}

func (a *Authority) reenroll(ctx context.Context, peer *x509.Certificate, body []byte) ([]byte, error) {
	if peer == nil {
		return nil, refusef(http.StatusUnauthorized, "no-certificate", "renewing needs the current certificate as TLS client certificate")
	}
	identity, err := a.identify(peer)
	if err != nil {
		return nil, err
	}
	if identity.External || identity.Pinned {
		return nil, refusef(http.StatusForbidden, "foreign", "this certificate was not issued here: renew it where it came from")
	}
	csr, err := parseCSR(body, a.opts.AllowRSA)
	if err != nil {
		return nil, err
	}
	if a.revoked.has(hashSPKI(csr)) {
		return nil, ErrKeyRevoked
	}
	origin := FromEST
	if identity.ThingName == "" {
		origin = FromCSR
	}
	cert, row, err := a.issue(identity.ThingName, csr.PublicKey, origin)
	if err != nil {
		return nil, err
	}
	if err := a.opts.Store.Renew(ctx, identity.CertificateID, row); err != nil {
		return nil, err
	}
	if err := a.changed(ctx, row); err != nil {
		return nil, err
	}
	return certsOnly(cert)
}

// plainName is the common name of certificates that are for no thing by themselves. It is no thing name.
const plainName = "muster device"

// deviceName is the subject of a device's certificate.
func deviceName(thing string) pkix.Name {
	return pkix.Name{CommonName: cmp.Or(thing, plainName), Organization: []string{organizationName}}
}

// issue signs a device certificate. All of it but the key is written here, nothing is taken from a request.
func (a *Authority) issue(thing string, key crypto.PublicKey, origin Origin) (*x509.Certificate, Certificate, error) {
	now, err := a.time.issuing()
	if err != nil {
		return nil, Certificate{}, err
	}
	template := &x509.Certificate{
		Subject:     deviceName(thing),
		NotBefore:   now.Add(-backdate),
		NotAfter:    earlier(now.Add(a.opts.Life), a.inter.NotAfter),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	cert, err := sign(template, a.inter, key, a.interKey)
	if err != nil {
		return nil, Certificate{}, err
	}
	return cert, record(cert, origin, thing, now), nil
}

// refuseUsed is ErrKeyUsed for the device itself, which must not take it as a passing conflict.
func refuseUsed() *Error {
	return refusef(http.StatusForbidden, ErrKeyUsed.Reason, "%s", ErrKeyUsed.Message)
}

// noteRefusal counts a refusal, puts its key on the list and writes a line to the log, unless too many are written.
func (a *Authority) noteRefusal(ctx context.Context, what string, peer *x509.Certificate, err error) {
	reason := "fault"
	if refusal := (*Error)(nil); errors.As(err, &refusal) {
		reason = refusal.Reason
	}
	var key wire.KeyHash
	var name string
	if peer != nil {
		key, name = wire.HashKey(peer), peer.Subject.CommonName
	}
	remote := remoteOf(ctx)
	if log, silent := a.refused.note(key, name, remote, reason, a.time.now()); log {
		a.log.Warn("certificate refused", "what", what, "reason", reason, "err", err, "key", key.String(), "remote", remote, "notLogged", silent)
	}
}
