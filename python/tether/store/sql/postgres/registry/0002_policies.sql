-- migrate:up

-- Spend per day (UTC) in millionths of the network's unit of account; 0 is no limit.
ALTER TABLE tenants ADD COLUMN spend_per_day_micros BIGINT NOT NULL DEFAULT 0;

-- Every kept version of every policy; tenant is empty for the one for all. `policy` is a serialized tether.v1.Policy.
CREATE TABLE policies (
  tenant TEXT COLLATE "C" NOT NULL,
  version BIGINT NOT NULL,
  policy BYTEA NOT NULL,
  PRIMARY KEY (tenant, version)
);

-- Every price that ever held, since usage names it: millionths of the unit of account per thousand tokens.
CREATE TABLE prices (
  model TEXT COLLATE "C" NOT NULL,
  version BIGINT NOT NULL,
  input_micros BIGINT NOT NULL,
  output_micros BIGINT NOT NULL,
  created_ms BIGINT NOT NULL,
  PRIMARY KEY (model, version)
);

-- migrate:down
DROP TABLE prices;
DROP TABLE policies;
ALTER TABLE tenants DROP COLUMN spend_per_day_micros;
