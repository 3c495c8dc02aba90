-- What was taken away is known everywhere when every instance that has a row here has acknowledged it.

-- Counts how often somebody has wanted all instances to know; `operator_writes` counts those times after which
-- instances forget every copy and read their keys again.
ALTER TABLE apps ADD COLUMN revocation_round BIGINT NOT NULL DEFAULT 0;

-- The instances that may trust cached copies. One without a row trusts none until it has made its row.
CREATE TABLE instances (
    id                 TEXT   NOT NULL PRIMARY KEY,
    -- The last round whose marks it has applied.
    acknowledged_round BIGINT NOT NULL
);

-- Another number each time that the mark is owed: an instance applies it once each time, whatever clocks say.
ALTER TABLE owed_marks ADD COLUMN occasion BIGINT NOT NULL DEFAULT 0;

-- Marks are read all, and purged by name.
DROP INDEX owed_marks_by_end;
