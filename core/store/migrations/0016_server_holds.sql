-- Operations with more than one step, and the states between the steps.

-- `resized`, `rescued`, `shelved` or `soft_deleted`; `none` for what its host says.
ALTER TABLE servers ADD COLUMN hold TEXT NOT NULL DEFAULT 'none';
ALTER TABLE servers ADD COLUMN hold_since BIGINT;
-- What the operation has to remember until its end, as JSON.
ALTER TABLE servers ADD COLUMN operation TEXT;
CREATE INDEX servers_hold ON servers (hold, hold_since) WHERE hold <> 'none';
