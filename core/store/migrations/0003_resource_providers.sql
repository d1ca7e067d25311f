-- Hosts become one kind of resource provider: providers form trees, carry traits and aggregates, and what
-- other services hold stands in the same rows as what servers hold.

CREATE TABLE resource_classes (
    name TEXT PRIMARY KEY,
    custom BIGINT NOT NULL,
    -- The order of lists: standard classes as they are numbered, custom ones by age.
    position BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);
-- The three that hosts have had until now; every start adds the rest of the standard ones.
INSERT INTO resource_classes (name, custom, position, created_at)
    VALUES ('VCPU', 0, 0, 0), ('MEMORY_MB', 0, 1, 0), ('DISK_GB', 0, 2, 0);
CREATE TABLE traits (
    name TEXT PRIMARY KEY,
    custom BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE TABLE providers (
    id TEXT PRIMARY KEY,
    number BIGINT NOT NULL UNIQUE,
    name TEXT NOT NULL UNIQUE,
    parent_id TEXT REFERENCES providers (id),
    root_id TEXT NOT NULL REFERENCES providers (id),
    -- Whether it is a host: `hosts` has a row with its id.
    host BIGINT NOT NULL,
    -- What clients compare: rises with inventories, traits and allocations.
    generation BIGINT NOT NULL,
    -- Rises with every change at all; caches compare it.
    revision BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX providers_parent ON providers (parent_id);
CREATE INDEX providers_root ON providers (root_id);
CREATE TABLE provider_traits (
    provider_id TEXT NOT NULL REFERENCES providers (id),
    trait TEXT NOT NULL REFERENCES traits (name),
    PRIMARY KEY (provider_id, trait)
);
CREATE INDEX provider_traits_trait ON provider_traits (trait);
CREATE TABLE provider_aggregates (
    provider_id TEXT NOT NULL REFERENCES providers (id),
    aggregate_id TEXT NOT NULL,
    PRIMARY KEY (provider_id, aggregate_id)
);
CREATE INDEX provider_aggregates_aggregate ON provider_aggregates (aggregate_id);
CREATE TABLE consumers (
    id TEXT PRIMARY KEY,
    -- A server of this cloud: only its own life changes what it holds.
    server BIGINT NOT NULL,
    project_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    kind TEXT,
    generation BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX consumers_project ON consumers (project_id, user_id);

INSERT INTO providers (id, number, name, parent_id, root_id, host, generation, revision, created_at, updated_at)
    SELECT id, number, name, NULL, id, 1, 1, 1, created_at, created_at FROM hosts;
INSERT INTO sequences (name, value) SELECT 'provider', COALESCE(MAX(number), 0) FROM hosts;
INSERT INTO consumers (id, server, project_id, user_id, kind, generation, created_at)
    SELECT DISTINCT a.consumer_id, 1, COALESCE(s.project_id, ''), COALESCE(s.user_id, ''), 'INSTANCE', 1,
        COALESCE(s.created_at, 0)
    FROM allocations a LEFT JOIN servers s ON s.id = a.consumer_id;

ALTER TABLE inventories RENAME TO host_inventories;
CREATE TABLE inventories (
    provider_id TEXT NOT NULL REFERENCES providers (id),
    class TEXT NOT NULL REFERENCES resource_classes (name) ON UPDATE CASCADE,
    total BIGINT NOT NULL CHECK (total >= 0),
    reserved BIGINT NOT NULL CHECK (reserved >= 0),
    min_unit BIGINT NOT NULL CHECK (min_unit > 0),
    max_unit BIGINT NOT NULL CHECK (max_unit > 0),
    step_size BIGINT NOT NULL CHECK (step_size > 0),
    allocation_ratio DOUBLE PRECISION NOT NULL,
    -- (total − reserved) × ratio towards zero: written with them, so that a claim compares integers.
    capacity BIGINT NOT NULL,
    used BIGINT NOT NULL CHECK (used >= 0),
    -- The host's agent says the total; the API may set `reserved` and the ratio.
    agent BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (provider_id, class)
);
CREATE INDEX inventories_class ON inventories (class);
INSERT INTO inventories (provider_id, class, total, reserved, min_unit, max_unit, step_size, allocation_ratio,
    capacity, used, agent, created_at, updated_at)
    SELECT i.host_id, i.class, i.total, i.reserved, 1, 2147483647, 1, CAST(i.allocation_ratio AS DOUBLE PRECISION) / 1000,
        ((i.total - i.reserved) * i.allocation_ratio) / 1000, i.used, 1, h.created_at, h.created_at
    FROM host_inventories i JOIN hosts h ON h.id = i.host_id;
DROP TABLE host_inventories;

ALTER TABLE allocations RENAME TO host_allocations;
CREATE TABLE allocations (
    consumer_id TEXT NOT NULL REFERENCES consumers (id),
    provider_id TEXT NOT NULL,
    class TEXT NOT NULL,
    used BIGINT NOT NULL CHECK (used > 0),
    created_at BIGINT NOT NULL,
    PRIMARY KEY (consumer_id, provider_id, class),
    FOREIGN KEY (provider_id, class) REFERENCES inventories (provider_id, class) ON UPDATE CASCADE
);
CREATE INDEX allocations_provider ON allocations (provider_id, class);
INSERT INTO allocations (consumer_id, provider_id, class, used, created_at)
    SELECT a.consumer_id, a.host_id, a.class, a.used, c.created_at
    FROM host_allocations a JOIN consumers c ON c.id = a.consumer_id;
DROP TABLE host_allocations;
