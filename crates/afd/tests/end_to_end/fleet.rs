//! Three auth services and two backends on one PostgreSQL and one Redis, as processes of their own.

use futures_util::future::join_all;
use serde_json::json;
use testkit::{Afd, Postgres, Redis, until};

use crate::installation::{Installation, Reply};

pub(crate) const ALL: usize = 3;

/// Three installations, and what they share.
pub(crate) struct Fleet {
    pub(crate) instances: Vec<Installation>,
    pub(crate) redis: Redis,
    _postgres: Postgres,
    _running: Vec<Afd>,
}

impl Fleet {
    pub(crate) async fn start(settings: &[(&str, &str)]) -> Self {
        let (postgres, redis) = (Postgres::start(), Redis::start().await);
        let (database_url, redis_url) = (postgres.database(), redis.url());
        let shared = [("DATABASE_URL", database_url.as_str()), ("REDIS_URL", redis_url.as_str())];
        // A busy machine is not a hung Redis.
        let patient = [("REDIS_TIMEOUT_MS", "10000")];
        let settings = [&shared[..], &patient, settings].concat();
        let (mut instances, mut running) = (Vec::new(), Vec::new());
        for number in 0..ALL {
            let instance = Installation::new(&settings).await;
            running.push(instance.auth.start().await);
            if number < 2 {
                running.push(instance.backend.start().await);
            }
            instances.push(instance);
        }
        Self { instances, redis, _postgres: postgres, _running: running }
    }

    pub(crate) async fn token(&self, instance: usize, session: &str) -> (String, String) {
        let created = self.instances[instance].post("/tokens", Some(session), json!({ "name": "t" })).await;
        assert_eq!(created.status, 201, "{created:?}");
        (created.text("/token/id").to_owned(), created.text("/token/token").to_owned())
    }

    pub(crate) async fn delete(&self, instance: usize, session: &str, id: &str) {
        let instance = &self.instances[instance];
        let request = instance.http.delete(format!("{}/tokens/{id}", instance.auth_url)).bearer_auth(session);
        let reply = Reply::of(request.send().await.unwrap()).await;
        assert_eq!(reply.status, 200, "{reply:?}");
    }

    /// So often that every instance has a copy that it trusts.
    pub(crate) async fn warm(&self, token: &str) {
        for _ in 0..3 {
            for instance in &self.instances {
                let reply = instance.validate(token).await;
                assert_eq!(reply.status, 200, "{reply:?}");
            }
        }
    }

    pub(crate) async fn assert_dead(&self, token: &str, when: &str) {
        for reply in join_all(self.instances.iter().map(|instance| instance.validate(token))).await {
            assert_eq!((reply.status, reply.text("/code")), (401, "INVALID_TOKEN"), "{when}");
        }
    }

    /// Returns once every instance says that it is ready, or that Redis is missing.
    pub(crate) async fn all_say(&self, redis: &str) {
        for instance in &self.instances {
            let says = async || {
                let reply = instance.http.get(format!("{}/ready", instance.auth_url)).send().await.unwrap();
                Reply::of(reply).await
            };
            let reply = until(redis, says, |reply| reply.text("/checks/redis") == redis).await;
            assert_eq!(reply.status, if redis == "ok" { 200 } else { 503 }, "{reply:?}");
        }
    }
}

/// Limits that many rounds do not reach.
pub(crate) const GENEROUS: [(&str, &str); 3] = [
    ("RATE_LIMIT_TOKEN_CREATION_PER_DAY", "100000"),
    ("MAX_ACTIVE_TOKENS", "100000"),
    ("RATE_LIMIT_TOKEN_PER_MINUTE", "1000000"),
];
