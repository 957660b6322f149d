package pki

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"maps"
	"math/big"
	"slices"
	"sync"
	"time"

	"muster/agent/wire"
)

// revocations is what must be known without a look into the database: it is asked at every handshake.
type revocations struct {
	mu     sync.RWMutex // guards all below
	keys   map[wire.KeyHash]struct{}
	certs  []Certificate          // of ours, for the CRL: revoked, or deleted at RevokedMs; without PEM
	held   map[string]Certificate // the same by id: inactive since ChangedMs
	crl    []byte                 // nil: to be made
	madeAt time.Time
}

// crlLife is how long a CRL may be used; a new one is made after half of it.
const crlLife = 7 * 24 * time.Hour

// Reasons of RFC 5280 section 5.3.1: for a certificate that was deleted, and for one that is inactive, which may change again.
const (
	cessationOfOperation = 5
	certificateHold      = 6
)

func (r *revocations) has(key wire.KeyHash) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	_, ok := r.keys[key]
	return ok
}

func (r *revocations) add(key wire.KeyHash, certs []Certificate) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.keys[key] = struct{}{}
	r.listed(certs)
}

// end puts certificates that were deleted at atMs on the CRL. Their keys stay free.
func (r *revocations) end(atMs int64, certs ...Certificate) {
	for i := range certs {
		certs[i].PEM, certs[i].RevokedMs = "", atMs
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.listed(certs)
}

// listed notes certificates for the CRL, but not those of other CAs: on ours their numbers would mean others. r.mu is held.
func (r *revocations) listed(certs []Certificate) {
	for _, c := range certs {
		if c.Origin.ours() {
			r.certs = append(r.certs, c)
			delete(r.held, c.ID)
			r.crl = nil
		}
	}
}

// hold puts a certificate that is inactive on the CRL, and takes one off that is active again.
func (r *revocations) hold(c Certificate) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.put(c)
}

// put is hold. r.mu is held.
func (r *revocations) put(c Certificate) {
	if !c.Origin.ours() {
		return
	}
	c.PEM, r.crl = "", nil
	if _, revoked := r.keys[c.Key]; c.Status == Inactive && !revoked { // in the meantime
		r.held[c.ID] = c
	} else {
		delete(r.held, c.ID)
	}
}

func (a *Authority) loadRevoked(ctx context.Context) error {
	certs, err := a.opts.Store.Revoked(ctx)
	if err != nil {
		return err
	}
	deleted, err := a.opts.Store.Deleted(ctx)
	if err != nil {
		return err
	}
	held, err := a.opts.Store.Held(ctx)
	if err != nil {
		return err
	}
	a.revoked.mu.Lock()
	defer a.revoked.mu.Unlock()
	a.revoked.held = make(map[string]Certificate)
	a.revoked.keys = make(map[wire.KeyHash]struct{}, len(certs))
	for _, c := range certs {
		a.revoked.keys[c.Key] = struct{}{}
	}
	a.revoked.certs, a.revoked.crl = nil, nil
	a.revoked.listed(certs)
	a.revoked.listed(deleted)
	for _, c := range held {
		a.revoked.put(c)
	}
	return nil
}

// Revoke revokes a certificate and its key: every certificate of that key is refused from now on, on resumed sessions
// as well, and the key cannot enrol again. Doing it again changes nothing. ErrNotFound if there is no such certificate.
//
// Certificates of the same thing with other keys stay valid; RevokeThing takes them all.
func (a *Authority) Revoke(ctx context.Context, id string) error {
	cert, ok, err := a.opts.Store.CertificateByID(ctx, id)
	if err != nil {
		return err
	}
	if !ok {
		return ErrNotFound
	}
	return a.revokeKeys(ctx, cert.ThingName, cert.Key)
}

// RevokeThing revokes all certificates of a thing and their keys. It is no error if there are none.
func (a *Authority) RevokeThing(ctx context.Context, thingName string) error {
	// A device that renews in the same moment may get one more: look again until all are gone.
	for {
		keys, err := a.opts.Store.ActiveKeys(ctx, thingName)
		if err != nil {
			return err
		}
		if len(keys) == 0 {
			return nil
		}
		if err := a.revokeKeys(ctx, thingName, keys...); err != nil {
			return err
		}
	}
}

func (a *Authority) revokeKeys(ctx context.Context, thingName string, keys ...wire.KeyHash) error {
	count := 0
	var errs []error
	for _, key := range keys {
		certs, err := a.opts.Store.Revoke(ctx, key, a.time.now().UnixMilli())
		if err != nil {
			return err
		}
		count += len(certs)
		a.revoked.add(key, certs)
		for _, cert := range certs {
			errs = append(errs, a.changed(ctx, cert))
		}
	}
	a.opts.Metrics.GetOrCreateCounter("muster_pki_revoked_total").Add(count)
	a.log.Info("certificates revoked", "thing", thingName, "count", count)
	return errors.Join(errs...)
}

// Certificates returns the certificates issued to a thing, newest first, at most 100.
func (a *Authority) Certificates(ctx context.Context, thingName string) ([]Certificate, error) {
	return a.opts.Store.Certificates(ctx, thingName)
}

// CertificateByID returns an issued certificate.
func (a *Authority) CertificateByID(ctx context.Context, id string) (Certificate, bool, error) {
	return a.opts.Store.CertificateByID(ctx, id)
}

// CRL returns the list of our certificates that were revoked or deleted, or are inactive, and have not ended, as DER, signed by the intermediate
// (application/pkix-crl). It is kept and made anew after such a change or when half of its life of 7 days is over.
// The caller must not change it. nil if it cannot be signed, which is logged.
func (a *Authority) CRL() []byte {
	now := a.time.now()
	a.revoked.mu.Lock()
	defer a.revoked.mu.Unlock()
	if a.revoked.crl != nil && now.Sub(a.revoked.madeAt) < crlLife/2 {
		return a.revoked.crl
	}
	list := &x509.RevocationList{
		// RFC 5280 section 5.2.3: rising with every list, over restarts as well.
		Number:     big.NewInt(now.UnixNano()),
		ThisUpdate: now.Add(-backdate),
		NextUpdate: now.Add(crlLife),
	}
	enter := func(c Certificate, sinceMs int64, reason int) {
		if serial, ok := new(big.Int).SetString(c.Serial, 16); ok {
			list.RevokedCertificateEntries = append(list.RevokedCertificateEntries,
				x509.RevocationListEntry{SerialNumber: serial, RevocationTime: time.UnixMilli(sinceMs), ReasonCode: reason})
		}
	}
	a.revoked.certs = slices.DeleteFunc(a.revoked.certs, func(c Certificate) bool { return now.UnixMilli() > c.NotAfterMs })
	for _, c := range a.revoked.certs {
		reason := 0
		if c.Status != Revoked {
			reason = cessationOfOperation
		}
		enter(c, c.RevokedMs, reason)
	}
	maps.DeleteFunc(a.revoked.held, func(_ string, c Certificate) bool { return now.UnixMilli() > c.NotAfterMs })
	for _, c := range a.revoked.held {
		enter(c, c.ChangedMs, certificateHold)
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, a.inter, a.interKey)
	if err != nil {
		a.log.Error("sign the revocation list", "err", err)
		return a.revoked.crl
	}
	a.revoked.crl, a.revoked.madeAt = der, now
	return der
}
