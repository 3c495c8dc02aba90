-- When whoever has a session last proved who they are: a session that was begun by an older program did so when it was
-- created. By the second factor apart, since where there is one nothing else counts.
ALTER TABLE sessions ADD COLUMN authenticated_at BIGINT;
ALTER TABLE sessions ADD COLUMN second_factor_at BIGINT;
-- Wrong codes in the session, ever: a stolen session is worth so many guesses and no more.
ALTER TABLE sessions ADD COLUMN reauth_failures BIGINT NOT NULL DEFAULT 0;

-- Proofs that were asked for in a session and are awaited. They sign nobody in and link nothing.
CREATE TABLE reauth_flows (
    -- Keyed, of the flow's id.
    digest      TEXT   NOT NULL PRIMARY KEY,
    session_id  TEXT   NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    type        TEXT   NOT NULL,
    -- The way in that the code was sent to.
    identifier  TEXT   NOT NULL,
    code_digest TEXT   NOT NULL,
    attempts    BIGINT NOT NULL DEFAULT 0,
    created_at  BIGINT NOT NULL,
    expires_at  BIGINT NOT NULL
);
CREATE INDEX reauth_flows_by_session ON reauth_flows (session_id, type, created_at);
CREATE INDEX reauth_flows_by_end ON reauth_flows (expires_at);
