-- What whoever let the program in has left of the scopes that it asked for; NULL for all of them.
ALTER TABLE pairings ADD COLUMN token_scopes TEXT;
