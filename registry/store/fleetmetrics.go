package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"

	"muster/registry/fleetmetric"
)

var _ fleetmetric.Store = (*DB)(nil)

// LoadFleetMetrics implements fleetmetric.Store.
func (db *DB) LoadFleetMetrics(ctx context.Context) (list []fleetmetric.Metric, err error) {
	rows, err := db.read.QueryContext(ctx, `
		SELECT name, description, query, field, aggregation, statistics, period_seconds, unit, version, created_ms, modified_ms
		FROM fleet_metrics`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var m fleetmetric.Metric
		var statistics string
		err := rows.Scan(&m.Name, &m.Description, &m.Query, &m.Field, &m.Aggregation, &statistics, &m.PeriodSeconds, &m.Unit,
			&m.Version, &m.CreatedMs, &m.ModifiedMs)
		if err == nil {
			err = json.Unmarshal([]byte(statistics), &m.Values)
		}
		if err != nil {
			return nil, fmt.Errorf("fleet metric %q: %w", m.Name, err)
		}
		list = append(list, m)
	}
	return list, rows.Err()
}

// PutFleetMetric implements fleetmetric.Store.
func (db *DB) PutFleetMetric(ctx context.Context, m fleetmetric.Metric) error {
	statistics, err := json.Marshal(m.Values)
	if err != nil {
		return err
	}
	return db.update(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `
			INSERT INTO fleet_metrics (name, description, query, field, aggregation, statistics, period_seconds, unit, version, created_ms, modified_ms)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
			ON CONFLICT (name) DO UPDATE SET description = excluded.description, query = excluded.query, field = excluded.field,
				aggregation = excluded.aggregation, statistics = excluded.statistics, period_seconds = excluded.period_seconds,
				unit = excluded.unit, version = excluded.version, modified_ms = excluded.modified_ms`,
			m.Name, m.Description, m.Query, m.Field, string(m.Aggregation), string(statistics), m.PeriodSeconds, m.Unit,
			m.Version, m.CreatedMs, m.ModifiedMs)
		return err
	})
}

// DeleteFleetMetric implements fleetmetric.Store.
func (db *DB) DeleteFleetMetric(ctx context.Context, name string) error {
	return db.update(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM fleet_metrics WHERE name = $1`, name)
		return err
	})
}
