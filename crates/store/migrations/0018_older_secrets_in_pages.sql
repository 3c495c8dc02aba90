-- Instances read the imported secrets page by page: by batch, and within a batch by id.
CREATE INDEX token_secrets_by_import ON token_secrets (imported_in, id) WHERE imported_in IS NOT NULL;
-- The new one begins with the same column.
DROP INDEX token_secrets_imported;
