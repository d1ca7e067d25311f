-- Quota over the tree of projects, per user and zone, and limits with ids of their own.

-- Who moved usage last: claims that were decided together may be committed in any order.
ALTER TABLE quota_revisions ADD COLUMN cohort TEXT NOT NULL DEFAULT '';

-- Each user's part of a project's usage, by availability zone.
CREATE TABLE quota_holdings (
    project_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    zone TEXT NOT NULL,
    resource TEXT NOT NULL,
    used BIGINT NOT NULL CHECK (used >= 0),
    PRIMARY KEY (project_id, user_id, zone, resource)
);

-- Nothing has written to the first form of it.
DROP TABLE quota_limits;
CREATE TABLE quota_limits (
    -- Or the id of a domain.
    project_id TEXT NOT NULL,
    resource TEXT NOT NULL,
    hard_limit BIGINT NOT NULL CHECK (hard_limit >= -1),
    id TEXT NOT NULL UNIQUE,
    description TEXT,
    PRIMARY KEY (project_id, resource)
);
CREATE TABLE quota_user_limits (
    project_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    resource TEXT NOT NULL,
    hard_limit BIGINT NOT NULL CHECK (hard_limit >= -1),
    PRIMARY KEY (project_id, user_id, resource)
);
-- Limits of projects that have none of their own; what is not here is as configured.
CREATE TABLE quota_defaults (
    resource TEXT PRIMARY KEY,
    default_limit BIGINT NOT NULL CHECK (default_limit >= -1),
    description TEXT
);

-- Bytes of images were not counted before. What servers hold per user is counted at the first start.
INSERT INTO quota_usages (project_id, resource, used)
    SELECT project_id, 'image_bytes', SUM(size) FROM images WHERE size > 0 GROUP BY project_id;
