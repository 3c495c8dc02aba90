use store::{MarkedCredential, RoundBy};

use crate::database::{Database, NOW};

pub(crate) async fn a_round_is_known_when_everybody_has_acknowledged_it(db: &Database) {
    let (here, there) = (&db.store, &db.other);
    let before = here.look("one").await.unwrap();
    assert_eq!(before.acknowledged, None);
    here.register_instance("one", before.round).await.unwrap();
    there.register_instance("two", before.round).await.unwrap();
    assert_eq!(there.look("one").await.unwrap().acknowledged, Some(before.round));
    assert_eq!(here.instances_behind(before.round).await.unwrap(), 0);

    let round = here.next_round(RoundBy::Instance).await.unwrap();
    assert_eq!(round, before.round + 1);
    assert_eq!(here.instances_behind(round).await.unwrap(), 2);
    let seen = there.look("two").await.unwrap();
    assert_eq!((seen.round, seen.operators_round), (round, before.operators_round));
    assert!(there.acknowledge_round("two", seen.round).await.unwrap());
    assert_eq!(here.instances_behind(round).await.unwrap(), 1);
    here.deregister_instance("one").await.unwrap();
    assert_eq!(here.instances_behind(round).await.unwrap(), 0);

    let round = there.next_round(RoundBy::Operator).await.unwrap();
    let seen = here.look("two").await.unwrap();
    assert_eq!((seen.round, seen.operators_round), (round, before.operators_round + 1));
}

pub(crate) async fn who_does_not_answer_has_no_row_and_makes_a_new_one(db: &Database) {
    let store = &db.store;
    store.register_instance("frozen", 0).await.unwrap();
    store.register_instance("awake", 0).await.unwrap();
    let round = store.next_round(RoundBy::Instance).await.unwrap();
    assert!(db.other.acknowledge_round("awake", round).await.unwrap());
    assert_eq!(store.remove_instances_behind(round).await.unwrap(), ["frozen"]);
    assert!(!db.other.acknowledge_round("frozen", round).await.unwrap(), "what it saw nobody has waited for");
    assert_eq!(db.other.look("frozen").await.unwrap().acknowledged, None);
    db.other.register_instance("frozen", round).await.unwrap();
    assert_eq!(store.instances_behind(round).await.unwrap(), 0);
    assert!(store.remove_instances_behind(round).await.unwrap().is_empty());
}

/// Who acknowledges a round has seen the marks of whoever waits for it.
pub(crate) async fn of_a_change_and_its_round_nobody_sees_the_round_alone(db: &Database) {
    let user = db.user("ann@example.com").await;
    for number in 0..50 {
        let token = db.token(&user).await;
        let key = MarkedCredential::Token(token.id.clone()).key();
        let before = db.store.look("nobody").await.unwrap().round;
        let change = async {
            db.store.delete_token(&user.id, &token.id, &db.event(NOW)).await.unwrap().unwrap();
            db.store.next_round(RoundBy::Instance).await.unwrap();
        };
        let look = async {
            loop {
                let seen = db.other.look("nobody").await.unwrap();
                if seen.round > before {
                    return assert!(seen.marks.contains_key(&key), "round {number}");
                }
            }
        };
        tokio::join!(change, look);
    }
}
