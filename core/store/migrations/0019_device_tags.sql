-- Names that a client gave to devices of a server, as JSON: its guest finds them by these.
ALTER TABLE servers ADD COLUMN device_tags TEXT;
