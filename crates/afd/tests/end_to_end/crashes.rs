//! Auth services that end without warning (SIGKILL) amid everything, on one PostgreSQL and one Redis.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use domain::{Clock, SystemClock};
use futures_util::future::join_all;
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use testkit::{Afd, Postgres, Redis, service_jwt};
use tokio::time::{Instant, sleep, timeout};

use crate::installation::{Installation, JWT_SECRET, afd};

const INSTANCES: usize = 2;
const LANES: usize = 8;
/// Which instances are killed, one time after the other.
const KILLED: [&[usize]; 4] = [&[0], &[1], &[0, 1], &[1]];
/// That many tokens are created between two of them.
const CREATED_BETWEEN: usize = 40;
/// Of each token, in a minute.
const LIMIT: usize = 100;

struct Storm {
    instances: Vec<Installation>,
    user: String,
    /// Validated by all lanes on all instances.
    shared_token: String,
    created: AtomicUsize,
    is_over: AtomicBool,
}

/// What was acknowledged to one lane.
#[derive(Default)]
struct Acknowledged {
    /// Identifiers and secrets of tokens whose deletion was not asked for.
    alive: Vec<(String, String)>,
    /// Of those whose deletion was acknowledged.
    dead: Vec<(String, String)>,
    /// Answers about the shared token.
    admitted: usize,
    limited: usize,
}

/// The whole reply; `None` when the instance was killed before it came, so that nothing is known.
async fn reply(request: RequestBuilder) -> Option<(u16, Value)> {
    let response = request.send().await.ok()?;
    let status = response.status().as_u16();
    Some((status, response.json().await.ok()?))
}

impl Storm {
    fn jwt(&self, is_for_user: bool) -> String {
        let jwt = service_jwt(JWT_SECRET, SystemClock.now());
        if is_for_user { jwt.user(&self.user).sign() } else { jwt.sign() }
    }

    async fn create(&self, on: usize, name: &str) -> Option<(String, String)> {
        let instance = &self.instances[on];
        let request = instance.http.post(format!("{}/tokens", instance.auth_url)).bearer_auth(self.jwt(true));
        let (status, body) = reply(request.json(&json!({ "name": name }))).await?;
        assert_eq!(status, 201, "{body}");
        let text = |pointer| body.pointer(pointer).and_then(Value::as_str).unwrap().to_owned();
        self.created.fetch_add(1, Ordering::Relaxed);
        Some((text("/token/id"), text("/token/token")))
    }

    async fn delete(&self, on: usize, id: &str) -> Option<()> {
        let instance = &self.instances[on];
        let request = instance.http.delete(format!("{}/tokens/{id}", instance.auth_url)).bearer_auth(self.jwt(true));
        let (status, body) = reply(request).await?;
        assert_eq!(status, 200, "{body}");
        Some(())
    }

    async fn validate(&self, on: usize, token: &str) -> Option<u16> {
        let instance = &self.instances[on];
        let request = instance.http.post(format!("{}/tokens/validate", instance.auth_url)).bearer_auth(self.jwt(false));
        reply(request.json(&json!({ "token": token }))).await.map(|(status, _)| status)
    }

    /// Creates, validates and deletes until the storm is over. Of every two tokens one is deleted, on one instance, and
    /// looked at on the other.
    async fn lane(self: Arc<Self>, lane: usize) -> Acknowledged {
        let mut acknowledged = Acknowledged::default();
        let mut round = lane;
        while !self.is_over.load(Ordering::Relaxed) {
            round += 1;
            let (here, there) = (round % INSTANCES, (round + 1) % INSTANCES);
            match self.validate(here, &self.shared_token).await {
                Some(200) => acknowledged.admitted += 1,
                Some(status) => {
                    assert_eq!(status, 429);
                    acknowledged.limited += 1;
                }
                // It is being started again.
                None => sleep(Duration::from_millis(10)).await,
            }
            let Some((id, token)) = self.create(here, &format!("lane {lane} round {round}")).await else { continue };
            for instance in [here, there] {
                let status = self.validate(instance, &token).await;
                assert!(matches!(status, Some(200) | None), "lane {lane}, round {round}: {status:?}");
            }
            if (round / 2).is_multiple_of(2) {
                acknowledged.alive.push((id, token));
            } else if self.delete(there, &id).await.is_some() {
                let status = self.validate(here, &token).await;
                assert!(matches!(status, Some(401) | None), "lane {lane}, round {round}: {status:?} after the reply");
                acknowledged.dead.push((id, token));
            }
        }
        acknowledged
    }

    /// Returns once that many tokens have been created.
    async fn until_created(&self, count: usize) {
        let waiting = async {
            while self.created.load(Ordering::Relaxed) < count {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(Duration::from_mins(1), waiting).await.expect("the lanes go on");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_amid_everything_they_lose_nothing_and_bring_nothing_back() {
    let (postgres, redis) = (Postgres::start(), Redis::start().await);
    let database = postgres.database();
    let settings = [
        ("DATABASE_URL", database.as_str()),
        ("REDIS_URL", &redis.url()),
        // A busy machine is not a hung Redis.
        ("REDIS_TIMEOUT_MS", "10000"),
        ("RATE_LIMIT_TOKEN_PER_MINUTE", &LIMIT.to_string()),
        ("RATE_LIMIT_TOKEN_CREATION_PER_DAY", "100000"),
        ("MAX_ACTIVE_TOKENS", "100000"),
    ];
    let (mut instances, mut running): (Vec<Installation>, Vec<Afd>) = (Vec::new(), Vec::new());
    for _ in 0..INSTANCES {
        let instance = Installation::new(&settings).await;
        running.push(instance.auth.start().await);
        instances.push(instance);
    }
    let session = instances[0].sign_in("ann@example.com").await;
    let user = instances[0].get("/auth/me", &session).await.text("/user/id").to_owned();
    let shared = instances[0].post("/tokens", Some(&session), json!({ "name": "shared" })).await;
    let shared_token = shared.text("/token/token").to_owned();
    let storm = Storm { instances, user, shared_token, created: AtomicUsize::new(0), is_over: AtomicBool::new(false) };
    let storm = Arc::new(storm);

    let began = Instant::now();
    let lanes: Vec<_> = (0..LANES).map(|lane| tokio::spawn(Arc::clone(&storm).lane(lane))).collect();
    for killed in KILLED {
        storm.until_created(storm.created.load(Ordering::Relaxed) + CREATED_BETWEEN).await;
        join_all(running.iter_mut().enumerate().filter(|(place, _)| killed.contains(place)).map(|(_, afd)| afd.kill()))
            .await;
        for &place in killed {
            running[place] = storm.instances[place].auth.start().await;
        }
    }
    storm.until_created(storm.created.load(Ordering::Relaxed) + CREATED_BETWEEN).await;
    storm.is_over.store(true, Ordering::Relaxed);
    let lanes: Vec<Acknowledged> = join_all(lanes).await.into_iter().map(Result::unwrap).collect();
    let windows = 1 + usize::try_from(began.elapsed().as_secs() / 60).unwrap();

    let sum = |of: fn(&Acknowledged) -> usize| lanes.iter().map(of).sum::<usize>();
    let (admitted, limited) = (sum(|lane| lane.admitted), sum(|lane| lane.limited));
    assert!(admitted <= LIMIT * windows, "{admitted} were admitted in {windows} windows");
    assert!(limited > 0, "the limit was reached: {admitted} were admitted");

    let alive: Vec<_> = lanes.iter().flat_map(|lane| &lane.alive).collect();
    let dead: Vec<_> = lanes.iter().flat_map(|lane| &lane.dead).collect();
    assert!(alive.len() > CREATED_BETWEEN && dead.len() > CREATED_BETWEEN, "{} and {}", alive.len(), dead.len());
    for on in 0..INSTANCES {
        for (tokens, status) in [(&alive, 200), (&dead, 401)] {
            for (id, token) in tokens {
                assert_eq!(storm.validate(on, token).await, Some(status), "{id} on {on}");
            }
        }
    }

    // What was not acknowledged may have been done, but then wholly.
    let created = storm.instances[0].audited("token.created", &session).await;
    let deleted = storm.instances[1].audited("token.deleted", &session).await;
    for (id, _) in alive.iter().chain(&dead) {
        assert!(created.contains(id), "{id} was created without an audit event");
    }
    for (id, _) in &dead {
        assert!(deleted.contains(id), "{id} was deleted without an audit event");
    }
    let listed = storm.instances[0].get("/tokens", &session).await;
    let listed = listed.body["tokens"].as_array().unwrap().iter().map(|token| token["id"].as_str().unwrap().to_owned());
    assert_eq!(listed.collect::<BTreeSet<_>>(), &created - &deleted);

    for afd in &mut running {
        assert_eq!(afd.terminate().await, Some(0));
    }
    let verified = afd(&["audit", "verify", "--database", &database]).run().await;
    assert!(verified.code == Some(0) && verified.output.starts_with("The chain is whole"), "{}", verified.output);
}
