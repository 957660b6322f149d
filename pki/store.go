package pki

import (
	"context"

	"muster/agent/wire"
)

// Store keeps the allow-list and the issued certificates. registry/store implements it; safe for concurrent use.
//
// Refusals are *Error values (ErrKeyUsed and its neighbors); any other error is a fault of the database.
type Store interface {
	// Allow adds entries, all or none. An entry that is there, unused and for the same thing gets the new type.
	// ErrKeyUsed: the key has enrolled. ErrKeyBound: it belongs to another thing. ErrKeyRevoked: it was revoked.
	Allow(ctx context.Context, entries []Allowed) error
	AllowedKey(ctx context.Context, key wire.KeyHash) (Allowed, bool, error)
	// ListAllowed returns up to limit entries with a key above after, ascending.
	ListAllowed(ctx context.Context, after wire.KeyHash, limit int) ([]Allowed, error)
	// RemoveAllowed removes the entry of key, used or not, and says whether there was one.
	RemoveAllowed(ctx context.Context, key wire.KeyHash) (bool, error)

	// Issue records the certificate as its thing's and marks the entry of its key used, in one transaction.
	// ErrKeyUsed: the entry is not there any more or not unused.
	Issue(ctx context.Context, cert Certificate) error
	// Renew records a certificate that follows the one with id previous: it stands for the same things and has the same
	// policies.
	// ErrKeyRevoked: previous or the new key is revoked. ErrKeyBound: the new key belongs to another thing.
	Renew(ctx context.Context, previous string, cert Certificate) error
	// Register records a certificate that nobody enrolled for. ErrExists: it is there. ErrKeyRevoked: its key is revoked.
	Register(ctx context.Context, cert Certificate) error
	// Certificates returns the certificates of a thing, newest first, at most 100.
	Certificates(ctx context.Context, thingName string) ([]Certificate, error)
	// ActiveKeys returns the keys of the active certificates of a thing, each once.
	ActiveKeys(ctx context.Context, thingName string) ([]wire.KeyHash, error)
	CertificateByID(ctx context.Context, id string) (Certificate, bool, error)
	// ListCertificates returns up to limit certificates by the time of their issue and their id, the oldest or the newest
	// first, after the given one (zero: from the start), without PEM.
	ListCertificates(ctx context.Context, after Place, ascending bool, limit int) ([]Certificate, error)
	// SetStatus makes an active certificate inactive or the other way round, and says whether it was there and not revoked.
	SetStatus(ctx context.Context, id string, to Status, atMs int64) (bool, error)
	// Delete hides a certificate; it stays to be refused until its end.
	Delete(ctx context.Context, id string, atMs int64) error
	// Forget deletes those of the certificates that were enrolled, and frees their keys for another enrollment.
	Forget(ctx context.Context, ids []string, atMs int64) error
	// Special visits the certificates that are inactive or deleted (blocked), and those that others issued.
	Special(ctx context.Context, visit func(id string, blocked bool, origin Origin)) error
	// Revoke marks every certificate of the key revoked and returns those that were not, without PEM.
	Revoke(ctx context.Context, key wire.KeyHash, atMs int64) ([]Certificate, error)
	// Revoked returns all revoked certificates, without PEM.
	Revoked(ctx context.Context) ([]Certificate, error)
	// Deleted returns the certificates that were deleted and not revoked, without PEM; RevokedMs says when.
	Deleted(ctx context.Context) ([]Certificate, error)
	// Held returns the certificates that are inactive and not deleted, without PEM.
	Held(ctx context.Context) ([]Certificate, error)
	// Purge drops certificates that ended before the given time. Revoked ones stay: their keys are blocked.
	Purge(ctx context.Context, endedBeforeMs int64) error
}

// Allowed is an entry of the allow-list: the key may enrol once, as the thing.
type Allowed struct {
	Key           wire.KeyHash
	ThingName     string
	ThingTypeName string // may be empty
	AddedMs       int64  // Unix ms
	UsedMs        int64  // Unix ms; 0: not used
}

// Status is the state of a certificate.
type Status string

// The states of a certificate. An active one may have ended: NotAfterMs says. An inactive one is refused until it is
// active again; a revoked one for ever, with its key.
const (
	Active   Status = "ACTIVE"
	Inactive Status = "INACTIVE"
	Revoked  Status = "REVOKED"
)

// Origin is where a certificate came from.
type Origin string

// The origins of a certificate.
const (
	FromEST    Origin = "est"    // enrolled by its device
	FromCSR    Origin = "csr"    // signed here for an operator
	FromServer Origin = "keys"   // the same, with a key that was made here
	FromCA     Origin = "ca"     // registered, of a client CA
	Pinned     Origin = "pinned" // registered without a CA: its bytes are what is trusted
)

// ours says whether the intermediate of this gateway signed certificates of this origin.
func (o Origin) ours() bool { return o != FromCA && o != Pinned }

// Certificate is a device certificate. Times are Unix ms.
type Certificate struct {
	ID          string // hex SHA-256 of the DER
	Key         wire.KeyHash
	ThingName   string // that it was enrolled for; else empty
	Serial      string // hex digits, at least 32
	PEM         string
	Status      Status
	Origin      Origin
	NotBeforeMs int64
	NotAfterMs  int64
	IssuedMs    int64 // or registered
	ChangedMs   int64 // last change of the status
	RevokedMs   int64 // 0: not revoked
}

// Place is where a certificate stands in a list.
type Place struct {
	IssuedMs int64
	ID       string
}
