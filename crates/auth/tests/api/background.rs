//! What happens beside requests: uses written down, the chain sealed, leftovers removed.

use std::time::Duration;

use auth::Background;
use serde_json::{Value, json};
use sqlx::Connection as _;

use crate::world::{DAY, MINUTE, SECOND, Token, World};

/// A validation on behalf of an end user at this address.
async fn use_from(world: &World, token: &Token, address: &str) -> u16 {
    let client = json!({ "ip": address, "userAgent": "Browser/9", "requestId": "end-user-7" });
    let body = json!({ "token": token.secret, "client": client });
    world.post("/tokens/validate").by(&world.service_jwt().sign()).json(&body).await.status
}

#[tokio::test]
async fn uses_are_written_down_in_batches() {
    let world = World::new().await;
    let ann = world.ann().await;
    let (used, unused) = (world.token(&ann).await, world.token(&ann).await);
    let last_used = async |token: &Token| {
        let listed = world.get("/tokens").by(&ann.access).await.ok(200);
        let listed = listed["tokens"].as_array().unwrap().clone();
        listed.into_iter().find(|shown| shown["id"] == token.id).unwrap()["lastUsedAt"].clone()
    };
    assert_eq!(use_from(&world, &used, "203.0.113.7").await, 200);
    world.clock.advance(SECOND);
    let first = world.now();
    assert_eq!(use_from(&world, &used, "203.0.113.7").await, 200);
    assert_eq!(last_used(&used).await, Value::Null);
    world.auth.flush().await.unwrap();
    assert_eq!((last_used(&used).await, last_used(&unused).await), (json!(first), Value::Null));

    world.clock.advance(40 * SECOND);
    assert_eq!(use_from(&world, &used, "203.0.113.7").await, 200);
    world.auth.flush().await.unwrap();
    world.auth.flush().await.unwrap();
    assert_eq!(last_used(&used).await, json!(world.now()));
    assert_eq!(world.count_events(&ann, "token.used").await, 1, "from the address it was last used from");

    world.clock.advance(SECOND);
    assert_eq!(use_from(&world, &used, "203.0.113.8").await, 200);
    world.auth.flush().await.unwrap();
    let event = world.events(&ann).await[0].clone();
    assert_eq!(
        (&event["type"], &event["ip"], &event["userAgent"], &event["requestId"], &event["at"]),
        (&json!("token.used"), &json!("203.0.113.8"), &json!("Browser/9"), &json!("end-user-7"), &json!(world.now()))
    );
    assert_eq!(event["actor"]["tokenId"], used.id);
    assert_eq!(event["metadata"]["tokenId"], used.id);
}

#[tokio::test]
async fn reaching_the_limit_is_written_down_once_a_flush() {
    let world = World::with(|setup| setup.config.limits.token = "2/1m".parse().unwrap()).await;
    let ann = world.ann().await;
    let token = world.token(&ann).await;
    for status in [200, 200, 429, 429, 429] {
        assert_eq!(use_from(&world, &token, "203.0.113.7").await, status);
    }
    world.auth.flush().await.unwrap();
    world.auth.flush().await.unwrap();
    assert_eq!(world.count_events(&ann, "token.rate_limited").await, 1);
    let page = world.get("/audit?type=token.rate_limited").by(&world.service_jwt().user(&ann.id).sign()).await.ok(200);
    assert_eq!(page["events"][0]["ip"], "203.0.113.7");
    assert_eq!(page["events"][0]["actor"]["tokenId"], token.id);
}

#[tokio::test]
async fn what_cannot_be_written_is_written_the_next_time() {
    let world = World::with(|setup| {
        setup.config.limits.token = "2/1m".parse().unwrap();
        setup.options.lock_timeout = Duration::from_millis(1);
    })
    .await;
    let ann = world.ann().await;
    let token = world.token(&ann).await;
    for status in [200, 200, 429] {
        assert_eq!(use_from(&world, &token, "203.0.113.7").await, status);
    }

    let mut other_process = world.connect().await;
    sqlx::query("BEGIN IMMEDIATE").execute(&mut other_process).await.unwrap();
    assert!(world.auth.flush().await.unwrap_err().is_unavailable());
    sqlx::query("COMMIT").execute(&mut other_process).await.unwrap();
    other_process.close().await.unwrap();

    for _ in 0..2 {
        world.auth.flush().await.unwrap();
        for kind in ["token.used", "token.rate_limited"] {
            assert_eq!(world.count_events(&ann, kind).await, 1, "{kind}");
        }
    }
    let listed = world.get("/tokens").by(&ann.access).await.ok(200);
    assert_eq!(listed["tokens"][0]["lastUsedAt"], json!(world.now()));
}

#[tokio::test]
async fn a_use_of_a_token_that_is_gone_is_passed_over() {
    let world = World::new().await;
    let ann = world.ann().await;
    let (kept, gone) = (world.token(&ann).await, world.token(&ann).await);
    for token in [&kept, &gone] {
        assert_eq!(use_from(&world, token, "203.0.113.7").await, 200);
    }
    world.delete(&format!("/tokens/{}", gone.id)).by(&ann.access).await.ok(200);
    world.auth.flush().await.unwrap();
    assert_eq!(world.count_events(&ann, "token.used").await, 1);
}

#[tokio::test]
async fn stopping_writes_down_and_seals_what_is_left() {
    let world = World::new().await;
    let ann = world.ann().await;
    let token = world.token(&ann).await;
    let background = Background::start(&world.auth);
    assert_eq!(use_from(&world, &token, "203.0.113.7").await, 200);
    background.stop().await;
    assert_eq!(world.count_events(&ann, "token.used").await, 1);
    assert_eq!(world.count("SELECT COUNT(*) FROM audit_events WHERE seq IS NULL").await, 0);
    let report = world.store.verify_chain().await.unwrap();
    assert_eq!((report.sealed, report.unsealed), (4, 0), "user, sign-in, creation, use");
}

#[tokio::test]
async fn audit_events_go_after_their_retention_and_leave_the_chain_provable() {
    let world = World::with(|setup| setup.config.audit_retention = Some(90 * DAY)).await;
    let ann = world.ann().await;
    world.token(&ann).await;
    world.auth.seal().await.unwrap();
    world.clock.advance(90 * DAY);
    world.auth.prune_audit_log().await.unwrap();
    assert_eq!(world.store.verify_chain().await.unwrap().pruned, 0);

    world.clock.advance(SECOND);
    world.auth.prune_audit_log().await.unwrap();
    let report = world.store.verify_chain().await.unwrap();
    assert_eq!((report.pruned, report.sealed, report.problem), (3, 1, None));
    // What is younger stays, that which says so among it; what is removed meanwhile is not sealed yet.
    assert_eq!(world.count("SELECT COUNT(*) FROM audit_events WHERE type = 'audit.pruned'").await, 1);
    world.auth.prune_audit_log().await.unwrap();
    world.auth.seal().await.unwrap();
    let report = world.store.verify_chain().await.unwrap();
    assert_eq!((report.pruned, report.problem), (3, None));
}

#[tokio::test]
async fn audit_events_are_kept_for_ever_unless_somebody_says_otherwise() {
    let world = World::new().await;
    world.ann().await;
    world.auth.seal().await.unwrap();
    world.clock.advance(10_000 * DAY);
    world.auth.prune_audit_log().await.unwrap();
    assert_eq!(world.store.verify_chain().await.unwrap().pruned, 0);
}

#[tokio::test]
async fn tokens_go_thirty_days_after_their_expiry() {
    let world = World::new().await;
    let ann = world.ann().await;
    let end = world.now().plus(MINUTE);
    let kept = world.token(&ann).await;
    let expired = world.token_with(&ann, json!({ "expiresAt": end })).await;
    world.clock.advance(MINUTE + 30 * DAY);
    world.auth.clean().await.unwrap();
    assert_eq!(world.count("SELECT COUNT(*) FROM personal_access_tokens").await, 2);

    world.clock.advance(SECOND);
    world.auth.clean().await.unwrap();
    let ann = world.ann().await;
    assert_eq!(world.token_ids(&ann).await, [kept.id.as_str()]);
    assert_eq!(world.count("SELECT COUNT(*) FROM token_secrets").await, 1);
    assert!(world.is_valid(&kept.secret).await);
    let page = world.get("/audit?type=token.purged").by(&ann.access).await.ok(200);
    assert_eq!(page["events"].as_array().unwrap().len(), 1);
    assert_eq!(page["events"][0]["metadata"]["tokenId"], expired.id);
    assert_eq!(
        page["events"][0]["actor"],
        json!({ "userId": ann.id, "tokenId": null, "sessionId": null, "service": "alternatefutures-auth" })
    );
}

#[tokio::test]
async fn codes_and_sessions_go_a_day_after_they_were_over() {
    let world = World::new().await;
    world.ann().await;
    world.request_code("bob@example.com").await.ok(200);
    let codes = async || world.count("SELECT COUNT(*) FROM one_time_codes").await;
    let sessions = async || world.count("SELECT COUNT(*) FROM sessions").await;
    world.clock.advance(DAY);
    world.auth.clean().await.unwrap();
    assert_eq!((codes().await, sessions().await), (2, 1));
    world.clock.advance(10 * MINUTE + SECOND);
    world.auth.clean().await.unwrap();
    assert_eq!((codes().await, sessions().await), (0, 1));

    world.clock.advance(7 * DAY);
    world.auth.clean().await.unwrap();
    assert_eq!(sessions().await, 0);
}
