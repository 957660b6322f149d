package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"

	"muster/registry"
)

var _ registry.Store = (*DB)(nil)

func loadTypes(ctx context.Context, tx *sql.Tx, onType func(registry.ThingType)) error {
	rows, err := tx.QueryContext(ctx,
		`SELECT name, uuid, description, searchable, propagating, attribute_schema, schema_version, created_ms, deprecated_ms FROM thing_types`)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var t registry.ThingType
		var searchable, propagating sql.RawBytes
		if err := rows.Scan(&t.Name, &t.UUID, &t.Description, &searchable, &propagating, &t.Schema, &t.SchemaVersion, &t.CreatedMs, &t.DeprecatedMs); err != nil {
			return err
		}
		if err := json.Unmarshal(propagating, &t.Propagating); err != nil {
			return fmt.Errorf("type %q: propagating attributes: %w", t.Name, err)
		}
		if err := json.Unmarshal(searchable, &t.SearchableAttributes); err != nil {
			return fmt.Errorf("type %q: searchable attributes: %w", t.Name, err)
		}
		t.Deprecated = t.DeprecatedMs != 0
		onType(t)
	}
	return rows.Err()
}

// The statements that most transactions need.
const (
	insertThing = `INSERT INTO things (id, name, uuid, type_name, billing_group, attributes, version, created_ms, updated_ms)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`
	updateThing = `UPDATE things SET type_name = $2, billing_group = $3, attributes = $4, version = $5, updated_ms = $6 WHERE id = $1`
	putMark     = `UPDATE thing_ids SET next = CASE WHEN next < $1 THEN $1 ELSE next END,
		next_group = CASE WHEN next_group < $2 THEN $2 ELSE next_group END,
		revision = CASE WHEN $3 > 0 THEN $3 ELSE revision END`
	joinGroup   = `INSERT INTO thing_group_members (group_id, thing_id) VALUES ($1, $2) ON CONFLICT DO NOTHING`
	leaveGroup  = `DELETE FROM thing_group_members WHERE group_id = $1 AND thing_id = $2`
	putPresence = `INSERT INTO connectivity (thing_id, connected, since_ms, last_seen_ms, remote, reason)
		VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (thing_id) DO UPDATE SET connected = excluded.connected, since_ms = excluded.since_ms,
			last_seen_ms = excluded.last_seen_ms, remote = excluded.remote, reason = excluded.reason`
)

// prepare parses the frequent statements once; a transaction takes them by their text.
func (db *DB) prepare(ctx context.Context) error {
	db.prepared = map[string]*sql.Stmt{}
	for _, text := range []string{insertThing, updateThing, putMark, joinGroup, leaveGroup, putPresence} {
		stmt, err := db.write.PrepareContext(ctx, text)
		if err != nil {
			return err
		}
		db.prepared[text] = stmt
	}
	return nil
}

// thingsTx is a transaction that does not parse what is prepared.
type thingsTx struct {
	*sql.Tx
	prepared map[string]*sql.Stmt
}

func (tx thingsTx) PrepareContext(ctx context.Context, query string) (*sql.Stmt, error) {
	if stmt := tx.prepared[query]; stmt != nil {
		return tx.StmtContext(ctx, stmt), nil
	}
	return tx.Tx.PrepareContext(ctx, query)
}

// ApplyThings writes a batch in one transaction; see registry.Store.
func (db *DB) ApplyThings(ctx context.Context, b registry.Batch) error {
	update := db.update
	if len(b.DeleteTypes) > 0 { // which no thing has; that is said by things without an index
		update = db.updateUnchecked
	}
	return update(ctx, func(plain *sql.Tx) error {
		tx := thingsTx{plain, db.prepared}
		for _, step := range []struct {
			what string
			f    func() error
		}{
			{"write the next ids", func() error { return putMarks(ctx, tx, b.Marks) }},
			{"write thing types", func() error { return putTypes(ctx, tx, b.PutTypes) }},
			{"write billing groups", func() error { return putBillingGroups(ctx, tx, b.PutBillingGroups) }},
			{"insert thing groups", func() error { return createGroups(ctx, tx, b.CreateGroups) }},
			{"update thing groups", func() error { return updateGroups(ctx, tx, b.UpdateGroups) }},
			// Deletions come first, so that a name may be made again in the same transaction.
			{"delete things", func() error { return deleteAll(ctx, tx, b.DeleteThings, `DELETE FROM things WHERE id = $1`) }},
			{"insert things", func() error { return createThings(ctx, tx, b.CreateThings) }},
			{"update things", func() error { return updateThings(ctx, tx, b.UpdateThings) }},
			{"join thing groups", func() error {
				return each(ctx, tx, b.Join, joinGroup, memberArgs)
			}},
			{"leave thing groups", func() error {
				return each(ctx, tx, b.Leave, leaveGroup, memberArgs)
			}},
			{"write connectivity", func() error { return applyPresence(ctx, tx, b.Presence) }},
			{"delete thing groups", func() error { return deleteAll(ctx, tx, b.DeleteGroups, `DELETE FROM thing_groups WHERE id = $1`) }},
			{"delete telemetry schemas", func() error { return deleteAll(ctx, tx, b.DeleteTypes, `DELETE FROM readings WHERE thing_type = $1`) }},
			{"delete thing types", func() error { return deleteAll(ctx, tx, b.DeleteTypes, `DELETE FROM thing_types WHERE name = $1`) }},
			{"delete billing groups", func() error {
				return deleteAll(ctx, tx, b.DeleteBillingGroups, `DELETE FROM billing_groups WHERE name = $1`)
			}},
			{"write tags", func() error { return putTags(ctx, tx, b.PutTags) }},
			{"delete tags", func() error { return deleteTags(ctx, tx, b.DeleteTags) }},
		} {
			if err := step.f(); err != nil {
				return fmt.Errorf("%s: %w", step.what, err)
			}
		}
		return nil
	})
}

func putMarks(ctx context.Context, tx preparer, m registry.Marks) error {
	if m == (registry.Marks{}) {
		return nil
	}
	return each(ctx, tx, []registry.Marks{m}, putMark,
		func(m registry.Marks) ([]any, error) { return []any{m.NextID, m.NextGroupID, m.Revision}, nil })
}

func putTypes(ctx context.Context, tx preparer, types []registry.ThingType) error {
	return each(ctx, tx, types, `INSERT INTO thing_types (name, uuid, description, searchable, propagating, attribute_schema, schema_version, created_ms, deprecated_ms)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
			ON CONFLICT (name) DO UPDATE SET description = excluded.description, searchable = excluded.searchable, propagating = excluded.propagating,
				attribute_schema = excluded.attribute_schema, schema_version = excluded.schema_version, deprecated_ms = excluded.deprecated_ms`,
		func(t registry.ThingType) ([]any, error) {
			searchable, err := json.Marshal(t.SearchableAttributes)
			if err != nil {
				return nil, err
			}
			propagating, err := json.Marshal(t.Propagating)
			return []any{t.Name, t.UUID, t.Description, string(searchable), string(propagating), t.Schema, t.SchemaVersion, t.CreatedMs, t.DeprecatedMs}, err
		})
}

func createThings(ctx context.Context, tx preparer, things []registry.Thing) error {
	return each(ctx, tx, things, insertThing,
		func(t registry.Thing) ([]any, error) {
			attributes, err := json.Marshal(t.Attributes)
			return []any{t.ID, t.Name, t.UUID, orNull(t.TypeName), orNull(t.BillingGroup), string(attributes), t.Version, t.CreatedMs, t.UpdatedMs}, err
		})
}

func updateThings(ctx context.Context, tx preparer, things []registry.Thing) error {
	return each(ctx, tx, things, updateThing,
		func(t registry.Thing) ([]any, error) {
			attributes, err := json.Marshal(t.Attributes)
			return []any{t.ID, orNull(t.TypeName), orNull(t.BillingGroup), string(attributes), t.Version, t.UpdatedMs}, err
		})
}

func applyPresence(ctx context.Context, tx preparer, rows []registry.Presence) error {
	return each(ctx, tx, rows, putPresence,
		func(p registry.Presence) ([]any, error) {
			connected := 0
			if p.Connected {
				connected = 1
			}
			return []any{p.ID, connected, p.SinceMs, p.LastSeenMs, p.Remote, p.Reason}, nil
		})
}

// deleteAll runs a DELETE for every key.
func deleteAll[K any](ctx context.Context, tx preparer, keys []K, query string) error {
	return each(ctx, tx, keys, query, func(key K) ([]any, error) { return []any{key}, nil })
}

// preparer is a transaction.
type preparer interface {
	PrepareContext(ctx context.Context, query string) (*sql.Stmt, error)
}

// each runs one prepared query for every item.
func each[T any](ctx context.Context, tx preparer, items []T, query string, args func(T) ([]any, error)) error {
	if len(items) == 0 {
		return nil
	}
	stmt, err := tx.PrepareContext(ctx, query)
	if err != nil {
		return err
	}
	defer stmt.Close()
	for _, item := range items {
		values, err := args(item)
		if err != nil {
			return err
		}
		if _, err := stmt.ExecContext(ctx, values...); err != nil {
			return err
		}
	}
	return nil
}

// orNull is NULL for "", which a foreign key lets pass.
func orNull(name string) sql.NullString { return sql.NullString{String: name, Valid: name != ""} }
