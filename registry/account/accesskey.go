package account

import (
	"context"
	"encoding/base32"
	"encoding/base64"
	"fmt"
	"sync"
)

// NewAccessKey makes an access key in AWS's form and returns its secret, which is shown once.
func (a *Accounts) NewAccessKey(ctx context.Context, role Role, by string) (secret string, k AccessKey, err error) {
	if _, err := ParseRole(string(role)); err != nil {
		return "", AccessKey{}, err
	}
	id, err := a.randomBytes(10)
	if err != nil {
		return "", AccessKey{}, err
	}
	raw, err := a.randomBytes(30)
	if err != nil {
		return "", AccessKey{}, err
	}
	secret = base64.RawStdEncoding.EncodeToString(raw) // as AWS's; none begins with a dash, which shells' commands take for an option
	k, err = a.putAccessKey(ctx, "AKMS"+base32.StdEncoding.EncodeToString(id), secret, role, by)
	return secret, k, err
}

func (a *Accounts) putAccessKey(ctx context.Context, id, secret string, role Role, by string) (AccessKey, error) {
	sealed, err := a.sealer.Seal([]byte(secret))
	if err != nil {
		return AccessKey{}, fmt.Errorf("seal access key %q: %w", id, err)
	}
	k := AccessKey{ID: id, Sealed: sealed, Role: role, CreatedBy: by, CreatedMs: a.nowMs()}
	err = a.store.PutAccessKey(ctx, k)
	a.keys.forget(id)
	return k, err
}

// keyCache keeps the access keys that were used, opened: every signed request needs one. Only keys that exist are in it.
type keyCache struct {
	mu      sync.Mutex // guards all below
	byID    map[string]openKey
	changes int // a key that was read before a change is not kept
}

type openKey struct {
	AccessKey
	secret string
}

func (c *keyCache) get(id string) (k openKey, ok bool, changes int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k, ok = c.byID[id]
	return k, ok, c.changes
}

func (c *keyCache) put(k openKey, changes int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.changes == changes {
		c.byID[k.ID] = k
	}
}

// forget is called when a key was changed in the store, before the call that changed it returns.
func (c *keyCache) forget(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changes++
	delete(c.byID, id)
}

// accessKey returns a key with its secret.
func (a *Accounts) accessKey(ctx context.Context, id string) (openKey, bool, error) {
	k, ok, changes := a.keys.get(id)
	if ok {
		return k, true, nil
	}
	sealed, ok, err := a.store.AccessKey(ctx, id)
	if err != nil || !ok {
		return openKey{}, false, err
	}
	plain, err := a.sealer.Unseal(sealed.Sealed)
	if err != nil {
		return openKey{}, false, fmt.Errorf("unseal access key %q: %w", id, err)
	}
	k = openKey{sealed, string(plain)}
	a.keys.put(k, changes)
	return k, true, nil
}

// Secret returns the secret of an access key and whose it is. The caller proves with it that a request was signed by
// somebody who has it, and tells UseAccessKey. ok is false for an unknown id and for a
// key that is disabled.
func (a *Accounts) Secret(ctx context.Context, id string) (secret string, p Principal, ok bool, err error) {
	if id == "" || len(id) > maxNameLen {
		return "", Principal{}, false, nil
	}
	k, ok, err := a.accessKey(ctx, id)
	if err != nil || !ok || k.DisabledMs != 0 {
		return "", Principal{}, false, err
	}
	return k.secret, Principal{Name: k.ID, Role: k.Role, Via: "key"}, true, nil
}

// UseAccessKey notes that the key was used now, exact to a minute.
func (a *Accounts) UseAccessKey(ctx context.Context, id string) error {
	k, ok, err := a.accessKey(ctx, id)
	if now := a.nowMs(); err == nil && ok && now-k.UsedMs >= touchEvery {
		err = a.store.TouchAccessKey(ctx, id, now)
		a.keys.forget(id)
	}
	return err
}

// ListAccessKeys returns all keys, oldest first, with their secrets sealed.
func (a *Accounts) ListAccessKeys(ctx context.Context) ([]AccessKey, error) {
	return a.store.ListAccessKeys(ctx)
}

// DisableAccessKey lets a key open nothing until it is enabled again.
func (a *Accounts) DisableAccessKey(ctx context.Context, id string, disabled bool) error {
	var at int64
	if disabled {
		at = a.nowMs()
	}
	err := a.store.DisableAccessKey(ctx, id, at)
	a.keys.forget(id)
	return err
}

// DeleteAccessKey ends a key at once.
func (a *Accounts) DeleteAccessKey(ctx context.Context, id string) error {
	err := a.store.DeleteAccessKey(ctx, id)
	a.keys.forget(id)
	return err
}
