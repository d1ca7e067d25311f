-- Groups, their members, roles of groups, inherited roles, and which roles imply which beyond the built-in ones.
CREATE TABLE identity_groups (
    id TEXT PRIMARY KEY,
    domain_id TEXT NOT NULL REFERENCES domains (id),
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    UNIQUE (domain_id, name)
);
CREATE TABLE group_members (
    group_id TEXT NOT NULL REFERENCES identity_groups (id),
    user_id TEXT NOT NULL REFERENCES users (id),
    PRIMARY KEY (group_id, user_id)
);
CREATE INDEX group_members_user ON group_members (user_id);
-- actor: `user` or `group`; target: `project`, `domain` or `system`, whose target_id is `all`. An inherited one
-- counts in the projects below the target, and not in the target.
CREATE TABLE role_grants (
    actor TEXT NOT NULL CHECK (actor IN ('user', 'group')),
    actor_id TEXT NOT NULL,
    target TEXT NOT NULL CHECK (target IN ('project', 'domain', 'system')),
    target_id TEXT NOT NULL,
    role_id TEXT NOT NULL REFERENCES roles (id),
    inherited BIGINT NOT NULL,
    PRIMARY KEY (actor, actor_id, target, target_id, role_id, inherited)
);
INSERT INTO role_grants (actor, actor_id, target, target_id, role_id, inherited)
    SELECT 'user', user_id, target, target_id, role_id, 0 FROM role_assignments;
DROP TABLE role_assignments;
CREATE TABLE implied_roles (
    prior_id TEXT NOT NULL REFERENCES roles (id),
    implied_id TEXT NOT NULL REFERENCES roles (id),
    PRIMARY KEY (prior_id, implied_id)
);
