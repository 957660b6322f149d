package account

import (
	"context"
	"crypto/sha256"
	"fmt"
)

// Bootstrap is the part of a bootstrap file that says who may sign in.
type Bootstrap struct {
	AdminToken string         `json:"adminToken"` // any text; a bearer token with the role admin
	AccessKeys []BootstrapKey `json:"accessKeys"`
}

// BootstrapKey is an access key whose secret the operator chose.
type BootstrapKey struct {
	ID     string `json:"id"`
	Secret string `json:"secret"`
	Role   string `json:"role"`
}

// bootstrapID is the id of the one token that comes from a bootstrap file.
const bootstrapID = "bootstrap"

// Apply makes the accounts of b. Applying it twice changes nothing; another adminToken replaces the one before.
// It takes all of b or, when something in it is wrong, nothing.
func (a *Accounts) Apply(ctx context.Context, b Bootstrap) error {
	for i, k := range b.AccessKeys {
		if err := checkName("access key id", k.ID); err != nil {
			return fmt.Errorf("accessKeys[%d]: %w", i, err)
		}
		if k.Secret == "" || len(k.Secret) > maxSecretLength {
			return fmt.Errorf("accessKeys[%d]: secret must have 1 to %d characters", i, maxSecretLength)
		}
		if _, err := ParseRole(k.Role); err != nil {
			return fmt.Errorf("accessKeys[%d]: %w", i, err)
		}
	}
	if len(b.AdminToken) > maxSecretLength {
		return fmt.Errorf("adminToken must have at most %d characters", maxSecretLength)
	}
	now := a.nowMs()
	if b.AdminToken != "" {
		digest := Digest(sha256.Sum256([]byte(b.AdminToken)))
		if t, ok, err := a.store.Token(ctx, digest); err != nil {
			return err
		} else if !ok || t.ID != bootstrapID {
			if err := a.store.PutToken(ctx, Token{
				ID: bootstrapID, Name: bootstrapID, Role: Admin, Secret: digest, CreatedBy: bootstrapID, CreatedMs: now,
			}); err != nil {
				return fmt.Errorf("adminToken: %w", err)
			}
		}
	}
	for i, k := range b.AccessKeys {
		if there, ok, err := a.accessKey(ctx, k.ID); err == nil && ok && there.secret == k.Secret && there.Role == Role(k.Role) {
			continue
		}
		if _, err := a.putAccessKey(ctx, k.ID, k.Secret, Role(k.Role), bootstrapID); err != nil {
			return fmt.Errorf("accessKeys[%d]: %w", i, err)
		}
	}
	return nil
}
