-- The way in by which a session began, or its sign-in's first proof; without a foreign key, since the session from
-- which a way in is removed goes on. Unknown where an older version of this program began it.
ALTER TABLE sessions ADD COLUMN method_id TEXT;
CREATE INDEX sessions_by_method ON sessions (user_id, method_id);
ALTER TABLE mfa_challenges ADD COLUMN method_id TEXT;

-- From where, and with what, the present pair of tokens was asked for.
ALTER TABLE sessions ADD COLUMN rotated_ip TEXT;
ALTER TABLE sessions ADD COLUMN rotated_user_agent TEXT;
