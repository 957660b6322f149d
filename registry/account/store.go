package account

import (
	"context"
	"crypto/sha256"
)

// Digest is the SHA-256 of a random secret: what the store keeps of it.
type Digest [sha256.Size]byte

// User is a person with a password.
type User struct {
	Name         string
	Role         Role
	PasswordHash string // PHC string; empty: this user has no password and signs in by one-time codes only
	CreatedMs    int64
	ChangedMs    int64
	DisabledMs   int64 // 0: may sign in
}

// Session is one browser that signed in.
type Session struct {
	Secret    Digest
	User      string
	Role      Role // the user's, at the time of the read
	Remote    string
	CreatedMs int64
	SeenMs    int64
}

// Token is a bearer token of a program.
type Token struct {
	ID        string
	Name      string
	Role      Role
	Secret    Digest
	CreatedBy string
	CreatedMs int64
	ExpiresMs int64 // 0: never
	UsedMs    int64 // 0: never; right to a minute
}

// AccessKey is a key pair for requests signed the way AWS clients do (SigV4).
type AccessKey struct {
	ID        string
	Sealed    []byte // the secret, by Sealer
	Role      Role
	CreatedBy string
	CreatedMs int64
	UsedMs    int64 // 0: never; right to a minute
	// DisabledMs is since when the key opens nothing; 0: it does. PutAccessKey leaves that of a key which is there.
	DisabledMs int64
}

// SetupCode is the one code that makes the first admin.
type SetupCode struct {
	Secret    Digest
	ExpiresMs int64
	TriesLeft int
}

// LoginCode opens one session of a user.
type LoginCode struct {
	Secret    Digest
	User      string
	ExpiresMs int64
}

// Store keeps accounts durably: a method that returned nil is on disk. Errors that are an *Error go to the caller
// as they are. Each method is one transaction. Safe for concurrent use.
type Store interface {
	Users
	Sessions
	Tokens
	AccessKeys
	Codes
}

// Users is the part of Store about people.
type Users interface {
	// HasAdmin says whether anybody can sign in as admin at nowMs: a user, a token or an access key.
	HasAdmin(ctx context.Context, nowMs int64) (bool, error)
	// CreateUser adds a user; Exists if the name is taken.
	CreateUser(ctx context.Context, u User) error
	// CreateFirstAdmin adds u and removes the setup code, unless HasAdmin: then it answers false and changes nothing.
	CreateFirstAdmin(ctx context.Context, u User) (bool, error)
	User(ctx context.Context, name string) (User, bool, error)
	ListUsers(ctx context.Context) ([]User, error)
	// ChangeUser sets role, password hash and DisabledMs and ends the user's sessions. NotFound; Conflict if no admin user who may
	// sign in would be left.
	ChangeUser(ctx context.Context, u User) error
	// DeleteUser removes a user, its sessions and codes. NotFound; Conflict if no admin user who may sign in would be left.
	DeleteUser(ctx context.Context, name string) error
}

// Sessions is the part of Store about sessions.
type Sessions interface {
	// AddSession keeps s and removes sessions last seen before idleMs or made before bornMs, and all but the newest few of its user.
	AddSession(ctx context.Context, s Session, idleMs, bornMs int64) error
	// Session answers the session of a user who is not disabled.
	Session(ctx context.Context, secret Digest) (Session, bool, error)
	TouchSession(ctx context.Context, secret Digest, seenMs int64) error
	DeleteSession(ctx context.Context, secret Digest) error
}

// Tokens is the part of Store about bearer tokens.
type Tokens interface {
	// PutToken adds t, or replaces the token with its id.
	PutToken(ctx context.Context, t Token) error
	Token(ctx context.Context, secret Digest) (Token, bool, error)
	ListTokens(ctx context.Context) ([]Token, error)
	TouchToken(ctx context.Context, id string, usedMs int64) error
	// DeleteToken removes a token. NotFound.
	DeleteToken(ctx context.Context, id string) error
}

// AccessKeys is the part of Store about SigV4 keys.
type AccessKeys interface {
	// PutAccessKey adds k, or replaces the key with its id.
	PutAccessKey(ctx context.Context, k AccessKey) error
	AccessKey(ctx context.Context, id string) (AccessKey, bool, error)
	ListAccessKeys(ctx context.Context) ([]AccessKey, error)
	TouchAccessKey(ctx context.Context, id string, usedMs int64) error
	// DisableAccessKey sets DisabledMs. NotFound.
	DisableAccessKey(ctx context.Context, id string, disabledMs int64) error
	// DeleteAccessKey removes a key. NotFound.
	DeleteAccessKey(ctx context.Context, id string) error
}

// Codes is the part of Store about one-time codes.
type Codes interface {
	// PutSetupCode replaces the setup code.
	PutSetupCode(ctx context.Context, c SetupCode) error
	// TrySetupCode compares secret with the setup code, and takes one try off it when they differ. It answers true when
	// they are the same, the code is not expired at nowMs and had a try left.
	TrySetupCode(ctx context.Context, secret Digest, nowMs int64) (bool, error)
	// PutLoginCode keeps c and removes the codes that expired before nowMs.
	PutLoginCode(ctx context.Context, c LoginCode, nowMs int64) error
	// TakeLoginCode removes the code and answers its user, once, if it is not expired at nowMs.
	TakeLoginCode(ctx context.Context, secret Digest, nowMs int64) (user string, ok bool, err error)
}
