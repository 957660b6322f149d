package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"

	"muster/registry"
)

func loadGroups(ctx context.Context, tx *sql.Tx, onGroup func(registry.Group)) error {
	rows, err := tx.QueryContext(ctx, `SELECT id, name, uuid, COALESCE(parent, ''), description, attributes, version, created_ms,
			query, index_name, query_version, extra FROM thing_groups ORDER BY id`)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var g registry.Group
		var d registry.Dynamic
		var attributes sql.RawBytes
		var query sql.NullString
		if err := rows.Scan(&g.ID, &g.Name, &g.UUID, &g.Parent, &g.Description, &attributes, &g.Version, &g.CreatedMs,
			&query, &d.IndexName, &d.QueryVersion, &d.Extra); err != nil {
			return err
		}
		if err := json.Unmarshal(attributes, &g.Attributes); err != nil {
			return fmt.Errorf("thing group %q: attributes: %w", g.Name, err)
		}
		if query.Valid {
			d.Query = query.String
			g.Dynamic = &d
		}
		onGroup(g)
	}
	return rows.Err()
}

func loadBillingGroups(ctx context.Context, tx *sql.Tx, onGroup func(registry.BillingGroup)) error {
	rows, err := tx.QueryContext(ctx, `SELECT name, uuid, description, version, created_ms FROM billing_groups`)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var b registry.BillingGroup
		if err := rows.Scan(&b.Name, &b.UUID, &b.Description, &b.Version, &b.CreatedMs); err != nil {
			return err
		}
		onGroup(b)
	}
	return rows.Err()
}

func loadTags(ctx context.Context, tx *sql.Tx, onTag func(registry.Tag)) error {
	rows, err := tx.QueryContext(ctx, `SELECT resource, tag, value FROM tags`)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var t registry.Tag
		if err := rows.Scan(&t.Resource, &t.Key, &t.Value); err != nil {
			return err
		}
		onTag(t)
	}
	return rows.Err()
}

func createGroups(ctx context.Context, tx preparer, groups []registry.Group) error {
	return each(ctx, tx, groups, `INSERT INTO thing_groups (id, name, uuid, created_ms, parent, description, attributes, version,
			query, index_name, query_version, extra) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`,
		func(g registry.Group) ([]any, error) {
			changing, err := groupArgs(g)
			return append([]any{g.ID, g.Name, g.UUID, g.CreatedMs}, changing...), err
		})
}

func updateGroups(ctx context.Context, tx preparer, groups []registry.Group) error {
	return each(ctx, tx, groups, `UPDATE thing_groups SET parent = $2, description = $3, attributes = $4, version = $5,
			query = $6, index_name = $7, query_version = $8, extra = $9 WHERE id = $1`,
		func(g registry.Group) ([]any, error) {
			changing, err := groupArgs(g)
			return append([]any{g.ID}, changing...), err
		})
}

// groupArgs are the columns of a group that may change.
func groupArgs(g registry.Group) ([]any, error) {
	attributes, err := json.Marshal(g.Attributes)
	if err != nil {
		return nil, err
	}
	var query sql.NullString
	var d registry.Dynamic
	if g.Dynamic != nil {
		d = *g.Dynamic
		query = sql.NullString{String: d.Query, Valid: true}
	}
	return []any{orNull(g.Parent), g.Description, string(attributes), g.Version, query, d.IndexName, d.QueryVersion, d.Extra}, nil
}

func memberArgs(m registry.Member) ([]any, error) { return []any{m.Group, m.Thing}, nil }

func putBillingGroups(ctx context.Context, tx preparer, groups []registry.BillingGroup) error {
	return each(ctx, tx, groups, `INSERT INTO billing_groups (name, uuid, description, version, created_ms) VALUES ($1, $2, $3, $4, $5)
			ON CONFLICT (name) DO UPDATE SET description = excluded.description, version = excluded.version`,
		func(b registry.BillingGroup) ([]any, error) {
			return []any{b.Name, b.UUID, b.Description, b.Version, b.CreatedMs}, nil
		})
}

func putTags(ctx context.Context, tx preparer, tags []registry.Tag) error {
	return each(ctx, tx, tags, `INSERT INTO tags (resource, tag, value) VALUES ($1, $2, $3)
			ON CONFLICT (resource, tag) DO UPDATE SET value = excluded.value`,
		func(t registry.Tag) ([]any, error) { return []any{t.Resource, t.Key, t.Value}, nil })
}

// deleteTags deletes tags, all of a resource where no key is given.
func deleteTags(ctx context.Context, tx preparer, tags []registry.Tag) error {
	return each(ctx, tx, tags, `DELETE FROM tags WHERE resource = $1 AND ($2 = '' OR tag = $2)`,
		func(t registry.Tag) ([]any, error) { return []any{t.Resource, t.Key}, nil })
}
