use domain::audit::EventType;
use domain::wallet::WalletAddress;
use domain::{Timestamp, UserId};
use store::{LinkOutcome, NewLink, NewSignIn, SignInOutcome, SignedIn, Store, WalletChallenge, WalletPurpose, WayIn};

use crate::database::{Database, MINUTE, NOW, digest, in_parallel};

const WALLET: &str = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed";
const OTHER: &str = "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359";
const ANN: &str = "ann@example.com";
const BOB: &str = "bob@example.com";

fn wallet(text: &str) -> WalletAddress {
    text.parse().unwrap()
}

async fn put(db: &Database, message: &str, purpose: WalletPurpose, user_id: Option<&UserId>) -> WalletChallenge {
    let challenge = WalletChallenge {
        digest: digest(&[purpose.as_str(), message]),
        purpose,
        user_id: user_id.cloned(),
        address: wallet(WALLET),
        chain_id: "1".to_owned(),
        message: message.to_owned(),
        expires_at: NOW.plus(15 * MINUTE),
    };
    db.store.put_wallet_challenge(&challenge, NOW).await.unwrap();
    challenge
}

fn sign_in(db: &Database, address: &str, at: Timestamp) -> NewSignIn {
    NewSignIn { way_in: WayIn::wallet(&wallet(address)), ..db.redemption(ANN, "123456", at).sign_in }
}

fn link(db: &Database, user_id: &UserId, address: &str) -> NewLink {
    let method_id = db.redemption(ANN, "123456", NOW).sign_in.method_id;
    NewLink { user_id: user_id.clone(), method_id, way_in: WayIn::wallet(&wallet(address)) }
}

fn signed_in(outcome: Option<SignInOutcome>) -> SignedIn {
    match outcome {
        Some(SignInOutcome::SignedIn(signed_in)) => *signed_in,
        other => panic!("{other:?}"),
    }
}

async fn unspent(store: &Store, challenge: &WalletChallenge) -> bool {
    let user_id = challenge.user_id.as_ref();
    let found = store.find_wallet_challenge(&challenge.digest, challenge.purpose, user_id).await.unwrap().unwrap();
    assert_eq!(&found.challenge, challenge, "what was kept is what was given");
    !found.is_spent
}

pub(crate) async fn a_signed_challenge_signs_in_once(db: &Database) {
    let challenge = put(db, "hello", WalletPurpose::SignIn, None).await;
    assert!(unspent(&db.store, &challenge).await);
    let plan = sign_in(db, WALLET, NOW);
    let first = signed_in(db.store.sign_in_by_wallet(&challenge.digest, &plan).await.unwrap());
    assert!(first.user_created);
    assert_eq!(first.user.wallet_address.as_deref(), Some(WALLET));
    assert!(!unspent(&db.store, &challenge).await);
    let again = sign_in(db, WALLET, NOW);
    assert_eq!(db.store.sign_in_by_wallet(&challenge.digest, &again).await.unwrap(), None);
    assert_eq!(db.count("SELECT COUNT(*) FROM sessions").await, 1);
    let methods = db.store.list_methods(&first.user.id).await.unwrap();
    assert_eq!((methods.len(), methods[0].kind.as_str()), (1, "wallet"));
    assert_eq!((methods[0].provider.as_deref(), methods[0].identifier.as_str()), (Some("ethereum"), WALLET));
}

pub(crate) async fn a_challenge_is_for_its_wallet_and_time_only(db: &Database) {
    let challenge = put(db, "hello", WalletPurpose::SignIn, None).await;
    let elsewhere = digest(&["sign_in", "hello "]);
    for (digest, plan) in [
        (&challenge.digest, sign_in(db, OTHER, NOW)),
        (&challenge.digest, sign_in(db, WALLET, challenge.expires_at)),
        (&elsewhere, sign_in(db, WALLET, NOW)),
    ] {
        assert_eq!(db.store.sign_in_by_wallet(digest, &plan).await.unwrap(), None);
    }
    let solana = WayIn { provider: Some("solana".to_owned()), ..WayIn::wallet(&wallet(WALLET)) };
    let plan = NewSignIn { way_in: solana, ..sign_in(db, WALLET, NOW) };
    assert_eq!(db.store.sign_in_by_wallet(&challenge.digest, &plan).await.unwrap(), None);
    assert_eq!(db.count("SELECT COUNT(*) FROM users").await, 0);
    assert!(unspent(&db.store, &challenge).await);
    signed_in(db.store.sign_in_by_wallet(&challenge.digest, &sign_in(db, WALLET, NOW)).await.unwrap());
}

pub(crate) async fn linking_and_signing_in_are_kept_apart(db: &Database) {
    let (ann, bob) = (db.user(ANN).await, db.user(BOB).await);
    let for_ann = put(db, "link", WalletPurpose::Link, Some(&ann.id)).await;
    let to_sign_in = put(db, "sign in", WalletPurpose::SignIn, None).await;
    let sessions = db.count("SELECT COUNT(*) FROM sessions").await;

    assert_eq!(db.store.sign_in_by_wallet(&for_ann.digest, &sign_in(db, WALLET, NOW)).await.unwrap(), None);
    for (digest, link) in [
        (&for_ann.digest, link(db, &bob.id, WALLET)),
        (&for_ann.digest, link(db, &ann.id, OTHER)),
        (&to_sign_in.digest, link(db, &ann.id, WALLET)),
    ] {
        assert_eq!(db.store.link_wallet(digest, &link, &db.event(NOW)).await.unwrap(), None);
    }
    let found = db.store.find_wallet_challenge(&for_ann.digest, WalletPurpose::Link, Some(&bob.id)).await.unwrap();
    assert_eq!(found, None, "somebody else's is a miss");
    assert_eq!(db.store.list_methods(&ann.id).await.unwrap().len(), 1);
    assert!(unspent(&db.store, &for_ann).await && unspent(&db.store, &to_sign_in).await);

    let linked = db.store.link_wallet(&for_ann.digest, &link(db, &ann.id, WALLET), &db.event(NOW)).await.unwrap();
    assert_eq!(linked, Some(LinkOutcome::Linked));
    assert_eq!(db.count("SELECT COUNT(*) FROM sessions").await, sessions);
    assert_eq!(db.count_events(&ann, EventType::MethodLinked).await, 1);
    assert_eq!(db.store.link_wallet(&for_ann.digest, &link(db, &ann.id, WALLET), &db.event(NOW)).await.unwrap(), None);
    let user = signed_in(db.store.sign_in_by_wallet(&to_sign_in.digest, &sign_in(db, WALLET, NOW)).await.unwrap()).user;
    assert_eq!(user.id, ann.id, "the wallet leads to the account now");

    let for_bob = put(db, "link bob", WalletPurpose::Link, Some(&bob.id)).await;
    let taken = db.store.link_wallet(&for_bob.digest, &link(db, &bob.id, WALLET), &db.event(NOW)).await.unwrap();
    assert_eq!(taken, Some(LinkOutcome::Taken));
    assert_eq!(db.store.list_methods(&bob.id).await.unwrap().len(), 1);
}

pub(crate) async fn of_parallel_replays_one_signs_in(db: &Database) {
    for round in 0..20 {
        let challenge = put(db, &format!("round {round}"), WalletPurpose::SignIn, None).await;
        let outcomes = in_parallel((0..20).map(|number| {
            let (store, plan) = (db.instance(number), sign_in(db, WALLET, NOW));
            async move { store.sign_in_by_wallet(&challenge.digest, &plan).await.unwrap() }
        }))
        .await;
        assert_eq!(outcomes.iter().flatten().count(), 1, "round {round}");
        assert_eq!(db.count("SELECT COUNT(*) FROM sessions").await, round + 1);
    }
    assert_eq!(db.count("SELECT COUNT(*) FROM users").await, 1);
}

pub(crate) async fn challenges_that_are_over_go_in_batches(db: &Database) {
    for number in 0..3 {
        put(db, &format!("message {number}"), WalletPurpose::SignIn, None).await;
    }
    let end = NOW.plus(15 * MINUTE);
    assert_eq!(db.store.purge_wallet_challenges(end, 2).await.unwrap(), 0);
    for purged in [2, 1, 0] {
        assert_eq!(db.store.purge_wallet_challenges(end.plus(MINUTE), 2).await.unwrap(), purged);
    }
}
