//! Redis over TLS: whoever presents the wrong certificate is not talked to.

use std::path::Path;
use std::process::Command;

use serde_json::json;
use testkit::{Redis, free_port};

use crate::installation::{Installation, Reply};

/// A certificate for 127.0.0.1 that is its own authority.
fn make_certificate(folder: &Path, name: &str) -> String {
    let kind = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=test \
                -addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE";
    let files = format!("-keyout {name}.key -out {name}.crt");
    let args = kind.split_whitespace().chain(files.split(' '));
    let made = Command::new("openssl").args(args).current_dir(folder).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    folder.join(name).with_extension("crt").to_str().unwrap().to_owned()
}

async fn get(installation: &Installation, url: &str) -> Reply {
    Reply::of(installation.http.get(url).send().await.unwrap()).await
}

#[tokio::test]
async fn only_the_right_certificate_authority_is_believed() {
    let folder = tempfile::tempdir().unwrap();
    let (right, wrong) = (make_certificate(folder.path(), "server"), make_certificate(folder.path(), "other"));
    let (key, tls_port) = (right.replace(".crt", ".key"), free_port().to_string());
    let certificate = ["--tls-port", &tls_port, "--tls-cert-file", &right, "--tls-key-file", &key];
    let redis = Redis::with(&[&certificate[..], &["--tls-auth-clients", "no"]].concat()).await;

    let url = format!("rediss://127.0.0.1:{tls_port}");
    let elsewhere = format!("rediss://localhost:{tls_port}");
    for (url, authority, is_believed) in [(&url, &wrong, false), (&elsewhere, &right, false), (&url, &right, true)] {
        let metrics = free_port();
        let settings = [
            ("REDIS_URL", url.as_str()),
            ("SSL_CERT_FILE", authority),
            ("METRICS_PORT", &metrics.to_string()),
            ("REDIS_TIMEOUT_MS", "10000"),
        ];
        let installation = Installation::new(&settings).await;
        let _auth = installation.auth.start().await;
        let case = format!("{url} by {authority}");

        let ready = get(&installation, &format!("{}/ready", installation.auth_url)).await;
        let expected = if is_believed { (200, "ok") } else { (503, "unavailable") };
        assert_eq!((ready.status, ready.text("/checks/redis")), expected, "{case}");
        let log = installation.auth.output();
        assert_eq!(log.contains("invalid peer certificate"), !is_believed, "{case}: {log}");

        // The service works either way, but only one tells Redis anything.
        let session = installation.sign_in("ann@example.com").await;
        let created = installation.post("/tokens", Some(&session), json!({ "name": "ci" })).await;
        assert_eq!(installation.validate(created.text("/token/token")).await.status, 200, "{case}");
        let keys: u32 = redis.cli(&["dbsize"]).await.parse().unwrap();
        assert_eq!(keys > 0, is_believed, "{case}: {keys} keys");

        let shown = get(&installation, &format!("http://127.0.0.1:{metrics}/metrics")).await;
        let shown = shown.body.as_str().unwrap();
        let state = if is_believed { "in_redis" } else { "fallback" };
        for place in ["in_process", "in_redis", "fallback"] {
            let line = format!("\nafd_limiter_state{{state=\"{place}\"}} {}\n", u8::from(place == state));
            assert!(shown.contains(&line), "{case}: {line} in:\n{shown}");
        }
        let untouched = shown.contains("\nafd_redis_seconds_count{outcome=\"answered\"} 0\n");
        assert_eq!(untouched, !is_believed, "{case}:\n{shown}");
    }
}
