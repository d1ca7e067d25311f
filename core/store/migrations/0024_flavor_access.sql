-- Which projects see and use a flavor that is not public.
CREATE TABLE flavor_projects (
    flavor_id  TEXT NOT NULL REFERENCES flavors (id),
    project_id TEXT NOT NULL,
    PRIMARY KEY (flavor_id, project_id)
);
CREATE INDEX flavor_projects_project ON flavor_projects (project_id);
