-- Fleet metrics: aggregations of fleet queries that are recorded as series.

CREATE TABLE fleet_metrics (
	name           TEXT PRIMARY KEY,
	description    TEXT NOT NULL,
	query          TEXT NOT NULL,
	field          TEXT NOT NULL,
	aggregation    TEXT NOT NULL,
	statistics     TEXT NOT NULL, -- JSON array of strings
	period_seconds BIGINT NOT NULL,
	unit           TEXT NOT NULL,
	version        BIGINT NOT NULL,
	created_ms     BIGINT NOT NULL,
	modified_ms    BIGINT NOT NULL
);
