-- Device keys that may enroll, and the certificates issued to things. Keys and ids are hex SHA-256 in lower case.
CREATE TABLE allowed_keys (
	spki_sha256     TEXT PRIMARY KEY,
	thing_name      TEXT NOT NULL,
	thing_type_name TEXT NOT NULL,
	added_ms        BIGINT NOT NULL,
	used_ms         BIGINT NOT NULL -- 0: not used
);

CREATE TABLE certificates (
	id            TEXT PRIMARY KEY,
	spki_sha256   TEXT NOT NULL,
	thing_name    TEXT NOT NULL,
	serial        TEXT NOT NULL,
	pem           TEXT NOT NULL,
	status        TEXT NOT NULL, -- ACTIVE, REVOKED
	not_before_ms BIGINT NOT NULL,
	not_after_ms  BIGINT NOT NULL,
	issued_ms     BIGINT NOT NULL,
	revoked_ms    BIGINT NOT NULL -- 0: not revoked
);

CREATE INDEX certificates_of_key ON certificates (spki_sha256);
CREATE INDEX certificates_of_thing ON certificates (thing_name, issued_ms);
CREATE INDEX certificates_by_end ON certificates (status, not_after_ms);
