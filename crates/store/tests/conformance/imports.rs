use domain::audit::EventType;
use domain::{DigestKeyId, Scopes, TokenId, UserId};
use store::{Import, ImportOutcome, NewUser, OlderSecret, OlderSecretPlace, WayIn};

use crate::database::{DAY, Database, MINUTE, NOW, in_parallel, seal_key};

const IMPORTED: ImportOutcome = ImportOutcome::Imported { user_created: false };

fn import(db: &Database, id: &str, user_id: &UserId) -> (Import, String) {
    let key = seal_key("present");
    let secret = db.new_secret(&key);
    let import = Import {
        id: id.parse().unwrap(),
        user_id: user_id.clone(),
        owner: None,
        name: "old".parse().unwrap(),
        scopes: Scopes::all(),
        expires_at: Some(NOW.plus(DAY)),
        last_used_at: Some(NOW.minus(MINUTE)),
        created_at: NOW.minus(DAY),
        secret_id: secret.id,
        digest: key.digest(&["the token of", id]),
        seal_key: key.id().clone(),
        prefix: "old_".to_owned(),
        hint: Some("abcde".to_owned()),
    };
    (import, "$2b$10$hash".to_owned())
}

async fn run(db: &Database, imports: &[(Import, String)]) -> Vec<ImportOutcome> {
    db.store.import_tokens(imports, || db.event(NOW)).await.unwrap()
}

async fn preview(db: &Database, import: &Import) -> Option<ImportOutcome> {
    db.store.preview_import(std::slice::from_ref(import)).await.unwrap().remove(0)
}

pub(crate) async fn an_import_keeps_id_and_dates_and_is_written_down(db: &Database) {
    let ann = db.user("ann@example.com").await;
    let new = import(db, "t1", &ann.id);
    assert_eq!(preview(db, &new.0).await, None);
    assert_eq!(run(db, std::slice::from_ref(&new)).await, [IMPORTED]);

    let found = db.store.find_token_by_digest(&new.0.digest).await.unwrap().unwrap();
    assert_eq!((found.token.id.as_str(), &found.token.user_id, found.token.version), ("t1", &ann.id, 1));
    assert_eq!((found.token.created_at, found.token.updated_at), (NOW.minus(DAY), NOW.minus(DAY)));
    assert_eq!((found.token.expires_at, found.token.last_used_at), (new.0.expires_at, new.0.last_used_at));
    assert_eq!((found.secret.hash.as_str(), found.token.prefix.as_str()), ("$2b$10$hash", "old_"));
    let event = db.events(&ann).await.into_iter().find(|event| event.kind == EventType::TokenImported).unwrap();
    assert_eq!((event.metadata["tokenId"].as_str(), event.metadata["name"].as_str()), ("t1", "old"));
    let state = db.store.creation_state(&ann.id, DAY, NOW).await.unwrap();
    assert_eq!((state.used, state.active), (0, 1), "importing is no creation");
}

pub(crate) async fn importing_again_changes_nothing_and_brings_nothing_back(db: &Database) {
    let ann = db.user("ann@example.com").await;
    let all = ["t1", "t2", "t3"].map(|id| import(db, id, &ann.id));
    assert_eq!(run(db, &all).await, [IMPORTED; 3]);
    let (kept, rotated, deleted): (TokenId, TokenId, TokenId) =
        ("t1".parse().unwrap(), "t2".parse().unwrap(), "t3".parse().unwrap());
    let secret = db.new_secret(&seal_key("present"));
    db.store.rotate_token(&ann.id, &rotated, &secret, MINUTE, &db.event(NOW)).await.unwrap().unwrap();
    db.store.delete_token(&ann.id, &deleted, &db.event(NOW)).await.unwrap().unwrap();
    let before = db.count("SELECT COUNT(*) FROM audit_events").await;

    let outcomes = [ImportOutcome::AlreadyThere, ImportOutcome::AlreadyThere, ImportOutcome::DeletedSince];
    assert_eq!(run(db, &all).await, outcomes);
    for ((import, _), outcome) in all.iter().zip(outcomes) {
        assert_eq!(preview(db, import).await, Some(outcome));
    }
    assert!(db.store.find_anybodys_token(&kept).await.unwrap().is_some());
    assert!(db.store.find_anybodys_token(&deleted).await.unwrap().is_none());
    assert_eq!(db.count("SELECT COUNT(*) FROM token_secrets").await, 3, "one kept, two of the rotated one");
    assert_eq!(db.count("SELECT COUNT(*) FROM audit_events").await, before);

    // Not even with the user, who would be created again.
    crate::deletion::delete_all(db, &ann.id).await;
    let mut again = all[2].clone();
    again.0.owner = Some(NewUser { id: ann.id.clone(), display_name: None, ways_in: Vec::new() });
    assert_eq!(run(db, &[again]).await, [ImportOutcome::DeletedSince]);
    assert_eq!(db.store.find_user(&ann.id).await.unwrap(), None);
}

pub(crate) async fn what_is_somebody_elses_is_refused(db: &Database) {
    let (ann, bob) = (db.user("ann@example.com").await, db.user("bob@example.com").await);
    let native = db.token(&ann).await;
    assert_eq!(run(db, &[import(db, native.id.as_str(), &ann.id)]).await, [ImportOutcome::IdTaken]);
    let first = import(db, "t1", &ann.id);
    assert_eq!(run(db, std::slice::from_ref(&first)).await, [IMPORTED]);
    assert_eq!(run(db, &[import(db, "t1", &bob.id)]).await, [ImportOutcome::IdTaken]);
    let mut other_secret = import(db, "t1", &ann.id);
    other_secret.0.digest = seal_key("present").digest(&["another"]);
    assert_eq!(run(db, &[other_secret]).await, [ImportOutcome::IdTaken]);
    let mut same_secret = import(db, "t2", &bob.id);
    same_secret.0.digest = first.0.digest;
    assert_eq!(run(db, &[same_secret]).await, [ImportOutcome::SecretTaken("t1".parse().unwrap())]);

    let nobody: UserId = "nobody".parse().unwrap();
    let mut new = import(db, "t3", &nobody);
    assert_eq!(run(db, std::slice::from_ref(&new)).await, [ImportOutcome::NoUser]);
    let way_in = (db.redemption("x@example.com", "1", NOW).sign_in.method_id, WayIn::email("bob@example.com"));
    new.0.owner = Some(NewUser { id: nobody.clone(), display_name: None, ways_in: vec![way_in] });
    assert_eq!(run(db, std::slice::from_ref(&new)).await, [ImportOutcome::AddressTaken(bob.id)]);
    assert_eq!(db.store.find_user(&nobody).await.unwrap(), None);
    assert_eq!(db.count("SELECT COUNT(*) FROM imported_tokens").await, 1);

    new.0.owner = Some(NewUser { id: nobody.clone(), display_name: None, ways_in: Vec::new() });
    assert_eq!(run(db, &[new]).await, [ImportOutcome::Imported { user_created: true }]);
    assert!(db.store.find_user(&nobody).await.unwrap().is_some());
}

/// What another instance reads from there on, three at a time.
async fn older_secrets(db: &Database, mut place: OlderSecretPlace, key: &DigestKeyId) -> Vec<OlderSecret> {
    let mut all = Vec::new();
    loop {
        let page = db.other.older_secrets(&place, key, 3).await.unwrap();
        let Some(last) = page.last() else { return all };
        place = last.place.clone();
        all.extend(page);
    }
}

pub(crate) async fn instances_learn_of_older_secrets_page_by_page(db: &Database) {
    let ann = db.user("ann@example.com").await;
    let (present, next) = (seal_key("present"), seal_key("next"));
    let everything = OlderSecretPlace::default;
    assert_eq!(
        (older_secrets(db, everything(), present.id()).await, db.other.last_import().await.unwrap()),
        (vec![], 0)
    );
    let (older, ours) = (import(db, "t1", &ann.id), import(db, "t2", &ann.id));
    let ours = (Import { hint: None, ..ours.0 }, ours.1);
    run(db, &[older.clone(), ours]).await;
    let first = older_secrets(db, everything(), present.id()).await;
    assert_eq!(first.len(), 1, "those of our form need not be known");
    let start: [u8; 8] = older.0.digest.as_bytes()[..8].try_into().unwrap();
    assert_eq!((first[0].digest_start, &first[0].foreign_hint), (u64::from_be_bytes(start), &None));
    let foreign = older_secrets(db, everything(), next.id()).await;
    assert_eq!(foreign[0].foreign_hint.as_deref(), Some("abcde"), "its digest tells nothing under another key");

    let mut expected: Vec<u64> = Vec::new();
    for batch in 0..4 {
        let all: Vec<_> = (0..5).map(|number| import(db, &format!("b{batch}-{number}"), &ann.id)).collect();
        let start = |import: &Import| u64::from_be_bytes(import.digest.as_bytes()[..8].try_into().unwrap());
        expected.extend(all.iter().map(|(import, _)| start(import)));
        run(db, &all).await;
    }
    assert_eq!(db.other.last_import().await.unwrap(), 5);
    let news = older_secrets(db, first[0].place.clone(), present.id()).await;
    let mut read: Vec<_> = news.iter().map(|secret| secret.digest_start).collect();
    read.sort_unstable();
    expected.sort_unstable();
    assert_eq!(read, expected, "each once");
    assert_eq!(older_secrets(db, everything(), present.id()).await.len(), 21);
    assert_eq!(older_secrets(db, news[19].place.clone(), present.id()).await, []);
}

pub(crate) async fn parallel_imports_of_one_file_import_each_token_once(db: &Database) {
    let ann = db.user("ann@example.com").await;
    for round in 0..5 {
        let all: Vec<_> = (0..10).map(|number| import(db, &format!("r{round}-{number}"), &ann.id)).collect();
        let outcomes = in_parallel((0..4).map(|number| {
            let (store, all, event) = (db.instance(number), all.clone(), db.event(NOW));
            let ids: Vec<_> = (0..40).map(|_| db.event(NOW).id).collect();
            async move {
                let next = std::sync::atomic::AtomicUsize::new(0);
                let new_event = || {
                    let place = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    store::NewEvent { id: ids[place].clone(), ..event.clone() }
                };
                store.import_tokens(&all, new_event).await.unwrap()
            }
        }))
        .await;
        let imported = outcomes.iter().flatten().filter(|outcome| **outcome == IMPORTED).count();
        let there = outcomes.iter().flatten().filter(|outcome| **outcome == ImportOutcome::AlreadyThere).count();
        assert_eq!((imported, there), (10, 30), "round {round}");
    }
    assert_eq!(db.count_events(&ann, EventType::TokenImported).await, 50);
}

pub(crate) async fn an_import_beside_its_owners_end_is_before_or_after_it(db: &Database) {
    for round in 0..20 {
        let user = db.user(&format!("user{round}@example.com")).await;
        let new = import(db, &format!("t{round}"), &user.id);
        let (store, event) = (db.store.clone(), db.event(NOW));
        let importing = tokio::spawn(async move { store.import_tokens(&[new], || event.clone()).await.unwrap() });
        assert!(db.other.delete_user(&user.id, &db.event(NOW)).await.unwrap());
        let outcomes = importing.await.unwrap();
        let imported = db.count("SELECT COUNT(*) FROM personal_access_tokens").await;
        let expected = if imported == 0 { ImportOutcome::NoUser } else { IMPORTED };
        assert_eq!(outcomes, [expected], "round {round}");
        crate::deletion::finish(db, NOW).await;
        assert_eq!(db.count("SELECT COUNT(*) FROM personal_access_tokens").await, 0, "round {round}");
    }
}
