use store::SigningKey;

use crate::database::{Database, MINUTE, NOW, in_parallel, seal_key};

pub(crate) async fn of_several_first_keys_one_is_kept(db: &Database) {
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

    let older = db.store.list_signing_keys().await.unwrap().remove(0);
    let newer = SigningKey { id: "newer".parse().unwrap(), created_at: NOW.plus(MINUTE), ..older.clone() };
    db.by_hand(
        "INSERT INTO signing_keys (kid, public_key, sealed_private_key, seal_key, created_at) \
         SELECT 'newer', public_key, sealed_private_key, seal_key, created_at + 60000 FROM signing_keys",
    )
    .await;
    assert_eq!(db.store.list_signing_keys().await.unwrap(), [newer, older], "newest first");
}
