-- Installed plugins, which of them is in force for each kind, and what became of them.

CREATE TABLE plugins (
    -- sha256 of the component.
    digest TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    version TEXT NOT NULL,
    -- plugin.toml as it was given.
    manifest TEXT NOT NULL,
    size BIGINT NOT NULL,
    -- 0 while its parts arrive.
    complete BIGINT NOT NULL,
    -- The operator's settings, JSON.
    config TEXT NOT NULL,
    installed_at BIGINT NOT NULL,
    installed_by TEXT NOT NULL
);
-- The component, in base64: every controller makes its own file of it.
CREATE TABLE plugin_parts (
    digest TEXT NOT NULL REFERENCES plugins (digest),
    number BIGINT NOT NULL,
    bytes TEXT NOT NULL,
    PRIMARY KEY (digest, number)
);
-- One row a kind, once anything but the configuration file has chosen; written compare-and-set by revision.
CREATE TABLE plugin_slots (
    kind TEXT PRIMARY KEY,
    revision BIGINT NOT NULL,
    document TEXT NOT NULL
);
-- Bounded: the oldest lines go.
CREATE TABLE plugin_log (
    number BIGINT PRIMARY KEY,
    at BIGINT NOT NULL,
    kind TEXT NOT NULL,
    plugin TEXT NOT NULL,
    what TEXT NOT NULL,
    actor TEXT NOT NULL,
    message TEXT NOT NULL
);
-- Where a shadow answered otherwise than the plugin in force. Bounded: the oldest go.
CREATE TABLE plugin_differences (
    number BIGINT PRIMARY KEY,
    at BIGINT NOT NULL,
    kind TEXT NOT NULL,
    active TEXT NOT NULL,
    shadow TEXT NOT NULL,
    subject TEXT NOT NULL,
    was TEXT NOT NULL,
    would TEXT NOT NULL
);
