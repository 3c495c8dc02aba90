//! Tokens that an older system issued: any form, no checksum, and garbage no dearer than before.

use std::sync::Arc;
use std::time::Duration;

use auth::{Issuer, OldToken, Operator};
use domain::token::{self, TokenSecret};
use serde_json::json;
use store::ImportOutcome;
use testkit::seeded_chance;

use crate::client::parallel;
use crate::world::{JWT_SECRET, Person, World};

/// Our beginning, length and characters, and a checksum that does not fit.
const LIKE_OURS: &str = "af_live_00000000000000000000000000000000000000";
const OTHERS: [&str; 4] = [
    LIKE_OURS,
    "af_live_9f86d081884c7d659a2feaa0c55ad015",
    "12|aTokenOfAnotherFramework_with-all.of~it+/=",
    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
];

/// What `afd token import` does in a process of its own.
async fn import(world: &World, owner: &Person, tokens: &[&str]) {
    let operator =
        Operator::new(world.store.clone(), Arc::new(world.clock.clone()), seeded_chance(77), Some("olga".to_owned()));
    let issuer = Issuer::new(operator, &[JWT_SECRET.into()], 4).await.unwrap();
    let old = |(number, token): (usize, &&str)| OldToken {
        id: format!("old-{number}").parse().unwrap(),
        user_id: owner.id.parse().unwrap(),
        email: None,
        name: "old".parse().unwrap(),
        secret: TokenSecret::of_older_system(token).unwrap(),
        expires_at: None,
        last_used_at: None,
        created_at: None,
    };
    let old: Vec<_> = tokens.iter().enumerate().map(old).collect();
    let outcomes = issuer.import(&old, false).await.unwrap();
    assert_eq!(outcomes, vec![ImportOutcome::Imported { user_created: false }; tokens.len()]);
}

#[tokio::test]
async fn tokens_of_every_form_work_at_every_door() {
    let world = World::new().await;
    let ann = world.ann().await;
    import(&world, &ann, &OTHERS).await;
    assert!(!world.is_valid(OTHERS[0]).await, "nobody has told the service yet");
    world.auth.look_for_imports().await.unwrap();
    for (number, token) in OTHERS.into_iter().enumerate() {
        let valid = world.validate(token).await.ok(200);
        assert_eq!((&valid["tokenId"], &valid["userId"]), (&json!(format!("old-{number}")), &json!(ann.id)));
        world.get("/auth/me").by(token).await.ok(200);
        for changed in [format!("{token}0"), token[1..].to_owned(), token.to_uppercase(), format!("{token}\0")] {
            assert!(!world.is_valid(&changed).await, "{changed}");
        }
    }

    let world = world.restart(|_| {}).await;
    for token in OTHERS {
        assert!(world.is_valid(token).await, "{token}");
    }
    world.delete("/tokens/old-1").by(OTHERS[1]).await.ok(200);
    assert!(!world.is_valid(OTHERS[1]).await);
    let kept = world.kept_bytes();
    for token in OTHERS {
        assert!(!kept.windows(token.len()).any(|part| part == token.as_bytes()), "{token} is at rest");
    }
}

#[tokio::test]
async fn garbage_dies_before_any_lookup_also_when_there_are_imported_tokens() {
    let world = World::new().await;
    let ann = world.ann().await;
    import(&world, &ann, &OTHERS).await;
    world.auth.look_for_imports().await.unwrap();

    // Whoever is sent to the database now comes back with an error.
    world.by_hand("ALTER TABLE token_secrets RENAME TO away").await;
    let garbage = |number: usize| match (number % 4, number + 1) {
        (0, number) => format!("af_live_{number:038}"),
        (1, number) => format!("af_live_{number:032x}"),
        (2, number) => format!("{number}{number}|aTokenOfAnotherFramework_with-all.of~it+/="),
        (_, number) => format!("{number:080x}"),
    };
    for reply in parallel(2_000, |number| world.validate(&garbage(number)).into_future()).await {
        reply.fails(401, "INVALID_TOKEN");
    }
    world.validate(OTHERS[2]).await.fails(500, "INTERNAL_ERROR");
}

/// Of our form and with a right checksum: each was asked for in vain before it came.
#[tokio::test]
async fn unknown_tokens_cost_nothing_for_half_a_second_and_are_accepted_once_they_are_there() {
    let world = World::new().await;
    let ann = world.ann().await;
    let chance = seeded_chance(9);
    let [first, second] = [(); 2].map(|()| chance.with(|rng| TokenSecret::generate(token::Kind::Live, rng)));
    let [first, second] = [first.expose(), second.expose()];
    for unknown in [first, second] {
        assert!(!world.is_valid(unknown).await);
    }
    world.by_hand("ALTER TABLE token_secrets RENAME TO away").await;
    for reply in parallel(2_000, |_| world.validate(first).into_future()).await {
        reply.fails(401, "INVALID_TOKEN");
    }
    world.clock.advance(Duration::from_millis(500));
    world.validate(first).await.fails(500, "INTERNAL_ERROR");
    world.by_hand("ALTER TABLE away RENAME TO token_secrets").await;

    assert!(!world.is_valid(first).await);
    import(&world, &ann, &[first]).await;
    world.auth.look_for_imports().await.unwrap();
    assert!(world.is_valid(first).await, "the service has looked for what was imported");
    assert!(!world.is_valid(second).await);
}

#[tokio::test]
async fn imported_tokens_outlive_the_key_that_sealed_them() {
    let world = World::new().await;
    let ann = world.ann().await;
    import(&world, &ann, &OTHERS).await;
    let world = world.restart(|setup| setup.config.secrets.seal = vec!["another key for seals, in tests".into()]).await;
    for token in OTHERS {
        // The other tokens have the same beginning, and nothing to do with it.
        assert!(!world.is_valid(&format!("{}x", &token[..token.len() - 1])).await);
        assert!(world.is_valid(token).await, "{token}");
    }
    assert_eq!(world.count("SELECT COUNT(DISTINCT seal_key) FROM token_secrets").await, 1, "each was sealed anew");
    world.by_hand("UPDATE token_secrets SET hash = 'none'").await;
    let world = world.restart(|setup| setup.config.secrets.seal = vec!["another key for seals, in tests".into()]).await;
    for token in OTHERS {
        assert!(world.is_valid(token).await, "{token} is found by its new digest");
    }
}

/// Beyond some millions of imports every hint belongs to many tokens.
#[tokio::test]
async fn of_many_tokens_with_one_hint_the_last_is_found_as_well() {
    let world = World::new().await;
    let ann = world.ann().await;
    let tokens: Vec<_> = (0..20).map(|number| format!("{number:032x}")).collect();
    import(&world, &ann, &tokens.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let last = "SELECT CAST(SUBSTR(token_id, 5) AS INTEGER) FROM token_secrets ORDER BY id DESC LIMIT 1";
    let last = &tokens[usize::try_from(world.count(last).await).unwrap()];
    let hint = domain::older_token::hint(last);
    assert_eq!(world.by_hand(&format!("UPDATE token_secrets SET hint = '{hint}'")).await, 20);

    // As after the loss of the key under which they were sealed.
    world.by_hand("UPDATE token_secrets SET digest = SUBSTR(digest, 2) || 'f', seal_key = '0123456789abcdef'").await;

    let world = world.restart(|_| {}).await;
    assert!(world.is_valid(last).await);
    assert_eq!(world.count("SELECT COUNT(DISTINCT seal_key) FROM token_secrets").await, 2);
    world.by_hand("UPDATE token_secrets SET hash = 'none'").await;
    let world = world.restart(|_| {}).await;
    assert!(world.is_valid(last).await, "it was sealed anew");
}

#[tokio::test]
async fn only_the_services_secret_seals() {
    let world = World::new().await;
    let operator = || Operator::new(world.store.clone(), Arc::new(world.clock.clone()), seeded_chance(78), None);
    assert!(Issuer::new(operator(), &["another secret of at least 32 bytes".into()], 4).await.is_err());
    assert!(Issuer::new(operator(), &[], 4).await.is_err());
    assert!(
        Issuer::new(operator(), &["a new secret of at least 32 bytes..".into(), JWT_SECRET.into()], 4).await.is_ok()
    );
}
