-- People and keys that are not to sign in for a while: since when; 0: they may.
ALTER TABLE account_users ADD COLUMN disabled_ms BIGINT NOT NULL DEFAULT 0;
ALTER TABLE account_access_keys ADD COLUMN disabled_ms BIGINT NOT NULL DEFAULT 0;
