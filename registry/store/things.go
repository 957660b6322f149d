package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"

	"muster/registry"
)

var _ registry.Store = (*DB)(nil)

// LoadThings reads all types and things; see registry.Store. The things come by id.
func (db *DB) LoadThings(ctx context.Context, onType func(registry.ThingType), onThing func(registry.Thing, registry.Connectivity)) (nextID uint32, err error) {
	// One transaction, so that all reads are of one moment.
	tx, err := db.read.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return 0, err
	}
	defer tx.Rollback() // nothing was written
	if err := tx.QueryRowContext(ctx, `SELECT next FROM thing_ids`).Scan(&nextID); err != nil {
		return 0, fmt.Errorf("read the next thing id: %w", err)
	}
	if err := loadTypes(ctx, tx, onType); err != nil {
		return 0, fmt.Errorf("read thing types: %w", err)
	}
	if err := loadThings(ctx, tx, onThing); err != nil {
		return 0, fmt.Errorf("read things: %w", err)
	}
	return nextID, nil
}

func loadTypes(ctx context.Context, tx *sql.Tx, onType func(registry.ThingType)) error {
	rows, err := tx.QueryContext(ctx,
		`SELECT name, uuid, description, searchable, created_ms, deprecated_ms FROM thing_types`)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var t registry.ThingType
		var searchable sql.RawBytes
		if err := rows.Scan(&t.Name, &t.UUID, &t.Description, &searchable, &t.CreatedMs, &t.DeprecatedMs); err != nil {
			return err
		}
		if err := json.Unmarshal(searchable, &t.SearchableAttributes); err != nil {
			return fmt.Errorf("type %q: searchable attributes: %w", t.Name, err)
		}
		t.Deprecated = t.DeprecatedMs != 0
		onType(t)
	}
	return rows.Err()
}

func loadThings(ctx context.Context, tx *sql.Tx, onThing func(registry.Thing, registry.Connectivity)) error {
	rows, err := tx.QueryContext(ctx, `SELECT t.id, t.name, t.uuid, COALESCE(t.type_name, ''), t.attributes, t.version, t.created_ms, t.updated_ms,
			COALESCE(c.connected, 0), COALESCE(c.since_ms, 0), COALESCE(c.last_seen_ms, 0), COALESCE(c.remote, ''), COALESCE(c.reason, '')
		FROM things t LEFT JOIN connectivity c ON c.thing_id = t.id ORDER BY t.id`)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var t registry.Thing
		var c registry.Connectivity
		var attributes sql.RawBytes
		var connected int
		if err := rows.Scan(&t.ID, &t.Name, &t.UUID, &t.TypeName, &attributes, &t.Version, &t.CreatedMs, &t.UpdatedMs,
			&connected, &c.SinceMs, &c.LastSeenMs, &c.Remote, &c.Reason); err != nil {
			return err
		}
		if err := json.Unmarshal(attributes, &t.Attributes); err != nil {
			return fmt.Errorf("thing %q: attributes: %w", t.Name, err)
		}
		c.Connected = connected != 0
		onThing(t, c)
	}
	return rows.Err()
}

// ApplyThings writes a batch in one transaction; see registry.Store.
func (db *DB) ApplyThings(ctx context.Context, b registry.Batch) error {
	return db.update(ctx, func(tx *sql.Tx) error {
		if b.NextID != 0 {
			if _, err := tx.ExecContext(ctx, `UPDATE thing_ids SET next = $1 WHERE next < $1`, b.NextID); err != nil {
				return err
			}
		}
		err := each(ctx, tx, b.PutTypes, `INSERT INTO thing_types (name, uuid, description, searchable, created_ms, deprecated_ms)
				VALUES ($1, $2, $3, $4, $5, $6)
				ON CONFLICT (name) DO UPDATE SET deprecated_ms = excluded.deprecated_ms`,
			func(t registry.ThingType) ([]any, error) {
				searchable, err := json.Marshal(t.SearchableAttributes)
				return []any{t.Name, t.UUID, t.Description, string(searchable), t.CreatedMs, t.DeprecatedMs}, err
			})
		if err != nil {
			return fmt.Errorf("write thing types: %w", err)
		}
		// Deletions come first, so that a name may be made again in the same transaction.
		err = each(ctx, tx, b.DeleteThings, `DELETE FROM things WHERE id = $1`,
			func(id uint32) ([]any, error) { return []any{id}, nil })
		if err != nil {
			return fmt.Errorf("delete things: %w", err)
		}
		err = each(ctx, tx, b.CreateThings, `INSERT INTO things (id, name, uuid, type_name, attributes, version, created_ms, updated_ms)
				VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
			func(t registry.Thing) ([]any, error) {
				attributes, err := json.Marshal(t.Attributes)
				return []any{t.ID, t.Name, t.UUID, typeName(t), string(attributes), t.Version, t.CreatedMs, t.UpdatedMs}, err
			})
		if err != nil {
			return fmt.Errorf("insert things: %w", err)
		}
		err = each(ctx, tx, b.UpdateThings, `UPDATE things SET type_name = $2, attributes = $3, version = $4, updated_ms = $5 WHERE id = $1`,
			func(t registry.Thing) ([]any, error) {
				attributes, err := json.Marshal(t.Attributes)
				return []any{t.ID, typeName(t), string(attributes), t.Version, t.UpdatedMs}, err
			})
		if err != nil {
			return fmt.Errorf("update things: %w", err)
		}
		err = each(ctx, tx, b.Presence, `INSERT INTO connectivity (thing_id, connected, since_ms, last_seen_ms, remote, reason)
				VALUES ($1, $2, $3, $4, $5, $6)
				ON CONFLICT (thing_id) DO UPDATE SET connected = excluded.connected, since_ms = excluded.since_ms,
					last_seen_ms = excluded.last_seen_ms, remote = excluded.remote, reason = excluded.reason`,
			func(p registry.Presence) ([]any, error) {
				connected := 0
				if p.Connected {
					connected = 1
				}
				return []any{p.ID, connected, p.SinceMs, p.LastSeenMs, p.Remote, p.Reason}, nil
			})
		if err != nil {
			return fmt.Errorf("write connectivity: %w", err)
		}
		err = each(ctx, tx, b.DeleteTypes, `DELETE FROM thing_types WHERE name = $1`,
			func(name string) ([]any, error) { return []any{name}, nil })
		if err != nil {
			return fmt.Errorf("delete thing types: %w", err)
		}
		return nil
	})
}

// each runs one prepared query for every item.
func each[T any](ctx context.Context, tx *sql.Tx, items []T, query string, args func(T) ([]any, error)) error {
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

// typeName is NULL for a thing without a type, which the foreign key lets pass.
func typeName(t registry.Thing) sql.NullString {
	return sql.NullString{String: t.TypeName, Valid: t.TypeName != ""}
}
