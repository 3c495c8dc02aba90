use domain::audit::EventType;
use domain::{CodeShape, Timestamp, UserId};
use store::{LinkCodeOutcome, LinkGuess, LinkOutcome, MethodType, NewLink, NewLinkCode, Store, WayIn};

use crate::database::{DAY, Database, MINUTE, NOW, digest, guess, in_parallel, plenty};

const NEW: &str = "new@example.com";

async fn put(db: &Database, user_id: &UserId, way_in: WayIn, code: &str) {
    let code = NewLinkCode {
        user_id: user_id.clone(),
        digest: digest(&[user_id.as_str(), &way_in.identifier, code]),
        way_in,
        expires_at: NOW.plus(10 * MINUTE),
    };
    db.store.put_link_code(&code, &plenty(NOW)).await.unwrap();
}

fn link(db: &Database, user_id: &UserId, way_in: WayIn) -> NewLink {
    NewLink { user_id: user_id.clone(), method_id: db.redemption("", "", NOW).sign_in.method_id, way_in }
}

async fn redeem(
    db: &Database,
    store: &Store,
    user_id: &UserId,
    way_in: WayIn,
    code: &str,
    at: Timestamp,
) -> LinkCodeOutcome {
    let digest = digest(&[user_id.as_str(), &way_in.identifier, code]);
    store.redeem_link_code(&link(db, user_id, way_in), &guess(&digest), 3, &db.event(at)).await.unwrap()
}

fn sms(number: &str) -> WayIn {
    WayIn { method: MethodType::Sms, provider: None, identifier: number.to_owned() }
}

async fn methods(db: &Database, user_id: &UserId) -> usize {
    db.store.list_methods(user_id).await.unwrap().len()
}

pub(crate) async fn a_right_code_adds_the_way_in_once(db: &Database) {
    let ann = db.user("ann@example.com").await;
    put(db, &ann.id, WayIn::email(NEW), "123456").await;
    put(db, &ann.id, sms("+14155552671"), "654321").await;
    let outcome = redeem(db, &db.other, &ann.id, WayIn::email(NEW), "123456", NOW).await;
    assert_eq!(outcome, LinkCodeOutcome::Right(LinkOutcome::Linked));
    let again = redeem(db, &db.store, &ann.id, WayIn::email(NEW), "123456", NOW).await;
    assert_eq!(again, LinkCodeOutcome::NoCode);
    let outcome = redeem(db, &db.store, &ann.id, sms("+14155552671"), "654321", NOW).await;
    assert_eq!(outcome, LinkCodeOutcome::Right(LinkOutcome::Linked), "one kind does not replace the other");

    assert_eq!(methods(db, &ann.id).await, 3);
    let user = db.store.find_user(&ann.id).await.unwrap().unwrap();
    assert_eq!(user.email.as_deref(), Some("ann@example.com"), "the first stays the one that is shown");
    assert_eq!((user.phone.as_deref(), user.phone_verified), (Some("+14155552671"), true));
    assert_eq!(db.count_events(&ann, EventType::MethodLinked).await, 2);
    assert_eq!(db.sign_in(NEW).await.user.id, ann.id, "it leads to the account");

    put(db, &ann.id, WayIn::email(NEW), "123456").await;
    let outcome = redeem(db, &db.store, &ann.id, WayIn::email(NEW), "123456", NOW).await;
    assert_eq!(outcome, LinkCodeOutcome::Right(LinkOutcome::AlreadyLinked));
    assert_eq!(methods(db, &ann.id).await, 3);
}

pub(crate) async fn a_code_is_for_its_user_address_and_time(db: &Database) {
    let (ann, bob) = (db.user("ann@example.com").await, db.user("bob@example.com").await);
    put(db, &ann.id, WayIn::email("old@example.com"), "123456").await;
    put(db, &ann.id, WayIn::email(NEW), "123456").await;
    for (user_id, way_in) in [
        (&bob.id, WayIn::email(NEW)),
        (&ann.id, WayIn::email("old@example.com")),
        (&ann.id, WayIn::email("ann@example.com")),
        (&ann.id, sms(NEW)),
    ] {
        let outcome = redeem(db, &db.store, user_id, way_in.clone(), "123456", NOW).await;
        assert_eq!(outcome, LinkCodeOutcome::NoCode, "{way_in:?}");
    }
    let end = NOW.plus(10 * MINUTE);
    let late = redeem(db, &db.store, &ann.id, WayIn::email(NEW), "123456", end).await;
    assert_eq!(late, LinkCodeOutcome::Expired);
    assert_eq!((methods(db, &ann.id).await, methods(db, &bob.id).await), (1, 1));
}

pub(crate) async fn what_is_anothers_stays_theirs(db: &Database) {
    let (ann, bob) = (db.user("ann@example.com").await, db.user("bob@example.com").await);
    put(db, &ann.id, WayIn::email("bob@example.com"), "123456").await;
    let outcome = redeem(db, &db.store, &ann.id, WayIn::email("bob@example.com"), "123456", NOW).await;
    assert_eq!(outcome, LinkCodeOutcome::Right(LinkOutcome::Taken));
    assert_eq!((methods(db, &ann.id).await, methods(db, &bob.id).await), (1, 1));
    assert_eq!(db.count_events(&ann, EventType::MethodLinked).await, 0);
    assert_eq!(db.sign_in("bob@example.com").await.user.id, bob.id);
}

/// Whoever has many accounts guesses no more at a mailbox than whoever signs in by it, and together with them.
pub(crate) async fn however_many_accounts_guess_at_an_address_few_guesses_are_compared(db: &Database) {
    let subject = digest(&["the mailbox"]);
    let shape = async |at: Timestamp| db.store.link_code_shape(&subject, at).await.unwrap();
    let mut people = Vec::new();
    for number in 0..40 {
        people.push(db.user(&format!("thief{number}@example.com")).await);
    }
    assert_eq!(shape(NOW).await, CodeShape::SixDigits);
    for person in &people {
        put(db, &person.id, WayIn::email(NEW), "123456").await;
    }
    let guess =
        |typed: &str, shape: CodeShape| LinkGuess { digest: digest(&[typed]), shape, subject, ..guess(&subject) };
    let outcomes = in_parallel((0..120).map(|number| {
        let (store, event) = (db.instance(number), db.event(NOW));
        let (link, wrong) = (link(db, &people[number / 3].id, WayIn::email(NEW)), guess("wrong", CodeShape::SixDigits));
        async move { store.redeem_link_code(&link, &wrong, 3, &event).await.unwrap() }
    }))
    .await;
    let compared = outcomes.iter().filter(|outcome| matches!(outcome, LinkCodeOutcome::Wrong { .. })).count();
    assert_eq!(compared, 80, "of 120, in parallel");

    let ann = db.user("ann@example.com").await;
    put(db, &ann.id, WayIn::email(NEW), "123456").await;
    let right = guess("", CodeShape::SixDigits);
    let right = LinkGuess { digest: digest(&[ann.id.as_str(), NEW, "123456"]), ..right };
    let short = db.store.redeem_link_code(&link(db, &ann.id, WayIn::email(NEW)), &right, 3, &db.event(NOW)).await;
    assert_eq!(short.unwrap(), LinkCodeOutcome::TooManyAttempts, "nothing short is compared any more");
    assert_eq!(shape(NOW).await, CodeShape::TenCharacters);
    let long = LinkGuess { shape: CodeShape::TenCharacters, ..right };
    let added = db.store.redeem_link_code(&link(db, &ann.id, WayIn::email(NEW)), &long, 3, &db.event(NOW)).await;
    assert_eq!(added.unwrap(), LinkCodeOutcome::Right(LinkOutcome::Linked), "its owner is shut out of nothing");
    assert_eq!(shape(NOW.plus(366 * DAY)).await, CodeShape::SixDigits);
}

pub(crate) async fn of_parallel_wrong_link_codes_three_are_compared(db: &Database) {
    let ann = db.user("ann@example.com").await;
    for round in 0..10 {
        put(db, &ann.id, WayIn::email(NEW), "123456").await;
        let outcomes = in_parallel((0..50).map(|number| {
            let (store, event, link) = (db.instance(number), db.event(NOW), link(db, &ann.id, WayIn::email(NEW)));
            async move { store.redeem_link_code(&link, &guess(&digest(&["wrong"])), 3, &event).await.unwrap() }
        }))
        .await;
        let mut compared: Vec<u32> = outcomes
            .iter()
            .filter_map(|outcome| match outcome {
                LinkCodeOutcome::Wrong { attempts_remaining } => Some(*attempts_remaining),
                _ => None,
            })
            .collect();
        compared.sort_unstable();
        assert_eq!(compared, [0, 1, 2], "round {round}");
        let right = redeem(db, &db.store, &ann.id, WayIn::email(NEW), "123456", NOW).await;
        assert_eq!(right, LinkCodeOutcome::TooManyAttempts);
    }
    assert_eq!(methods(db, &ann.id).await, 1);
}

pub(crate) async fn of_parallel_right_link_codes_one_adds(db: &Database) {
    let ann = db.user("ann@example.com").await;
    // As many as an account may have, with the one it began with.
    for round in 0..19usize {
        let way_in = WayIn::email(&format!("new{round}@example.com"));
        put(db, &ann.id, way_in.clone(), "123456").await;
        let right = digest(&[ann.id.as_str(), &way_in.identifier, "123456"]);
        let outcomes = in_parallel((0..20).map(|number| {
            let (store, event, link) = (db.instance(number), db.event(NOW), link(db, &ann.id, way_in.clone()));
            async move { store.redeem_link_code(&link, &guess(&right), 3, &event).await.unwrap() }
        }))
        .await;
        let linked = LinkCodeOutcome::Right(LinkOutcome::Linked);
        assert_eq!(outcomes.iter().filter(|outcome| **outcome == linked).count(), 1, "round {round}");
        assert!(outcomes.iter().all(|outcome| *outcome == linked || *outcome == LinkCodeOutcome::NoCode));
        assert_eq!(methods(db, &ann.id).await, round + 2);
    }
}

pub(crate) async fn of_accounts_that_prove_one_address_at_once_one_gets_it(db: &Database) {
    for round in 0..10 {
        let way_in = WayIn::email(&format!("shared{round}@example.com"));
        let mut tasks = Vec::new();
        for number in 0..8usize {
            let user = db.user(&format!("user{number}@example.com")).await;
            put(db, &user.id, way_in.clone(), "123456").await;
            let right = digest(&[user.id.as_str(), &way_in.identifier, "123456"]);
            let (store, event, link) = (db.instance(number), db.event(NOW), link(db, &user.id, way_in.clone()));
            tasks.push(async move { store.redeem_link_code(&link, &guess(&right), 3, &event).await.unwrap() });
        }
        let outcomes = in_parallel(tasks).await;
        let count = |outcome: LinkOutcome| {
            let wanted = LinkCodeOutcome::Right(outcome);
            outcomes.iter().filter(|outcome| **outcome == wanted).count()
        };
        assert_eq!((count(LinkOutcome::Linked), count(LinkOutcome::Taken)), (1, 7), "round {round}: {outcomes:?}");
    }
}

pub(crate) async fn a_shut_account_gets_no_way_in(db: &Database) {
    let ann = db.user("ann@example.com").await;
    put(db, &ann.id, WayIn::email(NEW), "123456").await;
    db.disable(&ann).await;
    let outcome = redeem(db, &db.store, &ann.id, WayIn::email(NEW), "123456", NOW).await;
    assert_eq!(outcome, LinkCodeOutcome::Right(LinkOutcome::NoAccount));
    assert_eq!((methods(db, &ann.id).await, db.count_events(&ann, EventType::MethodLinked).await), (1, 0));
}

pub(crate) async fn a_link_beside_the_accounts_end_is_before_or_after_it(db: &Database) {
    for round in 0..20 {
        let user = db.user(&format!("user{round}@example.com")).await;
        let way_in = WayIn::email(&format!("new{round}@example.com"));
        put(db, &user.id, way_in.clone(), "123456").await;
        let right = digest(&[user.id.as_str(), &way_in.identifier, "123456"]);
        let (store, event, link) = (db.store.clone(), db.event(NOW), link(db, &user.id, way_in.clone()));
        let linking =
            tokio::spawn(async move { store.redeem_link_code(&link, &guess(&right), 3, &event).await.unwrap() });
        assert!(db.other.delete_user(&user.id, &db.event(NOW)).await.unwrap());
        let outcome = linking.await.unwrap();
        let before = LinkCodeOutcome::Right(LinkOutcome::Linked);
        let after = [LinkCodeOutcome::Right(LinkOutcome::NoAccount), LinkCodeOutcome::NoCode];
        assert!(outcome == before || after.contains(&outcome), "round {round}: {outcome:?}");
        assert_ne!(db.sign_in(&way_in.identifier).await.user.id, user.id, "the address is free");
    }
}

pub(crate) async fn link_codes_that_are_over_go_in_batches(db: &Database) {
    for number in 0..3 {
        let user = db.user(&format!("user{number}@example.com")).await;
        put(db, &user.id, WayIn::email(NEW), "123456").await;
    }
    let end = NOW.plus(10 * MINUTE);
    assert_eq!(db.store.purge_link_codes(end, 2).await.unwrap(), 0);
    for purged in [2, 1, 0] {
        assert_eq!(db.store.purge_link_codes(end.plus(MINUTE), 2).await.unwrap(), purged);
    }
}
