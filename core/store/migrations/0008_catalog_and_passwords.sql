-- Labels of a project: a sorted JSON array of texts.
ALTER TABLE projects ADD COLUMN tags TEXT NOT NULL DEFAULT '[]';
-- A bit for each option that is on: see `UserOptions`.
ALTER TABLE users ADD COLUMN options BIGINT NOT NULL DEFAULT 0;
-- 0 for a user that never had a password, or has it from before this was kept.
ALTER TABLE users ADD COLUMN password_changed_at BIGINT NOT NULL DEFAULT 0;
CREATE TABLE password_history (
    user_id TEXT NOT NULL,
    number BIGINT NOT NULL,
    hash TEXT NOT NULL,
    PRIMARY KEY (user_id, number)
);
CREATE TABLE catalog_regions (
    id TEXT PRIMARY KEY,
    description TEXT NOT NULL,
    parent_id TEXT
);
CREATE TABLE catalog_services (
    id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    enabled BIGINT NOT NULL
);
CREATE TABLE catalog_endpoints (
    id TEXT PRIMARY KEY,
    service_id TEXT NOT NULL,
    interface TEXT NOT NULL CHECK (interface IN ('public', 'internal', 'admin')),
    region_id TEXT,
    url TEXT NOT NULL,
    enabled BIGINT NOT NULL
);
CREATE TABLE project_endpoints (
    project_id TEXT NOT NULL,
    endpoint_id TEXT NOT NULL,
    PRIMARY KEY (project_id, endpoint_id)
);
-- `sealed` is the secret part, encrypted with a key that is not in the database.
CREATE TABLE credentials (
    id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL,
    project_id TEXT,
    kind TEXT NOT NULL,
    sealed TEXT NOT NULL
);
CREATE INDEX credentials_user ON credentials (user_id);
