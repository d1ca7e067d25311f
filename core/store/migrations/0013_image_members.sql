-- Projects that an image is shared with by name, and what each of them says to it.
CREATE TABLE image_members (
    image_id TEXT NOT NULL REFERENCES images (id),
    project_id TEXT NOT NULL,
    status TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (image_id, project_id)
);
CREATE INDEX image_members_project ON image_members (project_id, status, image_id);
