package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"

	"muster/registry/readings"
)

// Readings keeps the telemetry schemas of thing types.
type Readings struct{ db *DB }

// Readings returns the part of the database about telemetry schemas.
func (db *DB) Readings() Readings { return Readings{db} }

// All returns every schema, in no order.
func (s Readings) All(ctx context.Context) ([]readings.Stored, error) {
	rows, err := s.db.read.QueryContext(ctx, `SELECT thing_type, type_uuid, document, version, changed_ms FROM readings`)
	if err != nil {
		return nil, fmt.Errorf("read telemetry schemas: %w", err)
	}
	defer rows.Close()
	var list []readings.Stored
	for rows.Next() {
		var r readings.Stored
		var document string
		if err := rows.Scan(&r.TypeName, &r.TypeUUID, &document, &r.Version, &r.ChangedMs); err != nil {
			return nil, fmt.Errorf("read telemetry schemas: %w", err)
		}
		if err := json.Unmarshal([]byte(document), &r.Document); err != nil {
			return nil, fmt.Errorf("telemetry schema of thing type %q in the registry: %w", r.TypeName, err)
		}
		list = append(list, r)
	}
	return list, rows.Err()
}

// Put keeps a schema, instead of the one that its type had.
func (s Readings) Put(ctx context.Context, r readings.Stored) error {
	document, err := json.Marshal(r.Document)
	if err != nil {
		return fmt.Errorf("encode the telemetry schema of %q: %w", r.TypeName, err)
	}
	err = s.db.update(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `
			INSERT INTO readings (thing_type, type_uuid, document, version, changed_ms) VALUES ($1, $2, $3, $4, $5)
			ON CONFLICT (thing_type) DO UPDATE SET type_uuid = excluded.type_uuid, document = excluded.document,
				version = excluded.version, changed_ms = excluded.changed_ms`,
			r.TypeName, r.TypeUUID, string(document), r.Version, r.ChangedMs)
		return err
	})
	if err != nil {
		return fmt.Errorf("keep the telemetry schema of %q: %w", r.TypeName, err)
	}
	return nil
}
