-- Messages that wallets were asked to sign.

CREATE TABLE wallet_challenges (
    -- Keyed, of the purpose and the whole message: what is signed is found only if it is this, byte for byte.
    digest      TEXT   NOT NULL PRIMARY KEY,
    app_id      TEXT   NOT NULL REFERENCES apps (id),
    -- sign_in, or link.
    purpose     TEXT   NOT NULL,
    -- Whose account the wallet is to be added to, where it is.
    user_id     TEXT   REFERENCES users (id) ON DELETE CASCADE,
    chain       TEXT   NOT NULL,
    chain_id    TEXT   NOT NULL,
    address     TEXT   NOT NULL,
    message     TEXT   NOT NULL,
    created_at  BIGINT NOT NULL,
    expires_at  BIGINT NOT NULL,
    consumed_at BIGINT
);
CREATE INDEX wallet_challenges_by_user ON wallet_challenges (user_id) WHERE user_id IS NOT NULL;
CREATE INDEX wallet_challenges_by_end ON wallet_challenges (expires_at);
