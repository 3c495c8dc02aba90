use std::time::Duration;

use domain::Limit;
use domain::audit::EventType;
use store::{CreationLimits, CreationOutcome, CreationState, NewToken, User};

use crate::database::{DAY, Database, LIMITS, MINUTE, NOW, in_parallel};

const ANN: &str = "ann@example.com";

fn limits(per_day: u32, max_active: u32) -> CreationLimits {
    CreationLimits { creations: Limit::per_day(per_day), max_active }
}

pub(crate) async fn creations_are_limited_and_deleting_gives_none_back(db: &Database) {
    let user = db.user(ANN).await;
    let bob = db.user("bob@example.com").await;
    let limits = limits(3, 500);
    let create = async |user: &User, at| {
        let outcome = db.store.create_token(&db.new_token(user), &limits, &db.event(at)).await.unwrap();
        if let CreationOutcome::Created(token) = &outcome {
            db.store.delete_token(&user.id, &token.id, &db.event(at)).await.unwrap().unwrap();
        }
        outcome
    };
    for minute in 0..3 {
        let state = db.store.creation_state(&user.id, DAY, NOW.plus(10 * MINUTE)).await.unwrap();
        assert_eq!(state, CreationState { used: minute, oldest: (minute > 0).then_some(NOW), active: 0 });
        assert!(matches!(create(&user, NOW.plus(minute * MINUTE)).await, CreationOutcome::Created(_)));
    }

    let refused = CreationOutcome::CreationLimit { reset_at: NOW.plus(DAY) };
    assert_eq!(create(&user, NOW.plus(3 * MINUTE)).await, refused);
    assert_eq!(create(&user, NOW.plus(DAY).minus(Duration::from_millis(1))).await, refused);
    assert_eq!(db.count_events(&user, EventType::TokenCreated).await, 3, "a refusal is no creation");
    assert_eq!(db.count("SELECT COUNT(*) FROM personal_access_tokens").await, 0);
    assert!(matches!(create(&bob, NOW).await, CreationOutcome::Created(_)), "others have limits of their own");

    assert!(matches!(create(&user, NOW.plus(DAY)).await, CreationOutcome::Created(_)), "at the moment it was told");
    let next = CreationOutcome::CreationLimit { reset_at: NOW.plus(DAY).plus(MINUTE) };
    assert_eq!(create(&user, NOW.plus(DAY)).await, next);
}

pub(crate) async fn a_lowered_limit_tells_when_it_is_met_again(db: &Database) {
    let user = db.user(ANN).await;
    for minute in 0..4 {
        assert!(matches!(
            db.create(&db.new_token(&user), NOW.plus(minute * MINUTE)).await,
            CreationOutcome::Created(_)
        ));
    }
    let at = NOW.plus(5 * MINUTE);
    let outcome = db.store.create_token(&db.new_token(&user), &limits(2, 500), &db.event(at)).await.unwrap();
    // Of the four, three have to leave the window.
    assert_eq!(outcome, CreationOutcome::CreationLimit { reset_at: NOW.plus(2 * MINUTE).plus(DAY) });
}

pub(crate) async fn expired_tokens_are_not_active(db: &Database) {
    let user = db.user(ANN).await;
    let limits = limits(50, 2);
    let end = NOW.plus(MINUTE);
    let create = async |expires_at, at| {
        let new = NewToken { expires_at, ..db.new_token(&user) };
        db.store.create_token(&new, &limits, &db.event(at)).await.unwrap()
    };

    assert!(matches!(create(Some(end), NOW).await, CreationOutcome::Created(_)));
    assert!(matches!(create(None, NOW).await, CreationOutcome::Created(_)));
    assert_eq!(create(None, end.minus(Duration::from_millis(1))).await, CreationOutcome::TooManyActive);
    assert_eq!(db.store.creation_state(&user.id, DAY, NOW).await.unwrap().active, 2);
    assert_eq!(db.store.creation_state(&user.id, DAY, end).await.unwrap().active, 1);
    assert!(matches!(create(None, end).await, CreationOutcome::Created(_)));
    assert_eq!(db.count_events(&user, EventType::TokenCreated).await, 3);
}

pub(crate) async fn unknown_and_disabled_users_create_nothing(db: &Database) {
    let user = db.user(ANN).await;
    let before = db.count("SELECT COUNT(*) FROM audit_events").await;
    let stranger = NewToken { user_id: "nobody".parse().unwrap(), ..db.new_token(&user) };
    assert_eq!(db.create(&stranger, NOW).await, CreationOutcome::NoUser);

    db.disable(&user).await;
    assert_eq!(db.create(&db.new_token(&user), NOW).await, CreationOutcome::NoUser);

    assert_eq!(db.count("SELECT COUNT(*) FROM personal_access_tokens").await, 0);
    assert_eq!(db.count("SELECT COUNT(*) FROM audit_events").await, before);
}

/// Many rounds of 20 parallel creations, by two instances, with room for one.
async fn race(db: &Database, limits: CreationLimits, refused: CreationOutcome) {
    for round in 0..25 {
        let user = db.user(&format!("person{round}@example.com")).await;
        db.token(&user).await;
        db.token(&user).await;
        let outcomes = in_parallel((0..20).map(|number| {
            let (store, new, event) = (db.instance(number), db.new_token(&user), db.event(NOW));
            async move { store.create_token(&new, &limits, &event).await.unwrap() }
        }))
        .await;

        let created = outcomes.iter().filter(|outcome| matches!(outcome, CreationOutcome::Created(_))).count();
        assert_eq!(created, 1, "round {round}");
        assert_eq!(outcomes.iter().filter(|outcome| **outcome == refused).count(), 19, "round {round}");
        assert_eq!(db.store.list_tokens(&user.id).await.unwrap().len(), 3);
        assert_eq!(db.count_events(&user, EventType::TokenCreated).await, 3);
    }
}

pub(crate) async fn of_parallel_creations_at_the_daily_limit_one_succeeds(db: &Database) {
    let limits = CreationLimits { creations: Limit::per_day(3), ..LIMITS };
    race(db, limits, CreationOutcome::CreationLimit { reset_at: NOW.plus(DAY) }).await;
}

pub(crate) async fn of_parallel_creations_at_the_active_limit_one_succeeds(db: &Database) {
    race(db, CreationLimits { max_active: 3, ..LIMITS }, CreationOutcome::TooManyActive).await;
}
