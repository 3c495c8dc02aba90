use domain::audit::EventType;
use domain::{Chance, Timestamp};
use store::{ChainPlace, Tampering};

use crate::chain::{problem, seal, write};
use crate::database::{Database, MINUTE, NOW, in_parallel};

async fn prune(db: &Database, before: Timestamp, limit: u32) -> u64 {
    db.store.prune_events(before, limit, &Chance::of_the_system(), &db.event(NOW.plus(60 * MINUTE))).await.unwrap()
}

pub(crate) async fn what_is_old_goes_in_batches_and_the_rest_is_provable(db: &Database) {
    write(db, 9).await;
    assert_eq!(prune(db, NOW.plus(9 * MINUTE), 100).await, 0, "what is not sealed stays");
    seal(&db.store, "a", NOW, 7).await.unwrap();
    // The sixth happened at its end.
    for (pruned, left) in [(2, 8), (2, 7), (1, 7), (0, 7)] {
        assert_eq!(prune(db, NOW.plus(6 * MINUTE), 2).await, pruned);
        assert_eq!(db.count("SELECT COUNT(*) FROM audit_events").await, left);
        assert_eq!(problem(db).await, None);
    }
    let report = db.store.verify_chain().await.unwrap();
    assert_eq!((report.pruned, report.sealed, report.unsealed), (5, 5, 2));
    let said = "SELECT COUNT(*) FROM audit_events WHERE type = 'audit.pruned' AND seq > 7 AND \
                (metadata LIKE '%\"upTo\":\"2\"%' OR metadata LIKE '%\"upTo\":\"4\"%' OR metadata LIKE '%\"upTo\":\"5\"%')";
    assert_eq!(db.count(said).await, 3);
    assert_eq!(seal(&db.store, "a", NOW, 100).await, Some(2));
    assert_eq!(problem(db).await, None);
    // Also the events that say so go in their turn; the newest is never among them.
    assert_eq!(prune(db, NOW.plus(600 * MINUTE), 100).await, 7);
    assert_eq!(db.count("SELECT COUNT(*) FROM audit_events").await, 1);
    let report = db.store.verify_chain().await.unwrap();
    assert_eq!((report.pruned, report.sealed, report.problem), (12, 1, None));
}

pub(crate) async fn nothing_younger_goes_whatever_came_before_it(db: &Database) {
    // Sealed in this order: one of now, then one that came late and is older.
    write(db, 1).await;
    seal(&db.store, "a", NOW, 100).await.unwrap();
    db.store.append_event(EventType::TokenUsed, None, &db.event(NOW.minus(600 * MINUTE))).await.unwrap();
    seal(&db.store, "a", NOW, 100).await.unwrap();
    assert_eq!(prune(db, NOW, 100).await, 0);
    // A clock that is an hour ahead prunes an hour too early, and no more.
    assert_eq!(prune(db, NOW.plus(MINUTE), 100).await, 0);
    assert_eq!(prune(db, NOW.plus(2 * MINUTE), 100).await, 2);
    assert_eq!(problem(db).await, None);
}

pub(crate) async fn what_a_deletion_justifies_goes_before_it(db: &Database) {
    let ann = db.user("ann@example.com").await;
    db.token(&ann).await;
    seal(&db.store, "a", NOW, 100).await.unwrap();
    assert!(db.store.delete_user(&ann.id, &db.event(NOW.plus(MINUTE))).await.unwrap());
    crate::deletion::finish(db, NOW).await;
    seal(&db.store, "a", NOW, 100).await.unwrap();
    let deletions = "SELECT COUNT(*) FROM audit_events WHERE type = 'user.deleted'";
    let erased = "SELECT COUNT(*) FROM audit_events WHERE particulars_salt IS NULL";
    for _ in 0..20 {
        prune(db, NOW.plus(2 * MINUTE), 1).await;
        assert_eq!(problem(db).await, None);
        assert!(db.count(deletions).await == 1 || db.count(erased).await == 0);
    }
    assert_eq!(db.count(deletions).await, 0);
}

pub(crate) async fn what_was_tampered_with_is_not_pruned(db: &Database) {
    write(db, 9).await;
    seal(&db.store, "a", NOW, 100).await.unwrap();
    let erased = "UPDATE audit_events SET ip = NULL, user_agent = NULL, request_id = NULL, metadata = '{}', \
                  particulars_salt = NULL WHERE seq = 3";
    for forgery in ["UPDATE audit_events SET ip = '192.0.2.9' WHERE seq = 3", erased] {
        db.by_hand(forgery).await;
        let (chance, event) = (Chance::of_the_system(), db.event(NOW));
        db.store.prune_events(NOW.plus(600 * MINUTE), 100, &chance, &event).await.unwrap_err();
        assert_eq!(db.count("SELECT COUNT(*) FROM audit_events").await, 9);
        assert_eq!(problem(db).await.unwrap().seq, 3);
    }
}

pub(crate) async fn an_event_of_a_clock_that_was_ahead_holds_nothing_up(db: &Database) {
    write(db, 2).await;
    seal(&db.store, "a", NOW, 100).await.unwrap();
    db.store.append_event(EventType::TokenUsed, None, &db.event(NOW.plus(100_000 * MINUTE))).await.unwrap();
    seal(&db.store, "a", NOW, 100).await.unwrap();
    db.store.append_event(EventType::TokenUsed, None, &db.event(NOW.plus(3 * MINUTE))).await.unwrap();
    seal(&db.store, "a", NOW, 100).await.unwrap();
    assert_eq!(prune(db, NOW.plus(3 * MINUTE), 100).await, 2, "it stays while what follows it does");
    assert_eq!(prune(db, NOW.plus(4 * MINUTE), 100).await, 2);
    assert_eq!(problem(db).await, None);
}

pub(crate) async fn a_noted_end_that_is_left_outlives_pruning(db: &Database) {
    write(db, 6).await;
    seal(&db.store, "a", NOW, 3).await.unwrap();
    let (third, verify) = (db.store.chain_end().await.unwrap(), async |noted: &[ChainPlace]| {
        db.store.verify_chain_against(noted).await.unwrap().problem.map(|problem| problem.what)
    });
    seal(&db.store, "a", NOW, 3).await.unwrap();
    let sixth = db.store.chain_end().await.unwrap();
    assert_eq!(verify(&[third.clone(), sixth.clone()]).await, None);
    assert_eq!(prune(db, NOW.plus(4 * MINUTE), 100).await, 3);
    let alone = verify(std::slice::from_ref(&third)).await;
    assert_eq!(
        alone,
        Some(Tampering::NotedIsPruned),
        "that link is in the head, which says nothing about what is left"
    );
    assert_eq!(verify(&[ChainPlace { link: sixth.link.clone(), ..third.clone() }]).await, Some(Tampering::NotAsNoted));
    assert_eq!(prune(db, NOW.plus(5 * MINUTE), 100).await, 1);
    assert_eq!(verify(&[third.clone(), sixth.clone()]).await, None, "one of them is left");
    assert_eq!(verify(&[third]).await, Some(Tampering::NotedIsPruned));
    let later = ChainPlace { seq: 99, ..sixth };
    assert_eq!(verify(&[later]).await, Some(Tampering::Removed));
}

pub(crate) async fn pruning_beside_the_sealer_and_deletions_leaves_the_chain_whole(db: &Database) {
    for round in 0..10 {
        let mut deletions = Vec::new();
        for number in 0..4usize {
            let user = db.user(&format!("user{round}-{number}@example.com")).await;
            let (store, event) = (db.instance(number), db.event(NOW));
            deletions.push(async move { assert!(store.delete_user(&user.id, &event).await.unwrap()) });
        }
        let pruning = (0..6usize).map(|number| {
            let (store, event) = (db.instance(number), db.event(NOW));
            async move { store.prune_events(NOW.plus(MINUTE), 5, &Chance::of_the_system(), &event).await.unwrap() }
        });
        let sealing = (0..6usize).map(|number| {
            let store = db.instance(number);
            async move { assert!(seal(&store, "a", NOW, 3).await.is_some()) }
        });
        tokio::join!(in_parallel(deletions), in_parallel(sealing), in_parallel(pruning));
        assert_eq!(problem(db).await, None, "round {round}");
        while seal(&db.store, "a", NOW, 100).await != Some(0) {}
        assert_eq!(problem(db).await, None, "round {round}");
    }
}
