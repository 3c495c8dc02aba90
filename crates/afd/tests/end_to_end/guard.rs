//! The recipes of `docs/guard`, as they stand there but for the ports, in front of small APIs.

mod attack;
mod documented;
pub(crate) mod tricks;
pub(crate) mod upstreams;

use std::collections::BTreeMap;
use std::path::Path;

use axum::Router;
use axum::http::{HeaderMap, HeaderValue, Uri};
use serde_json::{Value, json};
use testkit::{Afd, Launch, free_port, until};
use tokio::net::{TcpListener, TcpStream};

use crate::installation::{Installation, Reply};

/// How a proxy is started that reads the recipe from a file of that name in its own folder.
struct Proxy {
    program: &'static str,
    args: &'static [&'static str],
    recipe: &'static str,
}

impl Proxy {
    const NGINX: Self = Self {
        program: "/usr/sbin/nginx",
        // One process: when the test ends it, no worker of it is left behind.
        args: &["-p", "FOLDER/", "-c", "FOLDER/nginx.conf", "-g", "master_process off;"],
        recipe: "nginx.conf",
    };
    const CADDY: Self = Self {
        program: "/usr/bin/caddy",
        args: &["run", "--config", "FOLDER/Caddyfile", "--adapter", "caddyfile"],
        recipe: "Caddyfile",
    };
}

/// What stands in `docs/guard` under this name.
fn recipe(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/guard").join(name)).unwrap()
}

/// A proxy with the auth service beside it and an API behind it that tells what reached it.
struct Guarded {
    installation: Installation,
    auth: Afd,
    session: String,
    port: u16,
    _proxy: Afd,
}

async fn api() -> u16 {
    let echo = async |uri: Uri, headers: HeaderMap| {
        let text = |value: &HeaderValue| value.to_str().unwrap_or("?").to_owned();
        let headers: BTreeMap<_, _> = headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
        axum::Json(json!({ "path": uri.path(), "headers": headers }))
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(echo)).await });
    port
}

impl Guarded {
    /// In front of the API at this port.
    async fn start(by: &Proxy, api: u16, settings: &[(&str, &str)]) -> Self {
        let installation = Installation::new(&[&[("TRUSTED_PROXIES", "127.0.0.1/32")], settings].concat()).await;
        let auth = installation.auth.start().await;
        let session = installation.sign_in("ann@example.com").await;

        let Proxy { program, args, recipe: name } = by;
        let port = free_port();
        let auth_at = installation.auth_url.trim_start_matches("http://");
        let config =
            recipe(name).replace("127.0.0.1:3001", auth_at).replace("127.0.0.1:8080", &format!("127.0.0.1:{api}"));
        let config = config
            .replace("http://:8000", &format!("http://:{port}"))
            .replace("listen 8000", &format!("listen {port}"));
        let launch = Launch::new(*program).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        let folder = launch.folder().display().to_string();
        std::fs::write(launch.folder().join(name), config).unwrap();
        let args = args.iter().map(|arg| arg.replace("FOLDER", &folder));
        let proxy = launch.args(args).env("HOME", &folder).start().await;
        let listens = async || match TcpStream::connect(("127.0.0.1", port)).await {
            Ok(_) => Ok(()),
            Err(error) => Err((error, proxy.output())),
        };
        until(&format!("{program} to listen"), listens, Result::is_ok).await.unwrap();
        Self { installation, auth, session, port, _proxy: proxy }
    }

    async fn token(&self, scopes: &[&str]) -> (String, String) {
        let body = json!({ "name": "api", "scopes": scopes });
        let created = self.installation.post("/tokens", Some(&self.session), body).await;
        (created.text("/token/token").to_owned(), created.text("/token/id").to_owned())
    }

    async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Reply {
        let mut request = self.installation.http.get(format!("http://127.0.0.1:{}{path}", self.port));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Reply::of(request.send().await.unwrap()).await
    }

    async fn by(&self, path: &str, token: &str) -> Reply {
        self.get(path, &[("authorization", &format!("Bearer {token}"))]).await
    }

    /// What every recipe promises. `down` is what the proxy answers while the auth service is away.
    async fn keeps_its_promises(mut self, down: u16) {
        let (token, id) = self.token(&["projects:read"]).await;
        let spoofed = [
            ("authorization", format!("Bearer {token}")),
            ("x-auth-user-id", "mallory".to_owned()),
            ("x-auth-scopes", "*".to_owned()),
            ("x-auth-reason", "because".to_owned()),
            ("x-forwarded-for", "6.6.6.6".to_owned()),
        ];
        let spoofed: Vec<(&str, &str)> = spoofed.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let allowed = self.get("/projects?x=1", &spoofed).await;
        assert_eq!((allowed.status, allowed.text("/path")), (200, "/projects"), "{allowed:?}");
        let header = |name: &str| allowed.body["headers"].get(name).cloned().unwrap_or(Value::Null);
        assert_eq!(header("x-auth-token-id"), id);
        assert_eq!((header("x-auth-kind"), header("x-auth-scopes")), (json!("pat"), json!("projects:read")));
        assert_eq!((header("x-auth-reason"), header("authorization")), (Value::Null, Value::Null));
        assert_ne!(header("x-auth-user-id"), "mallory");
        let events = self.installation.get("/audit?type=token.created", &self.session).await;
        assert_eq!(header("x-auth-user-id"), events.body["events"][0]["actor"]["userId"]);

        // Who is nobody, and says to be somebody.
        for headers in [&spoofed[1..], &[("authorization", "Bearer af_live_x")], &[("authorization", "Basic YTpi")]] {
            let refused = self.get("/projects", headers).await;
            assert_eq!(refused.status, 401, "{refused:?}");
            assert!(refused.headers["www-authenticate"].to_str().unwrap().starts_with("Bearer "), "{refused:?}");
            is_error(&refused, if headers[0].1 == "Bearer af_live_x" { "INVALID_TOKEN" } else { "UNAUTHORIZED" });
        }

        let missing = self.by("/projects/write", &token).await;
        assert_eq!((missing.status, missing.text("/code")), (403, "FORBIDDEN"), "{missing:?}");
        let challenge = missing.headers["www-authenticate"].to_str().unwrap();
        assert!(challenge.contains(r#"error="insufficient_scope", scope="projects:write""#), "{challenge}");
        is_error(&missing, "FORBIDDEN");
        let ambiguous = self.by("/projects%2Fwrite", &token).await;
        assert_eq!(ambiguous.status, 400, "{ambiguous:?}");
        is_error(&ambiguous, "VALIDATION_ERROR");
        let (writer, _) = self.token(&["projects:write"]).await;
        assert_eq!(self.by("/projects/write", &writer).await.status, 200);

        // Two of five have been counted for the first token: those that were allowed or lacked a scope.
        for _ in 0..3 {
            assert_eq!(self.by("/projects", &token).await.status, 200);
        }
        let limited = self.by("/projects", &token).await;
        assert_eq!((limited.status, limited.text("/code")), (429, "RATE_LIMIT_EXCEEDED"), "{limited:?}");
        let wait = limited.headers["retry-after"].to_str().unwrap().parse::<u32>().unwrap();
        assert!(
            wait > 0 && limited.body["retryAfter"] == wait && limited.text("/resetAt").ends_with('Z'),
            "{limited:?}"
        );
        is_error(&limited, "RATE_LIMIT_EXCEEDED");

        let deleted = self.installation.http.delete(format!("{}/tokens/{id}", self.installation.auth_url));
        assert_eq!(deleted.bearer_auth(&self.session).send().await.unwrap().status(), 200);
        assert_eq!(self.by("/projects", &token).await.status, 401, "dead on the next call");

        assert_eq!(self.auth.terminate().await, Some(0));
        for path in ["/projects", "/projects/write"] {
            let closed = self.by(path, &writer).await;
            assert_eq!((closed.status, closed.body.get("headers")), (down, None), "closed, not open: {closed:?}");
        }
        let _auth = self.installation.auth.start().await;
        let ask = async || self.by("/projects/write", &writer).await;
        until("the API to be open again", ask, |reply| reply.status == 200).await;
    }
}

/// As the auth service would say it, though some proxies have to say it in its place.
fn is_error(reply: &Reply, code: &str) {
    assert_eq!(reply.headers["content-type"], "application/json", "{reply:?}");
    assert!(reply.headers.get_all("www-authenticate").iter().count() <= 1, "{reply:?}");
    assert_eq!((reply.text("/code"), reply.body.get("headers")), (code, None), "{reply:?}");
    assert_eq!(reply.text("/requestId"), reply.headers["x-request-id"].to_str().unwrap(), "{reply:?}");
    assert!(!reply.text("/error").is_empty() && !reply.text("/requestId").is_empty(), "{reply:?}");
}

const FEW: [(&str, &str); 1] = [("RATE_LIMIT_TOKEN_PER_MINUTE", "5")];

#[tokio::test]
async fn nginx() {
    Guarded::start(&Proxy::NGINX, api().await, &FEW).await.keeps_its_promises(503).await;
}

#[tokio::test]
async fn caddy() {
    Guarded::start(&Proxy::CADDY, api().await, &FEW).await.keeps_its_promises(502).await;
}
