//! The recipes of `docs/guard`, as they stand there but for the ports, in front of a small API.

use std::collections::BTreeMap;
use std::path::Path;

use axum::Router;
use axum::http::{HeaderMap, HeaderValue, Uri};
use serde_json::{Value, json};
use testkit::{Afd, Launch, free_port, until};
use tokio::net::{TcpListener, TcpStream};

use crate::installation::{Installation, Reply};

/// A proxy with the auth service beside it and an API behind it that tells what reached it.
struct Guarded {
    installation: Installation,
    auth: Afd,
    session: String,
    url: String,
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
    /// By `program`, which reads the recipe from a file of that name in its own folder.
    async fn start(program: &str, args: &[&str], recipe: &str) -> Self {
        let settings = [("TRUSTED_PROXIES", "127.0.0.1/32"), ("RATE_LIMIT_TOKEN_PER_MINUTE", "5")];
        let installation = Installation::new(&settings).await;
        let auth = installation.auth.start().await;
        let session = installation.sign_in("ann@example.com").await;

        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/guard").join(recipe);
        let port = free_port();
        let auth_at = installation.auth_url.trim_start_matches("http://");
        let config = std::fs::read_to_string(path).unwrap();
        let config = config.replace("127.0.0.1:3001", auth_at).replace("8080", &api().await.to_string());
        let launch = Launch::new(program).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        let folder = launch.folder().display().to_string();
        std::fs::write(launch.folder().join(recipe), config.replace("8000", &port.to_string())).unwrap();
        let args = args.iter().map(|arg| arg.replace("FOLDER", &folder));
        let proxy = launch.args(args).env("HOME", &folder).start().await;
        let listens = async || match TcpStream::connect(("127.0.0.1", port)).await {
            Ok(_) => Ok(()),
            Err(error) => Err((error, proxy.output())),
        };
        until(&format!("{program} to listen"), listens, Result::is_ok).await.unwrap();
        Self { installation, auth, session, url: format!("http://127.0.0.1:{port}"), _proxy: proxy }
    }

    async fn token(&self, scopes: &[&str]) -> (String, String) {
        let body = json!({ "name": "api", "scopes": scopes });
        let created = self.installation.post("/tokens", Some(&self.session), body).await;
        (created.text("/token/token").to_owned(), created.text("/token/id").to_owned())
    }

    async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Reply {
        let mut request = self.installation.http.get(format!("{}{path}", self.url));
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
            assert_eq!(refused.body.get("headers"), None, "the API was not asked");
        }

        let missing = self.by("/projects/write", &token).await;
        assert_eq!((missing.status, missing.text("/code")), (403, "FORBIDDEN"), "{missing:?}");
        let challenge = missing.headers["www-authenticate"].to_str().unwrap();
        assert!(challenge.contains(r#"error="insufficient_scope", scope="projects:write""#), "{challenge}");
        let (writer, _) = self.token(&["projects:write"]).await;
        assert_eq!(self.by("/projects/write", &writer).await.status, 200);

        // Two of five have been counted for the first token: those that were allowed or lacked a scope.
        for _ in 0..3 {
            assert_eq!(self.by("/projects", &token).await.status, 200);
        }
        let limited = self.by("/projects", &token).await;
        assert_eq!((limited.status, limited.text("/code")), (429, "RATE_LIMIT_EXCEEDED"), "{limited:?}");
        assert!(limited.headers["retry-after"].to_str().unwrap().parse::<u32>().unwrap() > 0);

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

#[tokio::test]
async fn nginx() {
    // One process: when the test ends it, no worker of it is left behind.
    let args = ["-p", "FOLDER/", "-c", "FOLDER/nginx.conf", "-g", "master_process off;"];
    Guarded::start("/usr/sbin/nginx", &args, "nginx.conf").await.keeps_its_promises(503).await;
}

#[tokio::test]
async fn caddy() {
    let args = ["run", "--config", "FOLDER/Caddyfile", "--adapter", "caddyfile"];
    Guarded::start("/usr/bin/caddy", &args, "Caddyfile").await.keeps_its_promises(502).await;
}
