use store::SigningKey;

use crate::database::{Database, MINUTE, NOW, in_parallel, seal_key};

pub(crate) async fn of_several_first_keys_one_is_kept_for_each_seal(db: &Database) {
    assert_eq!(db.store.list_signing_keys().await.unwrap(), []);
    for round in 0..10 {
        db.by_hand("DELETE FROM signing_keys").await;
        let lists = in_parallel((0..8).map(|number| {
            let store = db.instance(number);
            let key = SigningKey {
                id: format!("key-{round}-{number}").parse().unwrap(),
                public_key: format!("public {number}"),
                sealed_private_key: format!("sealed {number}"),
                seal_key: seal_key("seal").id().clone(),
                created_at: NOW,
            };
            async move { store.add_first_signing_key(&key).await.unwrap() }
        }))
        .await;
        let kept = db.store.list_signing_keys().await.unwrap();
        assert_eq!(kept.len(), 1, "round {round}");
        assert!(lists.iter().all(|list| *list == kept), "everybody got the one that is kept");
    }

    // After a change of the seal key nobody can open the old one, so there is a first key under the new seal too.
    let older = db.store.list_signing_keys().await.unwrap().remove(0);
    let newer = SigningKey {
        id: "newer".parse().unwrap(),
        seal_key: seal_key("changed").id().clone(),
        created_at: NOW.plus(MINUTE),
        ..older.clone()
    };
    let both = [newer.clone(), older];
    assert_eq!(db.store.add_first_signing_key(&newer).await.unwrap(), both, "newest first");
    let late = SigningKey { id: "late".parse().unwrap(), ..newer };
    assert_eq!(db.store.add_first_signing_key(&late).await.unwrap(), both);
    assert_eq!(db.store.list_signing_keys().await.unwrap(), both);
}
