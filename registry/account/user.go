package account

import (
	"context"
	"net/netip"
)

// CreateUser adds a user with a password.
func (a *Accounts) CreateUser(ctx context.Context, name, password string, role Role) error {
	if err := checkName("user name", name); err != nil {
		return err
	}
	if _, err := ParseRole(string(role)); err != nil {
		return err
	}
	if err := a.checkPassword(name, password); err != nil {
		return err
	}
	phc, err := a.hashPassword(ctx, password)
	if err != nil {
		return err
	}
	now := a.nowMs()
	return a.store.CreateUser(ctx, User{Name: name, Role: role, PasswordHash: phc, CreatedMs: now, ChangedMs: now})
}

// UserChange is what ChangeUser changes; zero leaves a thing as it is.
type UserChange struct {
	Password string
	Role     Role
	Disabled *bool // true: the user cannot sign in
}

// ChangeUser changes a user. The user's sessions end. The last admin who may sign in stays one (Conflict).
func (a *Accounts) ChangeUser(ctx context.Context, name string, change UserChange) error {
	u, ok, err := a.store.User(ctx, name)
	if err != nil {
		return err
	}
	if !ok {
		return &Error{NotFound, "there is no such user"}
	}
	if change.Role != "" {
		if u.Role, err = ParseRole(string(change.Role)); err != nil {
			return err
		}
	}
	if change.Password != "" {
		if err := a.checkPassword(name, change.Password); err != nil {
			return err
		}
		if u.PasswordHash, err = a.hashPassword(ctx, change.Password); err != nil {
			return err
		}
	}
	u.ChangedMs = a.nowMs()
	switch {
	case change.Disabled == nil:
	case !*change.Disabled:
		u.DisabledMs = 0
	case u.DisabledMs == 0:
		u.DisabledMs = u.ChangedMs
	}
	return a.store.ChangeUser(ctx, u)
}

// ChangePassword sets the password of a user who proves to have the present one; a user without one has the empty one. All sessions of
// the user end, and a new one is opened. Its tries are limited as those of Login.
func (a *Accounts) ChangePassword(ctx context.Context, name, present, password string, remote netip.Addr) (secret string, p Principal, err error) {
	if len(present) > maxPasswordBytes {
		return "", Principal{}, wrongPresent
	}
	if err := a.limit(remote, name); err != nil {
		return "", Principal{}, err
	}
	u, ok, err := a.store.User(ctx, name)
	if err != nil {
		return "", Principal{}, err
	}
	if !ok || u.DisabledMs != 0 {
		return "", Principal{}, wrongPresent
	}
	match := present == ""
	if u.PasswordHash != "" {
		if match, err = a.verifyPassword(ctx, u.PasswordHash, present); err != nil {
			return "", Principal{}, err
		}
	}
	if !match {
		return "", Principal{}, wrongPresent
	}
	if password == "" {
		return "", Principal{}, a.checkPassword(name, password)
	}
	if err := a.ChangeUser(ctx, name, UserChange{Password: password}); err != nil {
		return "", Principal{}, err
	}
	return a.openSession(ctx, name, u.Role, remote)
}

// wrongPresent is Invalid: who is refused stays signed in.
var wrongPresent = &Error{Invalid, "the present password is wrong"}

// ListUsers returns all users by name.
func (a *Accounts) ListUsers(ctx context.Context) ([]User, error) { return a.store.ListUsers(ctx) }

// DeleteUser removes a user and ends its sessions. The last admin user stays (Conflict).
func (a *Accounts) DeleteUser(ctx context.Context, name string) error {
	return a.store.DeleteUser(ctx, name)
}
