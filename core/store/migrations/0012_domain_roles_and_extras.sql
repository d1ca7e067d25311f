-- Roles of one domain beside those of the cloud, whose domain_id is ''. Written so that both engines take it: a
-- constraint of a table cannot be changed everywhere, so the tables are made anew.
CREATE TABLE roles_by_domain (
    id TEXT PRIMARY KEY,
    domain_id TEXT NOT NULL,
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    UNIQUE (domain_id, name)
);
INSERT INTO roles_by_domain (id, domain_id, name, description) SELECT id, '', name, description FROM roles;
CREATE TABLE grants_of_roles (
    actor TEXT NOT NULL CHECK (actor IN ('user', 'group')),
    actor_id TEXT NOT NULL,
    target TEXT NOT NULL CHECK (target IN ('project', 'domain', 'system')),
    target_id TEXT NOT NULL,
    role_id TEXT NOT NULL REFERENCES roles_by_domain (id),
    inherited BIGINT NOT NULL,
    PRIMARY KEY (actor, actor_id, target, target_id, role_id, inherited)
);
INSERT INTO grants_of_roles (actor, actor_id, target, target_id, role_id, inherited)
    SELECT actor, actor_id, target, target_id, role_id, inherited FROM role_grants;
DROP TABLE role_grants;
CREATE TABLE implications (
    prior_id TEXT NOT NULL REFERENCES roles_by_domain (id),
    implied_id TEXT NOT NULL REFERENCES roles_by_domain (id),
    PRIMARY KEY (prior_id, implied_id)
);
INSERT INTO implications (prior_id, implied_id) SELECT prior_id, implied_id FROM implied_roles;
DROP TABLE implied_roles;
DROP TABLE roles;
ALTER TABLE roles_by_domain RENAME TO roles;
ALTER TABLE grants_of_roles RENAME TO role_grants;
ALTER TABLE implications RENAME TO implied_roles;
-- What clients attach to users, groups, projects, domains and roles beyond the fields there are: a JSON object.
CREATE TABLE identity_extras (
    kind TEXT NOT NULL CHECK (kind IN ('user', 'group', 'project', 'domain', 'role')),
    id TEXT NOT NULL,
    data TEXT NOT NULL,
    PRIMARY KEY (kind, id)
);
-- Endpoints chosen by what they have in common, and the projects that are shown them. `filters` is a JSON object.
CREATE TABLE endpoint_groups (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    filters TEXT NOT NULL
);
CREATE TABLE project_endpoint_groups (
    project_id TEXT NOT NULL,
    group_id TEXT NOT NULL REFERENCES endpoint_groups (id),
    PRIMARY KEY (project_id, group_id)
);
