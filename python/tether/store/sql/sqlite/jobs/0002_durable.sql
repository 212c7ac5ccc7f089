-- migrate:up

-- What a job costs, how often it died, and where its newest attempt began.
ALTER TABLE jobs ADD COLUMN price_version INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN price_input INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN price_output INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN held_micros INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN held_day INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN cost_micros INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN fingerprint BLOB NOT NULL DEFAULT x'';
ALTER TABLE jobs ADD COLUMN placed_ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN began_tokens INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN began_bytes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN cause INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN raced_epoch INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN poison INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN alone INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN requeues INTEGER NOT NULL DEFAULT 0;
UPDATE jobs SET placed_ms = created_ms;

-- Attempts before the newest one of a job, which stands in its row.
CREATE TABLE attempts (
  job BLOB NOT NULL,
  epoch INTEGER NOT NULL,
  worker TEXT NOT NULL,
  worker_incarnation INTEGER NOT NULL,
  worker_address TEXT NOT NULL,
  fingerprint BLOB NOT NULL,
  began_tokens INTEGER NOT NULL,
  began_bytes INTEGER NOT NULL,
  gained_tokens INTEGER NOT NULL,
  gained_bytes INTEGER NOT NULL,
  cause INTEGER NOT NULL,
  error TEXT NOT NULL,
  raced INTEGER NOT NULL,
  placed_ms INTEGER NOT NULL,
  ended_ms INTEGER NOT NULL,
  PRIMARY KEY (job, epoch)
) WITHOUT ROWID;

-- Accounts also hold spend, rates and the day's counters; see tether.job.quota.
ALTER TABLE accounts ADD COLUMN open_jobs INTEGER NOT NULL DEFAULT 0;
ALTER TABLE accounts ADD COLUMN held_micros INTEGER NOT NULL DEFAULT 0;
ALTER TABLE accounts ADD COLUMN settled_micros INTEGER NOT NULL DEFAULT 0;
ALTER TABLE accounts ADD COLUMN requests_full_us INTEGER NOT NULL DEFAULT 0;
ALTER TABLE accounts ADD COLUMN tokens_full_us INTEGER NOT NULL DEFAULT 0;
ALTER TABLE accounts ADD COLUMN tokens_per_minute INTEGER NOT NULL DEFAULT 0;
ALTER TABLE accounts ADD COLUMN seen_ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE accounts ADD COLUMN day INTEGER NOT NULL DEFAULT 0;
ALTER TABLE accounts ADD COLUMN day_tokens INTEGER NOT NULL DEFAULT 0;
ALTER TABLE accounts ADD COLUMN day_micros INTEGER NOT NULL DEFAULT 0;
UPDATE accounts SET open_jobs = (SELECT count(*) FROM jobs WHERE jobs.tenant = accounts.tenant AND state = 1);

-- The ledger counts spend too; rows of jobs that are forgotten are added up per tenant.
ALTER TABLE ledger ADD COLUMN held_micros INTEGER NOT NULL DEFAULT 0;
ALTER TABLE ledger ADD COLUMN settled_micros INTEGER NOT NULL DEFAULT 0;
CREATE TABLE ledger_sums (
  tenant TEXT PRIMARY KEY,
  entries INTEGER NOT NULL,
  held INTEGER NOT NULL,
  settled INTEGER NOT NULL,
  held_micros INTEGER NOT NULL,
  settled_micros INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO ledger_sums (tenant, entries, held, settled, held_micros, settled_micros)
  SELECT tenant, 0, held_tokens - (SELECT coalesce(sum(held), 0) FROM ledger WHERE ledger.tenant = accounts.tenant),
  settled_input + settled_output - (SELECT coalesce(sum(settled), 0) FROM ledger WHERE ledger.tenant = accounts.tenant),
  0, 0 FROM accounts;

-- Usage names its price, and whether whoever bills has taken it.
ALTER TABLE usage ADD COLUMN price_version INTEGER NOT NULL DEFAULT 0;
ALTER TABLE usage ADD COLUMN cost_micros INTEGER NOT NULL DEFAULT 0;
ALTER TABLE usage ADD COLUMN billed INTEGER NOT NULL DEFAULT 0;
CREATE INDEX usage_unbilled ON usage (number) WHERE billed = 0;
CREATE INDEX usage_at ON usage (at_ms);
ALTER TABLE usage_hours RENAME TO usage_hours_before;
CREATE TABLE usage_hours (
  tenant TEXT NOT NULL,
  hour INTEGER NOT NULL,
  model TEXT NOT NULL,
  version TEXT NOT NULL,
  price_version INTEGER NOT NULL,
  input_tokens INTEGER NOT NULL,
  output_tokens INTEGER NOT NULL,
  output_bytes INTEGER NOT NULL,
  cost_micros INTEGER NOT NULL,
  PRIMARY KEY (hour, tenant, model, version, price_version)
) WITHOUT ROWID;
INSERT INTO usage_hours (tenant, hour, model, version, price_version, input_tokens, output_tokens, output_bytes, cost_micros)
  SELECT tenant, hour, model, version, 0, input_tokens, output_tokens, output_bytes, 0 FROM usage_hours_before;
DROP TABLE usage_hours_before;

-- What is kept of jobs that cannot succeed, and of frames that broke the protocol.
CREATE TABLE dead_letters (
  number INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  job BLOB NOT NULL,
  tenant TEXT NOT NULL,
  model TEXT NOT NULL,
  reason TEXT NOT NULL,
  message TEXT NOT NULL,
  worker TEXT NOT NULL,
  fingerprint BLOB NOT NULL,
  trace_id TEXT NOT NULL,
  peer TEXT NOT NULL,
  kept_bytes INTEGER NOT NULL,
  created_ms INTEGER NOT NULL,
  requeues INTEGER NOT NULL,
  requeued_ms INTEGER,
  request BLOB NOT NULL,
  frame BLOB NOT NULL
);
CREATE INDEX dead_letters_created ON dead_letters (created_ms);

-- Slices of a tenant's quota in the hands of orchestrators; closed ones stay until the slice is long over.
CREATE TABLE leases (
  lease BLOB PRIMARY KEY,
  tenant TEXT NOT NULL,
  node TEXT NOT NULL,
  tokens INTEGER NOT NULL,
  micros INTEGER NOT NULL,
  held_day INTEGER NOT NULL,
  until_ms INTEGER NOT NULL,
  open INTEGER NOT NULL,
  entries INTEGER NOT NULL
) WITHOUT ROWID;

-- Numbers of the store itself: `generation` is raised by each promotion and fences what was opened before.
CREATE TABLE numbers (
  name TEXT PRIMARY KEY,
  value INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO numbers (name, value) VALUES ('generation', 1);

-- migrate:down

DROP TABLE numbers;
DROP TABLE leases;
DROP TABLE dead_letters;
ALTER TABLE usage_hours RENAME TO usage_hours_after;
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
INSERT INTO usage_hours SELECT tenant, hour, model, version, sum(input_tokens), sum(output_tokens), sum(output_bytes)
  FROM usage_hours_after GROUP BY 1, 2, 3, 4;
DROP TABLE usage_hours_after;
DROP INDEX usage_at;
DROP INDEX usage_unbilled;
ALTER TABLE usage DROP COLUMN billed;
ALTER TABLE usage DROP COLUMN cost_micros;
ALTER TABLE usage DROP COLUMN price_version;
DROP TABLE ledger_sums;
ALTER TABLE ledger DROP COLUMN settled_micros;
ALTER TABLE ledger DROP COLUMN held_micros;
ALTER TABLE accounts DROP COLUMN day_micros;
ALTER TABLE accounts DROP COLUMN day_tokens;
ALTER TABLE accounts DROP COLUMN day;
ALTER TABLE accounts DROP COLUMN seen_ms;
ALTER TABLE accounts DROP COLUMN tokens_per_minute;
ALTER TABLE accounts DROP COLUMN tokens_full_us;
ALTER TABLE accounts DROP COLUMN requests_full_us;
ALTER TABLE accounts DROP COLUMN settled_micros;
ALTER TABLE accounts DROP COLUMN held_micros;
ALTER TABLE accounts DROP COLUMN open_jobs;
DROP TABLE attempts;
ALTER TABLE jobs DROP COLUMN requeues;
ALTER TABLE jobs DROP COLUMN alone;
ALTER TABLE jobs DROP COLUMN poison;
ALTER TABLE jobs DROP COLUMN raced_epoch;
ALTER TABLE jobs DROP COLUMN cause;
ALTER TABLE jobs DROP COLUMN began_bytes;
ALTER TABLE jobs DROP COLUMN began_tokens;
ALTER TABLE jobs DROP COLUMN placed_ms;
ALTER TABLE jobs DROP COLUMN fingerprint;
ALTER TABLE jobs DROP COLUMN cost_micros;
ALTER TABLE jobs DROP COLUMN held_day;
ALTER TABLE jobs DROP COLUMN held_micros;
ALTER TABLE jobs DROP COLUMN price_output;
ALTER TABLE jobs DROP COLUMN price_input;
ALTER TABLE jobs DROP COLUMN price_version;
