use std::time::Duration;

use store::{MarkedCredential, Refresh, RefreshOutcome, Session, Token};

use crate::database::{DAY, Database, MINUTE, NOW, digest, digest_of, in_parallel, seal_key};

const ANN: &str = "ann@example.com";

fn of_token(token: &Token) -> String {
    MarkedCredential::Token(token.id.clone()).key()
}

fn of_session(session: &Session) -> String {
    MarkedCredential::Session(session.id.clone()).key()
}

/// What any instance finds there.
async fn owed(db: &Database) -> Vec<String> {
    let mut owed = db.other.owed_marks(NOW).await.unwrap();
    owed.sort();
    owed
}

pub(crate) async fn ending_or_changing_a_token_owes_a_mark(db: &Database) {
    let user = db.user(ANN).await;
    let (deleted, rotated, untouched) = (db.token(&user).await, db.token(&user).await, db.token(&user).await);
    assert_eq!(owed(db).await, [] as [String; 0]);

    let secret = db.new_secret(&seal_key("present"));
    db.store.rotate_token(&user.id, &rotated.id, &secret, DAY, &db.event(NOW)).await.unwrap().unwrap();
    assert_eq!(owed(db).await, [of_token(&rotated)]);
    db.store.delete_token(&user.id, &deleted.id, &db.event(NOW)).await.unwrap().unwrap();
    let mut both = [of_token(&rotated), of_token(&deleted)];
    both.sort();
    assert_eq!(owed(db).await, both);

    let somebody = db.user("bob@example.com").await;
    assert_eq!(db.store.delete_token(&somebody.id, &untouched.id, &db.event(NOW)).await.unwrap(), None);
    assert_eq!(owed(db).await, both, "what was not done owes nothing");
}

pub(crate) async fn ending_a_session_owes_a_mark(db: &Database) {
    let [first, second, third] = [db.sign_in(ANN).await, db.sign_in(ANN).await, db.sign_in(ANN).await];
    let user_id = &first.user.id;
    db.store.end_session(user_id, &first.session.id, &db.event(NOW)).await.unwrap().unwrap();
    assert_eq!(owed(db).await, [of_session(&first.session)]);
    db.store.end_other_sessions(user_id, &third.session.id, &db.event(NOW)).await.unwrap();
    let mut both = [of_session(&first.session), MarkedCredential::Owner(user_id.clone()).key()];
    both.sort();
    assert_eq!(owed(db).await, both, "one for all that ended together");
    assert_eq!(db.store.find_session(&second.session.id).await.unwrap(), None);
}

pub(crate) async fn only_a_refresh_that_ends_its_session_owes_a_mark(db: &Database) {
    let session = db.sign_in(ANN).await.session;
    let refresh = |presented| Refresh {
        session_id: session.id.clone(),
        user_id: session.user_id.clone(),
        presented,
        grace: Duration::from_secs(15),
        expires_at: NOW.plus(DAY),
    };
    let run = async |presented| db.store.refresh_session(&refresh(presented), digest_of, &db.event(NOW)).await.unwrap();
    assert!(matches!(run(digest_of(&session)).await, RefreshOutcome::Rotated(_)));
    assert_eq!(owed(db).await, [] as [String; 0]);
    assert_eq!(run(digest(&["an old one"])).await, RefreshOutcome::Reused);
    assert_eq!(owed(db).await, [of_session(&session)]);
}

pub(crate) async fn deleting_an_account_owes_one_mark_for_everything(db: &Database) {
    let signed_in = db.sign_in(ANN).await;
    db.token(&signed_in.user).await;
    assert!(db.store.delete_user(&signed_in.user.id, &db.event(NOW)).await.unwrap());
    assert_eq!(owed(db).await, [MarkedCredential::Owner(signed_in.user.id).key()]);
}

pub(crate) async fn a_mark_is_owed_for_its_time_and_goes_in_batches(db: &Database) {
    let user = db.user(ANN).await;
    for minute in 0..5 {
        let token = db.token(&user).await;
        let at = NOW.plus(minute * MINUTE);
        db.store.delete_token(&user.id, &token.id, &db.event(at)).await.unwrap().unwrap();
    }
    for (minute, owed) in [(0, 5), (2, 5), (3, 4), (6, 1), (7, 0)] {
        let count = db.store.owed_marks(NOW.plus(minute * MINUTE)).await.unwrap().len();
        assert_eq!(count, owed, "after {minute} minutes");
    }
    let before = NOW.plus(5 * MINUTE);
    for purged in [2, 1, 0] {
        assert_eq!(db.store.purge_owed_marks(before, 2).await.unwrap(), purged);
    }
    assert_eq!(db.count("SELECT COUNT(*) FROM owed_marks").await, 2);
}

pub(crate) async fn a_mark_that_is_owed_again_is_not_purged_with_the_old_one(db: &Database) {
    let user = db.user(ANN).await;
    let mut tokens = Vec::new();
    for _ in 0..8 {
        tokens.push(db.token(&user).await);
    }
    for round in 1..=20 {
        let (at, before) = (NOW.plus(round * 60 * MINUTE), NOW.plus((round * 60 - 30) * MINUTE));
        let rotations = tokens.iter().enumerate().map(|(number, token)| {
            let (store, token, event) = (db.instance(number), token.clone(), db.event(at));
            let secret = db.new_secret(&seal_key("present"));
            tokio::spawn(async move {
                store.rotate_token(&token.user_id, &token.id, &secret, DAY, &event).await.unwrap().unwrap();
            })
        });
        let rotations: Vec<_> = rotations.collect();
        in_parallel((0..8).map(|number| {
            let store = db.instance(number);
            async move { store.purge_owed_marks(before, 100).await.unwrap() }
        }))
        .await;
        for rotation in rotations {
            rotation.await.unwrap();
        }
        assert_eq!(db.store.owed_marks(at).await.unwrap().len(), tokens.len(), "round {round}");
    }
}
