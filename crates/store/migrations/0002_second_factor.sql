-- The second factor: RFC 6238 secrets, sealed, and sign-ins that wait for them.

CREATE TABLE totp_factors (
    user_id       TEXT   NOT NULL PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    sealed_secret TEXT   NOT NULL,
    seal_key      TEXT   NOT NULL,
    created_at    BIGINT NOT NULL,
    -- NULL while the user has not yet shown a code.
    enabled_at    BIGINT,
    -- The last time step that was accepted; each is good once.
    last_step     BIGINT NOT NULL DEFAULT 0
);

CREATE TABLE mfa_challenges (
    digest     TEXT   NOT NULL PRIMARY KEY,
    app_id     TEXT   NOT NULL REFERENCES apps (id),
    user_id    TEXT   NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    -- By what the first factor was proved, for the audit log.
    method     TEXT   NOT NULL,
    attempts   BIGINT NOT NULL DEFAULT 0,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX mfa_challenges_by_user ON mfa_challenges (user_id);
CREATE INDEX mfa_challenges_by_end ON mfa_challenges (expires_at);
