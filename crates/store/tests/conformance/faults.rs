//! What only a database that is a process of its own can do to its users. Nobody reopens anything here: a store that
//! does not recover by itself fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use domain::audit::EventType;
use domain::{EventId, UserId};
use store::{NewEvent, Options, Store};
use testkit::Postgres;
use tokio::task::{JoinSet, block_in_place};

use crate::database::{Database, NOW, digest, in_parallel};

/// Writes events as fast as it goes, each with an id of its own, until told to stop.
struct Writers {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU32>,
    tasks: JoinSet<(Vec<EventId>, u32)>,
}

impl Writers {
    fn start(db: &Database) -> Self {
        let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
        let mut tasks = JoinSet::new();
        for number in 0..8 {
            let (store, template) = (db.instance(number), db.event(NOW));
            let (stop, acknowledged) = (Arc::clone(&stop), Arc::clone(&acknowledged));
            tasks.spawn(async move {
                let (mut written, mut failed) = (Vec::new(), 0);
                while !stop.load(Ordering::SeqCst) {
                    let mut event = template.clone();
                    event.id = format!("w{number}n{}f{failed}", written.len()).parse().unwrap();
                    match store.append_event(EventType::TokenLimited, Some(&ann()), &event).await {
                        Ok(()) => {
                            acknowledged.fetch_add(1, Ordering::SeqCst);
                            written.push(event.id);
                        }
                        Err(error) => {
                            assert!(error.is_unavailable(), "{error:?}");
                            failed += 1;
                        }
                    }
                }
                (written, failed)
            });
        }
        Self { stop, acknowledged, tasks }
    }

    /// Returns once that many more have been acknowledged.
    async fn more(&self, count: u32) {
        let goal = self.acknowledged.load(Ordering::SeqCst) + count;
        while self.acknowledged.load(Ordering::SeqCst) < goal {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Every acknowledged event is there; returns how many there are and how many attempts failed.
    async fn all_are_kept(self, db: &Database) -> (usize, u32) {
        self.stop.store(true, Ordering::SeqCst);
        let outcomes = self.tasks.join_all().await;
        let kept = db.store.list_events(&ann(), None, None, 1_000_000).await.unwrap().events;
        let kept: std::collections::HashSet<EventId> = kept.into_iter().map(|event| event.id).collect();
        let (mut written, mut failed) = (0, 0);
        for (ids, failures) in outcomes {
            assert!(ids.iter().all(|id| kept.contains(id)), "an acknowledged event is lost");
            written += ids.len();
            failed += failures;
        }
        // What became of a commit whose answer was cut off, nobody knows; but nothing is there twice or by itself.
        assert!(kept.len() <= written + failed as usize);
        (written, failed)
    }
}

fn ann() -> UserId {
    "ann".parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_killed_server_loses_nothing_that_was_acknowledged() {
    let mut postgres = Postgres::start();
    let db = Database::at(&postgres.database()).await;
    let writers = Writers::start(&db);
    for _ in 0..3 {
        writers.more(200).await;
        block_in_place(|| postgres.kill());
        block_in_place(|| postgres.restart());
    }
    writers.more(200).await;
    let (written, _) = writers.all_are_kept(&db).await;
    assert!(written >= 800);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn connections_cut_in_the_middle_lose_nothing_that_was_acknowledged() {
    let postgres = Postgres::shared();
    let url = postgres.database();
    let db = Database::at(&url).await;
    let writers = Writers::start(&db);
    for _ in 0..20 {
        writers.more(20).await;
        block_in_place(|| {
            postgres.sql(
                &url,
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                 WHERE datname = current_database() AND pid <> pg_backend_pid()",
            )
        });
    }
    writers.more(20).await;
    let (written, failed) = writers.all_are_kept(&db).await;
    assert!(written >= 420);
    // Those whose commit was under way; everybody else has run again without the caller noticing.
    assert!(failed <= 20 * 8, "{failed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn dead_connections_in_the_pool_are_nobodys_error() {
    let mut postgres = Postgres::start();
    let db = Database::at(&postgres.database()).await;
    for _ in 0..3 {
        let fill = (0..60).map(|_| {
            let (store, event) = (db.store.clone(), db.event(NOW));
            async move {
                store.ping().await.unwrap();
                store.append_event(EventType::TokenLimited, None, &event).await.unwrap();
            }
        });
        in_parallel(fill).await;
        block_in_place(|| postgres.stop());
        block_in_place(|| postgres.restart());
        // All are dead; the first call after the restart already succeeds.
        db.store.append_event(EventType::TokenLimited, None, &db.event(NOW)).await.unwrap();
        db.store.ping().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_server_that_is_away_or_hangs_is_unavailable_until_it_is_back() {
    let mut postgres = Postgres::start();
    let url = postgres.database();
    let impatient = Options {
        acquire_timeout: Some(Duration::from_millis(200)),
        statement_timeout: Duration::from_millis(200),
        connections: 4,
        ..Options::default()
    };
    let store = Store::open(&url, &impatient).await.unwrap();
    store.migrate().await.unwrap();
    let db = Database::at(&url).await;
    let write = async || store.append_event(EventType::TokenLimited, Some(&ann()), &db.event(NOW)).await;
    let many_lookups_fail = async || {
        let lookups = (0..50).map(|number| {
            let store = store.clone();
            async move { store.find_token_by_digest(&digest(&[&number.to_string()])).await }
        });
        for outcome in in_parallel(lookups).await {
            assert!(outcome.unwrap_err().is_unavailable());
        }
    };

    block_in_place(|| postgres.freeze());
    // More often than there are connections: each gives up, and none is lost for later.
    for _ in 0..4 {
        many_lookups_fail().await;
        assert!(store.ping().await.unwrap_err().is_unavailable());
        assert!(write().await.unwrap_err().is_unavailable());
    }
    block_in_place(|| postgres.thaw());
    recovered(&store).await;
    write().await.unwrap();

    block_in_place(|| postgres.stop());
    many_lookups_fail().await;
    assert!(store.ping().await.unwrap_err().is_unavailable());
    assert!(write().await.unwrap_err().is_unavailable());
    block_in_place(|| postgres.restart());
    recovered(&store).await;
    write().await.unwrap();
    assert_eq!(store.find_token_by_digest(&digest(&["unknown"])).await.unwrap(), None);
}

/// Returns when the store answers again.
async fn recovered(store: &Store) {
    for _ in 0..200 {
        match store.ping().await {
            Ok(()) => return,
            Err(error) => assert!(error.is_unavailable(), "{error:?}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the database is back, and the store does not notice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn opening_waits_for_a_server_that_starts_later() {
    let mut postgres = Postgres::start();
    let url = postgres.database();
    block_in_place(|| postgres.stop());

    let hurry = Options {
        start_up_wait: Duration::ZERO,
        acquire_timeout: Some(Duration::from_millis(50)),
        ..Options::default()
    };
    let error = Store::open(&url, &hurry).await.unwrap_err();
    assert!(error.is_unavailable(), "{error:?}");

    let waiting = tokio::spawn({
        let url = url.clone();
        async move { Store::open(&url, &Options::default()).await }
    });
    tokio::task::yield_now().await;
    block_in_place(|| postgres.restart());
    waiting.await.unwrap().unwrap().migrate().await.unwrap();

    // Waiting would not help these.
    for (wrong, part) in
        [(postgres.url("nowhere"), "the database failed"), ("postgres://localhost:99999/x".to_owned(), "DATABASE_URL")]
    {
        let error = Store::open(&wrong, &Options::default()).await.unwrap_err();
        assert!(!error.is_unavailable() && error.to_string().contains(part), "{wrong}: {error:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn instances_that_start_at_once_migrate_once() {
    for _ in 0..10 {
        let url = Postgres::shared().database();
        let options = Options { connections: 2, ..Options::default() };
        let stores = in_parallel((0..5).map(|_| {
            let (url, options) = (url.clone(), options.clone());
            async move {
                let store = Store::open(&url, &options).await.unwrap();
                store.migrate().await.unwrap();
                store.ping().await.unwrap();
                store
            }
        }))
        .await;
        // And once more, as after a restart.
        stores[0].migrate().await.unwrap();
        let applied = Postgres::shared().sql(&url, "SELECT COUNT(*), COUNT(DISTINCT version) FROM _sqlx_migrations");
        let (all, distinct) = applied.split_once('|').unwrap();
        assert_eq!(all, distinct);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_waits_too_long_for_a_lock_is_unavailable_and_others_go_on() {
    let postgres = Postgres::shared();
    let url = postgres.database();
    let db = Database::at(&url).await;
    let user = db.user("ann@example.com").await;
    let impatient = Options { lock_timeout: Duration::from_millis(50), ..Options::default() };
    let store = Store::open(&url, &impatient).await.unwrap();

    let mut lock = db.begin_by_hand().await;
    sqlx::query("UPDATE users SET lock_version = lock_version + 1").execute(&mut *lock).await.unwrap();
    let change = store::ProfileChange { display_name: Some(Some("Ann".to_owned())), ..Default::default() };
    let error = store.update_profile(&user.id, &change, &db.event(NOW)).await.unwrap_err();
    assert!(error.is_unavailable(), "{error:?}");
    store.append_event(EventType::TokenLimited, Some(&ann()), &db.event(NOW)).await.unwrap();
    lock.rollback().await.unwrap();
    store.update_profile(&user.id, &change, &db.event(NOW)).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_began_before_a_deletion_and_commits_after_it_leaves_nothing() {
    let db = Database::postgres().await;
    for is_sealed_first in [true, false] {
        let ann = db.user("ann@example.com").await;
        while crate::chain::seal(&db.store, "a", NOW, 500).await != Some(0) {}
        let mut late = db.begin_by_hand().await;
        let sql = "INSERT INTO audit_events (id, app_id, user_id, type, at, ip, user_agent, metadata) \
                   VALUES ($1, 'default', $2, 'token.used', 1, '198.51.100.77', 'curl/8', '{\"a\":\"b\"}')";
        let id = format!("late of {}", ann.id);
        sqlx::query(sql).bind(id).bind(ann.id.as_str()).execute(&mut *late).await.unwrap();
        assert!(db.store.delete_user(&ann.id, &db.event(NOW)).await.unwrap());
        crate::deletion::finish(&db, NOW).await;
        late.commit().await.unwrap();

        let left = "SELECT COUNT(*) FROM audit_events WHERE ip = '198.51.100.77'";
        assert_eq!(db.count(left).await, 1, "the batches could not see it");
        // The sealer comes half a second later, or else the last run of the batches.
        if is_sealed_first {
            while crate::chain::seal(&db.store, "a", NOW, 500).await != Some(0) {}
            assert_eq!(db.count(left).await, 0);
        }
        crate::deletion::finish(&db, NOW.plus(crate::deletion::SETTLED)).await;
        assert_eq!(db.count(left).await, 0);
        while crate::chain::seal(&db.store, "a", NOW, 500).await != Some(0) {}
        assert_eq!(db.store.verify_chain().await.unwrap().problem, None);
    }
}

/// A statement for each event would hold the chain's end for as many round trips: with a database that is far away, for
/// longer than a transaction may take, and nothing were ever sealed again.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sealing_a_batch_takes_few_statements() {
    let db = Database::postgres().await;
    db.execute("CREATE TABLE updates (number SERIAL)").await;
    db.execute(
        "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS \
         $$ BEGIN INSERT INTO updates DEFAULT VALUES; RETURN NULL; END $$",
    )
    .await;
    db.execute("CREATE TRIGGER note AFTER UPDATE ON audit_events FOR EACH STATEMENT EXECUTE FUNCTION note()").await;
    for number in 0..500 {
        let event = NewEvent { id: format!("e{number:03}").parse().unwrap(), ..db.event(NOW) };
        db.store.append_event(EventType::TokenLimited, Some(&ann()), &event).await.unwrap();
    }
    assert_eq!(crate::chain::seal(&db.store, "a", NOW, 500).await, Some(500));
    assert_eq!(db.count("SELECT COUNT(*) FROM updates").await, 4);
    let report = db.store.verify_chain().await.unwrap();
    assert_eq!((report.sealed, report.problem), (500, None));
}
