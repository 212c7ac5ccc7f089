-- migrate:up

-- Who sends a region's usage: one row per name. Times are milliseconds since the Unix epoch.
CREATE TABLE billing_leases (
  name TEXT PRIMARY KEY,
  holder TEXT NOT NULL,
  until_ms INTEGER NOT NULL
) WITHOUT ROWID;

-- The batch that is on its way, if any: what is sent stays the same, byte for byte, until somebody took it. `numbers`
-- names the rows of usage in it, between commas.
CREATE TABLE billing_batches (
  name TEXT PRIMARY KEY,
  key TEXT NOT NULL,
  numbers TEXT NOT NULL,
  body BLOB NOT NULL,
  cut_ms INTEGER NOT NULL
);

-- migrate:down
DROP TABLE billing_batches;
DROP TABLE billing_leases;
