use std::time::Duration;

use domain::audit::EventType;
use domain::{Chance, ClientInfo, Timestamp};
use store::{AuditBacklog, ChainProblem, ChainReport, NewEvent, NewUser, NewUserOutcome, Store, Tampering};

use crate::database::{Database, MINUTE, NOW, in_parallel};

pub(crate) async fn seal(store: &Store, holder: &str, now: Timestamp, batch: u32) -> Option<u64> {
    store.seal_events(holder, now, batch, &Chance::of_the_system()).await.unwrap()
}

/// `count` events whose ids sort in the order they happened, `e01` first.
pub(crate) async fn write(db: &Database, count: u32) {
    for number in 1..=count {
        let mut event = db.event(NOW.plus(number * MINUTE));
        event.id = format!("e{number:02}").parse().unwrap();
        db.store.append_event(EventType::TokenLimited, Some(&"ann".parse().unwrap()), &event).await.unwrap();
    }
}

async fn sealed(db: &Database, count: u32) {
    write(db, count).await;
    assert_eq!(seal(&db.store, "a", NOW, 1_000).await, Some(u64::from(count)));
    assert_eq!(problem(db).await, None);
}

pub(crate) async fn problem(db: &Database) -> Option<ChainProblem> {
    db.store.verify_chain().await.unwrap().problem
}

fn found(seq: i64, event_id: impl Into<Option<&'static str>>, what: Tampering) -> ChainProblem {
    ChainProblem { seq, event_id: event_id.into().map(str::to_owned), what }
}

pub(crate) async fn sealing_continues_where_it_stopped(db: &Database) {
    let empty = ChainReport { pruned: 0, sealed: 0, unsealed: 0, problem: None };
    assert_eq!(db.store.verify_chain().await.unwrap(), empty);
    write(db, 10).await;
    assert_eq!(db.store.verify_chain().await.unwrap(), ChainReport { unsealed: 10, ..empty.clone() });
    let backlog = AuditBacklog { events: 10, oldest: Some(NOW.plus(MINUTE)) };
    assert_eq!(db.store.audit_backlog().await.unwrap(), backlog);

    for (linked, total) in [(4, 4), (4, 8), (2, 10), (0, 10)] {
        assert_eq!(seal(&db.store, "a", NOW, 4).await, Some(linked));
        let report = ChainReport { sealed: total, unsealed: 10 - total, ..empty.clone() };
        assert_eq!(db.store.verify_chain().await.unwrap(), report);
    }
    assert_eq!(db.store.audit_backlog().await.unwrap(), AuditBacklog { events: 0, oldest: None });
    let in_order = "SELECT COUNT(*) FROM audit_events WHERE id = 'e01' AND seq = 1 OR id = 'e10' AND seq = 10";
    assert_eq!(db.count(in_order).await, 2);
    // One that was committed late has an earlier time than some that are sealed already; it comes after them.
    let mut late = db.event(NOW);
    late.id = "late".parse().unwrap();
    db.store.append_event(EventType::TokenLimited, None, &late).await.unwrap();
    assert_eq!(seal(&db.store, "a", NOW, 4).await, Some(1));
    assert_eq!(db.count("SELECT seq FROM audit_events WHERE id = 'late'").await, 11);
    assert_eq!(problem(db).await, None);
}

pub(crate) async fn one_holder_seals_at_a_time(db: &Database) {
    write(db, 3).await;
    let lease = Duration::from_secs(10);
    let before_its_end = NOW.plus(lease).minus(Duration::from_millis(1));

    assert_eq!(seal(&db.store, "a", NOW, 1).await, Some(1));
    assert_eq!(seal(&db.other, "b", before_its_end, 1).await, None);
    assert_eq!(seal(&db.store, "a", before_its_end, 1).await, Some(1), "renewed");
    assert_eq!(seal(&db.other, "b", NOW.plus(lease), 1).await, None);
    assert_eq!(seal(&db.other, "b", before_its_end.plus(lease), 1).await, Some(1));
    assert_eq!(seal(&db.store, "a", NOW.plus(2 * lease), 1).await, None);
    assert_eq!(problem(db).await, None);
}

pub(crate) async fn a_lease_of_a_clock_that_was_set_back_holds_nobody_up(db: &Database) {
    write(db, 4).await;
    assert_eq!(seal(&db.store, "a", NOW, 1).await, Some(1));
    // The clock goes back by an hour, and the service starts anew.
    let back = NOW.minus(60 * MINUTE);
    assert_eq!(seal(&db.other, "restarted", back, 1).await, Some(1));
    assert_eq!(seal(&db.store, "b", back, 1).await, None, "and a lease of that clock is a lease");
    // However little it goes back: no lease that begins now would end so late.
    let lease = Duration::from_secs(10);
    assert_eq!(seal(&db.store, "b", back.minus(Duration::from_millis(1)), 1).await, Some(1));
    assert_eq!(seal(&db.other, "c", back.plus(lease), 1).await, Some(1));
    assert_eq!(problem(db).await, None);
}

pub(crate) async fn parallel_sealers_make_one_chain(db: &Database) {
    write(db, 60).await;
    for expected in [16, 16, 16, 12, 0] {
        // All with the same name: the lease lets every one of them in.
        let linked = in_parallel((0..8).map(|number| {
            let store = db.instance(number);
            async move { seal(&store, "a", NOW, 2).await.unwrap() }
        }))
        .await;
        assert_eq!(linked.iter().sum::<u64>(), expected);
    }
    let report = db.store.verify_chain().await.unwrap();
    assert_eq!(report, ChainReport { pruned: 0, sealed: 60, unsealed: 0, problem: None });
}

pub(crate) async fn a_whole_chain_verifies(db: &Database) {
    // More than one batch of the walk.
    db.by_hand(
        "INSERT INTO audit_events (id, app_id, type, at, metadata) \
         WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 2500) \
         SELECT 'n' || n, 'default', 'token.created', n, '{}' FROM numbers",
    )
    .await;
    assert_eq!(seal(&db.store, "a", NOW, 10_000).await, Some(2_500));
    write(db, 2).await;
    let report = db.store.verify_chain().await.unwrap();
    assert_eq!(report, ChainReport { pruned: 0, sealed: 2_500, unsealed: 2, problem: None });

    assert_eq!(db.by_hand("UPDATE audit_events SET at = at + 1 WHERE seq = 2001").await, 1);
    assert_eq!(problem(db).await, Some(found(2_001, "n2001", Tampering::Altered)));
    assert_eq!(db.by_hand("DELETE FROM audit_events WHERE seq = 1001").await, 1);
    assert_eq!(problem(db).await, Some(found(1_001, None, Tampering::Removed)), "the first one is named");
}

/// What is found, with how many events before it are whole.
async fn broken(db: &Database) -> (u64, ChainProblem) {
    let report = db.store.verify_chain().await.unwrap();
    (report.sealed, report.problem.unwrap())
}

pub(crate) async fn an_altered_event_is_named(db: &Database) {
    sealed(db, 9).await;
    db.by_hand("UPDATE audit_events SET ip = '192.0.2.2' WHERE seq = 5").await;
    assert_eq!(broken(db).await, (4, found(5, "e05", Tampering::Altered)));
    db.by_hand("UPDATE audit_events SET id = 'x' WHERE seq = 4").await;
    assert_eq!(broken(db).await, (3, found(4, "x", Tampering::Altered)));
    db.by_hand("UPDATE audit_events SET link = NULL WHERE seq = 3").await;
    assert_eq!(broken(db).await, (2, found(3, "e03", Tampering::Altered)));
    db.by_hand("UPDATE audit_events SET at = at + 1 WHERE seq = 1").await;
    assert_eq!(broken(db).await, (0, found(1, "e01", Tampering::Altered)));
}

const ERASE: &str = "UPDATE audit_events SET ip = NULL, user_agent = NULL, request_id = NULL, metadata = '{}', \
                     particulars_salt = NULL WHERE id = 'e03'";

/// A `user.deleted` of the user of [`write`].
async fn delete_ann(db: &Database, id: &str, at: Timestamp) {
    let event = NewEvent { id: id.parse().unwrap(), client: ClientInfo::default(), ..db.event(at) };
    db.store.append_event(EventType::UserDeleted, Some(&"ann".parse().unwrap()), &event).await.unwrap();
}

pub(crate) async fn an_erasure_needs_a_later_deletion_in_the_chain(db: &Database) {
    // An earlier one says nothing: whoever came back by that id is somebody else.
    delete_ann(db, "gone1", NOW).await;
    seal(&db.store, "a", NOW, 9).await.unwrap();
    db.by_hand(
        "INSERT INTO users (id, app_id, created_at, updated_at) VALUES ('ann', 'default', 1762603200001, 1762603200001)",
    )
    .await;
    assert_eq!(broken(db).await, (0, found(1, "gone1", Tampering::SlippedIn)), "nothing says that she came back");
    let came = NewEvent { id: "came".parse().unwrap(), ..db.event(NOW) };
    db.store.append_event(EventType::UserCreated, Some(&"ann".parse().unwrap()), &came).await.unwrap();
    seal(&db.store, "a", NOW, 9).await.unwrap();
    write(db, 9).await;
    assert_eq!(seal(&db.store, "a", NOW, 1_000).await, Some(9));
    assert_eq!(problem(db).await, None);
    assert_eq!(db.by_hand(ERASE).await, 1);
    let altered = (4, found(5, "e03", Tampering::Altered));
    assert_eq!(broken(db).await, altered);
    delete_ann(db, "gone2", NOW.plus(60 * MINUTE)).await;
    assert_eq!(broken(db).await, altered, "not sealed yet");
    seal(&db.store, "a", NOW, 9).await.unwrap();
    assert_eq!(broken(db).await, altered, "she is there");
    db.by_hand("DELETE FROM users WHERE id = 'ann'").await;
    seal(&db.store, "a", NOW, 9).await.unwrap();
    assert_eq!(problem(db).await, None);
    // The deletion has to be whole itself.
    for (change, undo) in [
        (
            "UPDATE audit_events SET user_id = 'bob' WHERE id = 'gone2'",
            "UPDATE audit_events SET user_id = 'ann' WHERE id = 'gone2'",
        ),
        (
            "UPDATE audit_events SET at = at + 1 WHERE id = 'gone2'",
            "UPDATE audit_events SET at = at - 1 WHERE id = 'gone2'",
        ),
        ("UPDATE audit_events SET seq = 99 WHERE id = 'gone2'", "UPDATE audit_events SET seq = 12 WHERE id = 'gone2'"),
    ] {
        db.by_hand(change).await;
        assert_eq!(broken(db).await, altered, "{change}");
        db.by_hand(undo).await;
        assert_eq!(problem(db).await, None, "{undo}");
    }
    // Nor does it justify its own erasure.
    db.by_hand("UPDATE audit_events SET particulars_salt = NULL WHERE id = 'gone2'").await;
    assert_eq!(broken(db).await, (11, found(12, "gone2", Tampering::Altered)));
}

pub(crate) async fn the_first_of_several_breaks_is_named(db: &Database) {
    sealed(db, 9).await;
    delete_ann(db, "gone", NOW.plus(60 * MINUTE)).await;
    seal(&db.store, "a", NOW, 9).await.unwrap();
    db.by_hand(ERASE).await;
    // What was erased is justified beyond the break.
    db.by_hand("UPDATE audit_events SET at = at + 1 WHERE seq = 6").await;
    assert_eq!(broken(db).await, (5, found(6, "e06", Tampering::Altered)));
    db.by_hand("DELETE FROM audit_events WHERE seq = 5").await;
    assert_eq!(broken(db).await, (4, found(5, None, Tampering::Removed)));
    db.by_hand("UPDATE audit_events SET at = at + 1 WHERE seq = 9").await;
    assert_eq!(broken(db).await, (4, found(5, None, Tampering::Removed)));
    // Or is not.
    db.by_hand("UPDATE audit_events SET type = 'user.enabled' WHERE id = 'gone'").await;
    assert_eq!(broken(db).await, (2, found(3, "e03", Tampering::Altered)));
}

pub(crate) async fn a_removed_event_is_named(db: &Database) {
    sealed(db, 9).await;
    db.by_hand("DELETE FROM audit_events WHERE seq = 5").await;
    assert_eq!(broken(db).await, (4, found(5, None, Tampering::Removed)));
    db.by_hand("UPDATE audit_events SET seq = NULL WHERE seq = 2").await;
    assert_eq!(broken(db).await, (1, found(2, None, Tampering::Removed)), "taken out of the chain is removed from it");
    db.by_hand("DELETE FROM audit_events WHERE seq = 1").await;
    assert_eq!(broken(db).await, (0, found(1, None, Tampering::Removed)));
}

pub(crate) async fn a_cut_off_end_is_noticed(db: &Database) {
    sealed(db, 9).await;
    db.by_hand("DELETE FROM audit_events WHERE seq > 6").await;
    assert_eq!(broken(db).await, (6, found(7, None, Tampering::Removed)));
    db.by_hand("DELETE FROM audit_events").await;
    assert_eq!(broken(db).await, (0, found(1, None, Tampering::Removed)));
}

pub(crate) async fn an_event_slipped_in_is_named(db: &Database) {
    sealed(db, 9).await;
    // At the end.
    db.by_hand(
        "INSERT INTO audit_events (id, app_id, type, at, metadata, seq, link) \
         VALUES ('forged', 'default', 'token.created', 1, '{}', 10, 'x')",
    )
    .await;
    assert_eq!(broken(db).await, (9, found(10, "forged", Tampering::SlippedIn)));
    // Before the beginning.
    db.by_hand("UPDATE audit_events SET seq = 0 WHERE id = 'forged'").await;
    assert_eq!(broken(db).await, (0, found(0, "forged", Tampering::SlippedIn)));
    // In the middle, all later ones moved up by one.
    db.by_hand("UPDATE audit_events SET seq = seq + 1000 WHERE seq >= 5").await;
    db.by_hand("UPDATE audit_events SET seq = seq - 999 WHERE seq >= 1005").await;
    db.by_hand("UPDATE audit_events SET seq = 5 WHERE id = 'forged'").await;
    assert_eq!(broken(db).await, (4, found(5, "forged", Tampering::SlippedIn)));
}

pub(crate) async fn an_end_that_does_not_fit_is_noticed(db: &Database) {
    sealed(db, 3).await;
    db.by_hand("UPDATE audit_head SET last_link = 'x'").await;
    assert_eq!(broken(db).await, (3, found(3, None, Tampering::End)));
}

/// Three events as the first version of this program sealed them, in its format.
const OLDER: &str = r#"INSERT INTO audit_events (id, app_id, user_id, type, at, actor_session_id, actor_token_id,
    actor_service, ip, user_agent, request_id, metadata, seq, link) VALUES
    ('o1', 'default', 'ann', 'user.created', 1, 's1', NULL, NULL, '192.0.2.1', 'curl/8', 'r1', '{"method":"email"}', 1, '104a7aa3646e498a8ba98733265e8138102c705a24f4cf5197901630c9e29f85'),
    ('o2', 'default', 'bob', 'token.created', 2, NULL, NULL, 'auth', '2001:db8::1', 'Mozilla/5.0 "x" ä', NULL, '{"name":"ci"}', 2, '07976d1ba5d5671080c5e966b5755cd0be8d9a0f6315ccc39f3962db32c8d326'),
    ('o3', 'default', 'ann', 'session.ended', 3, 's1', NULL, NULL, '192.0.2.1', 'curl/8', 'r3', '{"sessionId":"s1"}', 3, '80c93ad2dfc0354c1eead3979e65f96c065960206ac5d460d1cb884243ee42bf')"#;
const OLDER_END: &str = "UPDATE audit_chain SET last_seq = 3, \
    last_link = '80c93ad2dfc0354c1eead3979e65f96c065960206ac5d460d1cb884243ee42bf'";

pub(crate) async fn what_an_older_version_sealed_is_sealed_anew(db: &Database) {
    assert_eq!(db.by_hand(OLDER).await, 3);
    db.by_hand(OLDER_END).await;
    db.by_hand("UPDATE audit_chain SET lease_holder = 'old', lease_until = 1").await;
    // One of them was erased since; nothing is left to check it by.
    db.by_hand(
        "UPDATE audit_events SET ip = NULL, user_agent = NULL, request_id = NULL, metadata = '{}' WHERE id = 'o1'",
    )
    .await;
    db.script_by_hand("DROP TABLE audit_head").await;
    db.script_by_hand(include_str!("../../migrations/0013_audit_head.sql")).await;
    let report = db.store.verify_chain().await.unwrap();
    assert_eq!(report, ChainReport { pruned: 0, sealed: 0, unsealed: 3, problem: None });

    assert_eq!(seal(&db.store, "a", NOW, 2).await, Some(2));
    assert_eq!(seal(&db.store, "a", NOW, 2).await, Some(1));
    let report = db.store.verify_chain().await.unwrap();
    assert_eq!(report, ChainReport { pruned: 0, sealed: 4, unsealed: 0, problem: None });
    let in_order = "SELECT COUNT(*) FROM audit_events WHERE seq = 2 AND id = 'o1' OR seq = 3 AND id = 'o2' \
                    OR seq = 4 AND id = 'o3' OR seq = 1 AND type = 'audit.resealed' AND metadata = \
                    '{\"count\":\"3\",\"link\":\"80c93ad2dfc0354c1eead3979e65f96c065960206ac5d460d1cb884243ee42bf\"}'";
    assert_eq!(db.count(in_order).await, 4);
    // A sealer of that version, which may still be running, has no lease any more, and gets none.
    let older = "UPDATE audit_chain SET lease_holder = 'old', lease_until = 2 \
                 WHERE lease_holder = 'old' OR lease_until <= 4102444800000";
    assert_eq!(db.by_hand(older).await, 0);
}

pub(crate) async fn deleting_an_account_erases_its_particulars_and_leaves_the_chain_whole(db: &Database) {
    let (ann, bob) = (db.user("ann@example.com").await, db.user("bob@example.com").await);
    db.token(&ann).await;
    assert_eq!(problem(db).await, None);
    let sealed = seal(&db.store, "a", NOW, 1_000).await.unwrap();
    // Some are not sealed yet when she goes.
    db.token(&ann).await;
    let mut gone = db.event(NOW);
    gone.id = "gone".parse().unwrap();
    assert!(db.store.delete_user(&ann.id, &gone).await.unwrap());
    crate::deletion::finish(db, NOW).await;
    assert_eq!(problem(db).await, None);
    assert_eq!(
        seal(&db.store, "a", NOW, 1_000).await,
        Some(1),
        "a creation; the deletion was sealed as it was written"
    );
    let report = db.store.verify_chain().await.unwrap();
    assert_eq!(report, ChainReport { pruned: 0, sealed: sealed + 2, unsealed: 0, problem: None });

    // What comes late is written without particulars.
    db.store.append_event(EventType::TokenLimited, Some(&ann.id), &db.event(NOW)).await.unwrap();
    for event in db.events(&ann).await {
        assert_eq!((event.client, event.metadata.len()), (ClientInfo::default(), 0), "{:?}", event.kind);
        assert_eq!(event.user_id.as_ref(), Some(&ann.id));
    }
    assert!(db.events(&bob).await.iter().all(|event| event.client.ip.is_some()));

    // What is left of them cannot be changed, and nobody else's can be erased.
    for (change, undo) in [
        (
            "UPDATE audit_events SET type = 'token.deleted' WHERE id = 'gone'",
            "UPDATE audit_events SET type = 'user.deleted' WHERE id = 'gone'",
        ),
        (
            "UPDATE audit_events SET at = at + 1 WHERE id = 'gone'",
            "UPDATE audit_events SET at = at - 1 WHERE id = 'gone'",
        ),
        (
            "UPDATE audit_events SET ip = '192.0.2.1' WHERE id = 'gone'",
            "UPDATE audit_events SET ip = NULL WHERE id = 'gone'",
        ),
        (
            "UPDATE audit_events SET metadata = '[]' WHERE id = 'gone'",
            "UPDATE audit_events SET metadata = '{}' WHERE id = 'gone'",
        ),
    ] {
        assert_eq!(db.by_hand(change).await, 1);
        assert_eq!(problem(db).await.unwrap().what, Tampering::Altered, "{change}");
        assert_eq!(db.by_hand(undo).await, 1);
        assert_eq!(problem(db).await, None, "{undo}");
    }
    let erase = "UPDATE audit_events SET ip = NULL, user_agent = NULL, request_id = NULL, metadata = '{}', \
                 particulars_salt = NULL";
    db.by_hand(erase).await;
    assert_eq!(problem(db).await.unwrap().what, Tampering::Altered, "Bob has not gone");
}

pub(crate) async fn deleting_beside_the_sealer_leaves_the_chain_whole(db: &Database) {
    for round in 0..10 {
        let mut deletions = Vec::new();
        for number in 0..8usize {
            let user = db.user(&format!("user{round}-{number}@example.com")).await;
            let (store, event) = (db.instance(number), db.event(NOW));
            deletions.push(async move { assert!(store.delete_user(&user.id, &event).await.unwrap()) });
        }
        let sealing = (0..8usize).map(|number| {
            let store = db.instance(number);
            async move { assert!(seal(&store, "a", NOW, 3).await.is_some()) }
        });
        tokio::join!(in_parallel(deletions), in_parallel(sealing));
        tokio::join!(crate::deletion::finish(db, NOW), async { seal(&db.other, "a", NOW, 3).await });
        while seal(&db.store, "a", NOW, 100).await != Some(0) {}
        assert_eq!(problem(db).await, None, "round {round}");
    }
    let left = "SELECT COUNT(*) FROM audit_events WHERE ip IS NOT NULL AND user_id IN \
                (SELECT user_id FROM audit_events WHERE type = 'user.deleted')";
    assert_eq!(db.count(left).await, 0);
}

pub(crate) async fn what_calls_wrote_late_of_somebody_who_is_gone_is_sealed_without_particulars(db: &Database) {
    let (ann, bob) = (db.user("ann@example.com").await, db.user("bob@example.com").await);
    seal(&db.store, "a", NOW, 1_000).await.unwrap();
    crate::deletion::delete_all(db, &ann.id).await;
    let left = "SELECT COUNT(*) FROM audit_events WHERE ip IS NOT NULL OR user_agent IS NOT NULL \
                OR request_id IS NOT NULL OR metadata <> '{}'";
    let of_bob = db.count(left).await;
    // A call that began before the deletion commits after it: with it in one batch, and in a later one.
    for id in ["late1", "late2"] {
        for user in [&ann, &bob] {
            let sql = "INSERT INTO audit_events (id, app_id, user_id, type, at, ip, user_agent, request_id, metadata) \
                       VALUES ($1, 'default', $2, 'token.used', 1, '192.0.2.1', 'curl/8', 'r', '{\"a\":\"b\"}')";
            let id = format!("{id} of {}", user.id);
            sqlx::query(sql).bind(id).bind(user.id.as_str()).execute(db.raw()).await.unwrap();
        }
        seal(&db.store, "a", NOW, 1_000).await.unwrap();
        assert_eq!(problem(db).await, None);
    }
    assert_eq!(db.count(left).await, of_bob + 2);
    assert_eq!(
        db.count("SELECT COUNT(*) FROM audit_events WHERE id LIKE 'late%' AND particulars_salt IS NULL").await,
        0
    );
}

/// Also before the sealer has come by, when the clock goes back meanwhile, and after an upgrade that seals anew.
pub(crate) async fn an_id_that_is_used_again_leaves_the_chain_whole_at_every_moment(db: &Database) {
    let new = NewUser { id: "customer-7".parse().unwrap(), display_name: None, ways_in: Vec::new() };
    let create = async || {
        let created = db.store.create_user(&new, &db.event(NOW)).await.unwrap();
        assert!(matches!(created, NewUserOutcome::Created(_)), "{created:?}");
        assert_eq!(problem(db).await, None);
    };
    create().await;
    for round in 1..4 {
        let at = NOW.plus(round * MINUTE);
        db.store.append_event(EventType::TokenUsed, Some(&new.id), &db.event(at)).await.unwrap();
        seal(&db.store, "a", NOW, 100).await.unwrap();
        assert!(db.store.delete_user(&new.id, &db.event(at)).await.unwrap());
        crate::deletion::finish(db, at).await;
        crate::deletion::finish(db, at.plus(crate::deletion::SETTLED)).await;
        assert_eq!(problem(db).await, None);
        create().await;
    }
    assert_eq!(seal(&db.store, "a", NOW, 100).await, Some(1));
    assert_eq!(problem(db).await, None);
    // As migration 13 does; of what an older version wrote the times are in order.
    db.by_hand("UPDATE audit_events SET at = seq").await;
    db.by_hand("UPDATE audit_events SET seq = NULL, link = NULL, particulars_salt = NULL, particulars_digest = NULL")
        .await;
    db.execute(&format!("UPDATE audit_head SET last_seq = 0, last_link = '{}'", "0".repeat(64))).await;
    while seal(&db.store, "a", NOW, 2).await.unwrap() > 0 {}
    let report = db.store.verify_chain().await.unwrap();
    assert_eq!((report.sealed, report.unsealed, report.problem), (10, 0, None));
}
