-- migrate:up

-- A tenant's jobs, newest first: an index ends in the row's number by itself.
CREATE INDEX jobs_tenant ON jobs (tenant);

-- migrate:down

DROP INDEX jobs_tenant;
