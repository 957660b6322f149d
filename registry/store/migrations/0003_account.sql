CREATE TABLE account_users (
	name          TEXT PRIMARY KEY,
	role          TEXT NOT NULL,
	password_hash TEXT NOT NULL, -- PHC string of argon2id; empty: no password
	created_ms    BIGINT NOT NULL,
	changed_ms    BIGINT NOT NULL
);

CREATE TABLE account_sessions (
	secret     TEXT PRIMARY KEY, -- hex SHA-256
	user_name  TEXT NOT NULL REFERENCES account_users (name) ON DELETE CASCADE,
	remote     TEXT NOT NULL,
	created_ms BIGINT NOT NULL,
	seen_ms    BIGINT NOT NULL
);
CREATE INDEX account_sessions_by_user ON account_sessions (user_name, created_ms);

CREATE TABLE account_tokens (
	id         TEXT PRIMARY KEY,
	name       TEXT NOT NULL,
	role       TEXT NOT NULL,
	secret     TEXT NOT NULL UNIQUE, -- hex SHA-256
	created_by TEXT NOT NULL,
	created_ms BIGINT NOT NULL,
	expires_ms BIGINT NOT NULL, -- 0: never
	used_ms    BIGINT NOT NULL  -- 0: never
);

CREATE TABLE account_access_keys (
	id         TEXT PRIMARY KEY,
	sealed     TEXT NOT NULL, -- base64 of the sealed secret
	role       TEXT NOT NULL,
	created_by TEXT NOT NULL,
	created_ms BIGINT NOT NULL,
	used_ms    BIGINT NOT NULL -- 0: never
);

-- One row at most: the code that makes the first admin.
CREATE TABLE account_setup (
	id         BIGINT PRIMARY KEY CHECK (id = 1),
	secret     TEXT NOT NULL, -- hex SHA-256
	expires_ms BIGINT NOT NULL,
	tries_left BIGINT NOT NULL
);

CREATE TABLE account_login_codes (
	secret     TEXT PRIMARY KEY, -- hex SHA-256
	user_name  TEXT NOT NULL REFERENCES account_users (name) ON DELETE CASCADE,
	expires_ms BIGINT NOT NULL
);
