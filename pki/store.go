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

	// Issue records the certificate and marks the entry of its key used, in one transaction.
	// ErrKeyUsed: the entry is not there any more or not unused.
	Issue(ctx context.Context, cert Certificate) error
	// Renew records a certificate that follows the one with id previous.
	// ErrKeyRevoked: previous or the new key is revoked. ErrKeyBound: the new key belongs to another thing.
	Renew(ctx context.Context, previous string, cert Certificate) error
	// Certificates returns the certificates of a thing, newest first, at most 100.
	Certificates(ctx context.Context, thingName string) ([]Certificate, error)
	// ActiveKeys returns the keys of the active certificates of a thing, each once.
	ActiveKeys(ctx context.Context, thingName string) ([]wire.KeyHash, error)
	CertificateByID(ctx context.Context, id string) (Certificate, bool, error)
	// Revoke marks every certificate of the key revoked and returns those that were active, without PEM.
	Revoke(ctx context.Context, key wire.KeyHash, atMs int64) ([]Certificate, error)
	// Revoked returns all revoked certificates, without PEM.
	Revoked(ctx context.Context) ([]Certificate, error)
	// Purge drops active certificates that ended before the given time. Revoked ones stay: their keys are blocked.
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

// The states of a certificate. An active one may have ended: NotAfterMs says.
const (
	Active  Status = "ACTIVE"
	Revoked Status = "REVOKED"
)

// Certificate is an issued device certificate. Times are Unix ms.
type Certificate struct {
	ID          string // hex SHA-256 of the DER
	Key         wire.KeyHash
	ThingName   string
	Serial      string // 32 hex digits
	PEM         string
	Status      Status
	NotBeforeMs int64
	NotAfterMs  int64
	IssuedMs    int64
	RevokedMs   int64 // 0: not revoked
}
