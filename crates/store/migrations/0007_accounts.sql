-- Second factors' single-use backup codes, and codes that prove a way in which somebody adds to their account.

CREATE TABLE backup_codes (
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    digest  TEXT NOT NULL,
    PRIMARY KEY (user_id, digest)
);

-- One at a time for each kind of way in; a new one takes the place of the one before.
CREATE TABLE link_codes (
    user_id    TEXT   NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    type       TEXT   NOT NULL,
    identifier TEXT   NOT NULL,
    digest     TEXT   NOT NULL,
    attempts   BIGINT NOT NULL DEFAULT 0,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (user_id, type)
);
CREATE INDEX link_codes_by_end ON link_codes (expires_at);
