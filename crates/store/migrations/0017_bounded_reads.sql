-- Every question has an index that answers it alone, so that none walks, sorts or counts what belongs to others.

-- Pages of one kind end in the id, as pages of all kinds do.
DROP INDEX audit_events_by_type;
CREATE INDEX audit_events_by_type ON audit_events (user_id, type, at, id);

-- A user's tokens that have not ended are counted at every creation, up to the limit.
CREATE INDEX personal_access_tokens_by_user_end ON personal_access_tokens (user_id, expires_at);

-- Candidates of a lost seal key come in order of their ids, page by page.
DROP INDEX token_secrets_by_prefix;
CREATE INDEX token_secrets_by_prefix ON token_secrets (prefix, id);
DROP INDEX token_secrets_by_hint;
CREATE INDEX token_secrets_by_hint ON token_secrets (hint, id) WHERE hint IS NOT NULL;

-- The disabled ones are few among many.
CREATE INDEX users_disabled ON users (created_at, id) WHERE disabled_at IS NOT NULL;
