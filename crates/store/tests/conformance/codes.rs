use domain::audit::EventType;
use store::{CodeOutcome, SignInOutcome};

use crate::database::{Database, MINUTE, NOW, client, in_parallel};

const ANN: &str = "ann@example.com";

pub(crate) async fn a_right_code_creates_the_account_and_signs_in(db: &Database) {
    assert_eq!(db.put_code(ANN, "123456", NOW).await, None, "there is no account yet");
    let redemption = db.redemption(ANN, "123456", NOW.plus(MINUTE));
    let CodeOutcome::Right(SignInOutcome::SignedIn(signed_in)) = db.store.redeem_code(&redemption).await.unwrap()
    else {
        panic!()
    };
    let (user, session) = (&signed_in.user, &signed_in.session);

    assert!(signed_in.user_created);
    assert_eq!(user.id, redemption.sign_in.user_id);
    assert_eq!(user.email.as_deref(), Some(ANN));
    assert!(user.email_verified && !user.phone_verified);
    assert_eq!((user.created_at, user.last_login_at), (NOW.plus(MINUTE), Some(NOW.plus(MINUTE))));
    assert_eq!(db.store.find_user(&user.id).await.unwrap().as_ref(), Some(user));
    assert_eq!(session.id, redemption.sign_in.session.id);
    assert_eq!((session.generation, session.rotated_at), (0, NOW.plus(MINUTE)));
    assert_eq!(session.ip, client("192.0.2.1").ip);
    assert_eq!(
        db.store.find_session(&session.id).await.unwrap(),
        Some((session.clone(), user.clone())),
        "what was returned is what was kept"
    );

    let events = db.events(user).await;
    let mut kinds: Vec<_> = events.iter().map(|event| event.kind).collect();
    kinds.sort_by_key(|kind| kind.as_str());
    assert_eq!(kinds, [EventType::SignInSucceeded, EventType::UserCreated]);
    for event in events {
        assert_eq!(event.actor.session_id.as_ref(), Some(&session.id));
        assert_eq!(event.client, client("192.0.2.1"));
        assert_eq!(event.metadata["method"], "email");
    }
}

pub(crate) async fn the_second_sign_in_finds_the_account(db: &Database) {
    let first = db.sign_in(ANN).await;
    let later = NOW.plus(60 * MINUTE);

    assert_eq!(db.put_code(ANN, "654321", later).await.as_ref(), Some(&first.user.id));
    let CodeOutcome::Right(SignInOutcome::SignedIn(second)) = db.redeem(ANN, "654321", later).await else { panic!() };

    assert!(!second.user_created);
    assert_eq!(second.user.id, first.user.id);
    assert_eq!(second.user.last_login_at, Some(later));
    assert_ne!(second.session.id, first.session.id);
    assert_eq!(db.count_events(&first.user, EventType::UserCreated).await, 1);
    assert_eq!(db.count_events(&first.user, EventType::CodeRequested).await, 1);
    assert_eq!(db.count_events(&first.user, EventType::SignInSucceeded).await, 2);
    let used = "SELECT COUNT(*) FROM auth_methods WHERE type = 'email' AND verified = 1 AND is_primary = 1 \
                AND last_used_at = 1762606800000";
    assert_eq!(db.count(used).await, 1);
}

pub(crate) async fn a_code_works_once(db: &Database) {
    let wrong = CodeOutcome::Wrong { attempts_remaining: 2 };
    assert_eq!(db.redeem(ANN, "123456", NOW).await, wrong, "none was sent");
    db.sign_in(ANN).await;
    assert_eq!(db.redeem(ANN, "123456", NOW).await, wrong);
    assert_eq!(db.count("SELECT COUNT(*) FROM sessions").await, 1);
}

pub(crate) async fn a_new_code_replaces_the_old_one(db: &Database) {
    db.put_code(ANN, "111111", NOW).await;
    assert_eq!(db.redeem(ANN, "000000", NOW).await, CodeOutcome::Wrong { attempts_remaining: 2 });
    db.put_code(ANN, "222222", NOW).await;

    assert_eq!(db.redeem(ANN, "111111", NOW).await, CodeOutcome::Wrong { attempts_remaining: 2 });
    assert!(matches!(db.redeem(ANN, "222222", NOW).await, CodeOutcome::Right(SignInOutcome::SignedIn(_))));
    assert_eq!(db.count("SELECT COUNT(*) FROM one_time_codes").await, 1);
}

pub(crate) async fn wrong_guesses_are_counted_and_end(db: &Database) {
    for (email, known) in [(ANN, false), ("bob@example.com", true)] {
        let user = if known { Some(db.user(email).await) } else { None };
        let sessions = db.count("SELECT COUNT(*) FROM sessions").await;
        db.put_code(email, "123456", NOW).await;

        for attempts_remaining in [2, 1, 0] {
            assert_eq!(db.redeem(email, "000000", NOW).await, CodeOutcome::Wrong { attempts_remaining });
        }
        assert_eq!(db.redeem(email, "123456", NOW).await, CodeOutcome::TooManyAttempts, "not even the right one");

        assert_eq!(db.count("SELECT COUNT(*) FROM sessions").await, sessions);
        if let Some(user) = user {
            let events = db.events(&user).await;
            let failed: Vec<_> = events.iter().filter(|event| event.kind == EventType::SignInFailed).collect();
            assert_eq!(failed.len(), 3);
            assert!(failed.iter().all(|event| event.metadata["reason"] == "wrong_code"));
            assert!(failed.iter().all(|event| event.actor.session_id.is_none()), "no session began");
        } else {
            let failed = "SELECT COUNT(*) FROM audit_events WHERE type = 'sign_in.failed' AND user_id IS NULL";
            assert_eq!(db.count(failed).await, 3, "the same work as for a known address");
            assert_eq!(db.count("SELECT COUNT(*) FROM users").await, 0);
        }
    }
}

pub(crate) async fn an_expired_code_signs_nobody_in(db: &Database) {
    db.put_code(ANN, "123456", NOW).await;
    let end = NOW.plus(10 * MINUTE);

    let wrong = CodeOutcome::Wrong { attempts_remaining: 2 };
    assert_eq!(db.redeem(ANN, "000000", end).await, wrong, "as where there is no code");
    assert_eq!(db.redeem(ANN, "123456", end).await, CodeOutcome::Expired, "whoever has it learns why it is of no use");
    assert_eq!(db.count("SELECT attempts FROM one_time_codes").await, 0);
    assert_eq!(db.count("SELECT COUNT(*) FROM sessions").await, 0);
    let just_before = end.minus(std::time::Duration::from_millis(1));
    assert!(matches!(db.redeem(ANN, "123456", just_before).await, CodeOutcome::Right(SignInOutcome::SignedIn(_))));
}

pub(crate) async fn a_disabled_user_is_refused(db: &Database) {
    let user = db.user(ANN).await;
    db.disable(&user).await;
    db.put_code(ANN, "123456", NOW.plus(MINUTE)).await;

    assert_eq!(db.redeem(ANN, "123456", NOW.plus(2 * MINUTE)).await, CodeOutcome::Right(SignInOutcome::Disabled));
    let spent = CodeOutcome::Wrong { attempts_remaining: 2 };
    assert_eq!(db.redeem(ANN, "123456", NOW.plus(2 * MINUTE)).await, spent);

    assert_eq!(db.count("SELECT COUNT(*) FROM sessions").await, 1, "only the one from before");
    assert_eq!(db.store.find_user(&user.id).await.unwrap().unwrap().last_login_at, Some(NOW));
    let events = db.events(&user).await;
    assert_eq!(events[0].kind, EventType::SignInFailed);
    assert_eq!(events[0].metadata["reason"], "disabled");
}

pub(crate) async fn parallel_right_codes_make_one_session(db: &Database) {
    for round in 0..20 {
        // Odd rounds: the account exists already.
        let email = format!("person{}@example.com", round / 2);
        let before = db.count("SELECT COUNT(*) FROM sessions").await;
        db.put_code(&email, "123456", NOW).await;

        // Three, since each counts as an attempt: a fourth would be refused for that alone.
        let outcomes = in_parallel((0..3).map(|number| {
            let (store, redemption) = (db.instance(number), db.redemption(&email, "123456", NOW));
            async move { store.redeem_code(&redemption).await.unwrap() }
        }))
        .await;

        let signed_in =
            outcomes.iter().filter(|outcome| matches!(outcome, CodeOutcome::Right(SignInOutcome::SignedIn(_)))).count();
        let wrong = outcomes.iter().filter(|outcome| matches!(outcome, CodeOutcome::Wrong { .. })).count();
        assert_eq!((signed_in, wrong), (1, 2), "round {round}: {outcomes:?}");
        assert_eq!(db.count("SELECT COUNT(*) FROM sessions").await, before + 1);
    }
    assert_eq!(db.count("SELECT COUNT(*) FROM users").await, 10);
}

pub(crate) async fn of_parallel_wrong_guesses_three_are_compared(db: &Database) {
    for round in 0..5 {
        let email = format!("person{round}@example.com");
        db.put_code(&email, "123456", NOW).await;
        let outcomes = in_parallel((0..50).map(|number| {
            let (store, redemption) = (db.instance(number), db.redemption(&email, &format!("{number:06}"), NOW));
            async move { store.redeem_code(&redemption).await.unwrap() }
        }))
        .await;

        let mut remaining: Vec<_> = outcomes
            .iter()
            .filter_map(|outcome| match outcome {
                CodeOutcome::Wrong { attempts_remaining } => Some(*attempts_remaining),
                _ => None,
            })
            .collect();
        remaining.sort_unstable();
        assert_eq!(remaining, [0, 1, 2], "round {round}");
        assert_eq!(outcomes.iter().filter(|outcome| **outcome == CodeOutcome::TooManyAttempts).count(), 47);
        assert_eq!(db.redeem(&email, "123456", NOW).await, CodeOutcome::TooManyAttempts);
    }
}
