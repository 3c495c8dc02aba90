use domain::audit::EventType;
use domain::{AuthMethodId, UserId};
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;
use store::{
    CodeOutcome, LinkOutcome, MethodType, NewLink, NewOAuthLink, NewOAuthState, NewSignIn, OAuthState, Profile,
    SignInOutcome, SignedIn, WayIn,
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
    db.store.put_oauth_state(&state(name), HOME, NOW).await.unwrap();
}

async fn spend(db: &Database, name: &str) -> Option<OAuthState> {
    db.other.spend_oauth_state(&digest(&[name]), "github", &digest(&[name, "browser"]), NOW).await.unwrap()
}

async fn ask_to_link(db: &Database, name: &str, user_id: &UserId) {
    let link = NewOAuthLink {
        digest: digest(&[name]),
        provider: "github".to_owned(),
        user_id: user_id.clone(),
        redirect_url: HOME.to_owned(),
        expires_at: NOW.plus(2 * MINUTE),
    };
    db.store.put_oauth_link(&link, NOW).await.unwrap();
}

fn at_github() -> WayIn {
    WayIn { method: MethodType::OAuth, provider: Some("github".to_owned()), identifier: "583231".to_owned() }
}

fn link_for(user_id: &UserId, seed: u64) -> NewLink {
    let method_id = AuthMethodId::generate(&mut ChaCha20Rng::seed_from_u64(seed));
    NewLink { user_id: user_id.clone(), method_id, way_in: at_github() }
}

pub(crate) async fn a_state_is_spent_once_on_any_instance(db: &Database) {
    put(db, "state").await;
    let spent = spend(db, "state").await.unwrap();
    let kept = OAuthState { sealed_verifier: "sealed state".to_owned(), redirect_url: HOME.to_owned(), link_to: None };
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

pub(crate) async fn a_link_goes_from_reference_to_state_to_method(db: &Database) {
    let ann = db.user(ANN).await;
    ask_to_link(db, "reference", &ann.id).await;
    let reference = digest(&["reference"]);
    assert_eq!(spend(db, "reference").await, None, "a reference is no state");
    let late = NOW.plus(2 * MINUTE);
    assert!(!db.store.begin_oauth_link(&reference, &state("state"), late).await.unwrap());
    let elsewhere = NewOAuthState { provider: "google".to_owned(), ..state("state") };
    assert!(!db.store.begin_oauth_link(&reference, &elsewhere, NOW).await.unwrap());

    assert!(db.other.begin_oauth_link(&reference, &state("state"), NOW).await.unwrap());
    assert!(!db.store.begin_oauth_link(&reference, &state("again"), NOW).await.unwrap());
    assert!(!db.store.begin_oauth_link(&digest(&["state"]), &state("again"), NOW).await.unwrap());
    let event = db.event(NOW);
    let unspent = db.store.finish_oauth_link(&digest(&["state"]), &link_for(&ann.id, 1), &event).await.unwrap();
    assert_eq!(unspent, None, "the browser has not come back");

    let spent = spend(db, "state").await.unwrap();
    assert_eq!(spent.link_to.as_ref(), Some(&ann.id));
    let bob = db.user("bob@example.com").await;
    let for_bob = db.store.finish_oauth_link(&digest(&["state"]), &link_for(&bob.id, 2), &event).await.unwrap();
    assert_eq!(for_bob, None, "the state names whose link it is");
    let linked = db.store.finish_oauth_link(&digest(&["state"]), &link_for(&ann.id, 3), &event).await.unwrap();
    assert_eq!(linked, Some(LinkOutcome::Linked));
    let again = db.store.finish_oauth_link(&digest(&["state"]), &link_for(&ann.id, 4), &event).await.unwrap();
    assert_eq!(again, None);
    assert_eq!(db.store.list_methods(&ann.id).await.unwrap().len(), 2);
    assert_eq!(db.count_events(&ann, EventType::MethodLinked).await, 1);
}

pub(crate) async fn a_link_to_a_disabled_user_is_refused(db: &Database) {
    let ann = db.user(ANN).await;
    ask_to_link(db, "reference", &ann.id).await;
    assert!(db.store.begin_oauth_link(&digest(&["reference"]), &state("state"), NOW).await.unwrap());
    spend(db, "state").await.unwrap();
    db.disable(&ann).await;
    let outcome = db.store.finish_oauth_link(&digest(&["state"]), &link_for(&ann.id, 1), &db.event(NOW)).await;
    assert_eq!(outcome.unwrap(), Some(LinkOutcome::NoAccount));
    assert_eq!(db.store.list_methods(&ann.id).await.unwrap().len(), 1);
}

/// Signs in by an account at GitHub that vouches for this address.
async fn sign_in_with_address(db: &Database, address: &str) -> SignedIn {
    let template = db.redemption("", "", NOW).sign_in;
    let code = store::NewExchangeCode {
        digest: digest(&["exchange"]),
        way_in: at_github(),
        profile: Profile { email: Some(address.to_owned()), ..Profile::default() },
        expires_at: NOW.plus(MINUTE),
    };
    db.store.put_exchange_code(&code, NOW).await.unwrap();
    let outcome = db.store.redeem_exchange_code(&code.digest, &NewSignIn { at: NOW, ..template }).await.unwrap();
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
    let ann = db.user(ANN).await;
    ask_to_link(db, "reference", &ann.id).await;
    assert_eq!(db.store.purge_oauth_states(NOW.plus(2 * MINUTE), 9).await.unwrap(), 0);
    for purged in [3, 1, 0] {
        assert_eq!(db.store.purge_oauth_states(NOW.plus(DAY), 3).await.unwrap(), purged);
    }
}
