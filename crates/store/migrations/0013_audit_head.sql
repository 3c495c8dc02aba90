-- One format of links, which binds every row's place and content. What earlier versions sealed is taken out of the chain
-- and sealed anew; `audit_chain` keeps the end of theirs, which the first event of the new chain repeats.

-- First: this waits for a sealer of an earlier version that is at work, and none gets the lease again.
UPDATE audit_chain SET lease_holder = NULL, lease_until = 9223372036854775807;

UPDATE audit_events SET seq = NULL, link = NULL, particulars_salt = NULL, particulars_digest = NULL
WHERE seq IS NOT NULL;

-- Where the chain begins (everything before `first_seq` was pruned, `first_link` is the link before it) and ends; one row.
CREATE TABLE audit_head (
    id           TEXT   NOT NULL PRIMARY KEY,
    first_seq    BIGINT NOT NULL,
    first_link   TEXT   NOT NULL,
    last_seq     BIGINT NOT NULL,
    last_link    TEXT   NOT NULL,
    lease_holder TEXT,
    lease_until  BIGINT NOT NULL
);

INSERT INTO audit_head (id, first_seq, first_link, last_seq, last_link, lease_until)
VALUES ('head', 1, '0000000000000000000000000000000000000000000000000000000000000000',
        0, '0000000000000000000000000000000000000000000000000000000000000000', 0);
