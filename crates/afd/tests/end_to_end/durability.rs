//! What was acknowledged survives, and what was tampered with is found.

use domain::{Clock, SystemClock};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use serde_json::{Value, json};
use testkit::service_jwt;

use crate::databases::{Database, on_both_databases};
use crate::installation::{Installation, JWT_SECRET, afd};

on_both_databases! {
    a_kill_amid_a_thousand_creates_loses_nothing_that_was_acknowledged,
    an_event_that_is_changed_by_hand_is_named,
    a_log_that_was_rewritten_whole_is_found_by_its_noted_end,
}

async fn a_kill_amid_a_thousand_creates_loses_nothing_that_was_acknowledged(database: Database) {
    let limits = [("RATE_LIMIT_TOKEN_CREATION_PER_DAY", "5000"), ("MAX_ACTIVE_TOKENS", "5000")];
    let mut installation = Installation::on(&database, &limits).await;
    let mut auth = installation.auth.start().await;
    let session = installation.sign_in("ann@example.com").await;
    let me = installation.get("/auth/me", &session).await;
    let jwt = service_jwt(JWT_SECRET, SystemClock.now()).user(me.text("/user/id")).sign();

    let create = async |n: usize| {
        let request = installation.http.post(format!("{}/tokens", installation.auth_url)).bearer_auth(&jwt);
        let response = request.json(&json!({ "name": format!("t{n}") })).send().await.ok()?;
        (response.status() == 201).then_some(())?;
        response.json::<Value>().await.ok()
    };
    let mut creating: FuturesUnordered<_> = (0..1_000).map(create).collect();
    let mut acknowledged = Vec::new();
    while let Some(outcome) = creating.next().await {
        acknowledged.extend(outcome);
        if acknowledged.len() == 150 {
            auth.kill().await;
        }
    }
    assert!((150..1_000).contains(&acknowledged.len()), "{} of 1,000 were acknowledged", acknowledged.len());
    drop(creating);
    installation.forget_connections();

    let _auth = installation.auth.start().await;
    for created in &acknowledged {
        let token = created.pointer("/token/token").and_then(Value::as_str).unwrap();
        assert_eq!(installation.validate(token).await.status, 200, "{created}");
    }
    let recorded = installation.audited("token.created", &session).await;
    for created in &acknowledged {
        let id = created.pointer("/token/id").and_then(Value::as_str).unwrap();
        assert!(recorded.contains(id), "{id} has no audit event");
    }
    let listed = installation.get("/tokens", &session).await;
    assert_eq!(
        listed.body["tokens"].as_array().unwrap().len(),
        recorded.len(),
        "every token has its event and the reverse"
    );
}

async fn an_event_that_is_changed_by_hand_is_named(database: Database) {
    let installation = Installation::on(&database, &[]).await;
    let mut auth = installation.auth.start().await;
    let session = installation.sign_in("ann@example.com").await;
    for name in ["a", "b", "c"] {
        assert_eq!(installation.post("/tokens", Some(&session), json!({ "name": name })).await.status, 201);
    }
    assert_eq!(auth.terminate().await, Some(0));

    let verify = afd(&["audit", "verify", "--database", &database.url]);
    let whole = verify.run().await;
    assert_eq!(
        (whole.code, whole.output.trim_end()),
        (Some(0), "The chain is whole: 5 events sealed, 0 not sealed yet.")
    );

    let id = database.sql("SELECT id FROM audit_events WHERE seq = 4").await;
    database.sql("UPDATE audit_events SET ip = '192.0.2.1' WHERE seq = 4").await;
    let broken = afd(&["audit", "verify", "--database", &database.url]).run().await;
    assert_eq!(broken.code, Some(1));
    assert!(
        broken.output.starts_with(&format!(
            "The chain is broken: event 4 (id {id}) was altered; the 3 events before it are whole."
        )),
        "{}",
        broken.output
    );
}

async fn a_log_that_was_rewritten_whole_is_found_by_its_noted_end(database: Database) {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (key, other_key, notes) = (path("key.pem"), path("other.pem"), path("notes"));
    let audit = async |command: &str, more: &[&str]| {
        let ran = afd(&[&["audit", command, "--database", &database.url], more].concat()).run().await;
        (ran.code.unwrap(), ran.output.trim_end().to_owned())
    };
    // Noted before the first event.
    assert_eq!(afd(&["migrate"]).env("DATABASE_URL", &database.url).run().await.code, Some(0));
    let nothing = audit("head", &["--key", &key]).await.1;
    assert!(nothing.starts_with("afd-audit-head 0 "), "{nothing}");

    let mut installation = Installation::on(&database, &[]).await;
    let mut auth = installation.auth.start().await;
    let session = installation.sign_in("ann@example.com").await;
    for name in ["a", "b", "c"] {
        assert_eq!(installation.post("/tokens", Some(&session), json!({ "name": name })).await.status, 201);
    }
    assert_eq!(auth.terminate().await, Some(0));

    let (code, line) = audit("head", &["--key", &key]).await;
    assert_eq!(code, 0, "{line}");
    assert!(line.starts_with("afd-audit-head 5 ") && line.lines().count() == 1, "{line}");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&key).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let signer = line.split(' ').nth(4).unwrap();
    let again = audit("head", &["--key", &key, "--json"]).await.1;
    assert_eq!(serde_json::from_str::<Value>(&again).unwrap()["key"], signer, "the same key");

    // It is whole and the one that was noted, also when it has grown since.
    // The lease of the process before would keep the next one waiting for ten seconds.
    let no_lease = "UPDATE audit_head SET lease_until = 0";
    database.sql(no_lease).await;
    let mut auth = installation.auth.start().await;
    installation.forget_connections();
    assert_eq!(installation.post("/tokens", Some(&session), json!({ "name": "d" })).await.status, 201);
    assert_eq!(auth.terminate().await, Some(0));
    std::fs::write(&notes, format!("{nothing}\n{line}\n")).unwrap();
    let (code, told) = audit("verify", &["--expect", &nothing, "--key", &key]).await;
    assert!(code == 0 && told.starts_with("The chain is whole: ") && !told.contains("noted"), "{told}");
    for expect in [&line, &notes] {
        let (code, told) = audit("verify", &["--expect", expect, "--key", &key]).await;
        assert!(code == 0 && told.contains(" It is the one that was noted: event 5 at "), "{told}");
        assert!(told.starts_with("The chain is whole: ") && told.ends_with(&format!("by {signer}.")), "{told}");
    }
    // A note that was changed, or that somebody else has signed, is none.
    let changed = line.replacen(" 5 ", " 4 ", 1);
    assert_eq!(audit("verify", &["--expect", &changed]).await.0, 1);
    assert_eq!(audit("head", &["--key", &other_key]).await.0, 0);
    let (code, told) = audit("verify", &["--expect", &line, "--key", &other_key]).await;
    assert!(code == 1 && told.contains("is not signed by"), "{told}");
    std::fs::write(&notes, "\n").unwrap();
    assert_eq!(audit("verify", &["--expect", &notes]).await.0, 1);

    // Somebody takes events out, alters them, moves the end back, and lets the service seal them again.
    for sql in [
        "UPDATE audit_head SET last_seq = 2, last_link = (SELECT link FROM audit_events WHERE seq = 2)",
        "UPDATE audit_events SET seq = NULL, link = NULL, at = at + 1 WHERE seq > 2",
        no_lease,
    ] {
        database.sql(sql).await;
    }
    let mut auth = installation.auth.start().await;
    assert_eq!(auth.terminate().await, Some(0));
    let (code, told) = audit("verify", &[]).await;
    assert!(code == 0 && told.starts_with("The chain is whole: 6 events sealed"), "{told}");
    let (code, told) = audit("verify", &["--expect", &line, "--key", &key]).await;
    assert!(code == 1 && told.contains(" is not the one that was noted; the 4 events before it are whole."), "{told}");
}
