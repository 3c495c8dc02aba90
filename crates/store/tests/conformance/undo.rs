use domain::audit::EventType;
use domain::{Digest, Timestamp};
use store::{
    Addressee, Approval, Attempt, Decision, MintOutcome, Refresh, RefreshOutcome, SecureOutcome, SignedIn, User, WayIn,
};

use crate::database::{DAY, Database, LIMITS, MINUTE, NOW, digest, digest_of, in_parallel, plenty, seal_key};
use crate::notices::new_claim;

const ANN: &str = "ann@example.com";

/// The link in the mail about a token, which the user has just created.
pub(crate) async fn link(db: &Database, user: &User, at: Timestamp) -> Digest {
    db.create(&db.new_token(user), at).await;
    let claim = new_claim(db, at.plus(MINUTE));
    let to = Addressee { user_id: user.id.clone(), recipient: user.email.clone().unwrap() };
    let claimed = db.store.claim_notices(&to, &claim).await.unwrap().unwrap();
    db.store.finish_notices(&claimed, Attempt::Sent).await.unwrap();
    claim.undo
}

async fn secure(db: &Database, link: &Digest, at: Timestamp) -> SecureOutcome {
    db.store.secure_user(link, 0, 500, || db.event(at)).await.unwrap()
}

pub(crate) async fn a_link_ends_everything_that_lets_somebody_in(db: &Database) {
    let (first, second) = (db.sign_in(ANN).await, db.sign_in(ANN).await);
    let (ann, bob) = (first.user.clone(), db.sign_in("bob@example.com").await);
    let (token, bobs) = (db.token(&ann).await, db.token(&bob.user).await);
    let link = link(db, &ann, NOW).await;
    // A program that is let in and has not fetched its token yet, and a sign-in that waits.
    let pairing = crate::pairings::start(db, 1).await;
    let approve = Decision::Approve(Approval::default());
    db.store.decide_pairing(&pairing, &ann.id, &approve, &LIMITS, &db.event(NOW)).await.unwrap();
    let code = store::NewLinkCode {
        user_id: ann.id.clone(),
        digest: digest(&["code"]),
        way_in: WayIn::email("eve@example.com"),
        expires_at: NOW.plus(DAY),
    };
    db.store.put_link_code(&code, &plenty(NOW)).await.unwrap();
    assert_eq!(db.store.find_undo_link(&link, NOW.plus(MINUTE)).await.unwrap(), Some(ann.id.clone()));

    assert_eq!(secure(db, &link, NOW).await, SecureOutcome::Ended { sessions: 2, tokens: 2 });
    for SignedIn { session, .. } in [&first, &second] {
        assert_eq!(db.other.find_session(&session.id).await.unwrap(), None);
        let refresh = Refresh {
            session_id: session.id.clone(),
            user_id: ann.id.clone(),
            presented: digest_of(session),
            grace: MINUTE,
            expires_at: NOW.plus(DAY),
        };
        let outcome = db.store.refresh_session(&refresh, digest_of, &db.event(NOW)).await.unwrap();
        assert_eq!(outcome, RefreshOutcome::Gone);
    }
    assert_eq!(db.other.find_anybodys_token(&token.id).await.unwrap(), None);
    let (secret, event) = (db.new_secret(&seal_key("present")), db.event(NOW));
    let proof = digest(&[pairing.as_str()]);
    let minted =
        db.store.mint_for_pairing(&pairing, &proof, &"late".parse().unwrap(), &secret, &LIMITS, &event).await.unwrap();
    assert_eq!(minted, MintOutcome::NotApproved);
    assert_eq!(db.count("SELECT COUNT(*) FROM link_codes").await, 0);
    assert!(db.other.find_session(&bob.session.id).await.unwrap().is_some(), "Bob's");
    assert!(db.other.find_anybodys_token(&bobs.id).await.unwrap().is_some());
    let owed = crate::owed_marks::owed(db).await;
    assert!(owed.contains(&store::MarkedCredential::Owner(ann.id.clone()).key()), "{owed:?}");
    let events = db.events(&ann).await;
    let secured = events.iter().find(|event| event.kind == EventType::UserSecured).unwrap();
    assert_eq!((secured.metadata["sessions"].as_str(), secured.metadata["tokens"].as_str()), ("2", "2"));

    // Once; and whoever signs in next is told of, though the device was known.
    assert_eq!(secure(db, &link, NOW).await, SecureOutcome::NoLink);
    let later = NOW.plus(2 * MINUTE);
    crate::notices::deliver(db, later).await;
    db.put_code(ANN, "123456", later).await;
    db.redeem(ANN, "123456", later).await;
    let sent = crate::notices::deliver(db, later.plus(MINUTE)).await;
    assert_eq!(sent[0].notices[0].kind, EventType::SignInSucceeded);
}

pub(crate) async fn a_link_works_for_its_time(db: &Database) {
    let ann = db.user(ANN).await;
    let link = link(db, &ann, NOW).await;
    let end = NOW.plus(MINUTE).plus(3 * DAY);
    assert_eq!(secure(db, &digest(&["none"]), NOW).await, SecureOutcome::NoLink);
    assert_eq!(secure(db, &link, end).await, SecureOutcome::NoLink);
    assert_eq!(db.store.find_undo_link(&link, end).await.unwrap(), None);
    assert_eq!(db.count("SELECT COUNT(*) FROM personal_access_tokens").await, 1, "nothing has happened");
    assert_eq!(db.store.purge_undo_links(end, 10).await.unwrap(), 0);
    assert_eq!(db.store.purge_undo_links(end.plus(MINUTE), 10).await.unwrap(), 1);
    assert_eq!(secure(db, &link, NOW).await, SecureOutcome::NoLink);
}

/// Whoever is killed in the middle leaves the link for another press.
pub(crate) async fn any_number_of_tokens_ends_in_batches_and_the_link_last(db: &Database) {
    let ann = db.user(ANN).await;
    let link = link(db, &ann, NOW).await;
    db.execute(&format!(
        "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 1200) \
         INSERT INTO personal_access_tokens (id, app_id, user_id, name, scopes, created_at, updated_at) \
         SELECT 't-' || n, 'default', '{}', 'name', '*', n, n FROM numbers",
        ann.id
    ))
    .await;
    let mut batches = 0;
    let mut tokens = 0;
    let ended = loop {
        let event = || db.event(NOW);
        match db.instance(batches).secure_user(&link, tokens, 500, event).await.unwrap() {
            SecureOutcome::More { tokens: so_far } => tokens = so_far,
            other => break other,
        }
        batches += 1;
        assert!(db.store.find_undo_link(&link, NOW).await.unwrap().is_some());
    };
    assert_eq!((ended, batches), (SecureOutcome::Ended { sessions: 1, tokens: 1201 }, 2));
    assert_eq!(db.count_rows("personal_access_tokens").await, 0);
}

pub(crate) async fn of_parallel_presses_one_counts_and_nothing_slips_through(db: &Database) {
    for round in 0..10 {
        let signed_in = db.sign_in(&format!("ann{round}@example.com")).await;
        let ann = signed_in.user.clone();
        let link = link(db, &ann, NOW).await;
        let presses = (0..4).map(|number| {
            let (db, store) = (db.share(), db.instance(number));
            async move { Some(store.secure_user(&link, 0, 500, || db.event(NOW)).await.unwrap()) }
        });
        let mut all: Vec<futures_util::future::BoxFuture<'static, Option<SecureOutcome>>> =
            presses.map(|press| Box::pin(press) as _).collect();
        // Beside a thief who makes tokens by the session that is being ended.
        for number in 0..4 {
            let (store, new, mut event) = (db.instance(number), db.new_token(&ann), db.event(NOW));
            let shown = store::Shown::Session(signed_in.session.id.clone());
            event.actor.session_id = Some(signed_in.session.id.clone());
            all.insert(
                number * 2,
                Box::pin(async move {
                    store.create_token_by(Some(&shown), &new, &LIMITS, &event).await.unwrap();
                    None
                }),
            );
        }
        let outcomes: Vec<_> = in_parallel(all).await.into_iter().flatten().collect();
        let ended = outcomes.iter().filter(|outcome| matches!(outcome, SecureOutcome::Ended { .. })).count();
        let without = outcomes.iter().filter(|outcome| **outcome == SecureOutcome::NoLink).count();
        assert_eq!((ended, without), (1, 3), "round {round}");
        assert_eq!(db.store.list_tokens(&ann.id).await.unwrap(), [], "round {round}");
        assert_eq!(db.store.list_sessions(&ann.id, NOW).await.unwrap(), [], "round {round}");
        assert_eq!(db.count_events(&ann, EventType::UserSecured).await, 1);
    }
}
