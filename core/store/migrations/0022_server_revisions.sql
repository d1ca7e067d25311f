-- Counts the writes of a row, so that a reader knows without its content whether it has it already.
ALTER TABLE servers ADD COLUMN revision BIGINT NOT NULL DEFAULT 0;
