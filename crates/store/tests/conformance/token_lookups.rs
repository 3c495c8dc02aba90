use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use domain::{Digest, TokenId};
use store::{CreationOutcome, NewToken, StoreError};
use tokio::task::JoinSet;

use crate::database::{Database, NOW, digest, in_parallel};

/// Fewer than a user may create in a day.
const TOKENS: usize = 40;

async fn created(db: &Database) -> Vec<NewToken> {
    let user = db.user("ann@example.com").await;
    let mut tokens = Vec::new();
    for _ in 0..TOKENS {
        let new = db.new_token(&user);
        assert!(matches!(db.create(&new, NOW).await, CreationOutcome::Created(_)));
        tokens.push(new);
    }
    tokens
}

/// Asks for all of these, several times each and all at once, on two instances.
async fn ask(db: &Database, digests: impl Iterator<Item = Digest> + Clone) -> Vec<Result<Option<TokenId>, StoreError>> {
    let all = (0..8).flat_map(|_| digests.clone()).enumerate().map(|(number, digest)| {
        let store = db.instance(number / TOKENS);
        async move { Ok(store.find_token_by_digest(&digest).await?.map(|found| found.token.id)) }
    });
    // In the order in which they were asked.
    let tasks: Vec<_> = all.map(tokio::spawn).collect();
    let mut answers = Vec::new();
    for task in tasks {
        answers.push(task.await.unwrap());
    }
    answers
}

pub(crate) async fn those_who_ask_at_once_are_each_answered(db: &Database) {
    let tokens = created(db).await;
    let answers = ask(db, tokens.iter().map(|token| token.secret.digest)).await;
    for (answer, token) in answers.into_iter().zip(tokens.iter().cycle()) {
        assert_eq!(answer.unwrap().as_ref(), Some(&token.id));
    }
    let unknown = (0..TOKENS).map(|number| digest(&["unknown", &number.to_string()]));
    let known_and_unknown =
        tokens.iter().map(|token| token.secret.digest).zip(unknown).flat_map(|pair| [pair.0, pair.1]);
    for (number, answer) in ask(db, known_and_unknown).await.into_iter().enumerate() {
        let token = &tokens[number / 2 % TOKENS];
        assert_eq!(answer.unwrap().as_ref(), number.is_multiple_of(2).then_some(&token.id));
    }
}

pub(crate) async fn secrets_lead_to_their_tokens_many_at_once(db: &Database) {
    let tokens = created(db).await;
    let gone = "gone".parse().unwrap();
    let ids: Vec<_> = tokens.iter().map(|token| token.secret.id.clone()).chain([gone]).cycle().take(300).collect();
    for count in [0, 1, 2, 8, 9, TOKENS + 1] {
        let mut found = db.store.find_tokens_by_secrets(&ids[..count]).await.unwrap();
        found.sort_by_key(|found| ids.iter().position(|id| *id == found.secret.id));
        assert_eq!(found.len(), count.min(TOKENS));
        for (found, token) in found.iter().zip(&tokens) {
            assert_eq!((&found.secret.id, &found.token.id), (&token.secret.id, &token.id));
            let alone = db.store.find_token_by_secret(&token.secret.id).await.unwrap();
            assert_eq!(alone.as_ref(), Some(found));
        }
    }
    assert_eq!(db.store.find_tokens_by_secrets(&ids).await.unwrap().len(), 128.min(TOKENS) * 2 + TOKENS);
}

pub(crate) async fn callers_that_go_away_are_nobody_elses_loss(db: &Database) {
    let tokens = created(db).await;
    for _ in 0..20 {
        let (mut leaving, mut staying) = (Vec::new(), Vec::new());
        for (number, token) in tokens.iter().enumerate() {
            let (store, id, digest) = (db.store.clone(), token.id.clone(), token.secret.digest);
            let asking = async move { (store.find_token_by_digest(&digest).await.unwrap().unwrap().token.id, id) };
            if number.is_multiple_of(2) { leaving.push(tokio::spawn(asking)) } else { staying.push(asking) }
        }
        let staying = tokio::spawn(in_parallel(staying));
        for task in leaving {
            task.abort();
        }
        for (found, asked) in staying.await.unwrap() {
            assert_eq!(found, asked);
        }
    }
}

pub(crate) async fn a_row_that_cannot_be_read_is_nobody_elses_failure(db: &Database) {
    let tokens = created(db).await;
    db.by_hand("UPDATE personal_access_tokens SET name = '' WHERE id IN (SELECT MIN(id) FROM personal_access_tokens)")
        .await;
    let broken = tokens.iter().map(|token| &token.id).min().unwrap();
    let answers = ask(db, tokens.iter().map(|token| token.secret.digest)).await;
    for (answer, token) in answers.into_iter().zip(tokens.iter().cycle()) {
        if token.id == *broken {
            assert!(matches!(answer, Err(StoreError::Malformed { column: "name" })), "{answer:?}");
        } else {
            assert_eq!(answer.unwrap().as_ref(), Some(&token.id));
        }
    }
}

/// Others keep asking, so that there is always a statement under way that began before the deletion.
pub(crate) async fn whoever_asks_after_a_deletion_finds_nothing(db: &Database) {
    let tokens = created(db).await;
    for token in &tokens {
        let (ended, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
        let mut asking = JoinSet::new();
        for _ in 0..8 {
            let (store, digest) = (db.store.clone(), token.secret.digest);
            let (ended, answered) = (Arc::clone(&ended), Arc::clone(&answered));
            asking.spawn(async move {
                loop {
                    let too_late = ended.load(Ordering::SeqCst);
                    let found = store.find_token_by_digest(&digest).await.unwrap();
                    assert!(!(too_late && found.is_some()), "found after its end had been answered");
                    if too_late {
                        return;
                    }
                    answered.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        while answered.load(Ordering::SeqCst) < 20 {
            tokio::task::yield_now().await;
        }
        assert!(db.store.delete_token(&token.user_id, &token.id, &db.event(NOW)).await.unwrap().is_some());
        ended.store(true, Ordering::SeqCst);
        asking.join_all().await;
    }
}
