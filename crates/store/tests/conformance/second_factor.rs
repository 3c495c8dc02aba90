use domain::audit::EventType;
use domain::{Digest, PairingId, Timestamp, UserCode, UserId};
use store::{
    CodeOutcome, Decision, Factor, FormOutcome, FormSignIn, Guessed, MfaAttempt, MfaOutcome, NewPairing,
    NewPairingForm, NewSignIn, SecondProof, SignInOutcome, SignedIn, Store, User,
};

use crate::database::{Database, LIMITS, MINUTE, NOW, client, digest, in_parallel, seal_key};

const ANN: &str = "ann@example.com";
/// The time step in which Ann enables her factor.
const STEP: i64 = 1_000;

pub(crate) fn backup(number: usize) -> SecondProof {
    SecondProof::BackupCode(backup_digest(number))
}

fn backup_digest(number: usize) -> Digest {
    digest(&["backup", &number.to_string()])
}

pub(crate) async fn put(db: &Database, store: &Store, user_id: &UserId, secret: &str) -> bool {
    store.put_factor(user_id, secret, seal_key("seal").id(), &db.event(NOW)).await.unwrap()
}

async fn factor(db: &Database, user_id: &UserId) -> Factor {
    db.store.find_factor(user_id).await.unwrap().unwrap()
}

async fn enable(db: &Database, user_id: &UserId, factor: &Factor) -> bool {
    let codes: Vec<Digest> = (0..10).map(backup_digest).collect();
    db.store.enable_factor(user_id, factor, STEP, &codes, &db.event(NOW)).await.unwrap()
}

/// Ann with a second factor.
pub(crate) async fn ann(db: &Database) -> User {
    let ann = db.user(ANN).await;
    assert!(put(db, &db.store, &ann.id, "secret").await);
    assert!(enable(db, &ann.id, &factor(db, &ann.id).await).await);
    ann
}

/// Ann has shown her first factor; the digest of the token of the sign-in that waits.
pub(crate) async fn waiting(db: &Database, at: Timestamp) -> Digest {
    db.put_code(ANN, "123456", at).await;
    let redemption = db.redemption(ANN, "123456", at);
    let outcome = db.store.redeem_code(&redemption).await.unwrap();
    assert_eq!(outcome, CodeOutcome::Right(SignInOutcome::MfaRequired));
    redemption.sign_in.mfa.digest
}

/// What the service sends along: by whom and how, the store knows.
pub(crate) fn plan(db: &Database, at: Timestamp) -> NewSignIn {
    db.redemption("", "", at).sign_in
}

pub(crate) async fn finish(
    db: &Database,
    challenge: &Digest,
    proof: &SecondProof,
    at: Timestamp,
) -> MfaOutcome<Box<SignedIn>> {
    db.store.finish_mfa(challenge, proof, &plan(db, at)).await.unwrap()
}

async fn sessions(db: &Database) -> i64 {
    db.count("SELECT COUNT(*) FROM sessions").await
}

pub(crate) async fn a_secret_waits_until_it_is_enabled_and_then_stays(db: &Database) {
    let ann = db.user(ANN).await;
    assert!(db.store.find_factor(&ann.id).await.unwrap().is_none());
    assert!(put(db, &db.store, &ann.id, "first").await);
    let first = factor(db, &ann.id).await;
    assert!(put(db, &db.other, &ann.id, "second").await, "a newer one takes its place");
    assert!(!enable(db, &ann.id, &first).await, "a code of the one before enables nothing");
    db.sign_in(ANN).await;

    let second = factor(db, &ann.id).await;
    assert_eq!((second.sealed_secret.as_str(), second.is_enabled), ("second", false));
    assert!(enable(db, &ann.id, &second).await);
    assert!(!enable(db, &ann.id, &second).await && !put(db, &db.store, &ann.id, "third").await);
    let kept = factor(db, &ann.id).await;
    assert_eq!((kept.sealed_secret.as_str(), kept.is_enabled, kept.last_step), ("second", true, STEP));
    assert_eq!(db.count_events(&ann, EventType::MfaEnabled).await, 1);
}

pub(crate) async fn a_sign_in_waits_for_its_second_proof(db: &Database) {
    let ann = ann(db).await;
    let before = sessions(db).await;
    let challenge = waiting(db, NOW).await;
    assert_eq!(sessions(db).await, before, "no session yet");
    assert_eq!(finish(db, &challenge, &SecondProof::Step(STEP), NOW).await, MfaOutcome::NoProof, "a step once");
    assert_eq!(finish(db, &challenge, &backup(99), NOW).await, MfaOutcome::NoProof);
    assert_eq!(finish(db, &digest(&["none"]), &SecondProof::Step(STEP + 1), NOW).await, MfaOutcome::NoProof);
    let end = NOW.plus(5 * MINUTE);
    assert_eq!(finish(db, &challenge, &SecondProof::Step(STEP + 1), end).await, MfaOutcome::NoProof, "too late");
    assert_eq!(sessions(db).await, before);

    let MfaOutcome::Right(signed_in) = finish(db, &challenge, &SecondProof::Step(STEP + 1), NOW).await else {
        panic!("the proof was right")
    };
    assert_eq!((signed_in.user.id, signed_in.user_created), (ann.id.clone(), false));
    assert_eq!(sessions(db).await, before + 1);
    assert_eq!(finish(db, &challenge, &SecondProof::Step(STEP + 2), NOW).await, MfaOutcome::NoProof, "once");
    let event = db.events(&ann).await.into_iter().find(|event| event.kind == EventType::SignInSucceeded).unwrap();
    assert_eq!(event.metadata["method"], "email", "by what the first factor was proved");
}

pub(crate) async fn a_backup_code_is_spent_with_its_sign_in(db: &Database) {
    let ann = ann(db).await;
    let challenge = waiting(db, NOW).await;
    assert!(matches!(finish(db, &challenge, &backup(3), NOW).await, MfaOutcome::Right(_)));
    let challenge = waiting(db, NOW).await;
    assert_eq!(finish(db, &challenge, &backup(3), NOW).await, MfaOutcome::NoProof);
    let bob = db.user("bob@example.com").await;
    assert!(!db.store.disable_factor(&bob.id, &backup(4), &db.event(NOW)).await.unwrap(), "it is Ann's");
    assert!(!db.store.disable_factor(&ann.id, &backup(3), &db.event(NOW)).await.unwrap());
    assert!(db.store.disable_factor(&ann.id, &backup(4), &db.event(NOW)).await.unwrap());
    for table in ["SELECT COUNT(*) FROM backup_codes", "SELECT COUNT(*) FROM mfa_challenges"] {
        assert_eq!(db.count(table).await, 0, "{table}");
    }
    db.sign_in(ANN).await;
}

pub(crate) async fn a_disabled_user_finishes_nothing(db: &Database) {
    let ann = ann(db).await;
    let challenge = waiting(db, NOW).await;
    db.disable(&ann).await;
    assert_eq!(finish(db, &challenge, &backup(0), NOW).await, MfaOutcome::Disabled);
    assert_eq!(db.count("SELECT COUNT(*) FROM backup_codes").await, 10, "nothing is spent");
    assert_eq!(db.count_events(&ann, EventType::SignInFailed).await, 1);
}

pub(crate) async fn guesses_at_a_waiting_sign_in_are_counted_and_end(db: &Database) {
    let ann = ann(db).await;
    let challenge = waiting(db, NOW).await;
    let count = async |at| db.store.count_mfa_attempt(&challenge, Guessed::Long, 2, at).await.unwrap();
    for attempts_remaining in [1, 0] {
        let counted = MfaAttempt::Counted { user_id: ann.id.clone(), attempts_remaining };
        assert_eq!(count(NOW).await, counted);
    }
    assert_eq!(count(NOW).await, MfaAttempt::TooMany);
    assert_eq!(count(NOW.plus(5 * MINUTE)).await, MfaAttempt::Expired);
    let none = db.store.count_mfa_attempt(&digest(&["none"]), Guessed::Long, 2, NOW).await.unwrap();
    assert_eq!(none, MfaAttempt::Unknown);
}

pub(crate) async fn of_parallel_guesses_no_more_than_allowed_are_counted(db: &Database) {
    ann(db).await;
    // Six rounds of five: all that a person suffers in a year.
    for round in 0..6 {
        let challenge = waiting(db, NOW).await;
        let attempts = in_parallel((0..50).map(|number| {
            let store = db.instance(number);
            async move { store.count_mfa_attempt(&challenge, Guessed::OneStep, 5, NOW).await.unwrap() }
        }))
        .await;
        let counted = attempts.iter().filter(|attempt| matches!(attempt, MfaAttempt::Counted { .. })).count();
        assert_eq!(counted, 5, "round {round}");
        assert!(attempts.iter().all(|attempt| matches!(attempt, MfaAttempt::Counted { .. } | MfaAttempt::TooMany)));
    }
}

pub(crate) async fn of_parallel_proofs_one_begins_a_session(db: &Database) {
    ann(db).await;
    for round in 0..20usize {
        let before = sessions(db).await;
        // Many proofs of one sign-in, or one proof of many.
        let mut challenges = vec![waiting(db, NOW).await];
        if round % 2 == 1 {
            for _ in 1..20 {
                challenges.push(waiting(db, NOW).await);
            }
        }
        let proof = if round < 10 { backup(round) } else { SecondProof::Step(STEP + i64::try_from(round).unwrap()) };
        let outcomes = in_parallel((0..20).map(|number| {
            let (store, challenge) = (db.instance(number), challenges[number % challenges.len()]);
            let (proof, plan) = (proof.clone(), plan(db, NOW));
            async move { store.finish_mfa(&challenge, &proof, &plan).await.unwrap() }
        }))
        .await;
        let right = outcomes.iter().filter(|outcome| matches!(outcome, MfaOutcome::Right(_))).count();
        assert_eq!((right, sessions(db).await), (1, before + 1), "round {round}");
    }
}

pub(crate) async fn of_parallel_enablings_one_counts(db: &Database) {
    for round in 0..20 {
        let user = db.user(&format!("ann{round}@example.com")).await;
        put(db, &db.store, &user.id, "secret").await;
        let factor = factor(db, &user.id).await;
        let enabled = in_parallel((0..10usize).map(|number| {
            let (store, event, user_id) = (db.instance(number), db.event(NOW), user.id.clone());
            let (factor, codes) = (factor.clone(), [digest(&["mine", &number.to_string()])]);
            async move { store.enable_factor(&user_id, &factor, STEP, &codes, &event).await.unwrap() }
        }))
        .await;
        assert_eq!(enabled.iter().filter(|enabled| **enabled).count(), 1, "round {round}");
        assert_eq!(db.count("SELECT COUNT(*) FROM backup_codes").await, round + 1, "those of the one that counted");
    }
}

pub(crate) async fn on_the_page_of_a_pairing_no_session_begins(db: &Database) {
    let ann = ann(db).await;
    let pairing_id: PairingId = "pairing".parse().unwrap();
    let pairing = NewPairing {
        id: pairing_id.clone(),
        poll_digest: digest(&["poll"]),
        user_code: "BCDF-GHJK".parse::<UserCode>().unwrap(),
        name: "laptop".parse().unwrap(),
        scopes: "*".parse().unwrap(),
        client: client("192.0.2.7"),
        at: NOW,
        expires_at: NOW.plus(10 * MINUTE),
    };
    assert!(db.store.start_pairing(&pairing).await.unwrap());
    let before = sessions(db).await;
    let form = |name: &str| NewPairingForm {
        digest: digest(&["form", name]),
        newcomer: digest(&[name, "newcomer"]),
        pairing_id: pairing_id.clone(),
        expires_at: NOW.plus(5 * MINUTE),
    };
    db.put_code(ANN, "123456", NOW).await;
    let redemption = db.redemption(ANN, "123456", NOW);
    let asked = db.store.sign_in_to_pairing(&redemption, &form("early")).await.unwrap();
    assert_eq!(asked, FormSignIn::MfaRequired);
    let challenge = redemption.sign_in.mfa.digest;
    let finish = async |proof: &SecondProof, name: &str| {
        db.store.finish_mfa_for_pairing(&challenge, proof, &plan(db, NOW), &form(name)).await.unwrap()
    };
    assert_eq!(finish(&backup(99), "wrong").await, MfaOutcome::NoProof);
    assert_eq!(finish(&backup(0), "right").await, MfaOutcome::Right(()));
    assert_eq!(finish(&backup(1), "again").await, MfaOutcome::NoProof);
    for (name, is_known) in [("early", false), ("wrong", false), ("again", false), ("right", true)] {
        let outcome = db
            .store
            .decide_pairing_by_form(&form(name).digest, &pairing_id, &Decision::Deny, &LIMITS, &db.event(NOW))
            .await
            .unwrap();
        assert_eq!(outcome != FormOutcome::Unknown, is_known, "{name}");
    }
    assert_eq!(sessions(db).await, before);
    assert_eq!(db.count_events(&ann, EventType::PairingDenied).await, 1);
}

pub(crate) async fn sign_ins_that_waited_too_long_go_in_batches(db: &Database) {
    ann(db).await;
    for _ in 0..3 {
        waiting(db, NOW).await;
    }
    let end = NOW.plus(5 * MINUTE);
    assert_eq!(db.store.purge_mfa_challenges(end, 2).await.unwrap(), 0);
    for purged in [2, 1, 0] {
        assert_eq!(db.store.purge_mfa_challenges(end.plus(MINUTE), 2).await.unwrap(), purged);
    }
}
