// Package account keeps the people and programs that may sign in to a gateway: users with passwords, sessions,
// bearer tokens, access keys for SigV4, and the one-time codes that make the first admin or open a first session.
//
// It decides who somebody is and which role they have; which role may do what is decided where the requests come in.
// It speaks no HTTP and no SQL: the admin server calls it, registry/store implements Store.
//
// No default password exists. Until a first admin is there, only the one-time setup code (Accounts.OpenSetup) makes
// one. Secrets are kept as SHA-256 when they are random (sessions, tokens, codes), as argon2id when people chose them
// (passwords), and sealed when they are needed again in clear (secrets of access keys).
//
// Accounts starts no goroutine and is safe for concurrent use.
package account

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/VictoriaMetrics/metrics"
)

// Role is what a principal may do. The roles are not a ladder: operator and security are apart on purpose.
type Role string

const (
	Viewer   Role = "viewer"   // reads the fleet and its telemetry
	Operator Role = "operator" // also changes things and thing types
	Security Role = "security" // reads, and also pre-authorizes keys, revokes certificates, reads the audit log
	Admin    Role = "admin"    // everything, accounts included
)

// ParseRole reads the name of a role.
func ParseRole(name string) (Role, error) {
	switch role := Role(name); role {
	case Viewer, Operator, Security, Admin:
		return role, nil
	}
	return "", &Error{Kind: Invalid, Message: fmt.Sprintf("role %q is not known; roles are viewer, operator, security and admin", name)}
}

// Principal is somebody who proved who they are.
type Principal struct {
	Name string // user name, name of the token or id of the access key
	Role Role
	Via  string // "session", "token" or "key"
}

// Kind says what sort of error an Error is.
type Kind int

const (
	Denied   Kind = iota + 1 // the credential is wrong, expired or used
	Invalid                  // the input breaks a rule; the message says which
	Exists                   // the name is taken
	NotFound                 // no such user, token or key
	Conflict                 // the state does not allow it (an admin exists already; the last admin would go)
	Busy                     // too many tries; the message says when to come back
)

// Error is an error that may be shown to whoever caused it. Its message never says whether a user exists.
type Error struct {
	Kind    Kind
	Message string
}

func (e *Error) Error() string { return e.Message }

// KindOf returns the kind of the first Error in err's chain, or 0.
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return 0
}

// Clock tells the time.
type Clock interface{ Now() time.Time }

// Sealer encrypts secrets for the disk. Implemented by the gateway's certificate authority.
type Sealer interface {
	Seal(plain []byte) ([]byte, error)
	Unseal(sealed []byte) ([]byte, error)
}

// Options are what Accounts needs. Store, Sealer and Clock are required; the others have defaults.
type Options struct {
	Store   Store
	Sealer  Sealer
	Clock   Clock
	Log     *slog.Logger
	Rand    io.Reader // nil: crypto/rand
	Metrics *metrics.Set
}

// Accounts answers who somebody is. Make it with New.
type Accounts struct {
	store  Store
	sealer Sealer
	clock  Clock
	log    *slog.Logger
	random io.Reader

	hashing    chan struct{} // one token per password hash in work
	hashes     *metrics.Counter
	byAccount  *limiter
	byAddress  *limiter
	common     wordlist
	dummy      string // the hash that unknown users' passwords are compared with
	sessionTTL ttl
	keys       keyCache
}

type ttl struct{ idle, absolute time.Duration }

// New returns Accounts over a store. It computes one password hash (about 50 ms on a small gateway).
func New(opts Options) (*Accounts, error) {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if opts.Rand == nil {
		opts.Rand = rand.Reader
	}
	if opts.Metrics == nil {
		opts.Metrics = metrics.NewSet()
	}
	a := &Accounts{
		store: opts.Store, sealer: opts.Sealer, clock: opts.Clock, log: opts.Log, random: opts.Rand,
		hashing:    make(chan struct{}, maxHashing),
		hashes:     opts.Metrics.GetOrCreateCounter("muster_account_password_hashes_total"),
		byAccount:  newLimiter(5, time.Minute),
		byAddress:  newLimiter(20, time.Minute),
		common:     newWordlist(),
		sessionTTL: ttl{idle: 30 * time.Minute, absolute: 12 * time.Hour},
		keys:       keyCache{byID: map[string]openKey{}},
	}
	var err error
	if a.dummy, err = a.hashPassword(context.Background(), "nobody has this password"); err != nil {
		return nil, err
	}
	return a, nil
}

func (a *Accounts) nowMs() int64 { return a.clock.Now().UnixMilli() }

func (a *Accounts) randomBytes(n int) ([]byte, error) {
	buf := make([]byte, n)
	if _, err := io.ReadFull(a.random, buf); err != nil {
		return nil, fmt.Errorf("read randomness: %w", err)
	}
	return buf, nil
}

// maxNameLen bounds the names of users, tokens and access keys.
const maxNameLen = 128

// checkName refuses names that would be ambiguous in logs, URLs and audit lines.
func checkName(what, name string) error {
	if name == "" || len(name) > maxNameLen {
		return &Error{Invalid, fmt.Sprintf("%s must have 1 to %d characters, it has %d", what, maxNameLen, len(name))}
	}
	for i := 0; i < len(name); i++ {
		c := name[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '.' || c == '_' || c == '-' || c == '@' || c == '+') {
			return &Error{Invalid, fmt.Sprintf("%s has %q at position %d; allowed are a-z A-Z 0-9 . _ - @ +", what, c, i)}
		}
	}
	return nil
}
