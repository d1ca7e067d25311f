-- What users hand on: application credentials, with access rules, and trusts.
CREATE TABLE application_credentials (
    id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL,
    project_id TEXT NOT NULL,
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    secret_hash TEXT NOT NULL,
    expires_at BIGINT,
    unrestricted BIGINT NOT NULL,
    -- Whether only what its access rules name may be asked for; with no rule that is nothing.
    ruled BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    UNIQUE (user_id, name)
);
CREATE TABLE application_credential_roles (
    credential_id TEXT NOT NULL REFERENCES application_credentials (id),
    role_id TEXT NOT NULL,
    PRIMARY KEY (credential_id, role_id)
);
CREATE TABLE access_rules (
    id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL,
    service TEXT NOT NULL,
    method TEXT NOT NULL,
    path TEXT NOT NULL,
    UNIQUE (user_id, service, method, path)
);
CREATE TABLE application_credential_rules (
    credential_id TEXT NOT NULL REFERENCES application_credentials (id),
    rule_id TEXT NOT NULL REFERENCES access_rules (id),
    PRIMARY KEY (credential_id, rule_id)
);
CREATE TABLE trusts (
    id TEXT PRIMARY KEY,
    trustor_id TEXT NOT NULL,
    trustee_id TEXT NOT NULL,
    project_id TEXT NOT NULL,
    impersonation BIGINT NOT NULL,
    expires_at BIGINT,
    -- Tokens that can still be had; null is any number.
    remaining_uses BIGINT,
    -- How often it may be handed on, and the trust that it was handed on from.
    redelegation_count BIGINT NOT NULL,
    redelegated_id TEXT,
    created_at BIGINT NOT NULL
);
CREATE INDEX trusts_trustor ON trusts (trustor_id);
CREATE INDEX trusts_trustee ON trusts (trustee_id);
CREATE INDEX trusts_redelegated ON trusts (redelegated_id);
CREATE TABLE trust_roles (
    trust_id TEXT NOT NULL REFERENCES trusts (id),
    role_id TEXT NOT NULL,
    PRIMARY KEY (trust_id, role_id)
);
