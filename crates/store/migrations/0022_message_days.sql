-- What was sent in one day of UTC, counted in days since the epoch: mails and SMS cost money or a good name.
CREATE TABLE message_days (
    app_id  TEXT   NOT NULL REFERENCES apps (id),
    day     BIGINT NOT NULL,
    -- `mail` or `sms`
    channel TEXT   NOT NULL,
    -- What they have in common: `all`, `newcomers`, a country, or the digest of the first digits of a number.
    share   TEXT   NOT NULL,
    sent    BIGINT NOT NULL,
    PRIMARY KEY (app_id, day, channel, share)
);

-- `sms_days` is left to older programs that still run, and goes with a later version.
INSERT INTO message_days (app_id, day, channel, share, sent) SELECT app_id, day, 'sms', 'all', sent FROM sms_days;
