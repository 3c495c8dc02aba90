-- Deleting an account ends all access in one short transaction; what it leaves goes in batches.

-- Since when nobody is this user any more. The row stays until nothing of theirs is left: whoever writes something for
-- a user locks it, and finds this.
ALTER TABLE users ADD COLUMN deleted_at BIGINT;
-- When everything that was there at that time had gone. What was written beside the deletion goes a minute later.
ALTER TABLE users ADD COLUMN erased_at BIGINT;
CREATE INDEX users_being_deleted ON users (deleted_at, id) WHERE deleted_at IS NOT NULL;

-- A session is good while its epoch is its user's: counting that up ends all of them in one row. Those that have ended
-- go in batches; how far that is, says the last epoch of which none is left.
ALTER TABLE users ADD COLUMN session_epoch BIGINT NOT NULL DEFAULT 0;
ALTER TABLE users ADD COLUMN swept_epoch BIGINT NOT NULL DEFAULT 0;
ALTER TABLE sessions ADD COLUMN epoch BIGINT NOT NULL DEFAULT 0;
CREATE INDEX users_with_ended_sessions ON users (id) WHERE swept_epoch < session_epoch;
DROP INDEX sessions_by_user;
CREATE INDEX sessions_by_user ON sessions (user_id, epoch);

-- The addresses of an account that is being deleted, until what is kept under an address and no user's id has gone.
CREATE TABLE deleted_addresses (
    user_id    TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    type       TEXT NOT NULL,
    provider   TEXT NOT NULL,
    identifier TEXT NOT NULL,
    PRIMARY KEY (user_id, type, provider, identifier)
);
CREATE INDEX exchange_codes_by_identifier ON exchange_codes (identifier);
CREATE INDEX exchange_codes_by_email ON exchange_codes (email) WHERE email IS NOT NULL;
CREATE INDEX wallet_challenges_by_address ON wallet_challenges (address);
