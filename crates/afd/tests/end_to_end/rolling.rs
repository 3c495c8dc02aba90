//! A rolling upgrade under load: two auth services and two backends behind a load balancer that asks `/ready`.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use reqwest::Client;
use serde_json::{Value, json};
use testkit::{Afd, Launch, Postgres, Redis, free_port, until};
use tokio::task::JoinHandle;

use crate::installation::{Installation, Reply, afd};

const OLD: &str = "the-secret-before-the-upgrade-in-this-test";
const NEW: &str = "the-secret-after-the-upgrade-in-this-test.";

/// What wrk asks, and what it takes for an answer.
const LOAD: &str = r#"
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer TOKEN"
wrk.body = '{"query":"{ me { email } apiKeyRateLimit { activeTokens } }"}'
local threads = {}
function setup(thread) table.insert(threads, thread) end
function init() wrong = 0; shown = "" end
function response(status, headers, body)
  if status ~= 200 or not body:find('"email":"ann@example.com"', 1, true) or body:find('"errors"', 1, true) then
    wrong = wrong + 1
    shown = status .. " " .. body
  end
end
function done(summary)
  local wrong, shown = 0, ""
  for _, thread in ipairs(threads) do
    wrong = wrong + thread:get("wrong")
    shown = shown .. thread:get("shown")
  end
  local errors = summary.errors
  print(string.format("requests: %d, wrong answers: %d, connections refused: %d, broken off: %d, timed out: %d %s",
    summary.requests, wrong, errors.connect, errors.read + errors.write, errors.timeout, shown))
end
"#;

/// One of the two instances of each service.
struct Instance {
    auth: Launch,
    backend: Launch,
}

impl Instance {
    /// The same with this `JWT_SECRET`.
    fn with_secret(&self, secret: &str) -> Self {
        let set = |launch: &Launch| launch.clone().env("JWT_SECRET", secret);
        Self { auth: set(&self.auth), backend: set(&self.backend) }
    }

    async fn start(&self) -> (Afd, Afd) {
        (self.auth.start().await, self.backend.start().await)
    }
}

struct Balancer {
    auth: u16,
    api: u16,
    shown: u16,
    http: Client,
}

impl Balancer {
    fn launch(&self, ports: [(u16, u16); 2]) -> Launch {
        let Self { auth, api, shown, .. } = self;
        let [(auth_1, api_1), (auth_2, api_2)] = ports;
        let configuration = format!(
            "defaults\n mode http\n timeout connect 2s\n timeout client 40s\n timeout server 40s\n timeout queue 5s\n timeout check 5s\n \
             option httpchk\n http-check send meth GET uri /ready\n http-check expect status 200\n \
             default-server check inter 100ms fall 1 rise 1\n\
             listen auth\n bind 127.0.0.1:{auth}\n server one 127.0.0.1:{auth_1}\n server two 127.0.0.1:{auth_2}\n\
             listen api\n bind 127.0.0.1:{api}\n server one 127.0.0.1:{api_1}\n server two 127.0.0.1:{api_2}\n\
             listen shown\n bind 127.0.0.1:{shown}\n stats enable\n stats uri /\n"
        );
        let launch = Launch::new("/usr/sbin/haproxy").args(["-db", "-f", "haproxy.cfg"]);
        fs::write(launch.folder().join("haproxy.cfg"), configuration).unwrap();
        launch
    }

    /// Returns once all four are sent requests.
    async fn all_are_up(&self) {
        let states = async || {
            let url = format!("http://127.0.0.1:{}/;csv", self.shown);
            let Ok(reply) = self.http.get(url).send().await else { return 0 };
            let is_up = |line: &&str| {
                let cells: Vec<&str> = line.split(',').collect();
                matches!(cells[..], ["auth" | "api", "one" | "two", ..]) && cells[17].starts_with("UP")
            };
            reply.text().await.unwrap().lines().filter(is_up).count()
        };
        until("the load balancer to see all instances", states, |up| *up == 4).await;
    }
}

/// Creates tokens one after the other until told to stop, and returns all of them.
fn create_tokens(installation: Arc<Installation>, token: String, stop: Arc<AtomicBool>) -> JoinHandle<Vec<String>> {
    tokio::spawn(async move {
        let create = "mutation { createPersonalAccessToken(name: \"rolling\") { token } }";
        let mut created = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            let reply = installation.graphql(Some(&token), create, json!({})).await;
            created.push(reply.text("/data/createPersonalAccessToken/token").to_owned());
        }
        created
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_and_a_change_of_the_secret_fail_no_request() {
    let (postgres, redis) = (Postgres::start(), Redis::start().await);
    let database = postgres.database();
    let mut installation = Installation::new(&[]).await;
    let http = installation.http.clone();
    let balancer = Balancer { auth: free_port(), api: free_port(), shown: free_port(), http };
    installation.auth_url = format!("http://127.0.0.1:{}", balancer.auth);
    installation.api_url = format!("http://127.0.0.1:{}/graphql", balancer.api);

    let ports = [(free_port(), free_port()), (free_port(), free_port())];
    let instances = ports.map(|(auth, backend)| Instance {
        auth: afd(&["auth"])
            .env("PORT", auth.to_string())
            .env("DATABASE_URL", &database)
            .env("REDIS_URL", redis.url())
            .env("JWT_REFRESH_SECRET", "a-secret-for-refreshing-in-this-test-alone")
            .env("PUBLIC_URL", &installation.auth_url)
            .env("SMTP_URL", installation.mail.url())
            .env("BCRYPT_COST", "4")
            .env("DRAIN_DELAY", "1s")
            .env("RATE_LIMIT_TOKEN_PER_MINUTE", "10000000")
            .env("RATE_LIMIT_TOKEN_CREATION_PER_DAY", "1000000")
            .env("MAX_ACTIVE_TOKENS", "1000000")
            .env("RUST_LOG", "warn")
            .healthy_on(auth),
        backend: afd(&["backend"])
            .env("PORT", backend.to_string())
            .env("AUTH_SERVICE_URL", &installation.auth_url)
            .env("DRAIN_DELAY", "1s")
            .env("RUST_LOG", "warn")
            .healthy_on(backend),
    });
    let mut running = Vec::new();
    for instance in &instances {
        running.push(instance.with_secret(OLD).start().await);
    }
    let _balancer = balancer.launch(ports).start().await;
    balancer.all_are_up().await;

    let session = installation.sign_in("ann@example.com").await;
    let created = installation.post("/tokens", Some(&session), json!({ "name": "load" })).await;
    let token = created.text("/token/token").to_owned();
    let load = Launch::new("/usr/bin/wrk").args(["-t2", "-c16", "-d300s", "-s", "load.lua", &installation.api_url]);
    fs::write(load.folder().join("load.lua"), LOAD.replace("TOKEN", &token)).unwrap();
    let mut load = load.start().await;
    let stop = Arc::new(AtomicBool::new(false));
    let installation = Arc::new(installation);
    let creating = create_tokens(Arc::clone(&installation), token.clone(), Arc::clone(&stop));

    // Each is a rolling upgrade: every process is replaced by another one, with another configuration.
    let stages = [format!("{OLD},{NEW}"), format!("{NEW},{OLD}"), NEW.to_owned()];
    for secret in &stages {
        for (instance, (auth, backend)) in instances.iter().zip(&mut running) {
            let next = instance.with_secret(secret);
            let replace = async |old: &mut Afd, new: &Launch| {
                assert_eq!(old.terminate().await, Some(0), "{}", old.output());
                new.start().await
            };
            (*auth, *backend) = tokio::join!(replace(&mut *auth, &next.auth), replace(&mut *backend, &next.backend));
            balancer.all_are_up().await;
        }
    }
    stop.store(true, Ordering::Relaxed);
    let created = creating.await.unwrap();
    load.interrupt().await;

    let output = load.output();
    let summary = output.lines().find(|line| line.starts_with("requests: ")).unwrap_or_else(|| panic!("{output}"));
    println!("12 processes replaced under load; {summary}; {} tokens created meanwhile", created.len());
    let nothing = "wrong answers: 0, connections refused: 0, broken off: 0, timed out: 0 ";
    assert!(summary.ends_with(nothing), "{output}\n{}", running[0].0.output());
    assert!(created.len() > 10, "{}", created.len());

    let jwt = testkit::service_jwt(NEW, domain::Clock::now(&domain::SystemClock)).sign();
    for token in created {
        let body: Value = json!({ "token": token });
        let request = installation.http.post(format!("{}/tokens/validate", installation.auth_url));
        let reply = Reply::of(request.bearer_auth(&jwt).json(&body).send().await.unwrap()).await;
        assert_eq!(reply.status, 200, "{reply:?}");
    }
}
