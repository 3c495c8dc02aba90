//! A session whose proof is too old, through both services; and the operator's way back from a lost second factor.

use serde_json::{Value, json};
use testkit::{Finished, authenticator_code};

use crate::databases::{Database, on_both_databases};
use crate::installation::{Installation, JWT_SECRET, afd, six_digits};

on_both_databases! {
    a_service_that_names_a_session_is_held_to_its_age,
    a_lost_second_factor_is_reset_and_one_that_cannot_be_opened_is_named,
}

const CREATE: &str = "mutation($name: String!) { createPersonalAccessToken(name: $name) { id token } }";
const ROTATE: &str = "mutation($id: ID!) { rotatePersonalAccessToken(id: $id) { id token } }";
const DELETE: &str = "mutation($id: ID!) { deletePersonalAccessToken(id: $id) }";
/// Ten minutes pass in the sessions' rows.
const AGE: &str = "UPDATE sessions SET authenticated_at = authenticated_at - 600000";
const OTHER_SECRET: &str = "another-end-to-end-jwt-secret-of-32-bytes";

async fn a_service_that_names_a_session_is_held_to_its_age(db: Database) {
    let installation = Installation::on(&db, &[("REAUTH_FOR_TOKENS", "true")]).await;
    let (_auth, _backend) = installation.start().await;
    let session = installation.sign_in("ann@example.com").await;
    let created = installation.graphql(Some(&session), CREATE, json!({ "name": "ci" })).await;
    let id = created.text("/data/createPersonalAccessToken/id").to_owned();

    db.sql(AGE).await;
    let had = db.number("SELECT COUNT(*) FROM token_secrets").await;
    for (mutation, variables) in [(CREATE, json!({ "name": "ci" })), (ROTATE, json!({ "id": id }))] {
        let refused = installation.graphql(Some(&session), mutation, variables).await;
        let extensions = &refused.body["errors"][0]["extensions"];
        assert_eq!((refused.status, &extensions["code"]), (200, &json!("REAUTHENTICATION_REQUIRED")), "{refused:?}");
        assert_eq!((&extensions["methods"], &extensions["maxAge"]), (&json!(["email"]), &json!(600)), "{refused:?}");
    }
    assert_eq!(db.number("SELECT COUNT(*) FROM token_secrets").await, had);
    let refused = installation.post("/account/mfa/setup", Some(&session), json!({})).await;
    assert_eq!((refused.status, refused.text("/code")), (401, "REAUTHENTICATION_REQUIRED"));
    assert!(refused.headers["www-authenticate"].to_str().unwrap().contains("insufficient_user_authentication"));

    let asked = installation.post("/account/reauthenticate", Some(&session), json!({ "method": "email" })).await;
    let code = six_digits(&installation.mail.mails().pop().unwrap().text);
    let proof = json!({ "method": "email", "code": code, "flowId": asked.body["flowId"] });
    let renewed = installation.post("/account/reauthenticate/verify", Some(&session), proof).await;
    assert_eq!((renewed.status, &renewed.body["success"]), (200, &json!(true)), "{renewed:?}");
    for (mutation, variables) in
        [(CREATE, json!({ "name": "ci" })), (ROTATE, json!({ "id": id })), (DELETE, json!({ "id": id }))]
    {
        let done = installation.graphql(Some(&session), mutation, variables).await;
        assert!(done.body["errors"].is_null(), "{done:?}");
    }
}

async fn operator(db: &Database, secret: Option<&str>, command: &[&str]) -> Finished {
    let launch = afd(command).env("DATABASE_URL", &db.url);
    match secret {
        Some(secret) => launch.env("JWT_SECRET", secret).run().await,
        None => launch.run().await,
    }
}

async fn shown(db: &Database, secret: Option<&str>) -> Value {
    let done = operator(db, secret, &["user", "show", "ann@example.com", "--json"]).await;
    assert_eq!(done.code, Some(0), "{}", done.output);
    serde_json::from_str::<Value>(&done.output).unwrap()["secondFactor"].clone()
}

async fn a_lost_second_factor_is_reset_and_one_that_cannot_be_opened_is_named(db: Database) {
    let installation = Installation::on(&db, &[]).await;
    let mut auth = installation.auth.start().await;
    let session = installation.sign_in("ann@example.com").await;
    assert_eq!(shown(&db, None).await, Value::Null);
    let setup = installation.post("/account/mfa/setup", Some(&session), json!({})).await;
    let code = authenticator_code(setup.text("/otpauthUrl")).await;
    let enabled = installation.post("/account/mfa/enable", Some(&session), json!({ "code": code })).await;
    let backup = enabled.text("/backupCodes/0").to_owned();

    for (secret, opens) in [(Some(JWT_SECRET), json!(true)), (Some(OTHER_SECRET), json!(false)), (None, Value::Null)] {
        let factor = shown(&db, secret).await;
        assert_eq!((&factor["opens"], &factor["backupCodesLeft"]), (&opens, &json!(10)), "{secret:?}: {factor}");
        assert!(factor["enabledAt"].is_string() && factor["sealKey"].is_string(), "{factor}");
    }
    let text = operator(&db, Some(OTHER_SECRET), &["user", "show", "ann@example.com"]).await.output;
    assert!(text.contains("10 backup codes left") && text.contains("does NOT open"), "{text}");
    assert_eq!(auth.terminate().await, Some(0));
    assert!(!auth.output().contains("second factors were sealed"), "{}", auth.output());

    // With the secret replaced: said at start, and to whoever tries.
    let replaced = Installation::on(&db, &[("JWT_SECRET", OTHER_SECRET)]).await;
    let mut auth = replaced.auth.start().await;
    let signed_in = async || {
        let code = six_digits(&replaced.mailed("ann@example.com").await);
        replaced.post("/auth/email/verify", None, json!({ "email": "ann@example.com", "code": code })).await
    };
    let waiting = signed_in().await.body["mfaToken"].clone();
    let refused = replaced.post("/auth/mfa/verify", None, json!({ "mfaToken": waiting, "code": backup })).await;
    assert_eq!((refused.status, refused.text("/code")), (503, "UNAVAILABLE"), "{refused:?}");

    let reset = ["user", "reset-second-factor", "ann@example.com"];
    let done = operator(&db, None, &reset).await;
    assert_eq!(done.code, Some(0), "{}", done.output);
    assert!(done.output.contains("has no second factor any more"), "{}", done.output);
    let again = operator(&db, None, &reset).await;
    assert_eq!(again.code, Some(1));
    assert!(again.output.contains("has no second factor"), "{}", again.output);
    assert_eq!(shown(&db, None).await, Value::Null);
    let events = operator(&db, None, &["audit", "list", "--type", "mfa.reset", "--json"]).await.output;
    let events: Value = serde_json::from_str(&events).unwrap();
    assert_eq!(events[0]["actor"]["service"], "afd", "{events}");
    assert_eq!(replaced.get("/auth/me", &session).await.status, 200, "sessions stay");
    let session = signed_in().await;
    assert_eq!((session.status, &session.body["success"]), (200, &json!(true)), "{session:?}");

    assert_eq!(auth.terminate().await, Some(0));
    let said = auth.output().lines().filter(|line| line.contains("second factors were sealed")).count();
    assert_eq!(said, 1, "{}", auth.output());
}
