package account

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"strings"
	"time"
)

// A token is "mst_", 160 random bits and the CRC-32 of these characters, in base32 of lower case: 32 + 7 characters.
// The prefix and the sum let scanners of source code find tokens that were committed, without a guess.
const (
	tokenPrefix     = "mst_"
	tokenBytes      = 20
	tokenChars      = 32
	tokenSumChars   = 7
	maxTokenLife    = 10 * 366 * 24 * time.Hour
	maxSecretLength = 512 // of a bearer token in a request
)

var tokenEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

func tokenSum(body string) string {
	return tokenEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE([]byte(body))))
}

// NewToken makes a bearer token and returns its secret, which is shown once. life 0 means that it never expires.
func (a *Accounts) NewToken(ctx context.Context, name string, role Role, life time.Duration, by string) (secret string, t Token, err error) {
	if err := checkName("token name", name); err != nil {
		return "", Token{}, err
	}
	if _, err := ParseRole(string(role)); err != nil {
		return "", Token{}, err
	}
	if life < 0 || life > maxTokenLife {
		return "", Token{}, &Error{Invalid, fmt.Sprintf("the life of a token is 0 (never expires) to %d days", int(maxTokenLife.Hours()/24))}
	}
	raw, err := a.randomBytes(tokenBytes)
	if err != nil {
		return "", Token{}, err
	}
	id, err := a.randomBytes(8)
	if err != nil {
		return "", Token{}, err
	}
	body := tokenPrefix + tokenEncoding.EncodeToString(raw)
	secret = body + tokenSum(body)
	now := a.nowMs()
	t = Token{
		ID: "tok-" + tokenEncoding.EncodeToString(id), Name: name, Role: role,
		Secret: sha256.Sum256([]byte(secret)), CreatedBy: by, CreatedMs: now,
	}
	if life > 0 {
		t.ExpiresMs = now + life.Milliseconds()
	}
	return secret, t, a.store.PutToken(ctx, t)
}

// Bearer answers whose token secret is.
func (a *Accounts) Bearer(ctx context.Context, secret string) (Principal, error) {
	denied := &Error{Denied, "the bearer token is wrong, expired or was removed"}
	if secret == "" || len(secret) > maxSecretLength {
		return Principal{}, denied
	}
	if isToken := strings.HasPrefix(secret, tokenPrefix) && len(secret) == len(tokenPrefix)+tokenChars+tokenSumChars; isToken {
		body := secret[:len(secret)-tokenSumChars]
		if tokenSum(body) != secret[len(body):] {
			return Principal{}, denied // mistyped: not worth a look into the store
		}
	}
	t, ok, err := a.store.Token(ctx, sha256.Sum256([]byte(secret)))
	if err != nil {
		return Principal{}, err
	}
	now := a.nowMs()
	if !ok || t.ExpiresMs != 0 && now >= t.ExpiresMs {
		return Principal{}, denied
	}
	if now-t.UsedMs >= touchEvery {
		if err := a.store.TouchToken(ctx, t.ID, now); err != nil {
			return Principal{}, err
		}
	}
	return Principal{Name: t.Name, Role: t.Role, Via: "token"}, nil
}

// ListTokens returns all tokens, oldest first.
func (a *Accounts) ListTokens(ctx context.Context) ([]Token, error) { return a.store.ListTokens(ctx) }

// DeleteToken ends a token at once.
func (a *Accounts) DeleteToken(ctx context.Context, id string) error {
	return a.store.DeleteToken(ctx, id)
}
