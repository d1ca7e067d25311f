-- What an intent is besides a start or stop; locks, tags, an operator's word that a server is broken, and how
-- each operation ended.
ALTER TABLE servers ADD COLUMN power_how TEXT NOT NULL DEFAULT 'plain';
-- The intent that phase `failed` is about.
ALTER TABLE servers ADD COLUMN failed_n BIGINT NOT NULL DEFAULT 0;
UPDATE servers SET failed_n = power_n WHERE phase = 'failed';
-- An operator says that it is in error.
ALTER TABLE servers ADD COLUMN broken BIGINT NOT NULL DEFAULT 0;
-- `owner` or `admin`; NULL where nobody has locked it.
ALTER TABLE servers ADD COLUMN locked_by TEXT;
ALTER TABLE servers ADD COLUMN locked_reason TEXT;
-- A JSON list, sorted.
ALTER TABLE servers ADD COLUMN tags TEXT NOT NULL DEFAULT '[]';
-- The intent that an operation waits for; NULL where it was done at once.
ALTER TABLE server_actions ADD COLUMN power_n BIGINT;
ALTER TABLE server_actions ADD COLUMN finished_at BIGINT;
-- Why it came to nothing; NULL where it did not.
ALTER TABLE server_actions ADD COLUMN message TEXT;
-- What a request with an Idempotency-Key made, for a day: a second one of the same key makes nothing.
CREATE TABLE idempotency_keys (
    project_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    route TEXT NOT NULL,
    idempotency_key TEXT NOT NULL,
    -- sha256 of the body.
    digest TEXT NOT NULL,
    reply TEXT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (project_id, user_id, route, idempotency_key)
);
CREATE INDEX idempotency_keys_at ON idempotency_keys (at);
