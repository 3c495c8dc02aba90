-- What is begun in one place ends there: by the session that began it, or by whoever has the secret behind a challenge.

-- For what a browser is sent to a provider. NULL for a sign-in, and for what an older program has begun.
ALTER TABLE oauth_states ADD COLUMN purpose TEXT;
-- The session that asked for it, and that alone can finish it.
ALTER TABLE oauth_states ADD COLUMN session_id TEXT;
-- The program that waits on whose page somebody signs in.
ALTER TABLE oauth_states ADD COLUMN pairing_id TEXT;
-- RFC 7636, S256; NULL where the app gave none.
ALTER TABLE oauth_states ADD COLUMN code_challenge TEXT;
ALTER TABLE exchange_codes ADD COLUMN code_challenge TEXT;

-- What a browser has proved at a provider for somebody who is signed in. It changes nothing until the session that asked
-- for it comes with the code.
CREATE TABLE oauth_proofs (
    digest     TEXT   NOT NULL PRIMARY KEY,
    app_id     TEXT   NOT NULL REFERENCES apps (id),
    -- link, or reauthenticate.
    purpose    TEXT   NOT NULL,
    user_id    TEXT   NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    session_id TEXT   NOT NULL,
    provider   TEXT   NOT NULL,
    identifier TEXT   NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX oauth_proofs_by_end ON oauth_proofs (expires_at);
CREATE INDEX oauth_proofs_by_user ON oauth_proofs (user_id);

-- What a mail's link is about, for the page that it opens. Whether it works is said where its secret is.
CREATE TABLE mail_links (
    digest         TEXT   NOT NULL PRIMARY KEY,
    app_id         TEXT   NOT NULL REFERENCES apps (id),
    subject        TEXT   NOT NULL,
    -- The device that asked for the mail.
    ip             TEXT,
    user_agent     TEXT,
    code_challenge TEXT,
    created_at     BIGINT NOT NULL,
    expires_at     BIGINT NOT NULL
);
CREATE INDEX mail_links_by_end ON mail_links (expires_at);
CREATE INDEX mail_links_by_subject ON mail_links (subject);
