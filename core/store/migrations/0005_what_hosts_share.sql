-- What servers are placed by beside the hosts themselves: providers below a host, and those that share; the
-- aggregates of hosts as placement knows them; how builds went.

-- Copied from the provider, so that a create which needs no other provider finds that out at once.
ALTER TABLE inventories ADD COLUMN of_host BIGINT NOT NULL DEFAULT 0;
UPDATE inventories SET of_host = 1 WHERE provider_id IN (SELECT id FROM hosts);
CREATE INDEX inventories_beyond ON inventories (class) WHERE of_host = 0;

-- A host aggregate is one of the provider's too, under its uuid.
INSERT INTO provider_aggregates (provider_id, aggregate_id)
    SELECT h.host_id, a.id FROM aggregate_hosts h JOIN aggregates a ON a.number = h.aggregate
    WHERE NOT EXISTS (SELECT 1 FROM provider_aggregates p WHERE p.provider_id = h.host_id AND p.aggregate_id = a.id);
UPDATE providers SET revision = revision + 1 WHERE id IN (SELECT host_id FROM aggregate_hosts);

-- Builds that failed on the host since one last succeeded.
ALTER TABLE hosts ADD COLUMN build_failures BIGINT NOT NULL DEFAULT 0;
