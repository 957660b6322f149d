-- Thing groups with the members of the static ones, billing groups, tags, and what thing types have besides.

CREATE TABLE thing_groups (
	id            INTEGER PRIMARY KEY, -- from 1, never used again
	name          TEXT NOT NULL UNIQUE,
	uuid          TEXT NOT NULL,
	parent        TEXT REFERENCES thing_groups (name), -- NULL: a root
	description   TEXT NOT NULL,
	attributes    TEXT NOT NULL,       -- JSON object of strings
	version       BIGINT NOT NULL,
	created_ms    BIGINT NOT NULL,
	query         TEXT,                -- NULL: a static group
	index_name    TEXT NOT NULL,
	query_version TEXT NOT NULL,
	extra         TEXT NOT NULL        -- what else decides who is a member of a dynamic group
);

CREATE INDEX thing_groups_parent ON thing_groups (parent);

-- Direct members of static groups.
CREATE TABLE thing_group_members (
	group_id BIGINT NOT NULL REFERENCES thing_groups (id) ON DELETE CASCADE,
	thing_id BIGINT NOT NULL REFERENCES things (id) ON DELETE CASCADE,
	PRIMARY KEY (group_id, thing_id)
);

CREATE INDEX thing_group_members_thing ON thing_group_members (thing_id);

CREATE TABLE billing_groups (
	name        TEXT PRIMARY KEY,
	uuid        TEXT NOT NULL,
	description TEXT NOT NULL,
	version     BIGINT NOT NULL,
	created_ms  BIGINT NOT NULL
);

ALTER TABLE things ADD COLUMN billing_group TEXT REFERENCES billing_groups (name); -- NULL: none

CREATE INDEX things_billing_group ON things (billing_group);

CREATE TABLE tags (
	resource TEXT NOT NULL, -- the last part of an ARN: thinggroup/north
	tag      TEXT NOT NULL,
	value    TEXT NOT NULL,
	PRIMARY KEY (resource, tag)
);

ALTER TABLE thing_types ADD COLUMN propagating TEXT NOT NULL DEFAULT '[]'; -- JSON: mqtt5Configuration.propagatingAttributes
ALTER TABLE thing_types ADD COLUMN attribute_schema TEXT NOT NULL DEFAULT ''; -- JSON; empty: none

-- Numbers that never go down: the id of the next group, and a revision above all that were given.
ALTER TABLE thing_ids ADD COLUMN next_group BIGINT NOT NULL DEFAULT 1;
ALTER TABLE thing_ids ADD COLUMN revision BIGINT NOT NULL DEFAULT 0;
