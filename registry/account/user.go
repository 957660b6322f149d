package account

import "context"

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

// ChangeUser sets the role or the password of a user, or both; "" leaves one as it is. The user's sessions end.
func (a *Accounts) ChangeUser(ctx context.Context, name, password string, role Role) error {
	u, ok, err := a.store.User(ctx, name)
	if err != nil {
		return err
	}
	if !ok {
		return &Error{NotFound, "there is no such user"}
	}
	if role != "" {
		if u.Role, err = ParseRole(string(role)); err != nil {
			return err
		}
	}
	if password != "" {
		if err := a.checkPassword(name, password); err != nil {
			return err
		}
		if u.PasswordHash, err = a.hashPassword(ctx, password); err != nil {
			return err
		}
	}
	u.ChangedMs = a.nowMs()
	return a.store.ChangeUser(ctx, u)
}

// ListUsers returns all users by name.
func (a *Accounts) ListUsers(ctx context.Context) ([]User, error) { return a.store.ListUsers(ctx) }

// DeleteUser removes a user and ends its sessions. The last admin user stays (Conflict).
func (a *Accounts) DeleteUser(ctx context.Context, name string) error {
	return a.store.DeleteUser(ctx, name)
}
