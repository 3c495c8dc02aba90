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
        broken.output.starts_with(&format!("The chain is broken: event 4 (id {id}) was altered.")),
        "{}",
        broken.output
    );
}
