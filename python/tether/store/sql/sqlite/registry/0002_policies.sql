-- migrate:up

-- Spend per day (UTC) in millionths of the network's unit of account; 0 is no limit.
ALTER TABLE tenants ADD COLUMN spend_per_day_micros INTEGER NOT NULL DEFAULT 0;

-- Every kept version of every policy; tenant is empty for the one for all. `policy` is a serialized tether.v1.Policy.
CREATE TABLE policies (
  tenant TEXT NOT NULL,
  version INTEGER NOT NULL,
  policy BLOB NOT NULL,
  PRIMARY KEY (tenant, version)
) WITHOUT ROWID;

-- Every price that ever held, since usage names it: millionths of the unit of account per thousand tokens.
CREATE TABLE prices (
  model TEXT NOT NULL,
  version INTEGER NOT NULL,
  input_micros INTEGER NOT NULL,
  output_micros INTEGER NOT NULL,
  created_ms INTEGER NOT NULL,
  PRIMARY KEY (model, version)
) WITHOUT ROWID;

-- migrate:down
DROP TABLE prices;
DROP TABLE policies;
ALTER TABLE tenants DROP COLUMN spend_per_day_micros;
