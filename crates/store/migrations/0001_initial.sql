-- One text for SQLite and PostgreSQL: only TEXT and BIGINT. Times are milliseconds since the epoch, booleans 0 or 1,
-- digests 64 hexadecimal characters.

CREATE TABLE apps (
    id           TEXT   NOT NULL PRIMARY KEY,
    lock_version BIGINT NOT NULL DEFAULT 0
);

INSERT INTO apps (id) VALUES ('default');

CREATE TABLE users (
    id             TEXT   NOT NULL PRIMARY KEY,
    app_id         TEXT   NOT NULL REFERENCES apps (id),
    email          TEXT,
    phone          TEXT,
    display_name   TEXT,
    avatar_url     TEXT,
    wallet_address TEXT,
    email_verified BIGINT NOT NULL DEFAULT 0,
    phone_verified BIGINT NOT NULL DEFAULT 0,
    created_at     BIGINT NOT NULL,
    updated_at     BIGINT NOT NULL,
    last_login_at  BIGINT,
    disabled_at    BIGINT,
    -- Counted up by whoever must be alone with this user's rows until the end of the transaction.
    lock_version   BIGINT NOT NULL DEFAULT 0
);

CREATE TABLE auth_methods (
    id           TEXT   NOT NULL PRIMARY KEY,
    app_id       TEXT   NOT NULL REFERENCES apps (id),
    user_id      TEXT   NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    type         TEXT   NOT NULL,
    -- Empty where there is none; NULLs would escape the unique constraint.
    provider     TEXT   NOT NULL DEFAULT '',
    identifier   TEXT   NOT NULL,
    verified     BIGINT NOT NULL,
    is_primary   BIGINT NOT NULL,
    created_at   BIGINT NOT NULL,
    last_used_at BIGINT,
    UNIQUE (app_id, type, provider, identifier)
);
CREATE INDEX auth_methods_by_user ON auth_methods (user_id);

CREATE TABLE sessions (
    id                      TEXT   NOT NULL PRIMARY KEY,
    app_id                  TEXT   NOT NULL REFERENCES apps (id),
    user_id                 TEXT   NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    generation              BIGINT NOT NULL,
    refresh_digest          TEXT   NOT NULL,
    previous_refresh_digest TEXT,
    created_at              BIGINT NOT NULL,
    last_seen_at            BIGINT NOT NULL,
    rotated_at              BIGINT NOT NULL,
    expires_at              BIGINT NOT NULL,
    absolute_expires_at     BIGINT NOT NULL,
    ip                      TEXT,
    user_agent              TEXT
);
CREATE INDEX sessions_by_user ON sessions (user_id);
CREATE INDEX sessions_by_end ON sessions (expires_at);

CREATE TABLE one_time_codes (
    id          TEXT   NOT NULL PRIMARY KEY,
    app_id      TEXT   NOT NULL REFERENCES apps (id),
    purpose     TEXT   NOT NULL,
    subject     TEXT   NOT NULL,
    digest      TEXT   NOT NULL,
    attempts    BIGINT NOT NULL DEFAULT 0,
    created_at  BIGINT NOT NULL,
    expires_at  BIGINT NOT NULL,
    consumed_at BIGINT,
    UNIQUE (app_id, purpose, subject)
);
CREATE INDEX one_time_codes_by_end ON one_time_codes (expires_at);
CREATE INDEX one_time_codes_by_use ON one_time_codes (consumed_at) WHERE consumed_at IS NOT NULL;

CREATE TABLE personal_access_tokens (
    id           TEXT   NOT NULL PRIMARY KEY,
    app_id       TEXT   NOT NULL REFERENCES apps (id),
    user_id      TEXT   NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name         TEXT   NOT NULL,
    scopes       TEXT   NOT NULL,
    expires_at   BIGINT,
    last_used_at BIGINT,
    last_used_ip TEXT,
    created_at   BIGINT NOT NULL,
    updated_at   BIGINT NOT NULL,
    version      BIGINT NOT NULL DEFAULT 1
);
CREATE INDEX personal_access_tokens_by_user ON personal_access_tokens (user_id, created_at, id);
CREATE INDEX personal_access_tokens_by_end ON personal_access_tokens (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE token_secrets (
    id          TEXT   NOT NULL PRIMARY KEY,
    token_id    TEXT   NOT NULL REFERENCES personal_access_tokens (id) ON DELETE CASCADE,
    hash        TEXT   NOT NULL,
    digest      TEXT   NOT NULL UNIQUE,
    seal_key    TEXT   NOT NULL,
    prefix      TEXT   NOT NULL,
    valid_until BIGINT,
    created_at  BIGINT NOT NULL
);
CREATE INDEX token_secrets_by_token ON token_secrets (token_id);
CREATE INDEX token_secrets_by_prefix ON token_secrets (prefix);
CREATE INDEX token_secrets_by_seal_key ON token_secrets (seal_key);
-- A token has exactly one current secret; those before it end.
CREATE UNIQUE INDEX token_secrets_current ON token_secrets (token_id) WHERE valid_until IS NULL;

CREATE TABLE signing_keys (
    kid                TEXT   NOT NULL PRIMARY KEY,
    public_key         TEXT   NOT NULL,
    sealed_private_key TEXT   NOT NULL,
    seal_key           TEXT   NOT NULL,
    created_at         BIGINT NOT NULL
);

-- Without foreign keys to what the events are about: they stay when it goes.
CREATE TABLE audit_events (
    id               TEXT   NOT NULL PRIMARY KEY,
    app_id           TEXT   NOT NULL REFERENCES apps (id),
    user_id          TEXT,
    type             TEXT   NOT NULL,
    at               BIGINT NOT NULL,
    actor_session_id TEXT,
    actor_token_id   TEXT,
    actor_service    TEXT,
    ip               TEXT,
    user_agent       TEXT,
    request_id       TEXT,
    metadata         TEXT   NOT NULL,
    seq              BIGINT,
    link             TEXT
);
CREATE INDEX audit_events_by_user ON audit_events (user_id, at, id);
CREATE INDEX audit_events_by_type ON audit_events (user_id, type, at);
-- Two partial indexes: with one whole one on `seq`, SQLite would sort all unsealed events for every batch.
CREATE UNIQUE INDEX audit_events_sealed ON audit_events (seq) WHERE seq IS NOT NULL;
CREATE INDEX audit_events_unsealed ON audit_events (at, id) WHERE seq IS NULL;

-- The chain's end, one row. A chain cut short differs from it.
CREATE TABLE audit_chain (
    id           TEXT   NOT NULL PRIMARY KEY,
    last_seq     BIGINT NOT NULL,
    last_link    TEXT   NOT NULL,
    lease_holder TEXT,
    lease_until  BIGINT NOT NULL
);

INSERT INTO audit_chain (id, last_seq, last_link, lease_until)
VALUES ('chain', 0, '0000000000000000000000000000000000000000000000000000000000000000', 0);
