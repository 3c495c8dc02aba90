-- The session by which somebody let a program in: when it has ended since, the program gets no token. Null where it was
-- the form of the pairing's own page, which is good once.
ALTER TABLE pairings ADD COLUMN session_id TEXT;
