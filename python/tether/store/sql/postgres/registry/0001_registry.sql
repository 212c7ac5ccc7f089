-- migrate:up

-- One row: the revision of the catalogue. It begins at the time of creation in milliseconds since the Unix epoch, so
-- that a registry made anew is never behind what its readers have seen. Every write locks it first, so revisions become
-- visible in order.
CREATE TABLE revision (
  "only" INTEGER PRIMARY KEY CHECK ("only" = 1),
  revision BIGINT NOT NULL
);

-- Who pays. Times are milliseconds since the Unix epoch; of quotas 0 is no limit. Names sort by their bytes.
CREATE TABLE tenants (
  tenant TEXT COLLATE "C" PRIMARY KEY,
  display_name TEXT NOT NULL,
  requests_per_minute BIGINT NOT NULL,
  tokens_per_minute BIGINT NOT NULL,
  tokens_per_day BIGINT NOT NULL,
  concurrent_jobs BIGINT NOT NULL,
  suspended INTEGER NOT NULL,
  created_ms BIGINT NOT NULL
);

-- API keys: SHA-256 of the secret (32 bytes), never the secret. expires_ms is NULL for never.
CREATE TABLE keys (
  key TEXT COLLATE "C" PRIMARY KEY,
  tenant TEXT COLLATE "C" NOT NULL REFERENCES tenants (tenant),
  label TEXT NOT NULL,
  secret_sha256 BYTEA NOT NULL,
  created_ms BIGINT NOT NULL,
  expires_ms BIGINT,
  revoked INTEGER NOT NULL
);

CREATE INDEX keys_of_tenant ON keys (tenant, key);

-- Published versions. `summary` is a serialized tether.v1.Model without its manifest, which snapshots repeat.
CREATE TABLE models (
  name TEXT COLLATE "C" PRIMARY KEY,
  model TEXT COLLATE "C" NOT NULL,
  version TEXT COLLATE "C" NOT NULL,
  digest BYTEA NOT NULL,
  summary BYTEA NOT NULL,
  manifest BYTEA NOT NULL,
  UNIQUE (model, version)
);

-- migrate:down
DROP TABLE models;
DROP TABLE keys;
DROP TABLE tenants;
DROP TABLE revision;
