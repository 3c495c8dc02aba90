//! Which changes want a recent proof.

use std::time::Duration;

use domain::audit::EventType;
use domain::{SessionId, Timestamp};
use store::{
    Decision, MethodType, NewEvent, NewLink, NewLinkCode, NewPairing, NewReauthFlow, ReauthCode, ReauthOutcome,
    Reauthentication, RotationTerms, SecondProof, Session, StepUp, Store, StoreError, User, WayIn,
};

use crate::database::{Database, LIMITS, MINUTE, NOW, client, digest, guess, in_parallel, plenty, seal_key};

pub(crate) const MAX_AGE: Duration = Duration::from_mins(10);
/// The first moment at which a proof of now is too old.
pub(crate) const AGED: Timestamp = Timestamp::from_millis(1_762_603_200_000 + 600_000);
const MAX_FAILURES: u32 = 20;

pub(crate) fn demanding(store: &Store, for_tokens: bool) -> Store {
    store.clone().with_step_up(StepUp {
        max_age: MAX_AGE,
        for_tokens,
        sends_email: true,
        sends_sms: false,
        providers: vec!["github".to_owned()],
    })
}

/// Something that `session` does at `at`.
pub(crate) fn by(db: &Database, session: &SessionId, at: Timestamp) -> NewEvent {
    let mut event = db.event(at);
    event.actor.session_id = Some(session.clone());
    event
}

pub(crate) fn who(user: &User, session: &Session) -> Reauthentication {
    Reauthentication { user_id: user.id.clone(), session_id: session.id.clone(), max_failures: MAX_FAILURES }
}

pub(crate) fn flow(user: &User, session: &Session, name: &str, code: &str) -> NewReauthFlow {
    NewReauthFlow {
        digest: digest(&["flow", name]),
        session_id: session.id.clone(),
        user_id: user.id.clone(),
        way_in: WayIn::email("ann@example.com"),
        code_digest: digest(&["reauth", code]),
        expires_at: AGED.plus(MAX_AGE),
    }
}

pub(crate) fn typed(flow: Option<&str>, code: &str) -> ReauthCode {
    ReauthCode {
        method: MethodType::Email,
        flow: flow.map(|name| digest(&["flow", name])),
        digest: digest(&["reauth", code]),
        max_attempts: 5,
    }
}

#[track_caller]
pub(crate) fn refused<T>(outcome: Result<T, StoreError>, what: &str) -> Vec<&'static str> {
    match outcome.err() {
        Some(StoreError::ProofTooOld(problem)) => {
            assert_eq!(problem.max_age, MAX_AGE, "{what}");
            problem.methods
        }
        other => panic!("{what}: {other:?}"),
    }
}

/// Every change that is to be refused, each tried at `at` by this session; what it was, and whether it was done.
async fn attempts(
    db: &Database,
    store: &Store,
    user: &User,
    session: &SessionId,
    at: Timestamp,
) -> Vec<(&'static str, bool)> {
    let event = || by(db, session, at);
    let method = db.store.list_methods(&user.id).await.unwrap().remove(0);
    let second = WayIn::email("second@example.com");
    let code = NewLinkCode {
        user_id: user.id.clone(),
        digest: digest(&["code"]),
        way_in: second.clone(),
        expires_at: at.plus(MINUTE),
    };
    db.store.put_link_code(&code, &plenty(NOW)).await.unwrap();
    let link =
        NewLink { user_id: user.id.clone(), method_id: db.redemption("", "", NOW).sign_in.method_id, way_in: second };
    let mut done = Vec::new();
    let mut note = |what, outcome: Result<(), StoreError>| match outcome {
        Ok(()) => done.push((what, true)),
        outcome => {
            assert_eq!(refused(outcome, what), ["email"], "{what}");
            done.push((what, false));
        }
    };
    note("link", store.redeem_link_code(&link, &guess(&digest(&["code"])), 3, &event()).await.map(drop));
    note("set primary", store.set_primary_method(&user.id, &method.id, &event()).await.map(drop));
    note("unlink", store.unlink_method(&user.id, &link.method_id, &event()).await.map(drop));
    note("set up", store.put_factor(&user.id, "thief", seal_key("seal").id(), &event()).await.map(drop));
    let factor = db.store.find_factor(&user.id).await.unwrap().unwrap();
    note("enable", store.enable_factor(&user.id, &factor, 1, &[digest(&["backup"])], &event()).await.map(drop));
    let proof = SecondProof::BackupCode(digest(&["backup"]));
    let new = [digest(&["new"])];
    note("backup codes", store.replace_backup_codes(&user.id, &factor, &proof, &new, &event()).await.map(drop));
    let proof = SecondProof::BackupCode(digest(&["new"]));
    note("disable", store.disable_factor(&user.id, &proof, &event()).await.map(drop));
    note("delete", store.delete_user(&user.id, &event()).await.map(drop));
    done
}

pub(crate) async fn every_change_that_takes_an_account_over_wants_a_recent_proof(db: &Database) {
    let store = demanding(&db.store, false);
    let signed_in = db.sign_in("ann@example.com").await;
    let (ann, session) = (signed_in.user, signed_in.session);
    // One that waits to be enabled, for the attempts that need one.
    db.store.put_factor(&ann.id, "owner", seal_key("seal").id(), &db.event(NOW)).await.unwrap();
    let before = (db.events(&ann).await.len(), db.store.list_methods(&ann.id).await.unwrap());
    for (what, is_done) in attempts(db, &store, &ann, &session.id, AGED).await {
        assert!(!is_done, "{what}");
    }
    assert_eq!(db.store.find_factor(&ann.id).await.unwrap().unwrap().sealed_secret, "owner");
    assert_eq!((db.events(&ann).await.len(), db.store.list_methods(&ann.id).await.unwrap()), before);
    assert!(matches!(store.check_proof(&ann.id, &session.id, AGED).await, Err(StoreError::ProofTooOld(_))));

    // A millisecond earlier all of it is done, and so it is by an operator at any time.
    let last = AGED.minus(Duration::from_millis(1));
    store.check_proof(&ann.id, &session.id, last).await.unwrap();
    for (what, is_done) in attempts(db, &store, &ann, &session.id, last).await {
        assert!(is_done, "{what}");
    }
    let bob = db.user("bob@example.com").await;
    assert!(store.delete_user(&bob.id, &db.event(AGED)).await.unwrap());
}

pub(crate) async fn a_session_that_has_ended_changes_nothing(db: &Database) {
    let store = demanding(&db.store, true);
    let signed_in = db.sign_in("ann@example.com").await;
    let (ann, session) = (signed_in.user, signed_in.session.id);
    db.other.end_session(&ann.id, &session, &db.event(NOW)).await.unwrap().unwrap();
    let ended = |outcome: Result<(), StoreError>| assert!(matches!(outcome, Err(StoreError::SessionEnded)));
    ended(store.check_proof(&ann.id, &session, NOW).await);
    ended(store.check_proof_for_tokens(&ann.id, &session, NOW).await);
    ended(store.delete_user(&ann.id, &by(db, &session, NOW)).await.map(drop));
    let method = db.store.list_methods(&ann.id).await.unwrap().remove(0);
    ended(store.set_primary_method(&ann.id, &method.id, &by(db, &session, NOW)).await.map(drop));
    // Nor does one of somebody else's.
    let bob = db.sign_in("bob@example.com").await.session.id;
    ended(store.delete_user(&ann.id, &by(db, &bob, NOW)).await.map(drop));
    assert!(db.store.find_user(&ann.id).await.unwrap().is_some());
}

pub(crate) async fn what_makes_a_token_wants_it_where_that_is_set(db: &Database) {
    let signed_in = db.sign_in("ann@example.com").await;
    let (ann, session) = (signed_in.user, signed_in.session.id);
    let token = db.token(&ann).await;
    let pairing = async |name: &str| {
        let new = NewPairing {
            id: name.parse().unwrap(),
            poll_digest: digest(&["poll", name]),
            user_code: db.chance().with(|rng| domain::UserCode::generate(rng)),
            name: "laptop".parse().unwrap(),
            scopes: "*".parse().unwrap(),
            client: client("192.0.2.7"),
            at: AGED,
            expires_at: AGED.plus(MINUTE),
        };
        assert!(db.store.start_pairing(&new).await.unwrap());
        new.id
    };
    for for_tokens in [false, true] {
        let store = demanding(&db.store, for_tokens);
        let events = db.events(&ann).await.len();
        let outcomes = [
            ("check", store.check_proof_for_tokens(&ann.id, &session, AGED).await),
            ("create", {
                let (new, event) = (db.new_token(&ann), by(db, &session, AGED));
                store.create_token_by(None, &new, &LIMITS, &event).await.map(drop)
            }),
            ("rotate", {
                let (secret, event) = (db.new_secret(&seal_key("present")), by(db, &session, AGED));
                let terms = RotationTerms { creations: LIMITS.creations, shown: None };
                store.rotate_token_within(&ann.id, &token.id, &secret, MINUTE, &terms, &event).await.map(drop)
            }),
            ("approve", {
                let id = pairing(&format!("pairing-{for_tokens}")).await;
                let decision = Decision::Approve(store::Approval::default());
                store.decide_pairing(&id, &ann.id, &decision, &LIMITS, &by(db, &session, AGED)).await.map(drop)
            }),
        ];
        for (what, outcome) in outcomes {
            if for_tokens {
                assert_eq!(refused(outcome, what), ["email"], "{what}");
            } else {
                outcome.unwrap();
            }
        }
        assert_eq!(db.events(&ann).await.len() == events, for_tokens);
        // Refusing a program takes nothing over, and a caller by something else than a session has none that could age.
        let id = pairing(&format!("denied-{for_tokens}")).await;
        let denied = store.decide_pairing(&id, &ann.id, &Decision::Deny, &LIMITS, &by(db, &session, AGED)).await;
        assert_eq!(denied.unwrap(), store::DecisionOutcome::Decided);
        store.create_token(&db.new_token(&ann), &LIMITS, &db.event(AGED)).await.unwrap();
    }
}

/// A second factor that is switched on in one session, and a change by a proof without it in another: either the change
/// came first, or it is refused.
pub(crate) async fn a_change_beside_enabling_a_second_factor_is_before_it_or_refused(db: &Database) {
    for round in 0..20usize {
        let owner = db.sign_in(&format!("ann{round}@example.com")).await;
        let (ann, mine) = (owner.user, owner.session.id);
        let thief = db.sign_in(&format!("ann{round}@example.com")).await.session.id;
        let event = by(db, &mine, NOW);
        db.store.put_factor(&ann.id, "secret", seal_key("seal").id(), &event).await.unwrap();
        let factor = db.store.find_factor(&ann.id).await.unwrap().unwrap();
        let method = db.store.list_methods(&ann.id).await.unwrap().remove(0);
        let enabling = {
            let (store, event, user_id) = (demanding(&db.store, false), by(db, &mine, NOW), ann.id.clone());
            tokio::spawn(async move { store.enable_factor(&user_id, &factor, 1, &[], &event).await.unwrap() })
        };
        let changing = {
            let (store, event, user_id) = (demanding(&db.other, false), by(db, &thief, NOW), ann.id.clone());
            tokio::spawn(async move { store.set_primary_method(&user_id, &method.id, &event).await })
        };
        assert!(enabling.await.unwrap());
        match changing.await.unwrap() {
            Ok(set) => assert!(set),
            Err(StoreError::ProofTooOld(problem)) => {
                assert_eq!(problem.methods, ["totp"]);
                assert_eq!(db.count_events(&ann, EventType::MethodPrimarySet).await, 0);
            }
            Err(error) => panic!("{error:?}"),
        }
        let after = demanding(&db.store, false).check_proof(&ann.id, &thief, NOW).await;
        assert_eq!(refused(after, "from then on"), ["totp"]);
    }
}

/// Many changes at the very moment of ageing, beside a renewal: each is done by a proof that is recent, or not at all.
pub(crate) async fn changes_beside_a_renewal_are_after_it_or_refused(db: &Database) {
    for round in 0..10usize {
        let email = format!("ann{round}@example.com");
        let signed_in = db.sign_in(&email).await;
        let (ann, session) = (signed_in.user, signed_in.session);
        let mut new = flow(&ann, &session, &format!("race-{round}"), "123456");
        new.way_in = WayIn::email(&email);
        db.store.put_reauth_flow(&new, &plenty(NOW), NOW).await.unwrap();
        let method = db.store.list_methods(&ann.id).await.unwrap().remove(0);
        let before = db.count_events(&ann, EventType::MethodPrimarySet).await;
        let done = in_parallel((0..16usize).map(|number| {
            let (store, event) = (demanding(&db.instance(number), false), by(db, &session.id, AGED));
            let (who, user_id, id) = (who(&ann, &session), ann.id.clone(), method.id.clone());
            async move {
                if number == 7 {
                    let outcome = store.reauthenticate_by_code(&who, &typed(None, "123456"), &event).await.unwrap();
                    assert_eq!(outcome, ReauthOutcome::Renewed);
                    return false;
                }
                match store.set_primary_method(&user_id, &id, &event).await {
                    Ok(set) => set,
                    Err(StoreError::ProofTooOld(_)) => false,
                    Err(error) => panic!("{error:?}"),
                }
            }
        }))
        .await;
        let changed = done.iter().filter(|done| **done).count();
        let events = db.count_events(&ann, EventType::MethodPrimarySet).await;
        assert_eq!(events - before, changed, "round {round}: what was refused left nothing");
        // In the order in which they happened, none is before the renewal.
        let kinds: Vec<_> = db.events(&ann).await.into_iter().map(|event| event.kind).collect();
        assert_eq!(kinds.iter().filter(|kind| **kind == EventType::SessionReauthenticated).count(), 1);
    }
}
