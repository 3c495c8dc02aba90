use domain::audit::EventType;
use store::{CreationOutcome, LeakRemedy, NewToken, Token};

use crate::database::{DAY, Database, NOW, in_parallel, seal_key};

async fn created(db: &Database, email: &str) -> (NewToken, Token) {
    let user = db.user(email).await;
    let new = db.new_token(&user);
    let CreationOutcome::Created(token) = db.create(&new, NOW).await else { panic!() };
    (new, *token)
}

pub(crate) async fn of_parallel_reports_one_ends_the_secret(db: &Database) {
    for round in 0..20 {
        let (old, token) = created(db, &format!("ann{round}@example.com")).await;
        let present = db.new_secret(&seal_key("present"));
        db.store.rotate_token(&token.user_id, &token.id, &present, DAY, &db.event(NOW)).await.unwrap().unwrap();
        let done = in_parallel((0..8).map(|number| {
            let (store, event) = (db.instance(number), db.event(NOW));
            let (user_id, id, secret) = (token.user_id.clone(), token.id.clone(), old.secret.id.clone());
            async move { store.record_leak(&user_id, &id, &secret, LeakRemedy::EndSecret, &event).await.unwrap() }
        }))
        .await;
        let done: Vec<_> = done.into_iter().flatten().collect();
        assert_eq!(done, [LeakRemedy::EndSecret], "round {round}");
        let user = db.store.find_user(&token.user_id).await.unwrap().unwrap();
        assert_eq!(db.count_events(&user, EventType::TokenLeaked).await, 1, "round {round}");
        assert!(db.store.find_token_by_digest(&present.digest).await.unwrap().is_some(), "the token goes on");
        assert!(db.store.find_token_by_digest(&old.secret.digest).await.unwrap().is_none());
    }
}

pub(crate) async fn a_report_beside_a_rotation_never_takes_the_new_secret(db: &Database) {
    for round in 0..20 {
        let (old, token) = created(db, &format!("ann{round}@example.com")).await;
        let present = db.new_secret(&seal_key("present"));
        let (store, event, reported) = (db.store.clone(), db.event(NOW), token.clone());
        let secret = old.secret.id.clone();
        let report = tokio::spawn(async move {
            let (user_id, id) = (&reported.user_id, &reported.id);
            store.record_leak(user_id, id, &secret, LeakRemedy::Revoke, &event).await.unwrap()
        });
        let event = db.event(NOW);
        let rotated = db.other.rotate_token(&token.user_id, &token.id, &present, DAY, &event).await.unwrap();
        let done = report.await.unwrap();
        let expected = if rotated.is_some() { LeakRemedy::EndSecret } else { LeakRemedy::Revoke };
        assert_eq!(done, Some(expected), "round {round}");
        let works = db.store.find_token_by_digest(&present.digest).await.unwrap().is_some();
        assert_eq!(works, rotated.is_some(), "round {round}: what the owner was given works");
        assert!(db.store.find_token_by_digest(&old.secret.digest).await.unwrap().is_none(), "round {round}");
    }
}
