-- migrate:up

-- One row: the revision of the catalogue. It begins at the time of creation in milliseconds since the Unix epoch, so
-- that a registry made anew is never behind what its readers have seen.
CREATE TABLE revision (
  only INTEGER PRIMARY KEY CHECK (only = 1),
  revision INTEGER NOT NULL
);

-- Who pays. Times are milliseconds since the Unix epoch; of quotas 0 is no limit.
CREATE TABLE tenants (
  tenant TEXT PRIMARY KEY,
  display_name TEXT NOT NULL,
  requests_per_minute INTEGER NOT NULL,
  tokens_per_minute INTEGER NOT NULL,
  tokens_per_day INTEGER NOT NULL,
  concurrent_jobs INTEGER NOT NULL,
  suspended INTEGER NOT NULL,
  created_ms INTEGER NOT NULL
) WITHOUT ROWID;

-- API keys: SHA-256 of the secret (32 bytes), never the secret. expires_ms is NULL for never.
CREATE TABLE keys (
  key TEXT PRIMARY KEY,
  tenant TEXT NOT NULL REFERENCES tenants (tenant),
  label TEXT NOT NULL,
  secret_sha256 BLOB NOT NULL,
  created_ms INTEGER NOT NULL,
  expires_ms INTEGER,
  revoked INTEGER NOT NULL
) WITHOUT ROWID;

CREATE INDEX keys_of_tenant ON keys (tenant, key);

-- Published versions. `summary` is a serialized tether.v1.Model without its manifest, which snapshots repeat.
CREATE TABLE models (
  number INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  model TEXT NOT NULL,
  version TEXT NOT NULL,
  digest BLOB NOT NULL,
  summary BLOB NOT NULL,
  manifest BLOB NOT NULL,
  UNIQUE (model, version)
);

-- migrate:down
DROP TABLE models;
DROP TABLE keys;
DROP TABLE tenants;
DROP TABLE revision;
