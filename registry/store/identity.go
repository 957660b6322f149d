package store

import (
	"context"
	"database/sql"
	"errors"
	"math"

	"muster/agent/wire"
	"muster/pki"
)

// Identity keeps device keys and certificates; it is the pki.Store of a DB.
type Identity struct{ db *DB }

var _ pki.Store = (*Identity)(nil)

// Identity returns the part of the database that pki uses.
func (db *DB) Identity() *Identity { return &Identity{db: db} }

// Allow implements pki.Store.
func (s *Identity) Allow(ctx context.Context, entries []pki.Allowed) error {
	return s.db.update(ctx, func(tx *sql.Tx) error {
		for _, e := range entries {
			if err := checkKeyFree(ctx, tx, e.Key, e.ThingName); err != nil {
				return err
			}
			result, err := tx.ExecContext(ctx, `
				INSERT INTO allowed_keys (spki_sha256, thing_name, thing_type_name, added_ms, used_ms)
				VALUES ($1, $2, $3, $4, 0)
				ON CONFLICT (spki_sha256) DO UPDATE SET thing_type_name = excluded.thing_type_name
				WHERE allowed_keys.used_ms = 0`,
				e.Key.String(), e.ThingName, e.ThingTypeName, e.AddedMs)
			if err != nil {
				return err
			}
			if changed, err := result.RowsAffected(); err != nil || changed == 0 {
				return errors.Join(err, pki.ErrKeyUsed)
			}
		}
		return nil
	})
}

// checkKeyFree refuses a key that was revoked or belongs to another thing than the given one.
func checkKeyFree(ctx context.Context, tx *sql.Tx, key wire.KeyHash, thing string) error {
	var revoked, others int
	err := tx.QueryRowContext(ctx, `
		SELECT (SELECT COUNT(*) FROM certificates WHERE spki_sha256 = $1 AND status = 'REVOKED'),
		       (SELECT COUNT(*) FROM certificates WHERE spki_sha256 = $1 AND thing_name <> $2 AND thing_name <> '' AND deleted_ms = 0) +
		       (SELECT COUNT(*) FROM allowed_keys WHERE spki_sha256 = $1 AND thing_name <> $2)`,
		key.String(), thing).Scan(&revoked, &others)
	switch {
	case err != nil:
		return err
	case revoked > 0:
		return pki.ErrKeyRevoked
	case others > 0:
		return pki.ErrKeyBound
	}
	return nil
}

const selectAllowed = `SELECT spki_sha256, thing_name, thing_type_name, added_ms, used_ms FROM allowed_keys `

// AllowedKey implements pki.Store.
func (s *Identity) AllowedKey(ctx context.Context, key wire.KeyHash) (pki.Allowed, bool, error) {
	e, err := scanAllowed(s.db.read.QueryRowContext(ctx, selectAllowed+`WHERE spki_sha256 = $1`, key.String()))
	if errors.Is(err, sql.ErrNoRows) {
		return pki.Allowed{}, false, nil
	}
	return e, err == nil, err
}

// ListAllowed implements pki.Store.
func (s *Identity) ListAllowed(ctx context.Context, after wire.KeyHash, limit int) ([]pki.Allowed, error) {
	rows, err := s.db.read.QueryContext(ctx, selectAllowed+`WHERE spki_sha256 > $1 ORDER BY spki_sha256 LIMIT $2`, after.String(), limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []pki.Allowed
	for rows.Next() {
		e, err := scanAllowed(rows)
		if err != nil {
			return nil, err
		}
		out = append(out, e)
	}
	return out, rows.Err()
}

// RemoveAllowed implements pki.Store.
func (s *Identity) RemoveAllowed(ctx context.Context, key wire.KeyHash) (bool, error) {
	var removed int64
	err := s.db.update(ctx, func(tx *sql.Tx) error {
		result, err := tx.ExecContext(ctx, `DELETE FROM allowed_keys WHERE spki_sha256 = $1`, key.String())
		if err != nil {
			return err
		}
		removed, err = result.RowsAffected()
		return err
	})
	return removed > 0, err
}

// Issue implements pki.Store.
func (s *Identity) Issue(ctx context.Context, cert pki.Certificate) error {
	return s.db.update(ctx, func(tx *sql.Tx) error {
		result, err := tx.ExecContext(ctx,
			`UPDATE allowed_keys SET used_ms = $1 WHERE spki_sha256 = $2 AND thing_name = $3 AND used_ms = 0`,
			cert.IssuedMs, cert.Key.String(), cert.ThingName)
		if err != nil {
			return err
		}
		if changed, err := result.RowsAffected(); err != nil || changed == 0 {
			return errors.Join(err, pki.ErrKeyUsed)
		}
		if err := insertCertificate(ctx, tx, cert); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `
			INSERT INTO thing_principals (certificate_id, thing_id, exclusive) SELECT $1, id, 1 FROM things WHERE name = $2`,
			cert.ID, cert.ThingName)
		return err
	})
}

// Renew implements pki.Store.
func (s *Identity) Renew(ctx context.Context, previous string, cert pki.Certificate) error {
	return s.db.update(ctx, func(tx *sql.Tx) error {
		var revoked, inactive int
		err := tx.QueryRowContext(ctx, `SELECT (SELECT COUNT(*) FROM certificates WHERE id = $1 AND status = 'REVOKED'),
			(SELECT COUNT(*) FROM certificates WHERE id = $1 AND status = 'INACTIVE')`, previous).Scan(&revoked, &inactive)
		if err != nil {
			return err
		}
		if revoked > 0 {
			return pki.ErrKeyRevoked
		}
		if inactive > 0 {
			return pki.ErrInactive
		}
		if err := checkKeyFree(ctx, tx, cert.Key, cert.ThingName); err != nil {
			return err
		}
		if err := insertCertificate(ctx, tx, cert); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO thing_principals (certificate_id, thing_id, exclusive)
			SELECT $1, thing_id, exclusive FROM thing_principals WHERE certificate_id = $2`, cert.ID, previous)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO policy_targets (policy_name, group_id, certificate_id)
			SELECT policy_name, 0, $1 FROM policy_targets WHERE certificate_id = $2`, cert.ID, previous)
		return err
	})
}

// Register implements pki.Store. A row that was deleted is taken over.
func (s *Identity) Register(ctx context.Context, cert pki.Certificate) error {
	return s.db.update(ctx, func(tx *sql.Tx) error {
		var revoked, there int
		err := tx.QueryRowContext(ctx, `SELECT (SELECT COUNT(*) FROM certificates WHERE spki_sha256 = $1 AND status = 'REVOKED'),
			(SELECT COUNT(*) FROM certificates WHERE id = $2 AND deleted_ms = 0)`, cert.Key.String(), cert.ID).Scan(&revoked, &there)
		switch {
		case err != nil:
			return err
		case there > 0:
			return pki.ErrExists
		case revoked > 0:
			return pki.ErrKeyRevoked
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM certificates WHERE id = $1`, cert.ID); err != nil {
			return err
		}
		return insertCertificate(ctx, tx, cert)
	})
}

func insertCertificate(ctx context.Context, tx *sql.Tx, c pki.Certificate) error {
	_, err := tx.ExecContext(ctx, `
		INSERT INTO certificates (id, spki_sha256, thing_name, serial, pem, status, origin, not_before_ms, not_after_ms, issued_ms, changed_ms, revoked_ms)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`,
		c.ID, c.Key.String(), c.ThingName, c.Serial, c.PEM, string(c.Status), string(c.Origin), c.NotBeforeMs, c.NotAfterMs, c.IssuedMs, c.ChangedMs, c.RevokedMs)
	return err
}

const (
	certificateFields  = `status, origin, not_before_ms, not_after_ms, issued_ms, changed_ms, revoked_ms FROM certificates `
	selectCertificates = `SELECT id, spki_sha256, thing_name, serial, pem, ` + certificateFields
	// selectBare leaves the PEM text out.
	selectBare = `SELECT id, spki_sha256, thing_name, serial, '', ` + certificateFields
)

// Certificates implements pki.Store.
func (s *Identity) Certificates(ctx context.Context, thingName string) ([]pki.Certificate, error) {
	return queryCertificates(ctx, s.db.read, selectCertificates+`WHERE thing_name = $1 AND deleted_ms = 0 ORDER BY issued_ms DESC, id LIMIT 100`, thingName)
}

// ActiveKeys implements pki.Store.
func (s *Identity) ActiveKeys(ctx context.Context, thingName string) ([]wire.KeyHash, error) {
	rows, err := s.db.read.QueryContext(ctx,
		`SELECT DISTINCT spki_sha256 FROM certificates WHERE thing_name = $1 AND status <> 'REVOKED' AND deleted_ms = 0`, thingName)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var keys []wire.KeyHash
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			return nil, err
		}
		key, err := wire.ParseKeyHash(text)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, rows.Err()
}

// CertificateByID implements pki.Store.
func (s *Identity) CertificateByID(ctx context.Context, id string) (pki.Certificate, bool, error) {
	certs, err := queryCertificates(ctx, s.db.read, selectCertificates+`WHERE id = $1 AND deleted_ms = 0`, id)
	if err != nil || len(certs) == 0 {
		return pki.Certificate{}, false, err
	}
	return certs[0], true, nil
}

// Revoke implements pki.Store.
func (s *Identity) Revoke(ctx context.Context, key wire.KeyHash, atMs int64) (revoked []pki.Certificate, err error) {
	err = s.db.update(ctx, func(tx *sql.Tx) error {
		var err error
		revoked, err = queryCertificates(ctx, tx, selectBare+`WHERE spki_sha256 = $1 AND status <> 'REVOKED' AND deleted_ms = 0`, key.String())
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx,
			`UPDATE certificates SET status = 'REVOKED', revoked_ms = $1, changed_ms = $1 WHERE spki_sha256 = $2 AND status <> 'REVOKED' AND deleted_ms = 0`,
			atMs, key.String())
		return err
	})
	for i := range revoked {
		revoked[i].Status, revoked[i].RevokedMs, revoked[i].ChangedMs = pki.Revoked, atMs, atMs
	}
	return revoked, err
}

// Revoked implements pki.Store.
func (s *Identity) Revoked(ctx context.Context) ([]pki.Certificate, error) {
	return queryCertificates(ctx, s.db.read, selectBare+`WHERE status = 'REVOKED'`)
}

// Deleted implements pki.Store.
func (s *Identity) Deleted(ctx context.Context) ([]pki.Certificate, error) {
	return queryCertificates(ctx, s.db.read, `SELECT id, spki_sha256, thing_name, serial, '', status, origin, not_before_ms, not_after_ms, issued_ms, changed_ms, deleted_ms
		FROM certificates WHERE deleted_ms <> 0 AND status <> 'REVOKED'`)
}

// Held implements pki.Store.
func (s *Identity) Held(ctx context.Context) ([]pki.Certificate, error) {
	return queryCertificates(ctx, s.db.read, selectBare+`WHERE status = 'INACTIVE' AND deleted_ms = 0`)
}

// Purge implements pki.Store.
func (s *Identity) Purge(ctx context.Context, endedBeforeMs int64) error {
	return s.db.update(ctx, func(tx *sql.Tx) error {
		for _, query := range []string{
			`DELETE FROM thing_principals WHERE certificate_id IN (SELECT id FROM certificates WHERE status <> 'REVOKED' AND not_after_ms < $1)`,
			`DELETE FROM policy_targets WHERE certificate_id IN (SELECT id FROM certificates WHERE status <> 'REVOKED' AND not_after_ms < $1)`,
			`DELETE FROM certificates WHERE status <> 'REVOKED' AND not_after_ms < $1`,
		} {
			if _, err := tx.ExecContext(ctx, query, endedBeforeMs); err != nil {
				return err
			}
		}
		return nil
	})
}

// ListCertificates implements pki.Store.
func (s *Identity) ListCertificates(ctx context.Context, after pki.Place, ascending bool, limit int) ([]pki.Certificate, error) {
	if ascending {
		return queryCertificates(ctx, s.db.read, selectBare+`WHERE deleted_ms = 0 AND (issued_ms > $1 OR issued_ms = $1 AND id > $2)
			ORDER BY issued_ms, id LIMIT $3`, after.IssuedMs, after.ID, limit)
	}
	if after == (pki.Place{}) {
		after.IssuedMs = math.MaxInt64
	}
	return queryCertificates(ctx, s.db.read, selectBare+`WHERE deleted_ms = 0 AND (issued_ms < $1 OR issued_ms = $1 AND id < $2)
		ORDER BY issued_ms DESC, id DESC LIMIT $3`, after.IssuedMs, after.ID, limit)
}

// SetStatus implements pki.Store.
func (s *Identity) SetStatus(ctx context.Context, id string, to pki.Status, atMs int64) (bool, error) {
	var changed int64
	err := s.db.update(ctx, func(tx *sql.Tx) error {
		result, err := tx.ExecContext(ctx, `UPDATE certificates SET status = $2, changed_ms = $3
			WHERE id = $1 AND status <> 'REVOKED' AND deleted_ms = 0`, id, string(to), atMs)
		if err != nil {
			return err
		}
		changed, err = result.RowsAffected()
		return err
	})
	return changed > 0, err
}

// Delete implements pki.Store.
func (s *Identity) Delete(ctx context.Context, id string, atMs int64) error {
	return s.db.update(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE certificates SET deleted_ms = $2 WHERE id = $1`, id, atMs)
		return err
	})
}

// Forget implements pki.Store.
func (s *Identity) Forget(ctx context.Context, ids []string, atMs int64) error {
	return s.db.update(ctx, func(tx *sql.Tx) error {
		err := each(ctx, tx, ids, `DELETE FROM allowed_keys WHERE used_ms > 0 AND EXISTS (SELECT 1 FROM certificates c
				WHERE c.id = $1 AND c.origin = 'est' AND c.spki_sha256 = allowed_keys.spki_sha256 AND c.thing_name = allowed_keys.thing_name)`,
			func(id string) ([]any, error) { return []any{id}, nil })
		if err != nil {
			return err
		}
		return each(ctx, tx, ids, `UPDATE certificates SET status = 'INACTIVE', changed_ms = $2, deleted_ms = $2
			WHERE id = $1 AND origin = 'est' AND status <> 'REVOKED' AND deleted_ms = 0`,
			func(id string) ([]any, error) { return []any{id, atMs}, nil })
	})
}

// Special implements pki.Store.
func (s *Identity) Special(ctx context.Context, visit func(id string, blocked bool, origin pki.Origin)) error {
	return eachRow(ctx, s.db.read, `SELECT id, origin, CASE WHEN status = 'INACTIVE' OR deleted_ms <> 0 THEN 1 ELSE 0 END FROM certificates
		WHERE status = 'INACTIVE' OR deleted_ms <> 0 OR origin IN ('ca', 'pinned')`, func(row rowScanner) error {
		var id, origin string
		var blocked int
		if err := row.Scan(&id, &origin, &blocked); err != nil {
			return err
		}
		visit(id, blocked != 0, pki.Origin(origin))
		return nil
	})
}

// rowScanner is a *sql.Row or *sql.Rows.
type rowScanner interface{ Scan(dest ...any) error }

func scanAllowed(row rowScanner) (pki.Allowed, error) {
	var e pki.Allowed
	var key string
	if err := row.Scan(&key, &e.ThingName, &e.ThingTypeName, &e.AddedMs, &e.UsedMs); err != nil {
		return e, err
	}
	var err error
	e.Key, err = wire.ParseKeyHash(key)
	return e, err
}

// rowsQuerier is a *sql.DB or *sql.Tx.
type rowsQuerier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

func queryCertificates(ctx context.Context, q rowsQuerier, query string, args ...any) ([]pki.Certificate, error) {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []pki.Certificate
	for rows.Next() {
		var c pki.Certificate
		var key string
		err := rows.Scan(&c.ID, &key, &c.ThingName, &c.Serial, &c.PEM, &c.Status, &c.Origin,
			&c.NotBeforeMs, &c.NotAfterMs, &c.IssuedMs, &c.ChangedMs, &c.RevokedMs)
		if err != nil {
			return nil, err
		}
		if c.Key, err = wire.ParseKeyHash(key); err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, rows.Err()
}
