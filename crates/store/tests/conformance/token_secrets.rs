use std::time::Duration;

use domain::audit::EventType;
use store::{NewToken, NewTokenSecret, SecretTrace, Token, TokenOwner};

use crate::database::{DAY, Database, MINUTE, NOW, digest, in_parallel, seal_key};

const ANN: &str = "ann@example.com";

async fn created(db: &Database) -> (NewToken, Token) {
    let user = db.user(ANN).await;
    let new = db.new_token(&user);
    let store::CreationOutcome::Created(token) = db.create(&new, NOW).await else { panic!() };
    (new, *token)
}

async fn rotate(db: &Database, token: &Token, secret: &NewTokenSecret, grace: Duration, minute: u32) -> Token {
    let event = db.event(NOW.plus(minute * MINUTE));
    db.store.rotate_token(&token.user_id, &token.id, secret, grace, &event).await.unwrap().unwrap()
}

/// When the secret stops working; the outer `None` when it is gone.
async fn valid_until(db: &Database, secret: &NewTokenSecret) -> Option<Option<domain::Timestamp>> {
    db.store.find_token_by_digest(&secret.digest).await.unwrap().map(|found| found.secret.valid_until)
}

pub(crate) async fn a_secret_leads_to_its_token_and_owner(db: &Database) {
    let (new, token) = created(db).await;
    db.by_hand("UPDATE users SET display_name = 'Ann', avatar_url = 'https://example.com/a.png'").await;

    let found = db.store.find_token_by_digest(&new.secret.digest).await.unwrap().unwrap();
    assert_eq!(found.token, token);
    assert_eq!((&found.secret.id, &found.secret.hash), (&new.secret.id, &new.secret.hash));
    assert_eq!((found.secret.digest, &found.secret.seal_key), (new.secret.digest, &new.secret.seal_key));
    assert_eq!(found.secret.valid_until, None);
    let owner = TokenOwner {
        email: Some(ANN.to_owned()),
        display_name: Some("Ann".to_owned()),
        avatar_url: Some("https://example.com/a.png".to_owned()),
        disabled_at: None,
    };
    assert_eq!(found.owner, owner);

    db.by_hand("UPDATE users SET disabled_at = 1").await;
    let found = db.store.find_token_by_digest(&new.secret.digest).await.unwrap().unwrap();
    assert!(found.owner.disabled_at.is_some());
    assert_eq!(db.store.find_token_by_digest(&digest(&["unknown"])).await.unwrap(), None);
}

pub(crate) async fn rotation_replaces_the_secret(db: &Database) {
    let (new, token) = created(db).await;
    let secret = NewTokenSecret { prefix: "af_live_wxyz".to_owned(), ..db.new_secret(&seal_key("present")) };

    let rotated = rotate(db, &token, &secret, Duration::ZERO, 1).await;
    let expected =
        Token { prefix: "af_live_wxyz".to_owned(), updated_at: NOW.plus(MINUTE), version: 2, ..token.clone() };
    assert_eq!(rotated, expected);
    assert_eq!(valid_until(db, &new.secret).await, None, "without a grace the old one is gone");
    assert_eq!(valid_until(db, &secret).await, Some(None));
    assert_eq!(db.store.list_tokens(&token.user_id).await.unwrap(), [expected]);

    let user = db.store.find_user(&token.user_id).await.unwrap().unwrap();
    let event = &db.events(&user).await[0];
    assert_eq!((event.kind, event.metadata["tokenId"].as_str()), (EventType::TokenRotated, token.id.as_str()));
    let unknown = "gone".parse().unwrap();
    assert_eq!(db.store.rotate_token(&user.id, &unknown, &secret, DAY, &db.event(NOW)).await.unwrap(), None);
}

pub(crate) async fn rotation_with_a_grace_keeps_the_old_secret_for_it(db: &Database) {
    let (new, token) = created(db).await;
    let secret = db.new_secret(&seal_key("present"));
    rotate(db, &token, &secret, DAY, 1).await;

    assert_eq!(valid_until(db, &new.secret).await, Some(Some(NOW.plus(MINUTE).plus(DAY))));
    assert_eq!(valid_until(db, &secret).await, Some(None));
    let by_old = db.store.find_token_by_digest(&new.secret.digest).await.unwrap().unwrap();
    assert_eq!((by_old.token.id, by_old.token.version), (token.id, 2));
}

pub(crate) async fn a_later_rotation_never_prolongs_a_grace(db: &Database) {
    let (first, token) = created(db).await;
    let secrets: Vec<_> = (0..3).map(|_| db.new_secret(&seal_key("present"))).collect();
    rotate(db, &token, &secrets[0], 60 * MINUTE, 0).await;
    rotate(db, &token, &secrets[1], DAY, 1).await;
    assert_eq!(valid_until(db, &first.secret).await, Some(Some(NOW.plus(60 * MINUTE))), "it had less left");
    assert_eq!(valid_until(db, &secrets[0]).await, Some(Some(NOW.plus(MINUTE).plus(DAY))));

    rotate(db, &token, &secrets[2], 10 * MINUTE, 2).await;
    for old in [&first.secret, &secrets[0], &secrets[1]] {
        assert_eq!(valid_until(db, old).await, Some(Some(NOW.plus(12 * MINUTE))), "all are cut");
    }
    assert_eq!(valid_until(db, &secrets[2]).await, Some(None));
}

pub(crate) async fn rotation_is_no_creation(db: &Database) {
    let (_, token) = created(db).await;
    for minute in 1..=5 {
        rotate(db, &token, &db.new_secret(&seal_key("present")), DAY, minute).await;
    }
    let state = db.store.creation_state(&token.user_id, DAY, NOW.plus(6 * MINUTE)).await.unwrap();
    assert_eq!((state.used, state.active), (1, 1));
}

pub(crate) async fn parallel_rotations_leave_one_present_secret(db: &Database) {
    let (_, token) = created(db).await;
    for round in 1..=10 {
        let rotated =
            in_parallel(
                (0..8).map(|number| {
                    let (store, token, event) = (db.instance(number), token.clone(), db.event(NOW));
                    let secret = db.new_secret(&seal_key("present"));
                    async move {
                        store.rotate_token(&token.user_id, &token.id, &secret, DAY, &event).await.unwrap().unwrap()
                    }
                }),
            )
            .await;
        let mut versions: Vec<_> = rotated.iter().map(|token| token.version).collect();
        versions.sort_unstable();
        let before = 1 + 8 * (round - 1);
        assert_eq!(versions, (before + 1..=before + 8).collect::<Vec<_>>());
        assert_eq!(db.count("SELECT COUNT(*) FROM token_secrets WHERE valid_until IS NULL").await, 1);
    }
}

pub(crate) async fn secrets_of_other_keys_are_candidates_until_resealed(db: &Database) {
    let (present, next) = (seal_key("present"), seal_key("next"));
    assert!(!db.store.has_foreign_seals(present.id()).await.unwrap(), "there is none at all");
    let (new, token) = created(db).await;
    let user = db.store.find_user(&token.user_id).await.unwrap().unwrap();
    let other = NewToken {
        secret: NewTokenSecret { prefix: "af_live_else".to_owned(), ..db.new_secret(&present) },
        ..db.new_token(&user)
    };
    db.create(&other, NOW).await;
    let prefix = SecretTrace::Prefix(new.secret.prefix.clone());

    assert!(!db.store.has_foreign_seals(present.id()).await.unwrap());
    assert_eq!(db.store.find_token_candidates(&prefix, present.id(), None, 16).await.unwrap(), []);
    // Whether the other key's name sorts before or after.
    for name in ["1", "2", "3", "4", "5", "6", "7", "8"] {
        assert!(db.store.has_foreign_seals(seal_key(name).id()).await.unwrap());
    }
    let candidates = db.store.find_token_candidates(&prefix, next.id(), None, 16).await.unwrap();
    assert_eq!(candidates.len(), 1);
    assert_eq!((&candidates[0].token, &candidates[0].secret.hash), (&token, &new.secret.hash));
    assert_eq!(db.store.find_token_candidates(&prefix, next.id(), None, 0).await.unwrap(), []);

    for secret in [&new.secret, &other.secret] {
        assert!(db.store.has_foreign_seals(next.id()).await.unwrap());
        let digest = next.digest(&[secret.id.as_str()]);
        assert!(db.store.reseal_token_secret(&secret.id, &digest, next.id()).await.unwrap());
        assert_eq!(db.store.find_token_by_digest(&secret.digest).await.unwrap(), None);
        let found = db.store.find_token_by_digest(&digest).await.unwrap().unwrap();
        assert_eq!((&found.secret.id, &found.secret.seal_key), (&secret.id, next.id()));
        assert_eq!(found.token.version, 1, "the token is the same");
    }
    assert!(!db.store.has_foreign_seals(next.id()).await.unwrap());
    assert_eq!(db.store.find_token_candidates(&prefix, next.id(), None, 16).await.unwrap(), []);
    let gone = "gone".parse().unwrap();
    assert!(!db.store.reseal_token_secret(&gone, &digest(&["x"]), next.id()).await.unwrap());
}

pub(crate) async fn candidates_are_read_page_by_page(db: &Database) {
    let user = db.user("ann@example.com").await;
    let present = seal_key("present");
    for _ in 0..7 {
        let secret = NewTokenSecret { prefix: "af_live_same".to_owned(), ..db.new_secret(&present) };
        db.create(&NewToken { secret, ..db.new_token(&user) }, NOW).await;
    }
    let (trace, next) = (SecretTrace::Prefix("af_live_same".to_owned()), seal_key("next"));
    let all = db.store.find_token_candidates(&trace, next.id(), None, 16).await.unwrap();
    assert!(all.len() == 7 && all.is_sorted_by(|a, b| a.secret.id < b.secret.id));
    let (mut paged, mut after) = (Vec::new(), None);
    loop {
        let page = db.other.find_token_candidates(&trace, next.id(), after.as_ref(), 3).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.secret.id.clone());
        paged.extend(page);
    }
    assert_eq!(paged, all);
}
