//! What has no file of its own here.

use domain::audit::EventType;
use store::{CodePurpose, ExchangeOutcome, LinkSecret, SealedIn, SignInOutcome, TradedLink};

use crate::database::{Database, MINUTE, NOW, digest, seal_key};

const ANN: &str = "ann@example.com";

fn link(code: &str) -> LinkSecret {
    LinkSecret { purpose: CodePurpose::SignInByEmail, digest: digest(&["link", ANN, code]) }
}

pub(crate) async fn a_mails_link_signs_in_once(db: &Database) {
    db.put_code(ANN, "123456", NOW).await;
    let template = db.redemption(ANN, "", NOW).sign_in;
    let signed_in = db.store.redeem_link(&link("123456"), &template).await.unwrap();
    assert!(matches!(signed_in, TradedLink::Right(SignInOutcome::SignedIn(_))), "{signed_in:?}");
    let again = db.store.redeem_link(&link("123456"), &template).await.unwrap();
    assert!(matches!(again, TradedLink::NoLink), "{again:?}");
    assert!(matches!(db.store.redeem_link(&link("654321"), &template).await.unwrap(), TradedLink::NoLink));
    assert_eq!(db.count_rows("sessions").await, 1);
}

pub(crate) async fn a_mails_link_is_traded_for_a_code_once(db: &Database) {
    db.put_code(ANN, "123456", NOW).await;
    let (code, ends) = (digest(&["exchange"]), NOW.plus(MINUTE));
    assert_eq!(db.store.trade_link(&link("123456"), &code, ends, NOW).await.unwrap(), TradedLink::Right(()));
    let other = digest(&["other"]);
    assert_eq!(db.store.trade_link(&link("123456"), &other, ends, NOW).await.unwrap(), TradedLink::NoLink);
    assert_eq!(db.count_rows("exchange_codes").await, 1);
    let template = db.redemption(ANN, "", NOW).sign_in;
    let outcome = db.store.redeem_exchange_code(&code, None, &template).await.unwrap();
    assert!(matches!(outcome, ExchangeOutcome::Right(SignInOutcome::SignedIn(_))), "{outcome:?}");
}

pub(crate) async fn what_an_older_key_sealed_is_sealed_anew_unless_it_has_changed(db: &Database) {
    let (ann, bob) = (db.user(ANN).await, db.user("bob@example.com").await);
    let (old, new) = (seal_key("old"), seal_key("new"));
    for user in [&ann, &bob] {
        db.store.put_factor(&user.id, "sealed", old.id(), &db.event(NOW)).await.unwrap();
    }
    let found = db.store.list_foreign_seals(new.id()).await.unwrap();
    assert_eq!(found.len(), 2);
    assert!(found.iter().all(|seal| seal.kept_in == SealedIn::SecondFactor && seal.sealed == "sealed"));

    db.store.put_factor(&bob.id, "changed", old.id(), &db.event(NOW)).await.unwrap();
    let anew: Vec<_> = found.into_iter().map(|seal| (seal, "anew".to_owned())).collect();
    db.store.reseal(&anew, new.id()).await.unwrap();
    let left = db.store.list_foreign_seals(new.id()).await.unwrap();
    assert_eq!(
        left.iter().map(|seal| (seal.name.as_str(), seal.sealed.as_str())).collect::<Vec<_>>(),
        [(bob.id.as_str(), "changed")]
    );
}

pub(crate) async fn a_failed_second_factor_is_written_down(db: &Database) {
    let user = db.user(ANN).await;
    db.store.record_mfa_failure(&user.id, &db.event(NOW)).await.unwrap();
    assert_eq!(db.count_events(&user, EventType::MfaFailed).await, 1);
}

pub(crate) async fn a_write_of_another_process_to_a_file_is_seen_and_ones_own_is_not(db: &Database) {
    assert!(db.store.is_migrated().await.unwrap());
    assert!(!db.store.shorten_wal().await.unwrap(), "there is nothing to shorten");
    let before = db.store.foreign_writes().await.unwrap();
    db.user(ANN).await;
    assert_eq!(db.store.foreign_writes().await.unwrap(), before);
    db.other.append_event(EventType::CodesPurged, None, &db.event(NOW)).await.unwrap();
    assert_eq!(db.store.foreign_writes().await.unwrap() == before, before.is_none(), "PostgreSQL does not tell");
    assert_eq!(db.store.other_instances("this one").await.unwrap(), 0);
    db.other.close().await;
    assert!(db.other.ping().await.unwrap_err().is_unavailable());
    db.store.ping().await.unwrap();
}

/// A large account asks for sixty lists at once: few are refused for others, and nobody else waits for all of them.
pub(crate) async fn lists_of_one_account_keep_nobody_else_waiting(db: &Database) {
    let (ann, bob) = (db.user(ANN).await, db.user("bob@example.com").await);
    let token = db.token(&bob).await;
    for _ in 0..300 {
        db.store.append_event(EventType::TokenUsed, Some(&ann.id), &db.event(NOW)).await.unwrap();
    }
    for round in 0..20 {
        let lists = (0..60).map(|_| {
            let (store, ann) = (db.store.clone(), ann.id.clone());
            async move { store.list_events(&ann, None, None, 1_000).await }
        });
        let lists = lists.collect::<tokio::task::JoinSet<_>>();
        for _ in 0..5 {
            assert_eq!(db.store.list_tokens(&bob.id).await.unwrap().len(), 1, "round {round}");
            assert!(!db.store.list_events(&bob.id, None, None, 10).await.unwrap().events.is_empty());
            assert!(db.store.find_token(&bob.id, &token.id).await.unwrap().is_some());
        }
        let outcomes = lists.join_all().await;
        let read = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        assert!(read >= 9, "round {round}: only {read} were read");
        assert!(outcomes.into_iter().filter_map(Result::err).all(|error| error.is_unavailable()));
    }
}

pub(crate) async fn a_rare_kind_of_event_is_found_among_many(db: &Database) {
    let user = db.user(ANN).await;
    for number in 0..50 {
        let kind = if number == 7 { EventType::TokenDeleted } else { EventType::TokenUsed };
        // All at one moment, so that only their ids order them.
        db.store.append_event(kind, Some(&user.id), &db.event(NOW)).await.unwrap();
    }
    let of_kind = |kind| db.store.list_events(&user.id, Some(kind), None, 49);
    let rare = of_kind(EventType::TokenDeleted).await.unwrap();
    assert_eq!((rare.events.len(), rare.next), (1, None));
    assert!(of_kind(EventType::TokenRotated).await.unwrap().events.is_empty());
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = db.store.list_events(&user.id, Some(EventType::TokenUsed), after.as_ref(), 7).await.unwrap();
        seen.extend(page.events.into_iter().map(|event| event.id));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let distinct: std::collections::HashSet<_> = seen.iter().collect();
    assert_eq!((seen.len(), distinct.len()), (49, 49));

    // Operators look through the whole chain for it, and before it is sealed.
    let before = db.store.list_everybodys_events(Some(EventType::TokenDeleted), 10).await.unwrap();
    while db.store.seal_events("sealer", NOW, 20, db.chance()).await.unwrap().is_some_and(|sealed| sealed > 0) {}
    let after = db.store.list_everybodys_events(Some(EventType::TokenDeleted), 10).await.unwrap();
    assert_eq!((before.len(), &before), (1, &after));
    assert_eq!(db.store.list_everybodys_events(Some(EventType::TokenUsed), 5).await.unwrap().len(), 5);
}
