package store

import (
	"context"
	"crypto/subtle"
	"database/sql"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"

	"muster/registry/account"
)

// Accounts implements account.Store.
type Accounts struct{ db *DB }

// Accounts returns the part of the database about people and programs that sign in.
func (db *DB) Accounts() Accounts { return Accounts{db} }

// maxSessionsPerUser bounds the sessions table; a login beyond it ends the oldest session of the user.
const maxSessionsPerUser = 20

func secretText(d account.Digest) string { return hex.EncodeToString(d[:]) }

func secretDigest(text string) (d account.Digest, err error) {
	raw, err := hex.DecodeString(text)
	if err != nil || len(raw) != len(d) {
		return d, fmt.Errorf("digest %q in the registry is not 64 hex digits", text)
	}
	copy(d[:], raw)
	return d, nil
}

// querier is what reads need of a database or a transaction.
type querier interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

func hasAdmin(ctx context.Context, q querier, nowMs int64) (bool, error) {
	var n int
	err := q.QueryRowContext(ctx, `SELECT
		(SELECT COUNT(*) FROM account_users WHERE role = 'admin' AND disabled_ms = 0) +
		(SELECT COUNT(*) FROM account_tokens WHERE role = 'admin' AND (expires_ms = 0 OR expires_ms > $1)) +
		(SELECT COUNT(*) FROM account_access_keys WHERE role = 'admin' AND disabled_ms = 0)`, nowMs).Scan(&n)
	return n > 0, err
}

// HasAdmin implements account.Users.
func (s Accounts) HasAdmin(ctx context.Context, nowMs int64) (bool, error) {
	return hasAdmin(ctx, s.db.read, nowMs)
}

func insertUser(ctx context.Context, tx *sql.Tx, u account.User) error {
	var taken int
	if err := tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM account_users WHERE name = $1`, u.Name).Scan(&taken); err != nil {
		return err
	}
	if taken > 0 {
		return &account.Error{Kind: account.Exists, Message: fmt.Sprintf("there is a user %q already; take another name", u.Name)}
	}
	_, err := tx.ExecContext(ctx, `INSERT INTO account_users (name, role, password_hash, created_ms, changed_ms) VALUES ($1, $2, $3, $4, $5)`,
		u.Name, string(u.Role), u.PasswordHash, u.CreatedMs, u.ChangedMs)
	return err
}

// CreateUser implements account.Users.
func (s Accounts) CreateUser(ctx context.Context, u account.User) error {
	return s.db.update(ctx, func(tx *sql.Tx) error { return insertUser(ctx, tx, u) })
}

// CreateFirstAdmin implements account.Users. The check and the insert are one transaction on the only write
// connection, so that of several callers one wins.
func (s Accounts) CreateFirstAdmin(ctx context.Context, u account.User) (made bool, err error) {
	err = s.db.update(ctx, func(tx *sql.Tx) error {
		if has, err := hasAdmin(ctx, tx, u.CreatedMs); err != nil || has {
			return err
		}
		if err := insertUser(ctx, tx, u); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM account_setup`); err != nil {
			return err
		}
		made = true
		return nil
	})
	return made && err == nil, err
}

// User implements account.Users.
func (s Accounts) User(ctx context.Context, name string) (account.User, bool, error) {
	u := account.User{Name: name}
	err := s.db.read.QueryRowContext(ctx, `SELECT role, password_hash, created_ms, changed_ms, disabled_ms FROM account_users WHERE name = $1`, name).
		Scan(&u.Role, &u.PasswordHash, &u.CreatedMs, &u.ChangedMs, &u.DisabledMs)
	return found(u, err)
}

// found turns "no rows" into false.
func found[T any](v T, err error) (T, bool, error) {
	if errors.Is(err, sql.ErrNoRows) {
		return v, false, nil
	}
	return v, err == nil, err
}

// collect reads all rows of a query with scan.
func collect[T any](ctx context.Context, db *sql.DB, query string, scan func(row *sql.Rows) (T, error)) ([]T, error) {
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []T
	for rows.Next() {
		v, err := scan(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, rows.Err()
}

// ListUsers implements account.Users.
func (s Accounts) ListUsers(ctx context.Context) ([]account.User, error) {
	return collect(ctx, s.db.read, `SELECT name, role, password_hash, created_ms, changed_ms, disabled_ms FROM account_users ORDER BY name`,
		func(row *sql.Rows) (u account.User, err error) {
			return u, row.Scan(&u.Name, &u.Role, &u.PasswordHash, &u.CreatedMs, &u.ChangedMs, &u.DisabledMs)
		})
}

// keepAnAdmin fails when the named user is the only admin who may sign in, and would no longer be one.
func keepAnAdmin(ctx context.Context, tx *sql.Tx, name string) error {
	var role string
	var disabledMs int64
	err := tx.QueryRowContext(ctx, `SELECT role, disabled_ms FROM account_users WHERE name = $1`, name).Scan(&role, &disabledMs)
	if errors.Is(err, sql.ErrNoRows) {
		return &account.Error{Kind: account.NotFound, Message: fmt.Sprintf("there is no user %q", name)}
	}
	if err != nil || role != string(account.Admin) || disabledMs != 0 {
		return err
	}
	var others int
	if err := tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM account_users WHERE role = 'admin' AND disabled_ms = 0 AND name <> $1`, name).Scan(&others); err != nil {
		return err
	}
	if others == 0 {
		return &account.Error{Kind: account.Conflict, Message: fmt.Sprintf("%q is the last admin; make another user admin first", name)}
	}
	return nil
}

// ChangeUser implements account.Users.
func (s Accounts) ChangeUser(ctx context.Context, u account.User) error {
	return s.db.update(ctx, func(tx *sql.Tx) error {
		if err := keepAnAdmin(ctx, tx, u.Name); err != nil && (u.Role != account.Admin || u.DisabledMs != 0 || account.KindOf(err) != account.Conflict) {
			return err
		}
		if _, err := tx.ExecContext(ctx, `UPDATE account_users SET role = $1, password_hash = $2, changed_ms = $3, disabled_ms = $4 WHERE name = $5`,
			string(u.Role), u.PasswordHash, u.ChangedMs, u.DisabledMs, u.Name); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `DELETE FROM account_sessions WHERE user_name = $1`, u.Name)
		return err
	})
}

// DeleteUser implements account.Users.
func (s Accounts) DeleteUser(ctx context.Context, name string) error {
	return s.db.update(ctx, func(tx *sql.Tx) error {
		if err := keepAnAdmin(ctx, tx, name); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `DELETE FROM account_users WHERE name = $1`, name)
		return err
	})
}

// AddSession implements account.Sessions.
func (s Accounts) AddSession(ctx context.Context, v account.Session, idleMs, bornMs int64) error {
	return s.db.update(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, `DELETE FROM account_sessions WHERE seen_ms < $1 OR created_ms < $2`, idleMs, bornMs); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `INSERT INTO account_sessions (secret, user_name, remote, created_ms, seen_ms) VALUES ($1, $2, $3, $4, $5)`,
			secretText(v.Secret), v.User, v.Remote, v.CreatedMs, v.SeenMs); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `DELETE FROM account_sessions WHERE user_name = $1 AND secret <> $2 AND secret NOT IN (
			SELECT secret FROM account_sessions WHERE user_name = $1 ORDER BY created_ms DESC, secret LIMIT $3)`,
			v.User, secretText(v.Secret), maxSessionsPerUser)
		return err
	})
}

// Session implements account.Sessions.
func (s Accounts) Session(ctx context.Context, secret account.Digest) (account.Session, bool, error) {
	v := account.Session{Secret: secret}
	err := s.db.read.QueryRowContext(ctx, `SELECT s.user_name, u.role, s.remote, s.created_ms, s.seen_ms
		FROM account_sessions s JOIN account_users u ON u.name = s.user_name WHERE s.secret = $1 AND u.disabled_ms = 0`, secretText(secret)).
		Scan(&v.User, &v.Role, &v.Remote, &v.CreatedMs, &v.SeenMs)
	return found(v, err)
}

// TouchSession implements account.Sessions.
func (s Accounts) TouchSession(ctx context.Context, secret account.Digest, seenMs int64) error {
	_, err := s.db.write.ExecContext(ctx, `UPDATE account_sessions SET seen_ms = $1 WHERE secret = $2`, seenMs, secretText(secret))
	return err
}

// DeleteSession implements account.Sessions.
func (s Accounts) DeleteSession(ctx context.Context, secret account.Digest) error {
	_, err := s.db.write.ExecContext(ctx, `DELETE FROM account_sessions WHERE secret = $1`, secretText(secret))
	return err
}

// PutToken implements account.Tokens.
func (s Accounts) PutToken(ctx context.Context, t account.Token) error {
	defer s.db.tokens.empty()
	_, err := s.db.write.ExecContext(ctx, `INSERT INTO account_tokens (id, name, role, secret, created_by, created_ms, expires_ms, used_ms)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
		ON CONFLICT (id) DO UPDATE SET name = excluded.name, role = excluded.role, secret = excluded.secret,
			created_by = excluded.created_by, created_ms = excluded.created_ms, expires_ms = excluded.expires_ms, used_ms = excluded.used_ms`,
		t.ID, t.Name, string(t.Role), secretText(t.Secret), t.CreatedBy, t.CreatedMs, t.ExpiresMs, t.UsedMs)
	return err
}

func (s Accounts) readToken(ctx context.Context, secret account.Digest) (account.Token, bool, error) {
	t := account.Token{Secret: secret}
	err := s.db.read.QueryRowContext(ctx, `SELECT id, name, role, created_by, created_ms, expires_ms, used_ms
		FROM account_tokens WHERE secret = $1`, secretText(secret)).
		Scan(&t.ID, &t.Name, &t.Role, &t.CreatedBy, &t.CreatedMs, &t.ExpiresMs, &t.UsedMs)
	return found(t, err)
}

// ListTokens implements account.Tokens.
func (s Accounts) ListTokens(ctx context.Context) ([]account.Token, error) {
	return collect(ctx, s.db.read, `SELECT id, name, role, secret, created_by, created_ms, expires_ms, used_ms
		FROM account_tokens ORDER BY created_ms, id`,
		func(row *sql.Rows) (t account.Token, err error) {
			var secret string
			if err := row.Scan(&t.ID, &t.Name, &t.Role, &secret, &t.CreatedBy, &t.CreatedMs, &t.ExpiresMs, &t.UsedMs); err != nil {
				return t, err
			}
			t.Secret, err = secretDigest(secret)
			return t, err
		})
}

// TouchToken implements account.Tokens.
func (s Accounts) TouchToken(ctx context.Context, id string, usedMs int64) error {
	defer s.db.tokens.empty()
	_, err := s.db.write.ExecContext(ctx, `UPDATE account_tokens SET used_ms = $1 WHERE id = $2`, usedMs, id)
	return err
}

// DeleteToken implements account.Tokens.
func (s Accounts) DeleteToken(ctx context.Context, id string) error {
	defer s.db.tokens.empty()
	return s.changeByID(ctx, `DELETE FROM account_tokens WHERE id = $1`, "there is no token with this id", id)
}

// changeByID runs a change of one row; NotFound with that message where there is none.
func (s Accounts) changeByID(ctx context.Context, query, missing string, args ...any) error {
	result, err := s.db.write.ExecContext(ctx, query, args...)
	if err != nil {
		return err
	}
	if n, err := result.RowsAffected(); err != nil || n > 0 {
		return err
	}
	return &account.Error{Kind: account.NotFound, Message: missing}
}

// PutAccessKey implements account.AccessKeys.
func (s Accounts) PutAccessKey(ctx context.Context, k account.AccessKey) error {
	_, err := s.db.write.ExecContext(ctx, `INSERT INTO account_access_keys (id, sealed, role, created_by, created_ms, used_ms)
		VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (id) DO UPDATE SET sealed = excluded.sealed, role = excluded.role,
			created_by = excluded.created_by, created_ms = excluded.created_ms, used_ms = excluded.used_ms`,
		k.ID, base64.StdEncoding.EncodeToString(k.Sealed), string(k.Role), k.CreatedBy, k.CreatedMs, k.UsedMs)
	return err
}

func scanAccessKey(scan func(dest ...any) error) (k account.AccessKey, err error) {
	var sealed string
	if err := scan(&k.ID, &sealed, &k.Role, &k.CreatedBy, &k.CreatedMs, &k.UsedMs, &k.DisabledMs); err != nil {
		return k, err
	}
	if k.Sealed, err = base64.StdEncoding.DecodeString(sealed); err != nil {
		return k, fmt.Errorf("access key %q in the registry: %w", k.ID, err)
	}
	return k, nil
}

// AccessKey implements account.AccessKeys.
func (s Accounts) AccessKey(ctx context.Context, id string) (account.AccessKey, bool, error) {
	k, err := scanAccessKey(s.db.read.QueryRowContext(ctx,
		`SELECT id, sealed, role, created_by, created_ms, used_ms, disabled_ms FROM account_access_keys WHERE id = $1`, id).Scan)
	return found(k, err)
}

// ListAccessKeys implements account.AccessKeys.
func (s Accounts) ListAccessKeys(ctx context.Context) ([]account.AccessKey, error) {
	return collect(ctx, s.db.read, `SELECT id, sealed, role, created_by, created_ms, used_ms, disabled_ms FROM account_access_keys ORDER BY created_ms, id`,
		func(row *sql.Rows) (account.AccessKey, error) { return scanAccessKey(row.Scan) })
}

// TouchAccessKey implements account.AccessKeys.
func (s Accounts) TouchAccessKey(ctx context.Context, id string, usedMs int64) error {
	_, err := s.db.write.ExecContext(ctx, `UPDATE account_access_keys SET used_ms = $1 WHERE id = $2`, usedMs, id)
	return err
}

// DisableAccessKey implements account.AccessKeys.
func (s Accounts) DisableAccessKey(ctx context.Context, id string, disabledMs int64) error {
	return s.changeByID(ctx, `UPDATE account_access_keys SET disabled_ms = $2 WHERE id = $1`, "there is no access key with this id", id, disabledMs)
}

// DeleteAccessKey implements account.AccessKeys.
func (s Accounts) DeleteAccessKey(ctx context.Context, id string) error {
	return s.changeByID(ctx, `DELETE FROM account_access_keys WHERE id = $1`, "there is no access key with this id", id)
}

// PutSetupCode implements account.Codes.
func (s Accounts) PutSetupCode(ctx context.Context, c account.SetupCode) error {
	_, err := s.db.write.ExecContext(ctx, `INSERT INTO account_setup (id, secret, expires_ms, tries_left) VALUES (1, $1, $2, $3)
		ON CONFLICT (id) DO UPDATE SET secret = excluded.secret, expires_ms = excluded.expires_ms, tries_left = excluded.tries_left`,
		secretText(c.Secret), c.ExpiresMs, c.TriesLeft)
	return err
}

// TrySetupCode implements account.Codes.
func (s Accounts) TrySetupCode(ctx context.Context, secret account.Digest, nowMs int64) (right bool, err error) {
	err = s.db.update(ctx, func(tx *sql.Tx) error {
		var kept string
		var expiresMs int64
		var triesLeft int
		err := tx.QueryRowContext(ctx, `SELECT secret, expires_ms, tries_left FROM account_setup WHERE id = 1`).
			Scan(&kept, &expiresMs, &triesLeft)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		if triesLeft <= 0 || nowMs >= expiresMs {
			return nil
		}
		if subtle.ConstantTimeCompare([]byte(kept), []byte(secretText(secret))) == 1 {
			right = true
			return nil
		}
		_, err = tx.ExecContext(ctx, `UPDATE account_setup SET tries_left = tries_left - 1 WHERE id = 1`)
		return err
	})
	return right && err == nil, err
}

// PutLoginCode implements account.Codes.
func (s Accounts) PutLoginCode(ctx context.Context, c account.LoginCode, nowMs int64) error {
	return s.db.update(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, `DELETE FROM account_login_codes WHERE expires_ms < $1`, nowMs); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO account_login_codes (secret, user_name, expires_ms) VALUES ($1, $2, $3)`,
			secretText(c.Secret), c.User, c.ExpiresMs)
		return err
	})
}

// TakeLoginCode implements account.Codes.
func (s Accounts) TakeLoginCode(ctx context.Context, secret account.Digest, nowMs int64) (user string, ok bool, err error) {
	err = s.db.update(ctx, func(tx *sql.Tx) error {
		var expiresMs int64
		err := tx.QueryRowContext(ctx, `SELECT user_name, expires_ms FROM account_login_codes WHERE secret = $1`, secretText(secret)).
			Scan(&user, &expiresMs)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		ok = nowMs < expiresMs
		_, err = tx.ExecContext(ctx, `DELETE FROM account_login_codes WHERE secret = $1`, secretText(secret))
		return err
	})
	if err != nil || !ok {
		return "", false, err
	}
	return user, true, nil
}
