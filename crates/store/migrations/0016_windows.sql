-- Windows of limits, where they are counted in the process: they survive it.

-- Times in both tables are of the steady clock of the process that wrote them, in milliseconds.
CREATE TABLE window_runs (
    -- Each start of the service is the next one.
    run        BIGINT NOT NULL PRIMARY KEY,
    -- Add this to a time of this run, and it is wall time. When somebody sets the clock, it moves for all runs.
    wall_ahead BIGINT NOT NULL,
    began      BIGINT NOT NULL,
    -- 1: the one before did not end in order, and a tenth of any window may be lost.
    after_kill BIGINT NOT NULL,
    -- 1: everything was saved at its end.
    is_over    BIGINT NOT NULL
);

CREATE TABLE windows (
    -- Which of the process's limiters.
    limiter TEXT   NOT NULL,
    -- The key: a credential, a user, an address, a mailbox or a number.
    name    TEXT   NOT NULL,
    -- The run that saved it, and counted in it what the kills up to then may have lost.
    run     BIGINT NOT NULL,
    -- By then nothing is counted in it any more.
    ends    BIGINT NOT NULL,
    length  BIGINT NOT NULL,
    -- How many more may have been admitted unsaved, at most.
    unseen  BIGINT NOT NULL,
    -- `time:count` for each bucket, separated by spaces.
    buckets TEXT   NOT NULL,
    PRIMARY KEY (limiter, name)
);
CREATE INDEX windows_by_end ON windows (run, ends);
