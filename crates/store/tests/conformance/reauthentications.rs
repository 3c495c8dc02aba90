//! How the proof of a session is renewed, and what guessing at that is worth.

use std::time::Duration;

use domain::UserId;
use domain::audit::EventType;
use store::{
    Guessed, MethodType, MfaOutcome, NewOAuthLink, NewOAuthProof, NewOAuthState, ProofFor, ProofPurpose, ReauthOutcome,
    SecondProof, Session, WalletChallenge, WalletPurpose, WayIn,
};

use crate::database::{Database, MINUTE, NOW, digest, in_parallel, plenty, seal_key};
use crate::step_up::{AGED, MAX_AGE, by, demanding, flow, refused, typed, who};

pub(crate) async fn a_code_renews_its_own_session_once(db: &Database) {
    let store = demanding(&db.store, false);
    let signed_in = db.sign_in("ann@example.com").await;
    let (ann, session) = (signed_in.user, signed_in.session);
    let other = db.sign_in("ann@example.com").await.session;
    assert!(store.put_reauth_flow(&flow(&ann, &session, "a", "123456"), &plenty(AGED), AGED).await.unwrap().is_some());
    let verify = async |session: &Session, flow, code: &str, at| {
        let event = by(db, &session.id, at);
        store.reauthenticate_by_code(&who(&ann, session), &typed(flow, code), &event).await.unwrap()
    };
    assert_eq!(verify(&other, Some("a"), "123456", AGED).await, ReauthOutcome::NoProof, "another session's");
    assert_eq!(verify(&other, None, "123456", AGED).await, ReauthOutcome::NoProof);
    assert_eq!(verify(&session, Some("b"), "123456", AGED).await, ReauthOutcome::NoProof);
    let late = AGED.plus(MAX_AGE);
    assert_eq!(verify(&session, Some("a"), "123456", late).await, ReauthOutcome::Expired);
    assert_eq!(verify(&session, None, "654321", AGED).await, ReauthOutcome::Wrong { attempts_remaining: 4 });
    assert_eq!(refused(store.check_proof(&ann.id, &session.id, AGED).await, "still"), ["email"]);

    assert_eq!(verify(&session, None, "123456", AGED).await, ReauthOutcome::Renewed);
    store.check_proof(&ann.id, &session.id, late.minus(Duration::from_millis(1))).await.unwrap();
    refused(store.check_proof(&ann.id, &session.id, late).await, "it ages again");
    refused(store.check_proof(&ann.id, &other.id, AGED).await, "the other session");
    assert_eq!(verify(&session, Some("a"), "123456", AGED).await, ReauthOutcome::NoProof, "once");
    let kinds = [EventType::SessionReauthenticated, EventType::SessionReauthenticationFailed];
    for kind in kinds {
        assert_eq!(db.count_events(&ann, kind).await, 1, "{kind}");
    }
    assert_eq!(db.count("SELECT COUNT(*) FROM sessions").await, 2, "nobody was signed in");
    let gone = who(&ann, &session);
    db.other.end_session(&ann.id, &session.id, &db.event(NOW)).await.unwrap().unwrap();
    let event = by(db, &session.id, AGED);
    let outcome = store.reauthenticate_by_code(&gone, &typed(None, "1"), &event).await.unwrap();
    assert_eq!(outcome, ReauthOutcome::Gone);
    let late = store.put_reauth_flow(&flow(&ann, &session, "c", "123456"), &plenty(AGED), AGED).await.unwrap();
    assert!(late.is_none());
    assert_eq!(db.count_rows("reauth_flows").await, 0, "they go with the session");
}

/// What was sent to an address before it was taken from the account proves nothing any more.
pub(crate) async fn a_way_in_that_was_removed_proves_nothing(db: &Database) {
    let store = demanding(&db.store, false);
    let signed_in = db.sign_in("ann@example.com").await;
    let (ann, session) = (signed_in.user, signed_in.session);
    crate::methods::link(db, &ann, WayIn::email("second@example.com")).await;
    store.put_reauth_flow(&flow(&ann, &session, "a", "123456"), &plenty(NOW), NOW).await.unwrap();
    let methods = db.store.list_methods(&ann.id).await.unwrap();
    let first = methods.iter().find(|method| method.identifier == "ann@example.com").unwrap();
    // By the session itself, or it would end with the way in that it began with.
    db.store.unlink_method(&ann.id, &first.id, &by(db, &session.id, NOW)).await.unwrap();
    let event = by(db, &session.id, AGED);
    let outcome = store.reauthenticate_by_code(&who(&ann, &session), &typed(None, "123456"), &event).await.unwrap();
    assert_eq!(outcome, ReauthOutcome::NoProof);
    refused(store.check_proof(&ann.id, &session.id, AGED).await, "not renewed");
}

pub(crate) async fn of_parallel_guesses_no_more_than_a_sessions_few_are_compared(db: &Database) {
    for round in 0..6usize {
        let signed_in = db.sign_in(&format!("ann{round}@example.com")).await;
        let (ann, session) = (signed_in.user, signed_in.session);
        // Flows enough that no single one is what stops them.
        for number in 0..10 {
            let new = flow(&ann, &session, &format!("{round}-{number}"), "123456");
            assert!(db.store.put_reauth_flow(&new, &plenty(NOW), NOW).await.unwrap().is_some());
        }
        let outcomes = in_parallel((0..60usize).map(|number| {
            let (store, event) = (demanding(&db.instance(number), false), by(db, &session.id, NOW));
            let (who, guess) = (who(&ann, &session), typed(Some(&format!("{round}-{}", number % 10)), "000000"));
            async move { store.reauthenticate_by_code(&who, &guess, &event).await.unwrap() }
        }))
        .await;
        let count = |wanted: fn(&ReauthOutcome) -> bool| outcomes.iter().filter(|outcome| wanted(outcome)).count();
        assert_eq!(count(|outcome| matches!(outcome, ReauthOutcome::Wrong { .. })), 20, "round {round}");
        assert_eq!(count(|outcome| *outcome == ReauthOutcome::Renewed), 0);
        let event = by(db, &session.id, NOW);
        let right = db.store.reauthenticate_by_code(&who(&ann, &session), &typed(None, "123456"), &event).await;
        assert_eq!(right.unwrap(), ReauthOutcome::Exhausted, "round {round}");
        assert_eq!(db.count_events(&ann, EventType::SessionReauthenticationFailed).await, 20);
        // The owner is kept out of nothing: they sign in, and the new session has guesses of its own.
        let fresh = db.sign_in(&format!("ann{round}@example.com")).await.session;
        demanding(&db.store, true).check_proof(&ann.id, &fresh.id, NOW).await.unwrap();
        let mut new = flow(&ann, &fresh, &format!("{round}-fresh"), "123456");
        new.way_in = WayIn::email(&format!("ann{round}@example.com"));
        db.store.put_reauth_flow(&new, &plenty(NOW), NOW).await.unwrap();
        let event = by(db, &fresh.id, NOW);
        let right = db.store.reauthenticate_by_code(&who(&ann, &fresh), &typed(None, "123456"), &event).await;
        assert_eq!(right.unwrap(), ReauthOutcome::Renewed);
    }
}

pub(crate) async fn five_guesses_are_compared_in_one_flow(db: &Database) {
    let signed_in = db.sign_in("ann@example.com").await;
    let (ann, session) = (signed_in.user, signed_in.session);
    for name in ["a", "b"] {
        db.store.put_reauth_flow(&flow(&ann, &session, name, "123456"), &plenty(NOW), NOW).await.unwrap();
    }
    let verify = async |flow, code: &str| {
        let event = by(db, &session.id, NOW);
        db.store.reauthenticate_by_code(&who(&ann, &session), &typed(Some(flow), code), &event).await.unwrap()
    };
    for attempts_remaining in (0..5).rev() {
        assert_eq!(verify("a", "000000").await, ReauthOutcome::Wrong { attempts_remaining });
    }
    assert_eq!(verify("a", "123456").await, ReauthOutcome::TooManyAttempts);
    assert_eq!(verify("b", "123456").await, ReauthOutcome::Renewed, "another flow does not notice");
}

async fn with_factor(db: &Database, user_id: &UserId) {
    db.store.put_factor(user_id, "secret", seal_key("seal").id(), &db.event(NOW)).await.unwrap();
    let factor = db.store.find_factor(user_id).await.unwrap().unwrap();
    let codes = [digest(&["backup", "0"]), digest(&["backup", "1"])];
    assert!(db.store.enable_factor(user_id, &factor, 1, &codes, &db.event(NOW)).await.unwrap());
}

/// However many sessions a thief has, they guess at the app no more than whoever signs in; nobody is shut out by it.
pub(crate) async fn a_persons_sessions_guess_at_the_app_as_often_as_sign_ins(db: &Database) {
    let ann = db.user("ann@example.com").await;
    let mut sessions = Vec::new();
    for _ in 0..4 {
        sessions.push(db.sign_in("ann@example.com").await.session);
    }
    with_factor(db, &ann.id).await;
    let guess = async |session: &Session, guessed: Guessed, proof: Option<SecondProof>| {
        let (who, event) = (who(&ann, session), by(db, &session.id, NOW));
        db.store.reauthenticate_by_second_factor(&who, guessed, proof.as_ref(), &event).await.unwrap()
    };
    let mut compared = 0;
    for session in &sessions[..3] {
        for _ in 0..15 {
            match guess(session, Guessed::OneStep, None).await {
                ReauthOutcome::Wrong { .. } => compared += 1,
                outcome => assert_eq!(outcome, ReauthOutcome::WantsTwoSteps, "{compared}"),
            }
        }
    }
    assert_eq!(compared, 30, "of 45");
    let own = &sessions[3];
    assert_eq!(guess(own, Guessed::OneStep, Some(SecondProof::Step(2))).await, ReauthOutcome::WantsTwoSteps);
    assert_eq!(guess(own, Guessed::Long, Some(SecondProof::TwoSteps(2))).await, ReauthOutcome::Renewed);

    assert!(db.store.reset_factor(&ann.id, &db.event(NOW)).await.unwrap());
    assert_eq!(db.count("SELECT COUNT(*) FROM totp_guesses").await, 0, "a new secret has not been guessed at");
}

/// Whoever has the mailbox and a session has not got the second factor.
pub(crate) async fn with_a_second_factor_nothing_else_renews(db: &Database) {
    let store = demanding(&db.store, false);
    let signed_in = db.sign_in("ann@example.com").await;
    let (ann, session) = (signed_in.user, signed_in.session);
    let other = db.sign_in("ann@example.com").await.session.id;
    store.put_reauth_flow(&flow(&ann, &session, "a", "123456"), &plenty(NOW), NOW).await.unwrap();
    let event = || by(db, &session.id, NOW);
    let by_step = async |step: Option<SecondProof>| {
        let who = who(&ann, &session);
        store.reauthenticate_by_second_factor(&who, Guessed::OneStep, step.as_ref(), &event()).await.unwrap()
    };
    assert_eq!(by_step(Some(SecondProof::Step(2))).await, ReauthOutcome::NoSecondFactor);
    with_factor(db, &ann.id).await;
    assert_eq!(refused(store.check_proof(&ann.id, &session.id, NOW).await, "a sign-in without it"), ["totp"]);
    let code = typed(Some("a"), "123456");
    let outcome = store.reauthenticate_by_code(&who(&ann, &session), &code, &event()).await.unwrap();
    assert_eq!(outcome, ReauthOutcome::NeedsSecondFactor);
    assert_eq!(by_step(None).await, ReauthOutcome::Wrong { attempts_remaining: 19 });
    assert_eq!(by_step(Some(SecondProof::Step(1))).await, ReauthOutcome::Wrong { attempts_remaining: 18 }, "spent");
    refused(store.check_proof(&ann.id, &session.id, NOW).await, "still");
    assert_eq!(by_step(Some(SecondProof::Step(2))).await, ReauthOutcome::Renewed);
    store.check_proof(&ann.id, &session.id, AGED.minus(Duration::from_millis(1))).await.unwrap();
    let backup = SecondProof::BackupCode(digest(&["backup", "0"]));
    assert_eq!(by_step(Some(backup.clone())).await, ReauthOutcome::Renewed);
    assert_eq!(by_step(Some(backup)).await, ReauthOutcome::Wrong { attempts_remaining: 17 }, "a backup code once");

    // A sign-in that passed it counts.
    db.put_code("ann@example.com", "123456", NOW).await;
    let redemption = db.redemption("ann@example.com", "123456", NOW);
    db.store.redeem_code(&redemption).await.unwrap();
    let plan = db.redemption("", "", NOW).sign_in;
    let finished = db.store.finish_mfa(&redemption.sign_in.mfa.digest, &SecondProof::Step(3), &plan).await.unwrap();
    let MfaOutcome::Right(signed_in) = finished else { panic!("{finished:?}") };
    store.check_proof(&ann.id, &signed_in.session.id, NOW).await.unwrap();

    // And enabling does, in the session that showed a code for it.
    assert!(db.store.reset_factor(&ann.id, &db.event(NOW)).await.unwrap());
    assert!(!db.store.reset_factor(&ann.id, &db.event(NOW)).await.unwrap(), "once");
    assert_eq!(db.store.factor_status(&ann.id).await.unwrap(), None);
    assert_eq!(db.count("SELECT COUNT(*) FROM backup_codes").await, 0);
    assert_eq!(db.count_events(&ann, EventType::MfaReset).await, 1);
    store.put_factor(&ann.id, "next", seal_key("seal").id(), &event()).await.unwrap();
    assert_eq!(db.store.factor_status(&ann.id).await.unwrap().unwrap().enabled_at, None);
    let factor = db.store.find_factor(&ann.id).await.unwrap().unwrap();
    assert!(store.enable_factor(&ann.id, &factor, 9, &[digest(&["backup"])], &event()).await.unwrap());
    store.check_proof(&ann.id, &session.id, NOW).await.unwrap();
    assert_eq!(refused(store.check_proof(&ann.id, &other, NOW).await, "another session"), ["totp"]);
}

pub(crate) async fn new_backup_codes_end_the_old_ones(db: &Database) {
    let ann = db.user("ann@example.com").await;
    with_factor(db, &ann.id).await;
    let factor = db.store.find_factor(&ann.id).await.unwrap().unwrap();
    let replace = async |proof: SecondProof, factor: &store::Factor, name: &str| {
        let codes: Vec<_> = (0..3).map(|number| digest(&[name, &number.to_string()])).collect();
        db.store.replace_backup_codes(&ann.id, factor, &proof, &codes, &db.event(NOW)).await.unwrap()
    };
    let backup = |name: &str, number: &str| SecondProof::BackupCode(digest(&[name, number]));
    assert!(!replace(SecondProof::Step(1), &factor, "wrong").await, "a step once");
    let other = store::Factor { sealed_secret: "another".to_owned(), ..factor.clone() };
    assert!(!replace(SecondProof::Step(2), &other, "wrong").await, "of another secret");
    assert!(replace(SecondProof::Step(2), &factor, "new").await);
    assert!(!replace(backup("backup", "0"), &factor, "wrong").await, "an old code");
    assert_eq!(db.store.factor_status(&ann.id).await.unwrap().unwrap().backup_codes_left, 3);
    assert_eq!(db.count_events(&ann, EventType::MfaBackupCodesReplaced).await, 1);

    // Of many that show one code, one gets new ones.
    for round in 0..10usize {
        let proof = SecondProof::Step(10 + i64::try_from(round).unwrap());
        let replaced = in_parallel((0..10usize).map(|number| {
            let (store, event, user_id) = (db.instance(number), db.event(NOW), ann.id.clone());
            let (proof, factor) = (proof.clone(), factor.clone());
            let codes = [digest(&["round", &round.to_string(), &number.to_string()])];
            async move { store.replace_backup_codes(&user_id, &factor, &proof, &codes, &event).await.unwrap() }
        }))
        .await;
        assert_eq!(replaced.iter().filter(|replaced| **replaced).count(), 1, "round {round}");
        assert_eq!(db.count("SELECT COUNT(*) FROM backup_codes").await, 1);
    }
}

pub(crate) async fn a_wallet_renews_the_session_it_signed_for(db: &Database) {
    let store = demanding(&db.store, false);
    let signed_in = db.sign_in("ann@example.com").await;
    let (ann, session) = (signed_in.user, signed_in.session);
    let address = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed".parse().unwrap();
    let way_in = WayIn::wallet(&address);
    let challenge = async |purpose: WalletPurpose| {
        let challenge = WalletChallenge {
            digest: digest(&["wallet", purpose.as_str()]),
            purpose,
            user_id: Some(ann.id.clone()),
            address,
            chain_id: "1".to_owned(),
            message: "message".to_owned(),
            expires_at: AGED.plus(MINUTE),
        };
        db.store.put_wallet_challenge(&challenge, NOW).await.unwrap();
        challenge.digest
    };
    let (mine, to_link) = (challenge(WalletPurpose::Reauthenticate).await, challenge(WalletPurpose::Link).await);
    let verify = async |digest| {
        let event = by(db, &session.id, AGED);
        store.reauthenticate_by_wallet(&who(&ann, &session), &digest, &way_in, &event).await.unwrap()
    };
    assert_eq!(verify(to_link).await, ReauthOutcome::NoProof, "made for another purpose");
    assert_eq!(verify(mine).await, ReauthOutcome::NoProof, "a wallet that is none of the account's");
    crate::methods::link(db, &ann, way_in.clone()).await;
    let mine = {
        db.by_hand("DELETE FROM wallet_challenges").await;
        challenge(WalletPurpose::Reauthenticate).await
    };
    assert_eq!(refused(store.check_proof(&ann.id, &session.id, AGED).await, "so far"), ["email", "wallet"]);
    assert_eq!(verify(mine).await, ReauthOutcome::Renewed);
    assert_eq!(verify(mine).await, ReauthOutcome::NoProof, "once");
    store.check_proof(&ann.id, &session.id, AGED).await.unwrap();
}

pub(crate) async fn a_visit_to_a_provider_renews_the_session_that_asked(db: &Database) {
    let store = demanding(&db.store, false);
    let (ann, other) = (db.sign_in("ann@example.com").await, db.sign_in("ann@example.com").await);
    let github =
        WayIn { method: MethodType::OAuth, provider: Some("github".to_owned()), identifier: "583231".to_owned() };
    crate::methods::link(db, &ann.user, github).await;
    let prove = async |name: &str, purpose, identifier: &str| {
        let (user_id, session_id) = (ann.user.id.clone(), ann.session.id.clone());
        let asked_by = ProofFor { purpose, user_id, session_id };
        let (provider, expires_at) = ("github".to_owned(), AGED.plus(MINUTE));
        let reference = NewOAuthLink {
            digest: digest(&["reference", name]),
            provider: provider.clone(),
            asked_by: asked_by.clone(),
            redirect_url: "https://app.example.com/".to_owned(),
            expires_at,
        };
        db.store.put_oauth_link(&reference, NOW).await.unwrap();
        let (state, browser) = (digest(&["state", name]), digest(&["browser", name]));
        let new = NewOAuthState {
            digest: state,
            provider: provider.clone(),
            browser,
            sealed_verifier: "sealed".to_owned(),
            expires_at,
        };
        assert!(db.store.begin_oauth_link(&reference.digest, &new, NOW).await.unwrap());
        db.store.spend_oauth_state(&state, "github", &browser, NOW).await.unwrap().unwrap();
        let proof = NewOAuthProof {
            digest: digest(&[name]),
            asked_by,
            provider,
            identifier: identifier.to_owned(),
            expires_at,
        };
        assert!(db.store.keep_oauth_proof(&state, &proof, NOW).await.unwrap());
    };
    let verify = async |name: &str, session: &Session| {
        let event = by(db, &session.id, AGED);
        store.reauthenticate_by_oauth(&who(&ann.user, session), &digest(&[name]), &event).await.unwrap()
    };
    prove("to link", ProofPurpose::Link, "583231").await;
    prove("elsewhere", ProofPurpose::Reauthenticate, "583231").await;
    prove("mallory", ProofPurpose::Reauthenticate, "77").await;
    assert_eq!(verify("to link", &ann.session).await, ReauthOutcome::NoProof);
    assert_eq!(verify("elsewhere", &other.session).await, ReauthOutcome::NoProof);
    assert_eq!(verify("elsewhere", &ann.session).await, ReauthOutcome::NoProof, "it was seen elsewhere");
    assert_eq!(verify("mallory", &ann.session).await, ReauthOutcome::NoProof, "no way in of the user's");
    assert_eq!(refused(store.check_proof(&ann.user.id, &ann.session.id, AGED).await, "so far"), ["email", "oauth"]);
    prove("right", ProofPurpose::Reauthenticate, "583231").await;
    assert_eq!(verify("right", &ann.session).await, ReauthOutcome::Renewed);
    assert_eq!(verify("right", &ann.session).await, ReauthOutcome::NoProof, "once");
    store.check_proof(&ann.user.id, &ann.session.id, AGED).await.unwrap();
    refused(store.check_proof(&ann.user.id, &other.session.id, AGED).await, "the other session");
}

pub(crate) async fn flows_that_are_over_go_in_batches(db: &Database) {
    let signed_in = db.sign_in("ann@example.com").await;
    let (ann, session) = (signed_in.user, signed_in.session);
    for name in ["a", "b", "c"] {
        db.store.put_reauth_flow(&flow(&ann, &session, name, "123456"), &plenty(NOW), NOW).await.unwrap();
    }
    let end = AGED.plus(MAX_AGE);
    assert_eq!(db.store.purge_reauth_flows(end, 2).await.unwrap(), 0);
    for purged in [2, 1, 0] {
        assert_eq!(db.store.purge_reauth_flows(end.plus(MINUTE), 2).await.unwrap(), purged);
    }
}
