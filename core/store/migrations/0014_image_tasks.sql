-- Imports of images, running and ended: kept for a while after their end, also when the image is gone.
CREATE TABLE image_tasks (
    id TEXT PRIMARY KEY,
    project_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    request_id TEXT NOT NULL,
    image_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    status TEXT NOT NULL,
    message TEXT NOT NULL,
    input TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    -- Null while it runs.
    expires_at BIGINT
);
CREATE INDEX image_tasks_project ON image_tasks (project_id, created_at, id);
CREATE INDEX image_tasks_image ON image_tasks (image_id, created_at);
CREATE INDEX image_tasks_expiry ON image_tasks (expires_at);
