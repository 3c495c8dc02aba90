-- The mail's link lives and dies with the mail's code: one row, one end.
ALTER TABLE one_time_codes ADD COLUMN link_digest TEXT;
CREATE UNIQUE INDEX one_time_codes_by_link ON one_time_codes (link_digest) WHERE link_digest IS NOT NULL;

-- What a browser carries from a proved way in to the app, which exchanges it for a session. A secret in a URL, so it
-- works once and for a minute, and by itself signs nobody in.
CREATE TABLE exchange_codes (
    digest       TEXT   NOT NULL PRIMARY KEY,
    app_id       TEXT   NOT NULL REFERENCES apps (id),
    type         TEXT   NOT NULL,
    provider     TEXT   NOT NULL DEFAULT '',
    identifier   TEXT   NOT NULL,
    -- What the provider vouches for, for an account that does not exist yet.
    email        TEXT,
    display_name TEXT,
    avatar_url   TEXT,
    created_at   BIGINT NOT NULL,
    expires_at   BIGINT NOT NULL,
    consumed_at  BIGINT
);
CREATE INDEX exchange_codes_by_end ON exchange_codes (expires_at);

-- How many SMS were sent in each day, counted in days of UTC since the epoch.
CREATE TABLE sms_days (
    app_id TEXT   NOT NULL REFERENCES apps (id),
    day    BIGINT NOT NULL,
    sent   BIGINT NOT NULL,
    PRIMARY KEY (app_id, day)
);
