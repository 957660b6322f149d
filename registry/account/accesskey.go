package account

import (
	"context"
	"encoding/base32"
	"encoding/base64"
	"fmt"
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
	secret = base64.RawURLEncoding.EncodeToString(raw)
	k, err = a.putAccessKey(ctx, "AKMS"+base32.StdEncoding.EncodeToString(id), secret, role, by)
	return secret, k, err
}

func (a *Accounts) putAccessKey(ctx context.Context, id, secret string, role Role, by string) (AccessKey, error) {
	sealed, err := a.sealer.Seal([]byte(secret))
	if err != nil {
		return AccessKey{}, fmt.Errorf("seal access key %q: %w", id, err)
	}
	k := AccessKey{ID: id, Sealed: sealed, Role: role, CreatedBy: by, CreatedMs: a.nowMs()}
	return k, a.store.PutAccessKey(ctx, k)
}

// Secret returns the secret of an access key and whose it is. The caller proves with it that a request was signed by
// somebody who has it, and tells UseAccessKey. ok is false for an unknown id.
func (a *Accounts) Secret(ctx context.Context, id string) (secret string, p Principal, ok bool, err error) {
	if id == "" || len(id) > maxNameLen {
		return "", Principal{}, false, nil
	}
	k, ok, err := a.store.AccessKey(ctx, id)
	if err != nil || !ok {
		return "", Principal{}, false, err
	}
	plain, err := a.sealer.Unseal(k.Sealed)
	if err != nil {
		return "", Principal{}, false, fmt.Errorf("unseal access key %q: %w", id, err)
	}
	return string(plain), Principal{Name: k.ID, Role: k.Role, Via: "key"}, true, nil
}

// UseAccessKey notes that the key was used now, exact to a minute.
func (a *Accounts) UseAccessKey(ctx context.Context, id string) error {
	k, ok, err := a.store.AccessKey(ctx, id)
	if now := a.nowMs(); err == nil && ok && now-k.UsedMs >= touchEvery {
		return a.store.TouchAccessKey(ctx, id, now)
	}
	return err
}

// ListAccessKeys returns all keys, oldest first, with their secrets sealed.
func (a *Accounts) ListAccessKeys(ctx context.Context) ([]AccessKey, error) {
	return a.store.ListAccessKeys(ctx)
}

// DeleteAccessKey ends a key at once.
func (a *Accounts) DeleteAccessKey(ctx context.Context, id string) error {
	return a.store.DeleteAccessKey(ctx, id)
}
