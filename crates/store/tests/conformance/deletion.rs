//! The end of an account: access at once, the rest in batches.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use domain::audit::EventType;
use domain::{Timestamp, UserId};
use store::{
    CreationOutcome, Deletion, DisableOutcome, LinkCodeOutcome, LinkOutcome, MarkedCredential, NewUser, NewUserOutcome,
    ProfileChange, Refresh, RefreshOutcome, User, WayIn,
};

use crate::chain::seal;
use crate::database::{DAY, Database, MINUTE, NOW, digest, digest_of, guess, plenty};

/// After so long nothing is open any more that began before a deletion.
pub(crate) const SETTLED: Duration = MINUTE;
const BATCH: u32 = 500;

/// Runs all deletions that are due; returns how many batches that were, and the rows of the largest.
pub(crate) async fn finish(db: &Database, now: Timestamp) -> (u64, u64) {
    let (mut batches, mut largest) = (0, 0);
    loop {
        let due = db.store.deletions_due(now, 16).await.unwrap();
        if due.is_empty() {
            return (batches, largest);
        }
        for mut deletion in due {
            while let Some(rows) = db.store.delete_batch(&mut deletion, BATCH, now).await.unwrap() {
                batches += 1;
                largest = largest.max(rows);
            }
        }
    }
}

/// Deletes the account, and all that it leaves.
pub(crate) async fn delete_all(db: &Database, user_id: &UserId) {
    assert!(db.store.delete_user(user_id, &db.event(NOW)).await.unwrap());
    finish(db, NOW).await;
    finish(db, NOW.plus(SETTLED)).await;
}

/// Puts so many events, tokens and sessions beside what the user has.
async fn fill(db: &Database, user: &User, events: u32, tokens: u32, sessions: u32) {
    let id = &user.id;
    let numbers = |count: u32| {
        format!("WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {count})")
    };
    for sql in [
        format!(
            "{} INSERT INTO audit_events (id, app_id, user_id, type, at, ip, user_agent, metadata) SELECT \
             '{id}-e-' || n, 'default', '{id}', 'token.used', 1000 + n / 7, '198.51.100.77', 'curl', '{{}}' FROM numbers",
            numbers(events)
        ),
        format!(
            "{} INSERT INTO personal_access_tokens (id, app_id, user_id, name, scopes, created_at, updated_at, \
             last_used_ip) SELECT '{id}-t-' || n, 'default', '{id}', 'name', '*', n, n, '198.51.100.77' FROM numbers",
            numbers(tokens)
        ),
        format!(
            "INSERT INTO token_secrets (id, token_id, hash, digest, seal_key, prefix, created_at) \
             SELECT 's-' || id, id, 'hash', 'd-' || id, 'key', 'af_live_', 1 FROM personal_access_tokens \
             WHERE id LIKE '{id}-t-%'"
        ),
        format!(
            "{} INSERT INTO sessions (id, app_id, user_id, generation, refresh_digest, created_at, last_seen_at, \
             rotated_at, expires_at, absolute_expires_at, ip) SELECT '{id}-s-' || n, 'default', '{id}', 0, 'd', n, n, n, \
             {}, {}, '198.51.100.77' FROM numbers",
            numbers(sessions),
            NOW.plus(DAY).as_millis(),
            NOW.plus(DAY).as_millis()
        ),
    ] {
        db.execute(&sql).await;
    }
}

/// Somebody else who writes all the time, and counts.
struct Writer {
    stop: Arc<AtomicBool>,
    written: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<()>,
}

impl Writer {
    fn start(db: &Database) -> Self {
        let (stop, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (db, stopped, count) = (db.share(), Arc::clone(&stop), Arc::clone(&written));
        let task = tokio::spawn(async move {
            while !stopped.load(Ordering::SeqCst) {
                let event = db.event(NOW);
                db.store.append_event(EventType::CodesPurged, None, &event).await.unwrap();
                count.fetch_add(1, Ordering::SeqCst);
            }
        });
        Self { stop, written, task }
    }

    fn written(&self) -> u64 {
        self.written.load(Ordering::SeqCst)
    }

    async fn stop(self) {
        self.stop.store(true, Ordering::SeqCst);
        self.task.await.unwrap();
    }
}

pub(crate) async fn an_account_of_any_size_is_deleted_in_batches(db: &Database) {
    let (ann, bob) = (db.user("ann@example.com").await, db.user("bob@example.com").await);
    fill(db, &ann, 200_000, 60_000, 2_000).await;
    let token = db.token(&bob).await;
    assert!(db.store.delete_user(&ann.id, &db.event(NOW)).await.unwrap());
    assert_eq!(db.store.find_user(&ann.id).await.unwrap(), None);

    // Cut off after some batches, by an instance that is gone then; another one begins again.
    let mut cut_off = db.other.deletions_due(NOW, 16).await.unwrap().remove(0);
    for _ in 0..150 {
        assert!(db.other.delete_batch(&mut cut_off, BATCH, NOW).await.unwrap().is_some());
    }
    db.other.close().await;
    let left = db.count("SELECT COUNT(*) FROM audit_events WHERE ip = '198.51.100.77'").await;
    assert!((150_000..200_000).contains(&left), "{left} events are left");

    let writer = Writer::start(db);
    let mut deletion = db.store.deletions_due(NOW, 16).await.unwrap().remove(0);
    let (mut batches, mut written) = (0, writer.written());
    while let Some(rows) = db.store.delete_batch(&mut deletion, BATCH, NOW).await.unwrap() {
        assert!(rows <= u64::from(BATCH), "{rows} rows in one transaction");
        batches += 1;
        // Whoever waits for the writer gets it before the deletion has it twice more.
        while writer.written() == written {
            tokio::task::yield_now().await;
        }
        written = writer.written();
    }
    writer.stop().await;
    assert!(batches > 400, "{batches}");
    for table in ["sessions", "personal_access_tokens", "token_secrets", "auth_methods"] {
        assert_eq!(db.count_rows(table).await, 1, "{table}: only Bob's");
    }
    assert_eq!(db.count("SELECT COUNT(*) FROM audit_events WHERE ip = '198.51.100.77'").await, 0);
    assert_eq!(db.count("SELECT COUNT(*) FROM users").await, 2, "her row stays for whoever comes late");
    assert!(db.store.deletions_due(NOW, 16).await.unwrap().is_empty());

    let (_, largest) = finish(db, NOW.plus(SETTLED)).await;
    assert_eq!((largest, db.count("SELECT COUNT(*) FROM users").await), (0, 1), "the second run found nothing");
    assert_eq!(db.store.find_anybodys_token(&token.id).await.unwrap(), Some(token), "Bob's is there");
    let named = "SELECT COUNT(*) FROM audit_events WHERE type = 'token.used'";
    assert_eq!(db.count(named).await, 200_000, "what happened stays, and to whom");
}

pub(crate) async fn a_deleted_user_is_nobody_while_their_rows_are_still_there(db: &Database) {
    let (ann, id) = (db.sign_in("ann@example.com").await, "ann".parse::<UserId>().unwrap());
    let new = NewUser { id: id.clone(), display_name: None, ways_in: Vec::new() };
    assert!(matches!(db.store.create_user(&new, &db.event(NOW)).await.unwrap(), NewUserOutcome::Created(_)));
    let user = db.store.find_user(&id).await.unwrap().unwrap();
    crate::methods::link(db, &user, WayIn::email("other@example.com")).await;
    let (signed_in, new_token) = (db.sign_in("other@example.com").await, db.new_token(&user));
    let CreationOutcome::Created(token) = db.create(&new_token, NOW).await else { panic!() };
    let code = store::NewLinkCode {
        user_id: id.clone(),
        digest: digest(&["code"]),
        way_in: WayIn::email("late@example.com"),
        expires_at: NOW.plus(MINUTE),
    };
    db.store.put_link_code(&code, &plenty(NOW)).await.unwrap();
    assert!(db.store.delete_user(&id, &db.event(NOW)).await.unwrap());

    let owed = crate::owed_marks::owed(db).await;
    assert!(owed.contains(&MarkedCredential::Owner(id.clone()).key()), "{owed:?}");
    assert_eq!(db.count_rows("personal_access_tokens").await, 1, "nothing has been removed yet");
    let store = &db.other;
    assert_eq!(store.find_user(&id).await.unwrap(), None);
    assert_eq!(store.find_user_by_way_in(&WayIn::email("other@example.com")).await.unwrap(), None);
    assert!(store.list_users(false, 10).await.unwrap().iter().all(|user| user.id == ann.user.id));
    assert!(store.list_users(true, 10).await.unwrap().is_empty());
    assert_eq!(store.find_session(&signed_in.session.id).await.unwrap(), None);
    assert_eq!(store.list_sessions(&id, NOW).await.unwrap(), []);
    assert_eq!(store.find_token_by_digest(&new_token.secret.digest).await.unwrap(), None);
    assert_eq!(store.find_token_by_secret(&new_token.secret.id).await.unwrap(), None);
    assert_eq!(store.find_anybodys_token(&token.id).await.unwrap(), None);
    assert_eq!(store.list_everybodys_tokens(10).await.unwrap(), []);
    assert_eq!(store.find_token(&id, &token.id).await.unwrap(), None);

    // Nothing can be done for them either, and nobody brings them back.
    let before = db.count("SELECT COUNT(*) FROM audit_events").await;
    assert!(!store.delete_user(&id, &db.event(NOW)).await.unwrap());
    assert_eq!(store.disable_user(&id, || db.event(NOW)).await.unwrap(), DisableOutcome::NoUser);
    assert_eq!(store.enable_user(&id, &db.event(NOW)).await.unwrap(), None);
    assert_eq!(store.create_user(&new, &db.event(NOW)).await.unwrap(), NewUserOutcome::IdTaken);
    assert_eq!(store.update_profile(&id, &ProfileChange::default(), &db.event(NOW)).await.unwrap(), None);
    assert_eq!(db.create(&db.new_token(&user), NOW).await, CreationOutcome::NoUser);
    let link = store::NewLink { user_id: id.clone(), method_id: "late".parse().unwrap(), way_in: code.way_in.clone() };
    let linked = store.redeem_link_code(&link, &guess(&code.digest), 3, &db.event(NOW)).await.unwrap();
    assert_eq!(linked, LinkCodeOutcome::Right(LinkOutcome::NoAccount));
    let refresh = Refresh {
        session_id: signed_in.session.id.clone(),
        user_id: id.clone(),
        presented: digest_of(&signed_in.session),
        grace: MINUTE,
        expires_at: NOW.plus(DAY),
    };
    assert_eq!(store.refresh_session(&refresh, digest_of, &db.event(NOW)).await.unwrap(), RefreshOutcome::Gone);
    assert_eq!(db.count("SELECT COUNT(*) FROM audit_events").await, before, "and nothing was written");

    // The address is free at once.
    assert_ne!(db.sign_in("other@example.com").await.user.id, id);
    finish(db, NOW).await;
    assert_eq!(store.create_user(&new, &db.event(NOW)).await.unwrap(), NewUserOutcome::IdTaken);
    finish(db, NOW.plus(SETTLED)).await;
    assert!(matches!(store.create_user(&new, &db.event(NOW)).await.unwrap(), NewUserOutcome::Created(_)));
}

pub(crate) async fn what_is_kept_under_an_address_goes_with_its_account_and_not_what_comes_after(db: &Database) {
    let ann = db.user("ann@example.com").await;
    db.put_code("ann@example.com", "123456", NOW).await;
    let exchange = |name: &str, way_in: WayIn, email: Option<&str>| store::NewExchangeCode {
        digest: digest(&[name]),
        way_in,
        profile: store::Profile { email: email.map(str::to_owned), ..store::Profile::default() },
        challenge: None,
        expires_at: NOW.plus(MINUTE),
    };
    let github = || WayIn {
        method: store::MethodType::OAuth,
        provider: Some("github".to_owned()),
        identifier: "583231".to_owned(),
    };
    let address = Some("ann@example.com");
    db.store.put_exchange_code(&exchange("link", WayIn::email("ann@example.com"), None), NOW).await.unwrap();
    db.store.put_exchange_code(&exchange("github", github(), address), NOW).await.unwrap();
    db.store.put_exchange_code(&exchange("bob", WayIn::email("bob@example.com"), None), NOW).await.unwrap();
    assert!(db.store.delete_user(&ann.id, &db.event(NOW)).await.unwrap());
    assert_eq!(db.count("SELECT COUNT(*) FROM one_time_codes").await, 0, "an old code makes no new account");
    // Whoever has the address asks anew.
    let later = NOW.plus(Duration::from_secs(1));
    db.put_code("ann@example.com", "654321", later).await;
    finish(db, later).await;
    finish(db, NOW.plus(SETTLED)).await;
    assert_eq!(db.count_rows("exchange_codes").await, 1, "only Bob's");
    assert_eq!(db.count_rows("one_time_codes").await, 1, "only the new one");
    assert_eq!(db.count_rows("deleted_addresses").await, 0);
}

pub(crate) async fn every_table_with_a_users_rows_is_emptied(db: &Database) {
    // What refers to users and is not removed batch by batch goes with the user's row: so it must be bounded.
    let bounded = ["auth_methods", "deleted_addresses"];
    let not_the_users_own = ["audit_events", "imported_tokens", "owed_marks"];
    // What is to be told goes with its mail, the last one after the account.
    let not_the_users_own = [&not_the_users_own[..], &["security_notices"]].concat();
    let ann = db.user("ann@example.com").await;
    assert!(db.store.delete_user(&ann.id, &db.event(NOW)).await.unwrap());
    let statements = Deletion::of(ann.id.clone()).statements();
    for (table, column) in db.text_columns().await {
        let of_user = format!("FROM {table} WHERE user_id = $1 LIMIT $2)");
        let from_table = format!("DELETE FROM {table} ");
        let is_removed = statements.iter().any(|sql| sql.starts_with(&from_table) && sql.ends_with(&of_user));
        let is_known = bounded.contains(&table.as_str()) || not_the_users_own.contains(&table.as_str());
        assert!(column != "user_id" || is_removed || is_known, "{table} holds rows of users for ever");
    }
}

pub(crate) async fn disabling_ends_any_number_of_sessions_at_once(db: &Database) {
    let signed_in = db.sign_in("ann@example.com").await;
    let (ann, bob) = (&signed_in.user, db.sign_in("bob@example.com").await);
    fill(db, ann, 1, 60_000, 1_300).await;
    let sessions = db.count_rows("sessions").await;
    let before = db.count("SELECT COUNT(*) FROM audit_events").await;
    let outcome = db.store.disable_user(&ann.id, || db.event(NOW)).await.unwrap();
    assert_eq!(outcome, DisableOutcome::Disabled { sessions_ended: 1_301 });
    // Two events, one mark, and no row of a session or a token.
    assert_eq!(db.count("SELECT COUNT(*) FROM audit_events").await, before + 2);
    assert_eq!(crate::owed_marks::owed(db).await, [MarkedCredential::Owner(ann.id.clone()).key()]);
    assert_eq!(db.count_rows("sessions").await, sessions);
    assert_eq!(db.store.find_session(&signed_in.session.id).await.unwrap(), None);

    // Enabled again while the rows are there, the sessions stay ended; tokens work again, and so does signing in.
    assert_eq!(db.store.enable_user(&ann.id, &db.event(NOW)).await.unwrap(), Some(true));
    let refresh = Refresh {
        session_id: signed_in.session.id.clone(),
        user_id: ann.id.clone(),
        presented: digest_of(&signed_in.session),
        grace: MINUTE,
        expires_at: NOW.plus(DAY),
    };
    assert_eq!(db.store.find_session(&signed_in.session.id).await.unwrap(), None);
    assert_eq!(db.store.refresh_session(&refresh, digest_of, &db.event(NOW)).await.unwrap(), RefreshOutcome::Gone);
    let again = db.store.end_session(&ann.id, &signed_in.session.id, &db.event(NOW)).await.unwrap();
    assert_eq!(again, None, "what has ended is not ended again");
    let new = db.sign_in("ann@example.com").await.session;
    assert_eq!(db.store.list_sessions(&ann.id, NOW).await.unwrap(), std::slice::from_ref(&new));
    assert!(db.store.find_anybodys_token(&format!("{}-t-1", ann.id).parse().unwrap()).await.unwrap().is_some());

    let mut swept = Vec::new();
    while let Some(rows) = db.store.sweep_ended_sessions(BATCH).await.unwrap() {
        swept.push(rows);
    }
    assert_eq!(swept, [500, 500, 301]);
    assert_eq!(db.count_rows("sessions").await, 2);
    assert!(db.store.find_session(&new.id).await.unwrap().is_some());
    assert!(db.store.find_session(&bob.session.id).await.unwrap().is_some());
}

pub(crate) async fn ending_all_other_sessions_keeps_the_one_that_asks(db: &Database) {
    for round in 0..20usize {
        let email = format!("ann{round}@example.com");
        let mut all = Vec::new();
        for _ in 0..4 {
            all.push(db.sign_in(&email).await);
        }
        let (user_id, kept) = (all[0].user.id.clone(), all[0].session.id.clone());
        // Beside a sign-in, which comes before or after it, and a refresh of the session that is kept.
        db.put_code(&email, "123456", NOW).await;
        let (store, redemption) = (db.instance(round), db.redemption(&email, "123456", NOW));
        let signing_in = tokio::spawn(async move { store.redeem_code(&redemption).await.unwrap() });
        let (store, event) = (db.instance(round + 1), db.event(NOW));
        let refresh = Refresh {
            session_id: kept.clone(),
            user_id: user_id.clone(),
            presented: digest_of(&all[0].session),
            grace: MINUTE,
            expires_at: NOW.plus(DAY),
        };
        let refreshing = tokio::spawn(async move { store.refresh_session(&refresh, digest_of, &event).await.unwrap() });
        let ended = db.store.end_other_sessions(&user_id, &kept, &db.event(NOW)).await.unwrap();
        let store::CodeOutcome::Right(store::SignInOutcome::SignedIn(late)) = signing_in.await.unwrap() else {
            panic!()
        };
        assert!(matches!(refreshing.await.unwrap(), RefreshOutcome::Rotated(_)), "round {round}");
        let live: Vec<_> = db.store.list_sessions(&user_id, NOW).await.unwrap().into_iter().map(|it| it.id).collect();
        assert!(live.contains(&kept), "round {round}");
        assert_eq!(live.contains(&late.session.id), ended == 3, "round {round}: {ended} have ended");
        assert_eq!(live.len() + ended as usize, 5, "round {round}");
    }
}

pub(crate) async fn an_account_has_a_bounded_number_of_ways_in(db: &Database) {
    let ann = db.user("ann@example.com").await;
    for number in 0..19 {
        crate::methods::link(db, &ann, WayIn::email(&format!("other{number}@example.com"))).await;
    }
    let way_in = WayIn::email("one-too-many@example.com");
    let code = store::NewLinkCode {
        user_id: ann.id.clone(),
        digest: digest(&["code"]),
        way_in: way_in.clone(),
        expires_at: NOW.plus(MINUTE),
    };
    db.store.put_link_code(&code, &plenty(NOW)).await.unwrap();
    let link = store::NewLink { user_id: ann.id.clone(), method_id: "late".parse().unwrap(), way_in };
    let outcome = db.store.redeem_link_code(&link, &guess(&code.digest), 3, &db.event(NOW)).await.unwrap();
    assert_eq!(outcome, LinkCodeOutcome::Right(LinkOutcome::TooMany));
    assert_eq!(db.store.list_methods(&ann.id).await.unwrap().len(), 20);

    // An account at a provider that vouches for her mailbox leads to her account, and is no way in of it.
    let vouched = store::NewExchangeCode {
        digest: digest(&["github"]),
        way_in: WayIn { method: store::MethodType::OAuth, provider: Some("github".into()), identifier: "1".into() },
        profile: store::Profile { email: Some("ann@example.com".to_owned()), ..store::Profile::default() },
        challenge: None,
        expires_at: NOW.plus(MINUTE),
    };
    db.store.put_exchange_code(&vouched, NOW).await.unwrap();
    let template = db.redemption("", "", NOW).sign_in;
    let outcome = db.store.redeem_exchange_code(&vouched.digest, None, &template).await.unwrap();
    let store::ExchangeOutcome::Right(store::SignInOutcome::SignedIn(signed_in)) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(signed_in.user.id, ann.id);
    assert_eq!(db.store.list_methods(&ann.id).await.unwrap().len(), 20);
}

pub(crate) async fn several_that_delete_the_same_account_do_it_once(db: &Database) {
    let ann = db.user("ann@example.com").await;
    fill(db, &ann, 5_000, 2_000, 700).await;
    while seal(&db.store, "sealer", NOW, 500).await != Some(0) {}
    assert!(db.store.delete_user(&ann.id, &db.event(NOW)).await.unwrap());
    let work = (0..4).map(|number| {
        let (store, mut deletion) = (db.instance(number), Deletion::of(ann.id.clone()));
        async move {
            let mut all = 0;
            while let Some(rows) = store.delete_batch(&mut deletion, 100, NOW).await.unwrap() {
                all += rows;
            }
            all
        }
    });
    let rows: u64 = crate::database::in_parallel(work).await.into_iter().sum();
    assert!((7_700..7_720).contains(&rows), "{rows}: each row was changed once");
    while seal(&db.store, "sealer", NOW, 500).await != Some(0) {}
    assert_eq!(db.store.verify_chain().await.unwrap().problem, None);
}
