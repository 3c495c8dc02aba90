//! Moving from one database to another. There and back again is the same.

use domain::UserId;
use store::{AuthMethod, CopyOutcome, Event, Session, Store, Token, User};

use crate::chain::seal;
use crate::database::{Database, NOW, seal_key};

type Everything = (User, Vec<AuthMethod>, Vec<Session>, Vec<Token>, Vec<Event>);

/// What there is of a user's.
async fn everything(store: &Store, user: &UserId) -> Everything {
    (
        store.find_user(user).await.unwrap().unwrap(),
        store.list_methods(user).await.unwrap(),
        store.list_sessions(user, NOW).await.unwrap(),
        store.list_tokens(user).await.unwrap(),
        store.list_events(user, None, None, 10_000).await.unwrap().events,
    )
}

async fn used() -> (Database, User) {
    let db = Database::sqlite().await;
    let user = db.user("ann@example.com").await;
    db.user("bob@example.com").await;
    let token = db.token(&user).await;
    let secret = db.new_secret(&seal_key("another"));
    db.store.rotate_token(&user.id, &token.id, &secret, crate::database::DAY, &db.event(NOW)).await.unwrap();
    // More than one batch, some in the chain and some not, with ids that sort differently in the two databases.
    db.by_hand(
        "INSERT INTO audit_events (id, app_id, user_id, type, at, metadata) \
         WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 1700) \
         SELECT CASE WHEN n % 3 = 0 THEN 'a' WHEN n % 3 = 1 THEN 'B' ELSE '_' END || n, 'default', \
         (SELECT id FROM users WHERE email = 'ann@example.com'), 'token.used', n, '{}' FROM numbers",
    )
    .await;
    seal(&db.store, "a", NOW, 1_500).await;
    (db, user)
}

#[tokio::test(flavor = "multi_thread")]
async fn there_and_back_again_is_the_same() {
    let (from, user) = used().await;
    let over = Database::postgres().await;
    let mut told = Vec::new();
    let outcome = from.store.copy_to(&over.store, |progress| told.push(progress.clone())).await.unwrap();
    let chain = from.store.verify_chain().await.unwrap();
    assert_eq!((chain.sealed, &chain.problem), (1_500, &None));
    assert_eq!(outcome, CopyOutcome::Done { chain: chain.clone() });
    let events: Vec<_> = told.iter().filter(|progress| progress.table == "audit_events").collect();
    assert!(events.len() > 3 && events.is_sorted_by_key(|progress| progress.copied));
    assert!(events.last().is_some_and(|progress| progress.copied == progress.total));

    let back = Database::sqlite().await;
    let outcome = over.store.copy_to(&back.store, |_| {}).await.unwrap();
    assert_eq!(outcome, CopyOutcome::Done { chain });
    assert_eq!(everything(&back.store, &user.id).await, everything(&from.store, &user.id).await);
    for table in ["token_secrets", "one_time_codes", "apps", "audit_chain", "audit_head"] {
        assert_eq!(back.count_rows(table).await, from.count_rows(table).await, "{table}");
    }
    // Both are of use: the chain goes on.
    for db in [&over, &back] {
        seal(&db.store, "a", NOW, 1_000).await.unwrap();
        assert_eq!(db.store.verify_chain().await.unwrap().problem, None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_somebody_uses_is_left_alone() {
    let (from, _) = used().await;
    let to = Database::postgres().await;
    let stranger = to.user("eve@example.com").await;
    let before = everything(&to.store, &stranger.id).await;
    let outcome = from.store.copy_to(&to.store, |_| {}).await.unwrap();
    assert!(matches!(outcome, CopyOutcome::TargetInUse { .. }), "{outcome:?}");
    assert_eq!(everything(&to.store, &stranger.id).await, before);
    assert_eq!(to.count_rows("users").await, 1);
    // What has been copied is a database like any other.
    let over = Database::postgres().await;
    from.store.copy_to(&over.store, |_| {}).await.unwrap();
    let again = from.store.copy_to(&over.store, |_| {}).await.unwrap();
    assert!(matches!(again, CopyOutcome::TargetInUse { .. }), "{again:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_changes_meanwhile_is_noticed() {
    let (from, user) = used().await;
    let to = Database::postgres().await;
    let mut interfered = false;
    let outcome = from
        .store
        .copy_to(&to.store, |_| {
            if !std::mem::replace(&mut interfered, true) {
                let event = from.event(NOW);
                let write = from.other.append_event(domain::audit::EventType::TokenUsed, Some(&user.id), &event);
                tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(write)).unwrap();
            }
        })
        .await
        .unwrap();
    assert_eq!(outcome, CopyOutcome::SourceChanged);
    // And the next time.
    assert_eq!(from.store.copy_to(&to.store, |_| {}).await.unwrap(), CopyOutcome::SourceChanged);
}
