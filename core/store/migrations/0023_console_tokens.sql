-- What lets somebody join a guest's console, once. Only the sha256 of it is known here.
CREATE TABLE console_tokens (
    digest     TEXT PRIMARY KEY,
    server_id  TEXT NOT NULL,
    host_id    TEXT NOT NULL,
    kind       TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX console_tokens_server ON console_tokens (server_id, created_at);
CREATE INDEX console_tokens_expiry ON console_tokens (expires_at);
