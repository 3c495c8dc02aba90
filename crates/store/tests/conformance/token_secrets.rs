use std::collections::HashSet;
use std::time::Duration;

use domain::audit::EventType;
use domain::{Limit, TokenSecretId};
use store::{NewToken, NewTokenSecret, RotationOutcome, RotationTerms, SecretTrace, Shown, Token, TokenOwner};

use crate::database::{DAY, Database, LIMITS, MINUTE, NOW, digest, in_parallel, seal_key};

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

pub(crate) async fn rotations_count_as_creations(db: &Database) {
    let (_, token) = created(db).await;
    for minute in 1..=5 {
        rotate(db, &token, &db.new_secret(&seal_key("present")), DAY, minute).await;
    }
    let state = db.store.creation_state(&token.user_id, DAY, NOW.plus(6 * MINUTE)).await.unwrap();
    assert_eq!((state.used, state.oldest, state.active), (6, Some(NOW), 1));
}

fn terms(per_day: u32, shown: Option<&TokenSecretId>) -> RotationTerms {
    RotationTerms { creations: Limit::per_day(per_day), shown: shown.cloned().map(Shown::Secret) }
}

async fn rotate_within(db: &Database, token: &Token, terms: &RotationTerms, minute: u32) -> RotationOutcome {
    let (secret, event) = (db.new_secret(&seal_key("present")), db.event(NOW.plus(minute * MINUTE)));
    db.store.rotate_token_within(&token.user_id, &token.id, &secret, DAY, terms, &event).await.unwrap()
}

pub(crate) async fn a_user_rotates_within_the_limit_of_creations(db: &Database) {
    let (_, token) = created(db).await;
    for minute in 1..=2 {
        let RotationOutcome::Rotated(rotated) = rotate_within(db, &token, &terms(3, None), minute).await else {
            panic!()
        };
        assert_eq!((rotated.id, rotated.version), (token.id.clone(), i64::from(minute) + 1));
    }
    let secrets = db.count("SELECT COUNT(*) FROM token_secrets").await;
    let refused = RotationOutcome::CreationLimit { reset_at: NOW.plus(DAY) };
    assert_eq!(rotate_within(db, &token, &terms(3, None), 3).await, refused);
    let user = db.store.find_user(&token.user_id).await.unwrap().unwrap();
    let limits = store::CreationLimits { creations: Limit::per_day(3), max_active: 500 };
    let creation = db.store.create_token(&db.new_token(&user), &limits, &db.event(NOW.plus(3 * MINUTE))).await.unwrap();
    assert_eq!(creation, store::CreationOutcome::CreationLimit { reset_at: NOW.plus(DAY) });
    assert_eq!(db.count_events(&user, EventType::TokenRotated).await, 2);
    assert_eq!(db.count("SELECT COUNT(*) FROM token_secrets").await, secrets);
    // An operator decides without a limit.
    rotate(db, &token, &db.new_secret(&seal_key("present")), DAY, 4).await;

    // It counts, so that of four one more has to leave.
    let reset = db.store.creation_reset(&user.id, Limit::per_day(3), NOW.plus(5 * MINUTE)).await.unwrap();
    assert_eq!(reset, Some(NOW.plus(MINUTE).plus(DAY)));
    let refused = RotationOutcome::CreationLimit { reset_at: NOW.plus(MINUTE).plus(DAY) };
    assert_eq!(rotate_within(db, &token, &terms(3, None), 5).await, refused);

    let unknown = Token { id: "gone".parse().unwrap(), ..token.clone() };
    assert_eq!(rotate_within(db, &unknown, &terms(50, None), 5).await, RotationOutcome::NoToken);
    db.disable(&user).await;
    assert_eq!(rotate_within(db, &token, &terms(50, None), 5).await, RotationOutcome::NoToken);
}

pub(crate) async fn a_replaced_secret_replaces_nothing(db: &Database) {
    let (new, token) = created(db).await;
    let user = db.store.find_user(&token.user_id).await.unwrap().unwrap();
    let other = db.token(&user).await;
    let by_first = terms(50, Some(&new.secret.id));
    assert!(matches!(rotate_within(db, &token, &by_first, 1).await, RotationOutcome::Rotated(_)));
    for token in [&token, &other] {
        assert_eq!(rotate_within(db, token, &by_first, 2).await, RotationOutcome::Replaced);
        let unknown = "gone".parse().unwrap();
        assert_eq!(rotate_within(db, token, &terms(50, Some(&unknown)), 2).await, RotationOutcome::Gone);
    }
    assert_eq!(db.count("SELECT MAX(version) FROM personal_access_tokens").await, 2);
    assert_eq!(db.count("SELECT COUNT(*) FROM token_secrets").await, 3);
    assert_eq!(db.count_events(&user, EventType::TokenRotated).await, 1);
}

pub(crate) async fn the_secret_that_ends_first_is_found(db: &Database) {
    let (first, token) = created(db).await;
    let at = |minute: u32| NOW.plus(minute * MINUTE);
    let found = async |minute| {
        let found = db.store.find_token_by_first_secret_to_end(&token.id, at(minute)).await.unwrap().unwrap();
        assert_eq!((found.token.id, found.token.user_id), (token.id.clone(), token.user_id.clone()));
        found.secret.id
    };
    assert_eq!(found(0).await, first.secret.id);
    let [second, third] = [0, 1].map(|_| db.new_secret(&seal_key("present")));
    rotate(db, &token, &second, 60 * MINUTE, 1).await;
    rotate(db, &token, &third, 30 * MINUTE, 2).await;
    // The first until 32, as the second: none of both is the present one.
    assert_ne!(found(31).await, third.id);
    assert_eq!(found(32).await, third.id);
    let unknown = "gone".parse().unwrap();
    assert_eq!(db.store.find_token_by_first_secret_to_end(&unknown, NOW).await.unwrap(), None);
}

/// Many rounds of 8 parallel rotations by one secret, by two instances. Whoever is second has one that was replaced,
/// though it was good when they called.
pub(crate) async fn of_parallel_rotations_by_one_secret_one_succeeds(db: &Database) {
    let (mut new, token) = created(db).await;
    for round in 0..25 {
        let secrets: Vec<_> = (0..8).map(|_| db.new_secret(&seal_key("present"))).collect();
        let outcomes = in_parallel((0..8).map(|number| {
            let (store, token, event) = (db.instance(number), token.clone(), db.event(NOW));
            let (secret, terms) = (secrets[number].clone(), terms(1_000, Some(&new.secret.id)));
            async move {
                let rotating = store.rotate_token_within(&token.user_id, &token.id, &secret, DAY, &terms, &event);
                (number, rotating.await.unwrap())
            }
        }))
        .await;
        let rotated: Vec<_> =
            outcomes.iter().filter(|(_, outcome)| matches!(outcome, RotationOutcome::Rotated(_))).collect();
        assert_eq!(rotated.len(), 1, "round {round}: {outcomes:?}");
        assert_eq!(outcomes.iter().filter(|(_, outcome)| *outcome == RotationOutcome::Replaced).count(), 7);
        new.secret = secrets[rotated[0].0].clone();
        assert_eq!(valid_until(db, &new.secret).await, Some(None), "what they were told is the present one");
    }
}

/// Many rounds of 16 parallel creations and rotations, by two instances, with room for one of them.
pub(crate) async fn of_parallel_creations_and_rotations_at_the_limit_one_succeeds(db: &Database) {
    for round in 0..25 {
        let user = db.user(&format!("person{round}@example.com")).await;
        let token = db.token(&user).await;
        let done = in_parallel((0..16).map(|number| {
            let (store, token, event) = (db.instance(number), token.clone(), db.event(NOW));
            let (new, secret) = (db.new_token(&user), db.new_secret(&seal_key("present")));
            async move {
                if number % 4 < 2 {
                    let limits = store::CreationLimits { creations: Limit::per_day(2), max_active: 500 };
                    let outcome = store.create_token(&new, &limits, &event).await.unwrap();
                    return matches!(outcome, store::CreationOutcome::Created(_));
                }
                let terms = terms(2, None);
                let outcome =
                    store.rotate_token_within(&token.user_id, &token.id, &secret, DAY, &terms, &event).await.unwrap();
                matches!(outcome, RotationOutcome::Rotated(_))
            }
        }))
        .await;
        assert_eq!(done.iter().filter(|done| **done).count(), 1, "round {round}");
    }
}

pub(crate) async fn what_has_ended_makes_no_secret(db: &Database) {
    let signed_in = db.sign_in(ANN).await;
    let (user, bob) = (signed_in.user, db.sign_in("bob@example.com").await);
    let (new, ending) = (db.new_token(&user), db.new_token(&user));
    let (token, expiring) =
        (db.new_token(&user), NewToken { expires_at: Some(NOW.plus(MINUTE)), ..db.new_token(&user) });
    for new in [&new, &ending, &token, &expiring] {
        assert!(matches!(db.create(new, NOW).await, store::CreationOutcome::Created(_)));
    }
    let find = async |new: &NewToken| db.store.find_token(&user.id, &new.id).await.unwrap().unwrap();
    let target = find(&token).await;
    let at = NOW.plus(MINUTE);
    let create = async |shown: &Shown| {
        let event = db.event(at);
        db.store.create_token_by(Some(shown), &db.new_token(&user), &LIMITS, &event).await.unwrap()
    };
    let rotate_by = async |shown: &Shown| {
        let terms = RotationTerms { creations: Limit::per_day(50), shown: Some(shown.clone()) };
        rotate_within(db, &target, &terms, 1).await
    };
    let by = |new: &NewToken| Shown::Secret(new.secret.id.clone());
    let session = Shown::Session(signed_in.session.id.clone());
    for good in [&by(&new), &session] {
        assert!(matches!(create(good).await, store::CreationOutcome::Created(_)));
        assert!(matches!(rotate_by(good).await, RotationOutcome::Rotated(_)));
    }

    // Replaced while the caller waited: it makes nothing, for how short a time ever.
    let replaced = db.new_token(&user);
    db.create(&replaced, NOW).await;
    rotate(db, &find(&replaced).await, &db.new_secret(&seal_key("present")), 5 * MINUTE, 0).await;
    let make = async |expires_at| {
        let (new, event) = (NewToken { expires_at, ..db.new_token(&user) }, db.event(at));
        db.store.create_token_by(Some(&by(&replaced)), &new, &LIMITS, &event).await.unwrap()
    };
    let end = NOW.plus(5 * MINUTE);
    for expires_at in [None, Some(end), Some(at.plus(MINUTE))] {
        assert_eq!(make(expires_at).await, store::CreationOutcome::CallerReplaced);
    }

    db.store.delete_token(&user.id, &new.id, &db.event(NOW)).await.unwrap().unwrap();
    rotate(db, &find(&ending).await, &db.new_secret(&seal_key("present")), Duration::ZERO, 0).await;
    db.store.end_session(&user.id, &signed_in.session.id, &db.event(NOW)).await.unwrap().unwrap();
    let before = db.store.list_tokens(&user.id).await.unwrap();
    let events = db.events(&user).await.len();
    let bobs_token = db.new_token(&bob.user);
    db.create(&bobs_token, NOW).await;
    for dead in [by(&new), by(&ending), by(&expiring), session, by(&bobs_token), Shown::Session(bob.session.id)] {
        assert_eq!(create(&dead).await, store::CreationOutcome::CallerGone, "{dead:?}");
        assert_eq!(rotate_by(&dead).await, RotationOutcome::Gone, "{dead:?}");
    }
    assert_eq!(db.store.list_tokens(&user.id).await.unwrap(), before);
    assert_eq!(db.events(&user).await.len(), events);
}

async fn versions(store: &store::Store, user: &store::User) -> Vec<(domain::TokenId, i64)> {
    let tokens = store.list_tokens(&user.id).await.unwrap();
    tokens.into_iter().map(|token| (token.id, token.version)).collect()
}

/// Many rounds of a credential's end beside what is made by it, by two instances: when the end has been answered,
/// nothing more comes of what was under way.
pub(crate) async fn what_is_made_beside_an_end_is_there_when_the_end_is_answered(db: &Database) {
    for round in 0..50 {
        let signed_in = db.sign_in(&format!("person{round}@example.com")).await;
        let user = signed_in.user;
        let (by, target) = (db.new_token(&user), db.token(&user).await);
        db.create(&by, NOW).await;
        let shown = if round % 2 == 0 {
            Shown::Secret(by.secret.id.clone())
        } else {
            Shown::Session(signed_in.session.id.clone())
        };
        let seen = in_parallel((0..7).map(|number| {
            let (store, user, shown) = (db.instance(number), user.clone(), shown.clone());
            let (by, target, session) = (by.id.clone(), target.clone(), signed_in.session.id.clone());
            let (new, secret, event) = (db.new_token(&user), db.new_secret(&seal_key("present")), db.event(NOW));
            async move {
                match number {
                    3 => {
                        match shown {
                            Shown::Secret(_) => drop(store.delete_token(&user.id, &by, &event).await.unwrap().unwrap()),
                            Shown::Session(_) => {
                                drop(store.end_session(&user.id, &session, &event).await.unwrap().unwrap());
                            }
                        }
                        return Some(versions(&store, &user).await);
                    }
                    0 | 4 => {
                        store.create_token_by(Some(&shown), &new, &LIMITS, &event).await.unwrap();
                    }
                    _ => {
                        let terms = RotationTerms { creations: Limit::per_day(50), shown: Some(shown) };
                        let rotating = store.rotate_token_within(&user.id, &target.id, &secret, DAY, &terms, &event);
                        rotating.await.unwrap();
                    }
                }
                None
            }
        }))
        .await;
        let seen: Vec<_> = seen.into_iter().flatten().collect();
        assert_eq!(seen, [versions(&db.store, &user).await], "round {round}");
    }
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
    // In the database's order, which need not be that of the bytes.
    let ids: HashSet<_> = all.iter().map(|found| found.secret.id.as_str()).collect();
    assert_eq!((all.len(), ids.len()), (7, 7));
    let (mut paged, mut after) = (Vec::new(), None);
    loop {
        let page = db.other.find_token_candidates(&trace, next.id(), after.as_ref(), 3).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.secret.id.clone());
        paged.extend(page);
    }
    assert_eq!(paged, all);
}
