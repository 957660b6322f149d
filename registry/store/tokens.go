package store

import (
	"context"
	"sync"

	"muster/registry/account"
)

// tokenCache keeps the bearer tokens that requests came with lately: a program sends its token with every request, and to ask the database
// for it was a sixth of the work of a small one. Every change of a token empties it, so that a token ends at once.
//
// The database has one process that writes it (the lock of the data folder), and tokens one way in: Accounts.
type tokenCache struct {
	mu      sync.Mutex // guards all
	tokens  map[account.Digest]account.Token
	changes uint64 // what was read before the last of them is not kept
}

// maxCachedTokens bounds the memory: about 200 bytes each.
const maxCachedTokens = 1024

// get returns a token, and what put wants to know where it is not there.
func (c *tokenCache) get(secret account.Digest) (t account.Token, changes uint64, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t, ok = c.tokens[secret]
	return t, c.changes, ok
}

// put keeps a token that was read after get returned changes.
func (c *tokenCache) put(t account.Token, changes uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if changes != c.changes {
		return
	}
	if c.tokens == nil || len(c.tokens) >= maxCachedTokens {
		c.tokens = make(map[account.Digest]account.Token)
	}
	c.tokens[t.Secret] = t
}

// empty is called after every change of tokens in the database, before its caller is answered.
func (c *tokenCache) empty() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tokens = nil
	c.changes++
}

// Token implements account.Tokens.
func (s Accounts) Token(ctx context.Context, secret account.Digest) (account.Token, bool, error) {
	t, changes, ok := s.db.tokens.get(secret)
	if ok {
		return t, true, nil
	}
	t, ok, err := s.readToken(ctx, secret)
	if ok {
		s.db.tokens.put(t, changes)
	}
	return t, ok, err
}
