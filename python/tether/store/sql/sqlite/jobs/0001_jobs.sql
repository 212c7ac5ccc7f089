-- migrate:up

-- Facts of the store itself: its id (16 bytes) and the secret that job ids are hashed with (32 bytes).
CREATE TABLE meta (
  name TEXT PRIMARY KEY,
  value BLOB NOT NULL
) WITHOUT ROWID;

-- One row per job key. Times are milliseconds since the Unix epoch, counts are tokens, ids are raw bytes.
CREATE TABLE jobs (
  number INTEGER PRIMARY KEY,
  job BLOB NOT NULL UNIQUE,
  tenant TEXT NOT NULL,
  correlation_id TEXT NOT NULL,
  retry_token TEXT NOT NULL,
  keyed INTEGER NOT NULL,
  request_hash BLOB NOT NULL,
  state INTEGER NOT NULL,
  epoch INTEGER NOT NULL,
  after_epoch INTEGER NOT NULL,
  attempts INTEGER NOT NULL,
  session BLOB NOT NULL,
  driver TEXT NOT NULL,
  worker TEXT NOT NULL,
  worker_incarnation INTEGER NOT NULL,
  worker_address TEXT NOT NULL,
  model TEXT NOT NULL,
  version TEXT NOT NULL,
  digest BLOB NOT NULL,
  header BLOB NOT NULL,
  seed INTEGER NOT NULL,
  limit_tokens INTEGER NOT NULL,
  held_tokens INTEGER NOT NULL,
  settled_input INTEGER NOT NULL,
  settled_output INTEGER NOT NULL,
  settled_bytes INTEGER NOT NULL,
  entries INTEGER NOT NULL,
  created_ms INTEGER NOT NULL,
  deadline_ms INTEGER NOT NULL,
  ended_ms INTEGER,
  error TEXT NOT NULL
);
CREATE INDEX jobs_open ON jobs (deadline_ms) WHERE state = 1;
CREATE INDEX jobs_ended ON jobs (keyed, ended_ms) WHERE ended_ms IS NOT NULL;

-- What a job came to: written once per end, gone when an abandoned job runs again.
CREATE TABLE outcomes (
  job BLOB PRIMARY KEY,
  receipt BLOB NOT NULL,
  answer BLOB
);

-- Every change of a tenant's held and settled tokens, numbered per job.
CREATE TABLE ledger (
  job BLOB NOT NULL,
  entry INTEGER NOT NULL,
  tenant TEXT NOT NULL,
  epoch INTEGER NOT NULL,
  kind INTEGER NOT NULL,
  held INTEGER NOT NULL,
  settled INTEGER NOT NULL,
  at_ms INTEGER NOT NULL,
  PRIMARY KEY (job, entry)
) WITHOUT ROWID;

-- Counters of a tenant, changed once per group of writes.
CREATE TABLE accounts (
  tenant TEXT PRIMARY KEY,
  held_tokens INTEGER NOT NULL,
  settled_input INTEGER NOT NULL,
  settled_output INTEGER NOT NULL
) WITHOUT ROWID;

-- What is billed, one row per settlement, in order; old rows are added up per hour.
CREATE TABLE usage (
  number INTEGER PRIMARY KEY,
  tenant TEXT NOT NULL,
  job BLOB NOT NULL,
  epoch INTEGER NOT NULL,
  model TEXT NOT NULL,
  version TEXT NOT NULL,
  input_tokens INTEGER NOT NULL,
  output_tokens INTEGER NOT NULL,
  output_bytes INTEGER NOT NULL,
  at_ms INTEGER NOT NULL
);
CREATE TABLE usage_hours (
  tenant TEXT NOT NULL,
  hour INTEGER NOT NULL,
  model TEXT NOT NULL,
  version TEXT NOT NULL,
  input_tokens INTEGER NOT NULL,
  output_tokens INTEGER NOT NULL,
  output_bytes INTEGER NOT NULL,
  PRIMARY KEY (tenant, hour, model, version)
) WITHOUT ROWID;

-- Live gateways: one row write a second renews all jobs of a gateway.
CREATE TABLE sessions (
  session BLOB PRIMARY KEY,
  node TEXT NOT NULL,
  incarnation INTEGER NOT NULL,
  beat INTEGER NOT NULL,
  at_ms INTEGER NOT NULL
) WITHOUT ROWID;

-- migrate:down

DROP TABLE sessions;
DROP TABLE usage_hours;
DROP TABLE usage;
DROP TABLE accounts;
DROP TABLE ledger;
DROP TABLE outcomes;
DROP TABLE jobs;
DROP TABLE meta;
