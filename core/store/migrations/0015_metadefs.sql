-- Descriptions of what images and other things may be tagged with: namespaces, and what each of them holds.
CREATE TABLE metadef_namespaces (
    name TEXT PRIMARY KEY,
    project_id TEXT NOT NULL,
    public INTEGER NOT NULL,
    protected INTEGER NOT NULL,
    display_name TEXT,
    description TEXT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX metadef_namespaces_project ON metadef_namespaces (project_id, name);
CREATE TABLE metadef_items (
    namespace TEXT NOT NULL REFERENCES metadef_namespaces (name),
    -- object, property, tag or resource_type
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    body TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (namespace, kind, name)
);
CREATE INDEX metadef_items_kind ON metadef_items (kind, name);
