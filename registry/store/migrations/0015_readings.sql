-- Telemetry schemas of thing types (registry/readings).

CREATE TABLE readings (
	thing_type TEXT PRIMARY KEY REFERENCES thing_types (name) ON DELETE CASCADE,
	type_uuid  TEXT NOT NULL,   -- of that type
	document   TEXT NOT NULL,   -- JSON: readings.Document
	version    BIGINT NOT NULL, -- 1 for the first
	changed_ms BIGINT NOT NULL
);
