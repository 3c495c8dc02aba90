-- What people are told about their accounts by mail, from the transaction of what happened until the mail has gone. One
-- row for each address: without a foreign key to the user, since the mail about a deletion goes when they are gone.
CREATE TABLE security_notices (
    event_id      TEXT   NOT NULL,
    recipient     TEXT   NOT NULL,
    app_id        TEXT   NOT NULL REFERENCES apps (id),
    user_id       TEXT   NOT NULL,
    type          TEXT   NOT NULL,
    at            BIGINT NOT NULL,
    ip            TEXT,
    user_agent    TEXT,
    details       TEXT   NOT NULL,
    -- When somebody may send it: at first a little later, so that what happens together goes together.
    due_at        BIGINT NOT NULL,
    -- By whom it is being sent, and until when nobody else does so. Whoever is killed meanwhile has not sent it.
    claim         TEXT,
    claimed_until BIGINT NOT NULL DEFAULT 0,
    attempts      BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (event_id, recipient)
);
CREATE INDEX security_notices_by_time ON security_notices (due_at);
CREATE INDEX security_notices_by_person ON security_notices (user_id, recipient);

-- How many of these mails a person's address may still get: each costs an hour, and ten hours may be owed.
CREATE TABLE security_mail_budgets (
    user_id     TEXT   NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    recipient   TEXT   NOT NULL,
    spent_until BIGINT NOT NULL,
    PRIMARY KEY (user_id, recipient)
);
CREATE INDEX security_mail_budgets_by_time ON security_mail_budgets (spent_until);

-- The links in these mails; one that is used is gone.
CREATE TABLE undo_links (
    digest     TEXT   NOT NULL PRIMARY KEY,
    user_id    TEXT   NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX undo_links_by_user ON undo_links (user_id);
CREATE INDEX undo_links_by_end ON undo_links (expires_at);

-- With what a person has signed in: a digest of program and network that is worthless without its key.
CREATE TABLE known_devices (
    user_id      TEXT   NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    digest       TEXT   NOT NULL,
    last_seen_at BIGINT NOT NULL,
    PRIMARY KEY (user_id, digest)
);
CREATE INDEX known_devices_by_use ON known_devices (user_id, last_seen_at);
