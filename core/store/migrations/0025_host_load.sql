-- How busy a host's machine is, in percent; 0 where its agent does not tell.
ALTER TABLE hosts ADD COLUMN cpu_percent BIGINT NOT NULL DEFAULT 0;
ALTER TABLE hosts ADD COLUMN memory_percent BIGINT NOT NULL DEFAULT 0;
