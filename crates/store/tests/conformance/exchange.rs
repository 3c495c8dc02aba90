use domain::CodeVerifier;
use domain::audit::EventType;
use store::{ExchangeOutcome, MethodType, NewExchangeCode, Profile, SignInOutcome, SignedIn, WayIn};

use crate::database::{Database, MINUTE, NOW, digest, in_parallel};

/// What a provider vouches for.
fn at_github(code: &str) -> NewExchangeCode {
    NewExchangeCode {
        digest: digest(&[code]),
        way_in: WayIn {
            method: MethodType::OAuth,
            provider: Some("github".to_owned()),
            identifier: format!("id of {code}"),
        },
        profile: Profile {
            email: None,
            display_name: Some("Ann".to_owned()),
            avatar_url: Some("https://example.com/ann.png".to_owned()),
        },
        challenge: None,
        expires_at: NOW.plus(MINUTE),
    }
}

async fn redeem(db: &Database, code: &str) -> ExchangeOutcome {
    // The template names nobody.
    let template = db.redemption("", "", NOW).sign_in;
    db.store.redeem_exchange_code(&digest(&[code]), None, &template).await.unwrap()
}

fn signed_in(outcome: ExchangeOutcome) -> SignedIn {
    let ExchangeOutcome::Right(SignInOutcome::SignedIn(signed_in)) = outcome else { panic!("{outcome:?}") };
    *signed_in
}

pub(crate) async fn a_code_signs_in_by_what_it_stands_for(db: &Database) {
    db.store.put_exchange_code(&at_github("first"), NOW).await.unwrap();
    assert_eq!(db.count("SELECT COUNT(*) FROM users").await, 0, "nobody is signed in yet");

    let SignedIn { user, user_created, .. } = signed_in(redeem(db, "first").await);
    assert!(user_created);
    assert_eq!(user.display_name.as_deref(), Some("Ann"));
    assert_eq!(user.avatar_url.as_deref(), Some("https://example.com/ann.png"));
    assert_eq!((user.email.as_deref(), user.email_verified), (None, false));
    let methods = db.store.list_methods(&user.id).await.unwrap();
    assert_eq!(methods.len(), 1);
    assert_eq!((methods[0].kind.as_str(), methods[0].provider.as_deref()), ("oauth", Some("github")));
    assert_eq!(methods[0].identifier, "id of first");

    let again = NewExchangeCode { digest: digest(&["second"]), ..at_github("first") };
    db.store.put_exchange_code(&again, NOW).await.unwrap();
    let second = signed_in(redeem(db, "second").await);
    assert_eq!((second.user.id, second.user_created), (user.id.clone(), false));
    let user = db.store.find_user(&user.id).await.unwrap().unwrap();
    assert_eq!(db.count_events(&user, EventType::SignInSucceeded).await, 2);
}

pub(crate) async fn an_exchange_code_works_once_and_for_its_time(db: &Database) {
    db.store.put_exchange_code(&at_github("code"), NOW).await.unwrap();
    let mut template = db.redemption("", "", NOW.plus(MINUTE)).sign_in;
    let late = db.store.redeem_exchange_code(&digest(&["code"]), None, &template).await.unwrap();
    assert_eq!(late, ExchangeOutcome::Expired);
    assert_eq!(redeem(db, "other").await, ExchangeOutcome::NoCode);
    assert_eq!(db.count("SELECT COUNT(*) FROM users").await, 0);

    template.at = NOW.plus(MINUTE).minus(std::time::Duration::from_millis(1));
    signed_in(db.store.redeem_exchange_code(&digest(&["code"]), None, &template).await.unwrap());
    assert_eq!(redeem(db, "code").await, ExchangeOutcome::NoCode);
    assert_eq!(db.count("SELECT COUNT(*) FROM sessions").await, 1);
}

pub(crate) async fn an_exchange_code_of_a_disabled_user_is_refused(db: &Database) {
    db.store.put_exchange_code(&at_github("code"), NOW).await.unwrap();
    let user = signed_in(redeem(db, "code").await).user;
    db.disable(&user).await;
    let again = NewExchangeCode { digest: digest(&["again"]), ..at_github("code") };
    db.store.put_exchange_code(&again, NOW).await.unwrap();
    assert_eq!(redeem(db, "again").await, ExchangeOutcome::Right(SignInOutcome::Disabled));
    assert_eq!(redeem(db, "again").await, ExchangeOutcome::NoCode, "the code is spent");
    assert_eq!(db.count("SELECT COUNT(*) FROM sessions").await, 1);
}

pub(crate) async fn a_code_with_a_challenge_is_for_whoever_has_the_verifier(db: &Database) {
    let verifier = |letter: &str| letter.repeat(43).parse::<CodeVerifier>().unwrap().challenge();
    let (right, wrong) = (verifier("r"), verifier("w"));
    let template = db.redemption("", "", NOW).sign_in;
    for (name, asked, shown) in [
        ("wrong", Some(right), Some(wrong)),
        ("none", Some(right), None),
        // Whoever sends a verifier began something else.
        ("unasked", None, Some(right)),
    ] {
        let new = NewExchangeCode { challenge: asked, ..at_github(name) };
        db.store.put_exchange_code(&new, NOW).await.unwrap();
        let outcome = db.store.redeem_exchange_code(&new.digest, shown.as_ref(), &template).await.unwrap();
        assert_eq!(outcome, ExchangeOutcome::NotTheirs, "{name}");
        let again = db.store.redeem_exchange_code(&new.digest, asked.as_ref(), &template).await.unwrap();
        assert_eq!(again, ExchangeOutcome::NoCode, "{name}: it is spent");
    }
    assert_eq!(db.count_rows("users").await, 0);
    assert_eq!(db.count_rows("sessions").await, 0);
    for round in 0..20 {
        let new = NewExchangeCode { challenge: Some(right), ..at_github(&format!("round {round}")) };
        db.store.put_exchange_code(&new, NOW).await.unwrap();
        let outcomes = in_parallel((0..16).map(|number| {
            let (store, template, digest) = (db.instance(number), db.redemption("", "", NOW).sign_in, new.digest);
            let shown = if number % 2 == 0 { right } else { wrong };
            async move { store.redeem_exchange_code(&digest, Some(&shown), &template).await.unwrap() }
        }))
        .await;
        let spent = outcomes.iter().filter(|outcome| **outcome != ExchangeOutcome::NoCode);
        assert_eq!(spent.count(), 1, "round {round}: {outcomes:?}");
    }
}

pub(crate) async fn parallel_exchanges_make_one_session(db: &Database) {
    for round in 0..20_i64 {
        let code = format!("code {round}");
        db.store.put_exchange_code(&at_github(&code), NOW).await.unwrap();
        let outcomes = in_parallel((0..8).map(|number| {
            let (store, template) = (db.instance(number), db.redemption("", "", NOW).sign_in);
            let digest = digest(&[&code]);
            async move { store.redeem_exchange_code(&digest, None, &template).await.unwrap() }
        }))
        .await;
        let refused = outcomes.iter().filter(|outcome| **outcome == ExchangeOutcome::NoCode).count();
        assert_eq!(refused, 7, "round {round}: {outcomes:?}");
        assert_eq!(db.count("SELECT COUNT(*) FROM sessions").await, round + 1);
    }
}

pub(crate) async fn exchange_codes_that_are_over_go_in_batches(db: &Database) {
    for number in 0..3 {
        db.store.put_exchange_code(&at_github(&number.to_string()), NOW).await.unwrap();
    }
    assert_eq!(db.store.purge_exchange_codes(NOW.plus(MINUTE), 2).await.unwrap(), 0);
    for purged in [2, 1, 0] {
        assert_eq!(db.store.purge_exchange_codes(NOW.plus(2 * MINUTE), 2).await.unwrap(), purged);
    }
}

pub(crate) async fn parallel_first_sign_ins_make_one_account(db: &Database) {
    for round in 0..10 {
        // Two accounts at providers, of one person, who proves each of them four times at once.
        let codes: Vec<String> = (0..8).map(|number| format!("code {number} of round {round}")).collect();
        for (number, code) in codes.iter().enumerate() {
            let mut new = at_github(code);
            new.way_in.provider = Some(if number < 4 { "github" } else { "google" }.to_owned());
            new.way_in.identifier = format!("id of round {round}");
            new.profile.email = Some(format!("ann{round}@example.com"));
            db.store.put_exchange_code(&new, NOW).await.unwrap();
        }
        let tasks = codes.into_iter().enumerate().map(|(number, code)| {
            let (store, template) = (db.instance(number), db.redemption("", "", NOW).sign_in);
            async move { signed_in(store.redeem_exchange_code(&digest(&[&code]), None, &template).await.unwrap()) }
        });
        let all = in_parallel(tasks).await;
        assert!(all.iter().all(|one| one.user.id == all[0].user.id), "one account");
        assert_eq!(all.iter().filter(|one| one.user_created).count(), 1);
        let methods = db.store.list_methods(&all[0].user.id).await.unwrap();
        assert_eq!(methods.len(), 3, "two providers and the address");
        assert_eq!(db.store.list_sessions(&all[0].user.id, NOW).await.unwrap().len(), 8);
    }
}

pub(crate) async fn a_sign_in_beside_the_accounts_end_is_before_or_after_it(db: &Database) {
    for round in 0..20 {
        let (first, second) = (format!("first {round}"), format!("second {round}"));
        db.store.put_exchange_code(&at_github(&first), NOW).await.unwrap();
        let user = signed_in(redeem(db, &first).await).user;
        db.store
            .put_exchange_code(&NewExchangeCode { digest: digest(&[&second]), ..at_github(&first) }, NOW)
            .await
            .unwrap();

        let (store, event, id) = (db.other.clone(), db.event(NOW), user.id.clone());
        let deleting = tokio::spawn(async move { store.delete_user(&id, &event).await.unwrap() });
        let SignedIn { user: signed, session, user_created } = signed_in(redeem(db, &second).await);
        assert!(deleting.await.unwrap());
        assert_eq!(user_created, signed.id != user.id, "into the account that is going, or into a new one");
        assert_eq!(
            db.store.find_session(&session.id).await.unwrap().is_some(),
            user_created,
            "it goes with the account"
        );
    }
}

pub(crate) async fn of_parallel_proofs_of_an_unproved_address_one_releases_it(db: &Database) {
    for round in 0..20 {
        let address = format!("ann{round}@example.com");
        let mallory = db.user(&address).await;
        // Two more, so that somebody else is the primary one when the address has gone.
        for name in ["a", "b"] {
            crate::methods::link(db, &mallory, WayIn::email(&format!("{name}{round}@example.com"))).await;
        }
        db.by_hand("UPDATE auth_methods SET verified = 0 WHERE identifier LIKE 'ann%'").await;
        let codes: Vec<String> = (0..8).map(|number| format!("code {number} of round {round}")).collect();
        for code in &codes {
            let new = NewExchangeCode { way_in: WayIn::email(&address), ..at_github(code) };
            db.store.put_exchange_code(&new, NOW).await.unwrap();
        }
        let tasks = codes.into_iter().enumerate().map(|(number, code)| {
            let (store, template) = (db.instance(number), db.redemption("", "", NOW).sign_in);
            async move { signed_in(store.redeem_exchange_code(&digest(&[&code]), None, &template).await.unwrap()) }
        });
        let all = in_parallel(tasks).await;
        assert!(all.iter().all(|one| one.user.id == all[0].user.id && one.user.id != mallory.id), "round {round}");
        assert_eq!(db.count_events(&mallory, EventType::MethodUnlinked).await, 1, "round {round}: released once");
        let left = db.store.list_methods(&mallory.id).await.unwrap();
        assert_eq!((left.len(), left.iter().filter(|method| method.is_primary).count()), (2, 1), "round {round}");
    }
}
