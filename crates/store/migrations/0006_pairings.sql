-- Programs that wait for somebody to let them in, and the forms by which somebody without a session does so.

CREATE TABLE pairings (
    id               TEXT   NOT NULL PRIMARY KEY,
    app_id           TEXT   NOT NULL REFERENCES apps (id),
    poll_digest      TEXT   NOT NULL,
    -- Eight letters that people compare; they open nothing.
    user_code        TEXT   NOT NULL,
    name             TEXT   NOT NULL,
    scopes           TEXT   NOT NULL,
    ip               TEXT,
    user_agent       TEXT,
    created_at       BIGINT NOT NULL,
    expires_at       BIGINT NOT NULL,
    -- pending, then approved or denied; approved, then used.
    status           TEXT   NOT NULL,
    user_id          TEXT   REFERENCES users (id) ON DELETE CASCADE,
    token_name       TEXT,
    token_expires_at BIGINT,
    decided_at       BIGINT,
    last_polled_at   BIGINT,
    UNIQUE (app_id, user_code)
);
CREATE INDEX pairings_by_end ON pairings (expires_at);
CREATE INDEX pairings_by_user ON pairings (user_id) WHERE user_id IS NOT NULL;

CREATE TABLE pairing_forms (
    digest     TEXT   NOT NULL PRIMARY KEY,
    pairing_id TEXT   NOT NULL REFERENCES pairings (id) ON DELETE CASCADE,
    user_id    TEXT   NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    expires_at BIGINT NOT NULL
);
CREATE INDEX pairing_forms_by_pairing ON pairing_forms (pairing_id);
CREATE INDEX pairing_forms_by_user ON pairing_forms (user_id);
