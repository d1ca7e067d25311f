-- The first schema. One text serves SQLite and PostgreSQL: ids and JSON are TEXT, numbers and
-- microsecond times BIGINT, booleans BIGINT 0/1. Never edited after a release; expand, then contract.

CREATE TABLE sequences (
    name TEXT PRIMARY KEY,
    value BIGINT NOT NULL
);

-- Append-only, read gap-free: see `events.rs` for how the order is kept on each engine.
CREATE TABLE events (
    revision BIGINT PRIMARY KEY,
    txid BIGINT NOT NULL,
    at BIGINT NOT NULL,
    kind TEXT NOT NULL,
    project_id TEXT NOT NULL,
    subject TEXT NOT NULL,
    host_id TEXT,
    data TEXT NOT NULL
);
CREATE INDEX events_host ON events (host_id, revision);

-- Identity ------------------------------------------------------------------------------------------
CREATE TABLE domains (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    description TEXT NOT NULL,
    enabled BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE TABLE projects (
    id TEXT PRIMARY KEY,
    domain_id TEXT NOT NULL REFERENCES domains (id),
    parent_id TEXT NOT NULL,
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    enabled BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    UNIQUE (domain_id, name)
);
CREATE TABLE users (
    id TEXT PRIMARY KEY,
    domain_id TEXT NOT NULL REFERENCES domains (id),
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    email TEXT,
    password_hash TEXT,
    -- Tokens issued before this instant are refused (password change, disable).
    tokens_valid_after BIGINT NOT NULL,
    enabled BIGINT NOT NULL,
    default_project_id TEXT,
    created_at BIGINT NOT NULL,
    UNIQUE (domain_id, name)
);
CREATE TABLE roles (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    description TEXT NOT NULL
);
-- target: `project`, `domain` or `system`; target_id is `all` for system.
CREATE TABLE role_assignments (
    user_id TEXT NOT NULL,
    target TEXT NOT NULL CHECK (target IN ('project', 'domain', 'system')),
    target_id TEXT NOT NULL,
    role_id TEXT NOT NULL REFERENCES roles (id),
    PRIMARY KEY (user_id, target, target_id, role_id)
);
CREATE TABLE revoked_tokens (
    audit_id TEXT PRIMARY KEY,
    expires_at BIGINT NOT NULL
);

-- Compute -------------------------------------------------------------------------------------------
CREATE TABLE flavors (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    vcpus BIGINT NOT NULL CHECK (vcpus > 0),
    memory_mib BIGINT NOT NULL CHECK (memory_mib > 0),
    root_gib BIGINT NOT NULL CHECK (root_gib >= 0),
    ephemeral_gib BIGINT NOT NULL CHECK (ephemeral_gib >= 0),
    swap_mib BIGINT NOT NULL CHECK (swap_mib >= 0),
    rxtx_factor TEXT NOT NULL,
    is_public BIGINT NOT NULL,
    extra_specs TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE TABLE keypairs (
    user_id TEXT NOT NULL,
    name TEXT NOT NULL,
    -- The integer id that nova shows.
    number BIGINT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    public_key TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (user_id, name)
);
CREATE TABLE servers (
    id TEXT PRIMARY KEY,
    number BIGINT NOT NULL UNIQUE,
    project_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    name TEXT NOT NULL,
    hostname TEXT NOT NULL,
    description TEXT,
    -- The flavor as it was, so that deleting or editing the flavor changes nothing here.
    flavor TEXT NOT NULL,
    image_id TEXT,
    image TEXT,
    key_name TEXT,
    keys TEXT NOT NULL,
    user_data TEXT,
    config_drive BIGINT NOT NULL,
    metadata TEXT NOT NULL,
    availability_zone TEXT NOT NULL,
    reservation_id TEXT NOT NULL,
    launch_index BIGINT NOT NULL,
    request_id TEXT NOT NULL,
    decision_id TEXT NOT NULL,
    host_id TEXT,
    -- Desired: written by the API only.
    power_on BIGINT NOT NULL,
    power_n BIGINT NOT NULL,
    deleting BIGINT NOT NULL,
    refused BIGINT NOT NULL,
    -- Observed: written from the agent's reports only.
    phase TEXT NOT NULL,
    observed_n BIGINT NOT NULL,
    observed_generation BIGINT NOT NULL,
    fault TEXT,
    -- Derived from the two in the same statement, so that lists filter on it.
    status TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    launched_at BIGINT,
    deleted_at BIGINT,
    -- A server that placement refused holds no host; one that has a host was not refused.
    CHECK (refused = 0 OR host_id IS NULL)
);
CREATE INDEX servers_project ON servers (project_id, deleted_at, created_at, id);
CREATE INDEX servers_host ON servers (host_id, deleted_at);
CREATE TABLE server_actions (
    server_id TEXT NOT NULL,
    request_id TEXT NOT NULL,
    action TEXT NOT NULL,
    project_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (server_id, request_id, action)
);
CREATE TABLE hosts (
    id TEXT PRIMARY KEY,
    number BIGINT NOT NULL UNIQUE,
    name TEXT NOT NULL UNIQUE,
    zone TEXT NOT NULL,
    closed TEXT,
    hypervisor_type TEXT NOT NULL,
    hypervisor_version BIGINT NOT NULL,
    acceleration TEXT NOT NULL,
    -- Desired state's revision for this host; raised by every write that concerns it.
    revision BIGINT NOT NULL,
    -- The highest generation that its agent has reported.
    generation BIGINT NOT NULL,
    seen_at BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE TABLE inventories (
    host_id TEXT NOT NULL REFERENCES hosts (id),
    class TEXT NOT NULL,
    total BIGINT NOT NULL CHECK (total >= 0),
    reserved BIGINT NOT NULL CHECK (reserved >= 0),
    -- Thousandths: 16.0 is 16000.
    allocation_ratio BIGINT NOT NULL CHECK (allocation_ratio > 0),
    used BIGINT NOT NULL CHECK (used >= 0),
    PRIMARY KEY (host_id, class)
);
CREATE TABLE allocations (
    consumer_id TEXT NOT NULL,
    host_id TEXT NOT NULL REFERENCES hosts (id),
    class TEXT NOT NULL,
    used BIGINT NOT NULL CHECK (used > 0),
    PRIMARY KEY (consumer_id, host_id, class)
);
CREATE TABLE decisions (
    id TEXT PRIMARY KEY,
    project_id TEXT NOT NULL,
    server_id TEXT NOT NULL,
    at BIGINT NOT NULL,
    document TEXT NOT NULL
);
CREATE INDEX decisions_server ON decisions (server_id);

-- Quota ---------------------------------------------------------------------------------------------
CREATE TABLE quota_revisions (
    project_id TEXT PRIMARY KEY,
    revision BIGINT NOT NULL
);
CREATE TABLE quota_usages (
    project_id TEXT NOT NULL,
    resource TEXT NOT NULL,
    used BIGINT NOT NULL CHECK (used >= 0),
    PRIMARY KEY (project_id, resource)
);
CREATE TABLE quota_limits (
    project_id TEXT NOT NULL,
    resource TEXT NOT NULL,
    hard_limit BIGINT NOT NULL CHECK (hard_limit >= -1),
    PRIMARY KEY (project_id, resource)
);

-- Images --------------------------------------------------------------------------------------------
CREATE TABLE images (
    id TEXT PRIMARY KEY,
    project_id TEXT NOT NULL,
    name TEXT,
    status TEXT NOT NULL,
    visibility TEXT NOT NULL,
    disk_format TEXT,
    container_format TEXT,
    min_disk BIGINT NOT NULL,
    min_ram BIGINT NOT NULL,
    protected BIGINT NOT NULL,
    hidden BIGINT NOT NULL,
    -- Bytes: null until uploaded. The blob is named by `digest` (sha256).
    size BIGINT,
    virtual_size BIGINT,
    checksum TEXT,
    os_hash_algo TEXT,
    os_hash_value TEXT,
    digest TEXT,
    properties TEXT NOT NULL,
    tags TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX images_project ON images (project_id, created_at, id);
CREATE INDEX images_digest ON images (digest);

-- Network -------------------------------------------------------------------------------------------
CREATE TABLE networks (
    id TEXT PRIMARY KEY,
    segment BIGINT NOT NULL UNIQUE,
    project_id TEXT NOT NULL,
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    admin_state_up BIGINT NOT NULL,
    shared BIGINT NOT NULL,
    mtu BIGINT NOT NULL,
    port_security BIGINT NOT NULL,
    dns_domain TEXT NOT NULL,
    revision BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX networks_project ON networks (project_id, created_at, id);
CREATE TABLE subnets (
    id TEXT PRIMARY KEY,
    network_id TEXT NOT NULL REFERENCES networks (id),
    project_id TEXT NOT NULL,
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    ip_version BIGINT NOT NULL,
    cidr TEXT NOT NULL,
    gateway_ip TEXT,
    enable_dhcp BIGINT NOT NULL,
    dns_nameservers TEXT NOT NULL,
    host_routes TEXT NOT NULL,
    allocation_pools TEXT NOT NULL,
    revision BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX subnets_network ON subnets (network_id);
CREATE INDEX subnets_project ON subnets (project_id, created_at, id);
CREATE TABLE ports (
    id TEXT PRIMARY KEY,
    network_id TEXT NOT NULL REFERENCES networks (id),
    project_id TEXT NOT NULL,
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    mac TEXT NOT NULL,
    admin_state_up BIGINT NOT NULL,
    status TEXT NOT NULL,
    device_id TEXT NOT NULL,
    device_owner TEXT NOT NULL,
    -- Made with the server, so removed with it; a port the user made survives its server.
    owned_by_server BIGINT NOT NULL,
    host_id TEXT,
    port_security BIGINT NOT NULL,
    security_groups TEXT NOT NULL,
    revision BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    UNIQUE (network_id, mac)
);
CREATE INDEX ports_project ON ports (project_id, created_at, id);
CREATE INDEX ports_device ON ports (device_id);
CREATE TABLE addresses (
    subnet_id TEXT NOT NULL REFERENCES subnets (id),
    ip TEXT NOT NULL,
    port_id TEXT NOT NULL REFERENCES ports (id),
    PRIMARY KEY (subnet_id, ip)
);
CREATE INDEX addresses_port ON addresses (port_id);
CREATE TABLE security_groups (
    id TEXT PRIMARY KEY,
    project_id TEXT NOT NULL,
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    is_default BIGINT NOT NULL,
    revision BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX security_groups_project ON security_groups (project_id, created_at, id);
-- One default group a project.
CREATE UNIQUE INDEX security_groups_default ON security_groups (project_id) WHERE is_default = 1;
CREATE TABLE security_group_rules (
    id TEXT PRIMARY KEY,
    group_id TEXT NOT NULL REFERENCES security_groups (id),
    project_id TEXT NOT NULL,
    direction TEXT NOT NULL,
    ethertype TEXT NOT NULL,
    protocol TEXT,
    port_min BIGINT,
    port_max BIGINT,
    remote_group_id TEXT,
    remote_ip_prefix TEXT,
    description TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX security_group_rules_group ON security_group_rules (group_id);
