-- Tokens that came from an older system, and what operators look for.

-- Counts the batches that were imported; instances look at it to learn of tokens whose form is not ours.
ALTER TABLE apps ADD COLUMN imports BIGINT NOT NULL DEFAULT 0;

-- Counts what operators' commands have taken away; instances look at it to forget their copies.
ALTER TABLE apps ADD COLUMN operator_writes BIGINT NOT NULL DEFAULT 0;

-- Of secrets whose form is not ours only: the batch they came with, and 20 bits of their SHA-256, by which they are
-- found when no digest matches. What older tokens begin with tells them apart badly.
ALTER TABLE token_secrets ADD COLUMN imported_in BIGINT;
ALTER TABLE token_secrets ADD COLUMN hint TEXT;
CREATE INDEX token_secrets_imported ON token_secrets (imported_in) WHERE imported_in IS NOT NULL;
CREATE INDEX token_secrets_by_hint ON token_secrets (hint) WHERE hint IS NOT NULL;

-- Every token that has been imported once, also when it is gone since: the same file imported again must not bring
-- back what was deleted.
CREATE TABLE imported_tokens (
    token_id    TEXT   NOT NULL PRIMARY KEY,
    app_id      TEXT   NOT NULL REFERENCES apps (id),
    imported_at BIGINT NOT NULL
);

CREATE INDEX users_by_creation ON users (created_at, id);
CREATE INDEX personal_access_tokens_by_creation ON personal_access_tokens (created_at, id);
