-- Server groups with their counted rows, host aggregates, and what an operator says of a host's service.

CREATE TABLE server_groups (
    id TEXT PRIMARY KEY,
    project_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    name TEXT NOT NULL,
    policy TEXT NOT NULL,
    -- For anti-affinity: servers of the group that may share a host.
    max_per_host BIGINT NOT NULL CHECK (max_per_host > 0),
    -- Servers in it; raising it locks the group, so that claims of one group are decided one after the other.
    members BIGINT NOT NULL CHECK (members >= 0),
    created_at BIGINT NOT NULL
);
CREATE INDEX server_groups_project ON server_groups (project_id, created_at, id);
CREATE TABLE server_group_members (
    server_id TEXT PRIMARY KEY,
    group_id TEXT NOT NULL REFERENCES server_groups (id),
    -- Null for a server that placement refused.
    host_id TEXT,
    number BIGINT NOT NULL
);
CREATE INDEX server_group_members_group ON server_group_members (group_id, number);
-- The counted row: how many servers of a group are on a host. A claim raises it in one conditional statement.
CREATE TABLE server_group_hosts (
    group_id TEXT NOT NULL REFERENCES server_groups (id),
    host_id TEXT NOT NULL REFERENCES hosts (id),
    servers BIGINT NOT NULL CHECK (servers >= 0),
    PRIMARY KEY (group_id, host_id)
);
CREATE INDEX server_group_hosts_host ON server_group_hosts (host_id);

CREATE TABLE aggregates (
    number BIGINT PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL UNIQUE,
    metadata TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT
);
CREATE TABLE aggregate_hosts (
    aggregate BIGINT NOT NULL REFERENCES aggregates (number),
    host_id TEXT NOT NULL REFERENCES hosts (id),
    PRIMARY KEY (aggregate, host_id)
);
CREATE INDEX aggregate_hosts_host ON aggregate_hosts (host_id);

-- `closed` says that an operator disabled it, and why ('' without a reason).
ALTER TABLE hosts ADD COLUMN forced_down BIGINT NOT NULL DEFAULT 0;

-- Which journal holds what the decision was made on, and where in it.
ALTER TABLE decisions ADD COLUMN journal TEXT NOT NULL DEFAULT '';
ALTER TABLE decisions ADD COLUMN position BIGINT NOT NULL DEFAULT 0;

-- Followers read in this order.
CREATE INDEX events_follow ON events (txid, revision);
