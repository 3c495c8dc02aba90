use domain::audit::{Actor, EventType};
use store::{CreationOutcome, NewEvent, NewToken};

use crate::database::{DAY, Database, MINUTE, NOW};

const ANN: &str = "ann@example.com";

fn housekeeper(db: &Database) -> NewEvent {
    let actor = Actor { service: Some("alternatefutures-auth".to_owned()), ..Actor::default() };
    NewEvent { actor, ..db.event(NOW.plus(31 * DAY)) }
}

pub(crate) async fn long_expired_tokens_go_in_batches(db: &Database) {
    let user = db.user(ANN).await;
    let eternal = db.token(&user).await;
    let mut kept = vec![eternal];
    for minute in 1..=7 {
        let new = NewToken { expires_at: Some(NOW.plus(minute * MINUTE)), ..db.new_token(&user) };
        let CreationOutcome::Created(token) = db.create(&new, NOW).await else { panic!() };
        if minute > 5 {
            kept.push(*token);
        }
    }
    let expired_before = NOW.plus(6 * MINUTE);
    for purged in [2, 2, 1, 0] {
        let count = db.store.purge_tokens(expired_before, 2, || housekeeper(db)).await.unwrap();
        assert_eq!(count, purged);
    }

    let mut listed = db.store.list_tokens(&user.id).await.unwrap();
    listed.sort_by(|a, b| a.id.cmp(&b.id));
    kept.sort_by(|a, b| a.id.cmp(&b.id));
    assert_eq!(listed, kept);
    assert_eq!(db.count("SELECT COUNT(*) FROM token_secrets").await, 3);
    let events = db.events(&user).await;
    let purged: Vec<_> = events.iter().filter(|event| event.kind == EventType::TokenPurged).collect();
    assert_eq!(purged.len(), 5);
    for event in purged {
        assert_eq!(event.actor.service.as_deref(), Some("alternatefutures-auth"));
        assert_eq!(event.metadata["name"], "CI deploy");
        assert!(kept.iter().all(|token| token.id.as_str() != event.metadata["tokenId"]));
    }
}

pub(crate) async fn codes_that_are_over_go_in_batches(db: &Database) {
    for number in 0..5 {
        db.put_code(&format!("old{number}@example.com"), "123456", NOW).await;
    }
    db.put_code("new@example.com", "123456", NOW.plus(DAY)).await;
    db.put_code(ANN, "123456", NOW.plus(DAY)).await;
    db.redeem(ANN, "123456", NOW.plus(DAY)).await;

    let over_before = NOW.plus(DAY).plus(MINUTE);
    for purged in [4, 2, 0] {
        assert_eq!(db.store.purge_codes(over_before, 4, &housekeeper(db)).await.unwrap(), purged);
    }
    assert_eq!(db.count("SELECT COUNT(*) FROM one_time_codes WHERE subject = 'new@example.com'").await, 1);
    assert_eq!(db.count("SELECT COUNT(*) FROM one_time_codes").await, 1);
    assert_eq!(db.count("SELECT COUNT(*) FROM audit_events WHERE type = 'codes.purged'").await, 2);
    let counted = "SELECT COUNT(*) FROM audit_events WHERE metadata = '{\"count\":\"4\"}' AND user_id IS NULL";
    assert_eq!(db.count(counted).await, 1);
}

pub(crate) async fn sessions_that_are_over_go_in_batches(db: &Database) {
    let mut sessions = Vec::new();
    for number in 0..4 {
        sessions.push(db.sign_in(&format!("person{number}@example.com")).await.session);
    }
    let end = sessions[0].expires_at;
    assert_eq!(db.store.purge_sessions(end, 9).await.unwrap(), 0);
    db.by_hand("UPDATE sessions SET expires_at = expires_at + 1 WHERE user_id IN (SELECT id FROM users WHERE email = 'person3@example.com')").await;
    for purged in [2, 1, 0] {
        assert_eq!(db.store.purge_sessions(end.plus(std::time::Duration::from_millis(1)), 2).await.unwrap(), purged);
    }
    assert!(db.store.find_session(&sessions[3].id).await.unwrap().is_some());
    assert_eq!(db.count("SELECT COUNT(*) FROM sessions").await, 1);
}
