-- migrate:up

-- A tenant's jobs, newest first.
CREATE INDEX jobs_tenant ON jobs (tenant, number);

-- migrate:down

DROP INDEX jobs_tenant;
