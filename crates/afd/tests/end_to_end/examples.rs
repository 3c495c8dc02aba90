//! The services of `examples/`, as they stand there, in front of a real auth service. All of them keep the same promises.

use std::path::{Path, PathBuf};

use reqwest::Method;
use serde_json::json;
use testkit::{Afd, Launch, free_port, until};

use crate::guard::tricks::{self, By, Trick};
use crate::guard::upstreams::send;
use crate::installation::{Installation, JWT_SECRET, Reply};

struct Example {
    installation: Installation,
    auth: Afd,
    session: String,
    url: String,
    _service: Afd,
}

fn repository() -> PathBuf {
    // Not resolved any further: by its place in the environment python finds the environment's packages.
    std::path::absolute(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")).unwrap()
}

impl Example {
    /// `service` says how the service is started that is to answer at this port; a token has so many calls a minute.
    async fn start(service: impl FnOnce(u16) -> Launch, calls: &str) -> Self {
        let installation = Installation::new(&[("RATE_LIMIT_TOKEN_PER_MINUTE", calls)]).await;
        let auth = installation.auth.start().await;
        let session = installation.sign_in("ann@example.com").await;
        let port = free_port();
        let service = service(port)
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("PORT", port.to_string())
            .env("AUTH_SERVICE_URL", &installation.auth_url)
            .env("JWT_SECRET", JWT_SECRET)
            .env("AUDIENCE", "reports")
            .healthy_on(port);
        let service = service.start().await;
        Self { installation, auth, session, url: format!("http://127.0.0.1:{port}"), _service: service }
    }

    async fn token(&self, scopes: &[&str]) -> (String, String) {
        let body = json!({ "name": "example", "scopes": scopes });
        let created = self.installation.post("/tokens", Some(&self.session), body).await;
        (created.text("/token/token").to_owned(), created.text("/token/id").to_owned())
    }

    /// A token narrowed to an audience, by token exchange.
    async fn narrowed(&self, token: &str, audience: &str) -> String {
        let form = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("subject_token", token),
            ("subject_token_type", "urn:ietf:params:oauth:token-type:access_token"),
            ("audience", audience),
        ];
        let url = format!("{}/oauth/token", self.installation.auth_url);
        let reply = Reply::of(self.installation.http.post(url).form(&form).send().await.unwrap()).await;
        reply.text("/access_token").to_owned()
    }

    async fn send(&self, method: Method, path: &str, authorization: Option<&str>) -> Reply {
        let mut request = self.installation.http.request(method, format!("{}{path}", self.url)).body("A title");
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        Reply::of(request.send().await.unwrap()).await
    }

    async fn get(&self, path: &str, token: &str) -> Reply {
        self.send(Method::GET, path, Some(&format!("Bearer {token}"))).await
    }

    async fn report(&self, token: &str) -> Reply {
        self.send(Method::POST, "/reports", Some(&format!("Bearer {token}"))).await
    }

    /// By the tricks that proxies are attacked with: here a caller is who the token says, and nothing else is read.
    async fn withstands_tricks(&self) {
        let (writer, _) = self.token(&["reports:write"]).await;
        let (reader, _) = self.token(&["reports:read"]).await;
        let ann = self.get("/whoami", &reader).await.text("/userId").to_owned();
        let port: u16 = self.url.rsplit(':').next().unwrap().parse().unwrap();
        let auth: u16 = self.installation.auth_url.rsplit(':').next().unwrap().parse().unwrap();
        let (mut let_in, mut through) = (0, Vec::new());
        for Trick { by, name, text } in tricks::all(auth) {
            // Who reads may not write, whatever the path is spelled like; and who writes does so in their own name.
            let is_path = text.starts_with("POST") && !text.starts_with("POST /projects HTTP");
            let token = if is_path { &reader } else { &writer };
            let (target, rest) = text.split_once("\r\n").unwrap();
            let target = target.replace("/projects/write", "/projects").replace("POST /projects", "POST /reports");
            let target = target.replace("GET /projects", "GET /whoami").replace("projects", "reports");
            let target = target.replace("/Projects/Write", "/Reports");
            let text = format!("{target}\r\n{}", rest.replace("TOKEN", token));
            let answer = send(port, text.as_bytes()).await;
            let caller = ["userId", "by"].iter().find_map(|field| answer.object.as_ref()?.get(field)?.as_str());
            let is_wrong =
                caller.is_some_and(|caller| by == By::Nobody || caller != ann || (is_path && answer.status == 201));
            let_in += usize::from(caller.is_some());
            if is_wrong || answer.status == 101 {
                through.push(format!("{by:?}, {name}: {} {:?}", answer.status, answer.object));
            }
        }
        assert!(through.is_empty(), "{} got through:\n{}", through.len(), through.join("\n"));
        assert!(let_in > 50, "{let_in}");
        let reports = self.get("/reports", &reader).await;
        let reports = reports.body["reports"].as_array().unwrap();
        assert!(reports.iter().all(|report| report["by"] == ann.as_str()), "{reports:?}");
    }

    async fn keeps_its_promises(mut self) {
        let (reader, _) = self.token(&["reports:read"]).await;
        let allowed = self.get("/reports", &reader).await;
        assert_eq!((allowed.status, &allowed.body), (200, &json!({ "reports": [] })), "{allowed:?}");
        assert_eq!((header(&allowed, "x-ratelimit-limit"), header(&allowed, "x-ratelimit-remaining")), ("8", "7"));

        for authorization in [None, Some("Basic YTpi"), Some("Bearer"), Some(reader.as_str()), Some("Bearer af_live_x")]
        {
            for (method, path) in [(Method::GET, "/reports"), (Method::POST, "/reports"), (Method::GET, "/whoami")] {
                let refused = self.send(method, path, authorization).await;
                is_refusal(
                    &refused,
                    401,
                    if authorization == Some("Bearer af_live_x") { "INVALID_TOKEN" } else { "UNAUTHORIZED" },
                );
                assert!(header(&refused, "www-authenticate").starts_with("Bearer"), "{refused:?}");
            }
        }

        let missing = self.report(&reader).await;
        is_refusal(&missing, 403, "FORBIDDEN");
        let challenge = header(&missing, "www-authenticate");
        assert!(challenge.contains(r#"error="insufficient_scope", scope="reports:write""#), "{challenge}");
        let nothing = self.get("/reports", &reader).await;
        assert_eq!(nothing.body, json!({ "reports": [] }), "refused is not done");

        let (writer, writer_id) = self.token(&["reports:*"]).await;
        let made = self.report(&writer).await;
        assert_eq!((made.status, made.text("/title")), (201, "A title"), "{made:?}");
        let whoami = self.get("/whoami", &self.session).await;
        assert_eq!((whoami.status, whoami.text("/userId")), (200, made.text("/by")), "{whoami:?}");

        // Three of the reader's eight are counted: two that were allowed and one that lacked a scope.
        for _ in 0..5 {
            assert_eq!(self.get("/reports", &reader).await.body["reports"], json!([made.body]));
        }
        let limited = self.get("/reports", &reader).await;
        is_refusal(&limited, 429, "RATE_LIMIT_EXCEEDED");
        let wait: u64 = header(&limited, "retry-after").parse().unwrap();
        assert!(wait > 0 && limited.body["retryAfter"] == wait, "{limited:?}");

        let (parent, _) = self.token(&["reports:read"]).await;
        let elsewhere = self.narrowed(&parent, "billing").await;
        is_refusal(&self.get("/reports", &elsewhere).await, 401, "INVALID_TOKEN");

        let deleted = self.installation.http.delete(format!("{}/tokens/{writer_id}", self.installation.auth_url));
        assert_eq!(deleted.bearer_auth(&self.session).send().await.unwrap().status(), 200);
        is_refusal(&self.report(&writer).await, 401, "INVALID_TOKEN");

        let (later, _) = self.token(&["reports:*"]).await;
        assert_eq!(self.auth.terminate().await, Some(0));
        for closed in [self.get("/reports", &later).await, self.report(&later).await] {
            is_refusal(&closed, 503, "UNAVAILABLE");
            assert!(header(&closed, "retry-after").parse::<u64>().unwrap() > 0, "{closed:?}");
        }
        let _auth = self.installation.auth.start().await;
        let ask = async || self.get("/reports", &later).await;
        let back = until("the API to be open again", ask, |reply| reply.status == 200).await;
        assert_eq!(back.body["reports"], json!([made.body]), "{back:?}");
    }
}

fn header<'r>(reply: &'r Reply, name: &str) -> &'r str {
    reply.headers.get(name).map_or("", |value| value.to_str().unwrap())
}

/// In the shape of all our errors.
fn is_refusal(reply: &Reply, status: u16, code: &str) {
    assert_eq!((reply.status, reply.text("/code")), (status, code), "{reply:?}");
    assert!(!reply.text("/error").is_empty() && !reply.text("/requestId").is_empty(), "{reply:?}");
    assert_eq!(reply.text("/requestId"), header(reply, "x-request-id"));
    assert_eq!(reply.body.get("reports"), None);
}

/// What each promises, and what it withstands.
async fn holds(service: impl Fn(u16) -> Launch) {
    Example::start(&service, "8").await.keeps_its_promises().await;
    Example::start(&service, "1000000").await.withstands_tricks().await;
}

#[tokio::test]
async fn axum() {
    let program = Path::new(env!("CARGO_BIN_EXE_afd")).with_file_name("examples").join("example-axum");
    assert!(program.exists(), "`cargo test -p afd` builds it, `--test` alone does not");
    holds(|_| Launch::new(&program)).await;
}

#[tokio::test]
async fn fastapi() {
    let python = repository().join("target/examples/fastapi/bin/python");
    assert!(python.exists(), "run `cargo xtask test` once");
    let folder = repository().join("examples/fastapi");
    holds(|port| {
        Launch::new(&python)
            .args(["-B", "-m", "uvicorn", "app:app", "--no-access-log", "--port", &port.to_string(), "--app-dir"])
            .args([&folder])
    })
    .await;
}

#[tokio::test]
async fn hono() {
    let folder = repository().join("examples/hono");
    assert!(folder.join("node_modules").exists(), "run `cargo xtask test`, or `npm ci` in examples/hono, once");
    holds(|_| Launch::new("node").args([folder.join("app.mjs")])).await;
}
