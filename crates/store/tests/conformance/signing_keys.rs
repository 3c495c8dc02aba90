use domain::KeyId;
use store::SigningKey;

use crate::database::{Database, MINUTE, NOW, in_parallel, seal_key};

fn key(id: &str, minute: u32) -> SigningKey {
    SigningKey {
        id: id.parse().unwrap(),
        public_key: format!("public {id}"),
        sealed_private_key: format!("sealed {id}"),
        seal_key: seal_key("seal").id().clone(),
        created_at: NOW.plus(minute * MINUTE),
        retires_at: None,
    }
}

pub(crate) async fn of_several_next_keys_one_is_kept(db: &Database) {
    assert_eq!(db.store.list_signing_keys().await.unwrap(), []);
    let mut newest: Option<KeyId> = None;
    for round in 0..10 {
        let lists =
            in_parallel(
                (0..8).map(|number| {
                    let (store, newest) = (db.instance(number), newest.clone());
                    let key = key(&format!("key-{round}-{number}"), round);
                    let event = db.event(key.created_at);
                    async move {
                        store.add_signing_key(&key, newest.as_ref(), NOW.plus(100 * MINUTE), &event).await.unwrap()
                    }
                }),
            )
            .await;
        let kept = db.store.list_signing_keys().await.unwrap();
        assert_eq!(kept.len(), round as usize + 1, "round {round}");
        assert!(lists.iter().all(|list| *list == kept), "everybody got those that are kept");
        newest = Some(kept[0].id.clone());
    }
}

pub(crate) async fn a_superseded_key_ends_and_no_later_than_before(db: &Database) {
    let add = async |key: &SigningKey, newest: Option<&SigningKey>, until: u32| {
        let (newest, until) = (newest.map(|key| &key.id), NOW.plus(until * MINUTE));
        db.store.add_signing_key(key, newest, until, &db.event(key.created_at)).await.unwrap()
    };
    let ends = |keys: &[SigningKey]| {
        let end = |key: &SigningKey| (key.id.to_string(), key.retires_at.map(|end| end.since(NOW) / 60));
        keys.iter().map(end).map(|(id, end)| (id, end.map(|end| end.as_secs()))).collect::<Vec<_>>()
    };
    let (first, second, third) = (key("first", 0), key("second", 1), key("third", 2));
    let one = |id: &str, end| (id.to_owned(), end);
    assert_eq!(ends(&add(&first, None, 10).await), [one("first", None)]);
    assert_eq!(ends(&add(&second, None, 10).await), [one("first", None)], "there is a first one");
    assert_eq!(ends(&add(&second, Some(&first), 10).await), [one("second", None), one("first", Some(10))]);
    let all = add(&third, Some(&second), 20).await;
    assert_eq!(ends(&all), [one("third", None), one("second", Some(20)), one("first", Some(10))]);
    let fourth = add(&key("fourth", 3), Some(&third), 3).await;
    assert_eq!(ends(&fourth)[1..], [one("third", Some(3)), one("second", Some(3)), one("first", Some(3))]);
    assert_eq!(db.store.list_signing_keys().await.unwrap(), fourth);

    assert_eq!(db.store.purge_signing_keys(NOW.plus(3 * MINUTE), 9).await.unwrap(), 0);
    assert_eq!(db.store.purge_signing_keys(NOW.plus(4 * MINUTE), 2).await.unwrap(), 2);
    assert_eq!(db.store.purge_signing_keys(NOW.plus(4 * MINUTE), 2).await.unwrap(), 1);
    assert_eq!(ends(&db.store.list_signing_keys().await.unwrap()), [one("fourth", None)]);
}
