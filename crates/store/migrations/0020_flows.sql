-- Who guesses at codes, and how often. See docs/decisions/0031-guesses-count-against-who-makes-them.md.

-- One row for each request for a code, under the keyed digest of its id; one for all guesses at a subject that name no
-- flow; and one, `code:ID`, for what of those was compared with this code. A row of which guesses were compared and
-- wrong stays for as long as they count.
CREATE TABLE sign_in_flows (
    digest     TEXT   NOT NULL PRIMARY KEY,
    app_id     TEXT   NOT NULL REFERENCES apps (id),
    -- The keyed digest of the purpose and the address or number.
    subject    TEXT   NOT NULL,
    -- With which code the guesses began that name no flow; they begin again with the next.
    code_id    TEXT   NOT NULL DEFAULT '',
    -- How many guesses were looked at.
    guesses    BIGINT NOT NULL,
    -- How many of them were wrong and could have been right: made at a code of six digits that worked.
    counted    BIGINT NOT NULL DEFAULT 0,
    expires_at BIGINT NOT NULL
);
CREATE INDEX sign_in_flows_counted ON sign_in_flows (subject, expires_at) WHERE counted > 0;
CREATE INDEX sign_in_flows_by_end ON sign_in_flows (expires_at) WHERE counted = 0;
CREATE INDEX sign_in_flows_counted_by_end ON sign_in_flows (expires_at) WHERE counted > 0;

-- Subjects a code of whose was guessed at until it was dead, under the same digest.
CREATE TABLE guarded_subjects (
    subject       TEXT   NOT NULL PRIMARY KEY,
    app_id        TEXT   NOT NULL REFERENCES apps (id),
    last_guess_at BIGINT NOT NULL
);
CREATE INDEX guarded_subjects_by_guess ON guarded_subjects (last_guess_at);

-- The code's id if it is of ten characters. No flag: an older program that puts another code here knows nothing of it.
ALTER TABLE one_time_codes ADD COLUMN long_id TEXT;
