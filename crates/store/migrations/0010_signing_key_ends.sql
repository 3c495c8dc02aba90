-- Until when a key that was superseded still verifies; NULL for the newest.
ALTER TABLE signing_keys ADD COLUMN retires_at BIGINT;
