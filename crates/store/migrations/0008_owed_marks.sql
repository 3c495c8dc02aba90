-- Credentials whose cached copies must not be trusted: revoked or changed, in the transaction that wrote this. Every
-- instance looks here about twice a second, and trusts no copy while it cannot.

CREATE TABLE owed_marks (
    -- `pat:` or `session:` and the id.
    credential TEXT   NOT NULL PRIMARY KEY,
    -- By then no copy from before is left anywhere.
    ends       BIGINT NOT NULL
);
CREATE INDEX owed_marks_by_end ON owed_marks (ends);
