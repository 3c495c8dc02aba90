-- Guesses at the six digits of people's authenticator apps, by the waiting sign-in or the session that made them.
CREATE TABLE totp_guesses (
    guesser TEXT   NOT NULL PRIMARY KEY,
    user_id TEXT   NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    -- Those that were wrong, and those that are being compared.
    wrong   BIGINT NOT NULL,
    last_at BIGINT NOT NULL
);
CREATE INDEX totp_guesses_by_user ON totp_guesses (user_id, last_at);
CREATE INDEX totp_guesses_by_time ON totp_guesses (last_at);

-- How many guesses at codes each instance has seen in each minute since the epoch.
CREATE TABLE guess_minutes (
    minute     BIGINT NOT NULL,
    instance   TEXT   NOT NULL,
    right_ones BIGINT NOT NULL,
    wrong_ones BIGINT NOT NULL,
    PRIMARY KEY (minute, instance)
);
