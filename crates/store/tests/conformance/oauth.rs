use domain::audit::EventType;
use domain::{AuthMethodId, CodeVerifier, PairingId, Timestamp};
use store::{
    CodeOutcome, LinkOutcome, MethodType, NewOAuthLink, NewOAuthProof, NewOAuthState, NewSignIn, OAuthErrand,
    OAuthState, Profile, ProofFor, ProofPurpose, SignInOutcome, SignedIn, WayIn,
};

use crate::database::{DAY, Database, MINUTE, NOW, digest, in_parallel};

const ANN: &str = "ann@example.com";
const HOME: &str = "https://app.example.com/";

fn state(name: &str) -> NewOAuthState {
    NewOAuthState {
        digest: digest(&[name]),
        provider: "github".to_owned(),
        browser: digest(&[name, "browser"]),
        sealed_verifier: format!("sealed {name}"),
        expires_at: NOW.plus(10 * MINUTE),
    }
}

async fn put(db: &Database, name: &str) {
    db.store.put_oauth_state(&state(name), HOME, None, NOW).await.unwrap();
}

async fn spend(db: &Database, name: &str) -> Option<OAuthState> {
    db.other.spend_oauth_state(&digest(&[name]), "github", &digest(&[name, "browser"]), NOW).await.unwrap()
}

fn asked_by(who: &SignedIn) -> ProofFor {
    let (user_id, session_id) = (who.user.id.clone(), who.session.id.clone());
    ProofFor { purpose: ProofPurpose::Link, user_id, session_id }
}

async fn ask_to_link(db: &Database, name: &str, who: &SignedIn) {
    let link = NewOAuthLink {
        digest: digest(&[name]),
        provider: "github".to_owned(),
        asked_by: asked_by(who),
        redirect_url: HOME.to_owned(),
        expires_at: NOW.plus(2 * MINUTE),
    };
    db.store.put_oauth_link(&link, NOW).await.unwrap();
}

fn proof(name: &str, who: &SignedIn) -> NewOAuthProof {
    NewOAuthProof {
        digest: digest(&[name]),
        asked_by: asked_by(who),
        provider: "github".to_owned(),
        identifier: "583231".to_owned(),
        expires_at: NOW.plus(MINUTE),
    }
}

/// All the way to a proof of this name.
async fn prove(db: &Database, name: &str, who: &SignedIn) {
    let of_state = format!("state for {name}");
    ask_to_link(db, &format!("reference for {name}"), who).await;
    let reference = digest(&[&format!("reference for {name}")]);
    assert!(db.store.begin_oauth_link(&reference, &state(&of_state), NOW).await.unwrap());
    spend(db, &of_state).await.unwrap();
    assert!(db.store.keep_oauth_proof(&digest(&[&of_state]), &proof(name, who), NOW).await.unwrap());
}

/// Comes for the proof with the session that asked for it.
async fn link(db: &Database, name: &str, who: &SignedIn, at: Timestamp) -> Option<LinkOutcome> {
    let mut event = db.event(at);
    event.actor.session_id = Some(who.session.id.clone());
    db.store.link_by_oauth_proof(&digest(&[name]), &asked_by(who), &new_method_id(db), &event).await.unwrap()
}

fn new_method_id(db: &Database) -> AuthMethodId {
    db.chance().with(|rng| AuthMethodId::generate(rng))
}

fn at_github() -> WayIn {
    WayIn { method: MethodType::OAuth, provider: Some("github".to_owned()), identifier: "583231".to_owned() }
}

pub(crate) async fn a_state_is_spent_once_on_any_instance(db: &Database) {
    put(db, "state").await;
    let spent = spend(db, "state").await.unwrap();
    let kept = OAuthState {
        sealed_verifier: "sealed state".to_owned(),
        redirect_url: HOME.to_owned(),
        errand: OAuthErrand::SignIn { challenge: None },
    };
    assert_eq!(spent, kept);
    assert_eq!(spend(db, "state").await, None);
    assert_eq!(spend(db, "other").await, None);
}

pub(crate) async fn a_state_is_of_one_provider_browser_and_time(db: &Database) {
    put(db, "state").await;
    let (of_state, browser) = (digest(&["state"]), digest(&["state", "browser"]));
    let end = NOW.plus(10 * MINUTE);
    for (provider, browser, at) in
        [("google", browser, NOW), ("", browser, NOW), ("github", digest(&["other"]), NOW), ("github", browser, end)]
    {
        assert_eq!(db.store.spend_oauth_state(&of_state, provider, &browser, at).await.unwrap(), None);
    }
    let just_before = end.minus(std::time::Duration::from_millis(1));
    let spent = db.store.spend_oauth_state(&of_state, "github", &browser, just_before).await.unwrap();
    assert!(spent.is_some(), "none of it has spent the state");
}

pub(crate) async fn of_parallel_spenders_one_gets_the_state(db: &Database) {
    for round in 0..20 {
        let name = format!("state {round}");
        put(db, &name).await;
        let spent = in_parallel((0..8).map(|number| {
            let (store, name) = (db.instance(number), name.clone());
            async move {
                let browser = digest(&[&name, "browser"]);
                store.spend_oauth_state(&digest(&[&name]), "github", &browser, NOW).await.unwrap()
            }
        }))
        .await;
        assert_eq!(spent.iter().flatten().count(), 1, "round {round}");
    }
}

pub(crate) async fn a_state_says_what_it_is_for(db: &Database) {
    let challenge = "v".repeat(43).parse::<CodeVerifier>().unwrap().challenge();
    db.store.put_oauth_state(&state("bound"), HOME, Some(&challenge), NOW).await.unwrap();
    let errand = spend(db, "bound").await.unwrap().errand;
    assert_eq!(errand, OAuthErrand::SignIn { challenge: Some(challenge) });
    let id: PairingId = "pairing".parse().unwrap();
    db.store.put_oauth_state_of_pairing(&state("page"), HOME, &id, NOW).await.unwrap();
    assert_eq!(spend(db, "page").await.unwrap().errand, OAuthErrand::Pairing(id));

    // A link that a program of an older version has begun names no session that could finish it.
    let ann = db.sign_in(ANN).await;
    ask_to_link(db, "older", &ann).await;
    assert!(db.store.begin_oauth_link(&digest(&["older"]), &state("older state"), NOW).await.unwrap());
    db.by_hand("UPDATE oauth_states SET purpose = NULL, session_id = NULL WHERE user_id IS NOT NULL").await;
    assert_eq!(spend(db, "older state").await, None);
}

pub(crate) async fn a_link_goes_from_reference_to_state_to_proof_to_method(db: &Database) {
    let ann = db.sign_in(ANN).await;
    ask_to_link(db, "reference", &ann).await;
    let reference = digest(&["reference"]);
    assert_eq!(spend(db, "reference").await, None, "a reference is no state");
    let late = NOW.plus(2 * MINUTE);
    assert!(!db.store.begin_oauth_link(&reference, &state("state"), late).await.unwrap());
    let elsewhere = NewOAuthState { provider: "google".to_owned(), ..state("state") };
    assert!(!db.store.begin_oauth_link(&reference, &elsewhere, NOW).await.unwrap());

    assert!(db.other.begin_oauth_link(&reference, &state("state"), NOW).await.unwrap());
    assert!(!db.store.begin_oauth_link(&reference, &state("again"), NOW).await.unwrap());
    assert!(!db.store.begin_oauth_link(&digest(&["state"]), &state("again"), NOW).await.unwrap());
    let of_state = digest(&["state"]);
    assert!(!db.store.keep_oauth_proof(&of_state, &proof("proof", &ann), NOW).await.unwrap(), "nobody has come back");

    assert_eq!(spend(db, "state").await.unwrap().errand, OAuthErrand::Proof(asked_by(&ann)));
    let bob = db.sign_in("bob@example.com").await;
    let other_session = db.sign_in(ANN).await;
    let mut other_purpose = proof("proof", &ann);
    other_purpose.asked_by.purpose = ProofPurpose::Reauthenticate;
    for not_theirs in [proof("proof", &bob), proof("proof", &other_session), other_purpose] {
        assert!(!db.store.keep_oauth_proof(&of_state, &not_theirs, NOW).await.unwrap());
    }
    assert!(db.store.keep_oauth_proof(&of_state, &proof("proof", &ann), NOW).await.unwrap());
    assert!(!db.store.keep_oauth_proof(&of_state, &proof("again", &ann), NOW).await.unwrap(), "one for a state");
    assert_eq!(db.store.list_methods(&ann.user.id).await.unwrap().len(), 1, "nothing has changed yet");

    assert_eq!(link(db, "proof", &ann, NOW).await, Some(LinkOutcome::Linked));
    assert_eq!(link(db, "proof", &ann, NOW).await, None);
    assert_eq!(db.store.list_methods(&ann.user.id).await.unwrap().len(), 2);
    assert_eq!(db.count_events(&ann.user, EventType::MethodLinked).await, 1);
}

/// A code that comes with another session, for another purpose or too late is of no use to its own session either.
pub(crate) async fn a_proof_seen_elsewhere_is_spent(db: &Database) {
    let (ann, bob) = (db.sign_in(ANN).await, db.sign_in("bob@example.com").await);
    let other_session = db.sign_in(ANN).await;
    for name in ["bob", "other session", "purpose", "late"] {
        prove(db, name, &ann).await;
        let (mut by, mut at) = (asked_by(&ann), NOW);
        match name {
            "bob" => by = asked_by(&bob),
            "other session" => by = asked_by(&other_session),
            "purpose" => by.purpose = ProofPurpose::Reauthenticate,
            _ => at = NOW.plus(MINUTE),
        }
        let mut event = db.event(at);
        event.actor.session_id = Some(by.session_id.clone());
        let linked = db.store.link_by_oauth_proof(&digest(&[name]), &by, &new_method_id(db), &event).await.unwrap();
        assert_eq!(linked, None, "{name}");
        assert_eq!(link(db, name, &ann, NOW).await, None, "{name}");
    }
    assert_eq!(db.count("SELECT COUNT(*) FROM auth_methods WHERE type = 'oauth'").await, 0);
}

pub(crate) async fn of_parallel_comers_one_links(db: &Database) {
    let ann = db.sign_in(ANN).await;
    for round in 0..20 {
        let name = format!("round {round}");
        prove(db, &name, &ann).await;
        let linked = in_parallel((0..16).map(|number| {
            let (store, by, id, mut event) = (db.instance(number), asked_by(&ann), new_method_id(db), db.event(NOW));
            event.actor.session_id = Some(by.session_id.clone());
            let digest = digest(&[&name]);
            async move { store.link_by_oauth_proof(&digest, &by, &id, &event).await.unwrap() }
        }))
        .await;
        let expected = if round == 0 { LinkOutcome::Linked } else { LinkOutcome::AlreadyLinked };
        assert_eq!(linked.into_iter().flatten().collect::<Vec<_>>(), [expected], "round {round}");
    }
    assert_eq!(db.count_events(&ann.user, EventType::MethodLinked).await, 1);
}

pub(crate) async fn a_link_to_a_disabled_user_or_an_ended_session_is_refused(db: &Database) {
    let ann = db.sign_in(ANN).await;
    prove(db, "ended", &ann).await;
    db.store.end_session(&ann.user.id, &ann.session.id, &db.event(NOW)).await.unwrap().unwrap();
    assert_eq!(link(db, "ended", &ann, NOW).await, Some(LinkOutcome::NoAccount));
    let again = db.sign_in(ANN).await;
    prove(db, "disabled", &again).await;
    db.disable(&again.user).await;
    assert_eq!(link(db, "disabled", &again, NOW).await, Some(LinkOutcome::NoAccount));
    assert_eq!(db.store.list_methods(&ann.user.id).await.unwrap().len(), 1);
}

pub(crate) async fn proofs_that_are_over_go_in_batches(db: &Database) {
    let ann = db.sign_in(ANN).await;
    for number in 0..3 {
        prove(db, &number.to_string(), &ann).await;
    }
    assert_eq!(db.store.purge_oauth_proofs(NOW.plus(MINUTE), 9).await.unwrap(), 0);
    for purged in [2, 1, 0] {
        assert_eq!(db.store.purge_oauth_proofs(NOW.plus(DAY), 2).await.unwrap(), purged);
    }
}

/// Signs in by an account at GitHub that vouches for this address.
async fn sign_in_with_address(db: &Database, address: &str) -> SignedIn {
    let template = db.redemption("", "", NOW).sign_in;
    let code = store::NewExchangeCode {
        digest: digest(&["exchange"]),
        way_in: at_github(),
        profile: Profile { email: Some(address.to_owned()), ..Profile::default() },
        challenge: None,
        expires_at: NOW.plus(MINUTE),
    };
    db.store.put_exchange_code(&code, NOW).await.unwrap();
    let outcome = db.store.redeem_exchange_code(&code.digest, None, &NewSignIn { at: NOW, ..template }).await.unwrap();
    let store::ExchangeOutcome::Right(SignInOutcome::SignedIn(signed_in)) = outcome else { panic!("{outcome:?}") };
    *signed_in
}

pub(crate) async fn an_address_that_is_vouched_for_is_a_way_in(db: &Database) {
    let SignedIn { user, .. } = sign_in_with_address(db, ANN).await;
    assert_eq!((user.email.as_deref(), user.email_verified), (Some(ANN), true));
    let methods = db.store.list_methods(&user.id).await.unwrap();
    let mut shown: Vec<_> = methods.iter().map(|method| (method.kind.as_str(), method.is_primary)).collect();
    shown.sort_unstable();
    assert_eq!(shown, [("email", false), ("oauth", true)]);

    db.put_code(ANN, "123456", NOW).await;
    let CodeOutcome::Right(SignInOutcome::SignedIn(by_mail)) = db.redeem(ANN, "123456", NOW).await else { panic!() };
    assert_eq!(by_mail.user.id, user.id);
}

pub(crate) async fn an_unproven_address_attracts_nobody(db: &Database) {
    let mallory = db.user(ANN).await;
    db.by_hand("UPDATE auth_methods SET verified = 0").await;
    let SignedIn { user, user_created, .. } = sign_in_with_address(db, ANN).await;
    assert!(user_created);
    assert_ne!(user.id, mallory.id);
    assert_eq!((user.email, user.email_verified), (None, false));
    assert_eq!(db.store.list_methods(&mallory.id).await.unwrap().len(), 1);
}

pub(crate) async fn states_that_are_over_go_in_batches(db: &Database) {
    for number in 0..3 {
        put(db, &number.to_string()).await;
    }
    spend(db, "0").await.unwrap();
    let ann = db.sign_in(ANN).await;
    ask_to_link(db, "reference", &ann).await;
    assert_eq!(db.store.purge_oauth_states(NOW.plus(2 * MINUTE), 9).await.unwrap(), 0);
    for purged in [3, 1, 0] {
        assert_eq!(db.store.purge_oauth_states(NOW.plus(DAY), 3).await.unwrap(), purged);
    }
}
