-- Sign-ins at providers that are under way, so that any instance can finish what another one began.
CREATE TABLE oauth_states (
    -- Of the link's reference until the browser comes with it, of the state from then on.
    digest          TEXT   NOT NULL PRIMARY KEY,
    app_id          TEXT   NOT NULL REFERENCES apps (id),
    provider        TEXT   NOT NULL,
    -- The account that gets the way in; NULL when somebody signs in.
    user_id         TEXT   REFERENCES users (id) ON DELETE CASCADE,
    redirect_url    TEXT   NOT NULL,
    -- Both NULL until there is a browser.
    browser_digest  TEXT,
    sealed_verifier TEXT,
    created_at      BIGINT NOT NULL,
    expires_at      BIGINT NOT NULL,
    consumed_at     BIGINT
);
CREATE INDEX oauth_states_by_end ON oauth_states (expires_at);
CREATE INDEX oauth_states_by_user ON oauth_states (user_id) WHERE user_id IS NOT NULL;
