-- Policies (registry/access): documents with versions, what they are attached to, and which certificates stand for which
-- things. Certificates get a state machine and an end.

CREATE TABLE policies (
	name            TEXT PRIMARY KEY,
	default_version BIGINT NOT NULL,
	next_version    BIGINT NOT NULL, -- the number that the next one gets
	created_ms      BIGINT NOT NULL,
	changed_ms      BIGINT NOT NULL
);

CREATE TABLE policy_versions (
	policy_name TEXT NOT NULL REFERENCES policies (name) ON DELETE CASCADE,
	version     BIGINT NOT NULL,
	document    TEXT NOT NULL,
	created_ms  BIGINT NOT NULL,
	PRIMARY KEY (policy_name, version)
);

CREATE TABLE policy_targets (
	policy_name    TEXT NOT NULL REFERENCES policies (name),
	group_id       BIGINT NOT NULL, -- 0: a certificate
	certificate_id TEXT NOT NULL,   -- '': a group
	PRIMARY KEY (policy_name, group_id, certificate_id)
);

CREATE INDEX policy_targets_by_certificate ON policy_targets (certificate_id);

-- No reference to things: an id is never given again, so that a row that outlives its thing stands for nobody.
CREATE TABLE thing_principals (
	certificate_id TEXT NOT NULL,
	thing_id       BIGINT NOT NULL,
	exclusive      BIGINT NOT NULL, -- 1: the certificate stands for no other thing
	PRIMARY KEY (certificate_id, thing_id)
);

CREATE INDEX thing_principals_by_thing ON thing_principals (thing_id);

ALTER TABLE certificates ADD COLUMN origin TEXT NOT NULL DEFAULT 'est'; -- est, csr, keys, ca, pinned
ALTER TABLE certificates ADD COLUMN changed_ms BIGINT NOT NULL DEFAULT 0;
ALTER TABLE certificates ADD COLUMN deleted_ms BIGINT NOT NULL DEFAULT 0; -- 0: not deleted; else it is kept to be refused

UPDATE certificates SET changed_ms = CASE WHEN revoked_ms > issued_ms THEN revoked_ms ELSE issued_ms END;

CREATE INDEX certificates_by_age ON certificates (issued_ms, id);

-- A certificate that is older than the thing of its name belonged to another thing.
INSERT INTO thing_principals (certificate_id, thing_id, exclusive)
	SELECT c.id, t.id, 1 FROM certificates c JOIN things t ON t.name = c.thing_name
	WHERE c.status = 'ACTIVE' AND t.created_ms <= c.issued_ms;
