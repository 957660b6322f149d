package store

import (
	"context"
	"database/sql"
	"fmt"

	"muster/registry/access"
)

// Access keeps policies, attachments and principals; it is the access.Store of a DB.
type Access struct{ db *DB }

var _ access.Store = (*Access)(nil)

// Access returns the part of the database that access uses.
func (db *DB) Access() *Access { return &Access{db: db} }

// LoadAccess implements access.Store.
func (s *Access) LoadAccess(ctx context.Context) (access.State, error) {
	var state access.State
	tx, err := s.db.read.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return state, err
	}
	defer tx.Rollback() // nothing was written
	err = eachRow(ctx, tx, `SELECT name, default_version, next_version, created_ms, changed_ms FROM policies`, func(row rowScanner) error {
		var p access.PolicyRow
		err := row.Scan(&p.Name, &p.Default, &p.Next, &p.CreatedMs, &p.ChangedMs)
		state.Policies = append(state.Policies, p)
		return err
	})
	if err != nil {
		return state, fmt.Errorf("read policies: %w", err)
	}
	err = eachRow(ctx, tx, `SELECT policy_name, version, document, created_ms FROM policy_versions`, func(row rowScanner) error {
		var v access.VersionRow
		err := row.Scan(&v.Policy, &v.ID, &v.Document, &v.CreatedMs)
		state.Versions = append(state.Versions, v)
		return err
	})
	if err != nil {
		return state, fmt.Errorf("read policy versions: %w", err)
	}
	if state.Attachments, err = queryTargets(ctx, tx, ``); err != nil {
		return state, fmt.Errorf("read policy targets: %w", err)
	}
	if state.Principals, err = queryPrincipals(ctx, tx, ``); err != nil {
		return state, fmt.Errorf("read principals: %w", err)
	}
	return state, nil
}

// LoadPrincipal implements access.Store.
func (s *Access) LoadPrincipal(ctx context.Context, id access.CertID) (principals []access.Principal, attachments []access.Attachment, err error) {
	if principals, err = queryPrincipals(ctx, s.db.read, `WHERE certificate_id = $1`, id.String()); err == nil {
		attachments, err = queryTargets(ctx, s.db.read, `WHERE certificate_id = $1`, id.String())
	}
	return principals, attachments, err
}

func queryTargets(ctx context.Context, q rowsQuerier, where string, args ...any) (out []access.Attachment, err error) {
	err = eachRow(ctx, q, `SELECT policy_name, group_id, certificate_id FROM policy_targets `+where, func(row rowScanner) error {
		var a access.Attachment
		var cert string
		if err := row.Scan(&a.Policy, &a.Target.Group, &cert); err != nil {
			return err
		}
		var err error
		if a.Target.Group == 0 {
			a.Target.Cert, err = access.ParseCertID(cert)
		}
		out = append(out, a)
		return err
	}, args...)
	return out, err
}

func queryPrincipals(ctx context.Context, q rowsQuerier, where string, args ...any) (out []access.Principal, err error) {
	err = eachRow(ctx, q, `SELECT certificate_id, thing_id, exclusive FROM thing_principals `+where, func(row rowScanner) error {
		var p access.Principal
		var cert string
		var exclusive int
		if err := row.Scan(&cert, &p.Thing, &exclusive); err != nil {
			return err
		}
		var err error
		p.Cert, err = access.ParseCertID(cert)
		p.Exclusive = exclusive != 0
		out = append(out, p)
		return err
	}, args...)
	return out, err
}

func eachRow(ctx context.Context, q rowsQuerier, query string, scan func(rowScanner) error, args ...any) error {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// ApplyAccess implements access.Store.
func (s *Access) ApplyAccess(ctx context.Context, b access.Batch) error {
	return s.db.update(ctx, func(tx *sql.Tx) error {
		target := func(a access.Attachment) ([]any, error) {
			return []any{a.Policy, a.Target.Group, certOf(a.Target)}, nil
		}
		for _, step := range []func() error{
			func() error {
				return each(ctx, tx, b.PutPolicies, `INSERT INTO policies (name, default_version, next_version, created_ms, changed_ms)
					VALUES ($1, $2, $3, $4, $5) ON CONFLICT (name) DO UPDATE SET default_version = excluded.default_version,
					next_version = excluded.next_version, changed_ms = excluded.changed_ms`,
					func(p access.PolicyRow) ([]any, error) {
						return []any{p.Name, p.Default, p.Next, p.CreatedMs, p.ChangedMs}, nil
					})
			},
			func() error {
				return each(ctx, tx, b.PutVersions, `INSERT INTO policy_versions (policy_name, version, document, created_ms) VALUES ($1, $2, $3, $4)`,
					func(v access.VersionRow) ([]any, error) { return []any{v.Policy, v.ID, v.Document, v.CreatedMs}, nil })
			},
			func() error {
				return each(ctx, tx, b.DeleteVersions, `DELETE FROM policy_versions WHERE policy_name = $1 AND version = $2`,
					func(v access.VersionRow) ([]any, error) { return []any{v.Policy, v.ID}, nil })
			},
			func() error {
				return each(ctx, tx, b.Attach, `INSERT INTO policy_targets (policy_name, group_id, certificate_id) VALUES ($1, $2, $3)
					ON CONFLICT (policy_name, group_id, certificate_id) DO NOTHING`, target)
			},
			func() error {
				return each(ctx, tx, b.Detach, `DELETE FROM policy_targets WHERE policy_name = $1 AND group_id = $2 AND certificate_id = $3`, target)
			},
			func() error {
				return each(ctx, tx, b.Link, `INSERT INTO thing_principals (certificate_id, thing_id, exclusive) VALUES ($1, $2, $3)
					ON CONFLICT (certificate_id, thing_id) DO UPDATE SET exclusive = excluded.exclusive`,
					func(p access.Principal) ([]any, error) {
						exclusive := 0
						if p.Exclusive {
							exclusive = 1
						}
						return []any{p.Cert.String(), p.Thing, exclusive}, nil
					})
			},
			func() error {
				return each(ctx, tx, b.Unlink, `DELETE FROM thing_principals WHERE certificate_id = $1 AND thing_id = $2`,
					func(p access.Principal) ([]any, error) { return []any{p.Cert.String(), p.Thing}, nil })
			},
			func() error {
				return each(ctx, tx, b.DeletePolicies, `DELETE FROM policies WHERE name = $1`, func(name string) ([]any, error) { return []any{name}, nil })
			},
			func() error {
				return each(ctx, tx, b.ForgetCerts, `DELETE FROM policy_targets WHERE certificate_id = $1`, oneCert)
			},
			func() error {
				return each(ctx, tx, b.ForgetCerts, `DELETE FROM thing_principals WHERE certificate_id = $1`, oneCert)
			},
			func() error {
				return each(ctx, tx, b.ForgetGroups, `DELETE FROM policy_targets WHERE group_id = $1`, oneID)
			},
			func() error {
				return each(ctx, tx, b.ForgetThings, `DELETE FROM thing_principals WHERE thing_id = $1`, oneID)
			},
		} {
			if err := step(); err != nil {
				return fmt.Errorf("write policies: %w", err)
			}
		}
		return nil
	})
}

func oneCert(id access.CertID) ([]any, error) { return []any{id.String()}, nil }

func oneID(id uint32) ([]any, error) { return []any{id}, nil }

// certOf is the column certificate_id of a target.
func certOf(t access.Target) string {
	if t.Group != 0 {
		return ""
	}
	return t.Cert.String()
}
