ALTER TABLE flavors ADD COLUMN description TEXT;
-- Where an operation was asked of a server; NULL in lines that are older than this, and where no host was found.
ALTER TABLE server_actions ADD COLUMN host_id TEXT;
