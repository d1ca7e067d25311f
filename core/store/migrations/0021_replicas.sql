-- Controllers that serve from this database: what of the identity data each of them knows, and that it lives.
CREATE TABLE replicas (
    id        TEXT PRIMARY KEY,
    beat      BIGINT NOT NULL,
    directory BIGINT NOT NULL,
    revoked   BIGINT NOT NULL
);
