-- Addresses that a client says a server can be reached at: shown, and nothing else.
ALTER TABLE servers ADD COLUMN access_ip_v4 TEXT;
ALTER TABLE servers ADD COLUMN access_ip_v6 TEXT;
