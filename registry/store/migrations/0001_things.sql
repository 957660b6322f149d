-- Things and thing types (registry), and when each thing was last connected.

CREATE TABLE thing_types (
	name          TEXT PRIMARY KEY,
	uuid          TEXT NOT NULL,
	description   TEXT NOT NULL,
	searchable    TEXT NOT NULL,   -- JSON list of attribute names
	created_ms    BIGINT NOT NULL,
	deprecated_ms BIGINT NOT NULL  -- 0: in use
);

CREATE TABLE things (
	id         INTEGER PRIMARY KEY, -- dense, from 1, never used again
	name       TEXT NOT NULL UNIQUE,
	uuid       TEXT NOT NULL,
	type_name  TEXT REFERENCES thing_types (name), -- NULL: no type
	attributes TEXT NOT NULL,       -- JSON object of strings
	version    BIGINT NOT NULL,
	created_ms BIGINT NOT NULL,
	updated_ms BIGINT NOT NULL
);

CREATE INDEX things_type ON things (type_name);

-- One row: the id the next thing gets. It outlives deleted things.
CREATE TABLE thing_ids (
	next BIGINT NOT NULL
);

INSERT INTO thing_ids (next) VALUES (1);

CREATE TABLE connectivity (
	thing_id     INTEGER PRIMARY KEY REFERENCES things (id) ON DELETE CASCADE,
	connected    BIGINT NOT NULL, -- 1: connected when this row was written
	since_ms     BIGINT NOT NULL,
	last_seen_ms BIGINT NOT NULL, -- 0: never
	remote       TEXT NOT NULL,   -- address:port of the last connection
	reason       TEXT NOT NULL    -- why it is offline
);
