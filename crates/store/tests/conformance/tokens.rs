use std::time::Duration;

use domain::audit::EventType;
use domain::{ClientInfo, Timestamp, TokenId};
use store::{CreationOutcome, NewToken, Token, TokenUse};

use crate::database::{DAY, Database, MINUTE, NOW, client, in_parallel};

const ANN: &str = "ann@example.com";
const BOB: &str = "bob@example.com";

async fn kept(db: &Database, token: &Token) -> Option<Token> {
    db.store.find_token(&token.user_id, &token.id).await.unwrap()
}

fn token_use(db: &Database, token_id: &TokenId, at: Timestamp, client: ClientInfo) -> TokenUse {
    TokenUse { token_id: token_id.clone(), at, client, event_id: db.event(at).id }
}

pub(crate) async fn a_created_token_is_found_and_listed(db: &Database) {
    let ann = db.user(ANN).await;
    assert_eq!(db.store.list_tokens(&ann.id).await.unwrap(), []);

    let new = NewToken { expires_at: Some(NOW.plus(DAY)), ..db.new_token(&ann) };
    let mut event = db.event(NOW);
    event.metadata.insert("via".to_owned(), "graphql".to_owned());
    let limits = crate::database::LIMITS;
    let CreationOutcome::Created(token) = db.store.create_token(&new, &limits, &event).await.unwrap() else { panic!() };

    let expected = Token {
        allowed_ips: new.allowed_ips.clone(),
        id: new.id.clone(),
        user_id: ann.id.clone(),
        name: new.name.clone(),
        scopes: new.scopes.clone(),
        prefix: "af_live_abcd".to_owned(),
        expires_at: Some(NOW.plus(DAY)),
        last_used_at: None,
        last_used_ip: None,
        created_at: NOW,
        updated_at: NOW,
        version: 1,
    };
    assert_eq!(*token, expected);
    assert_eq!(kept(db, &token).await.as_ref(), Some(&expected));
    let CreationOutcome::Created(second) = db.create(&db.new_token(&ann), NOW.plus(MINUTE)).await else { panic!() };
    assert_eq!(db.store.list_tokens(&ann.id).await.unwrap(), [*second, expected], "newest first");

    let events = db.events(&ann).await;
    let created = events.iter().find(|found| found.id == event.id).unwrap();
    assert_eq!(created.kind, EventType::TokenCreated);
    assert_eq!(created.metadata["tokenId"], new.id.as_str());
    assert_eq!(created.metadata["name"], "CI deploy");
    assert_eq!(created.metadata["via"], "graphql");
}

pub(crate) async fn somebody_elses_token_is_a_miss(db: &Database) {
    let (ann, bob) = (db.user(ANN).await, db.user(BOB).await);
    let token = db.token(&ann).await;
    let before = db.count("SELECT COUNT(*) FROM audit_events").await;

    assert_eq!(db.store.find_token(&bob.id, &token.id).await.unwrap(), None);
    assert_eq!(db.store.list_tokens(&bob.id).await.unwrap(), []);
    assert_eq!(db.store.delete_token(&bob.id, &token.id, &db.event(NOW)).await.unwrap(), None);
    let secret = db.new_secret(&crate::database::seal_key("present"));
    assert_eq!(db.store.rotate_token(&bob.id, &token.id, &secret, DAY, &db.event(NOW)).await.unwrap(), None);

    assert_eq!(kept(db, &token).await.as_ref(), Some(&token), "it is still there and unchanged");
    assert_eq!(db.count("SELECT COUNT(*) FROM token_secrets WHERE valid_until IS NULL").await, 1);
    assert_eq!(db.count("SELECT COUNT(*) FROM token_secrets").await, 1);
    assert_eq!(db.count("SELECT COUNT(*) FROM audit_events").await, before);
}

pub(crate) async fn deleting_leaves_the_events(db: &Database) {
    let ann = db.user(ANN).await;
    let token = db.token(&ann).await;
    let event = db.event(NOW.plus(MINUTE));

    assert_eq!(db.store.delete_token(&ann.id, &token.id, &event).await.unwrap().as_ref(), Some(&token));
    assert_eq!(db.store.delete_token(&ann.id, &token.id, &db.event(NOW)).await.unwrap(), None);

    assert_eq!(kept(db, &token).await, None);
    assert_eq!(db.count("SELECT COUNT(*) FROM token_secrets").await, 0);
    let events = db.events(&ann).await;
    assert_eq!((events[0].kind, &events[0].id), (EventType::TokenDeleted, &event.id));
    assert_eq!(events[0].metadata["tokenId"], token.id.as_str());
    assert_eq!(db.count_events(&ann, EventType::TokenCreated).await, 1);
}

pub(crate) async fn parallel_deletions_delete_once(db: &Database) {
    let ann = db.user(ANN).await;
    for round in 0..10 {
        let token = db.token(&ann).await;
        let deleted = in_parallel((0..8).map(|number| {
            let (store, token, event) = (db.instance(number), token.clone(), db.event(NOW));
            async move { store.delete_token(&token.user_id, &token.id, &event).await.unwrap() }
        }))
        .await;
        assert_eq!(deleted.iter().flatten().count(), 1, "round {round}");
    }
    assert_eq!(db.count_events(&ann, EventType::TokenDeleted).await, 10);
}

pub(crate) async fn uses_are_merged(db: &Database) {
    let ann = db.user(ANN).await;
    let token = db.token(&ann).await;
    let nowhere = ClientInfo::default();

    db.store.record_token_uses(&[]).await.unwrap();
    let uses = [
        token_use(db, &token.id, NOW.plus(2 * MINUTE), nowhere.clone()),
        token_use(db, &"gone".parse().unwrap(), NOW, client("192.0.2.9")),
        token_use(db, &token.id, NOW.plus(MINUTE), nowhere.clone()),
    ];
    db.store.record_token_uses(&uses).await.unwrap();
    db.store.record_token_uses(&[token_use(db, &token.id, NOW, nowhere)]).await.unwrap();

    let expected = Token { last_used_at: Some(NOW.plus(2 * MINUTE)), ..token };
    assert_eq!(
        kept(db, &expected).await.as_ref(),
        Some(&expected),
        "the latest; neither changed nor of another version"
    );
    assert_eq!(db.count("SELECT COUNT(*) FROM audit_events WHERE type = 'token.used'").await, 0);
}

pub(crate) async fn uses_of_many_tokens_are_noted_at_once(db: &Database) {
    let ann = db.user(ANN).await;
    let mut tokens = Vec::new();
    for _ in 0..45 {
        tokens.push(db.token(&ann).await);
    }
    // The first ones thrice, from two addresses, and some that are gone.
    for round in 1..=2 {
        let at = |number: usize| NOW.plus(round * MINUTE).plus(Duration::from_millis(u64::try_from(number).unwrap()));
        let gone =
            (0..30).map(|number| token_use(db, &format!("gone{number}").parse().unwrap(), at(0), client("192.0.2.9")));
        let home =
            tokens.iter().enumerate().map(|(number, token)| token_use(db, &token.id, at(number), client("192.0.2.1")));
        let away = tokens[..9].iter().map(|token| token_use(db, &token.id, at(1_000), client("192.0.2.2")));
        let late = tokens[..9].iter().map(|token| token_use(db, &token.id, at(500), ClientInfo::default()));
        let uses: Vec<_> = gone.chain(home).chain(away).chain(late).collect();
        db.store.record_token_uses(&uses).await.unwrap();
        for (number, token) in tokens.iter().enumerate() {
            let kept = kept(db, token).await.unwrap();
            let (last, address) = if number < 9 { (at(1_000), "192.0.2.2") } else { (at(number), "192.0.2.1") };
            assert_eq!((kept.last_used_at, kept.last_used_ip), (Some(last), Some(address.parse().unwrap())));
        }
    }
    let events = "SELECT COUNT(*) FROM audit_events WHERE type = 'token.used'";
    assert_eq!(db.count(events).await, 45 + 9 + 2 * 9, "a use from where it was last used from is none");
}

pub(crate) async fn a_new_address_is_written_down(db: &Database) {
    let ann = db.user(ANN).await;
    let token = db.token(&ann).await;
    let (home, away) = (client("192.0.2.1"), client("2001:db8::1"));

    for (minute, client) in [(1, &home), (2, &home), (3, &away), (4, &home)] {
        let recorded = token_use(db, &token.id, NOW.plus(minute * MINUTE), client.clone());
        db.store.record_token_uses(&[recorded]).await.unwrap();
        assert_eq!(kept(db, &token).await.unwrap().last_used_ip, client.ip);
    }
    // One that arrives late is written down, but is not the last address.
    db.store.record_token_uses(&[token_use(db, &token.id, NOW, away.clone())]).await.unwrap();

    let used: Vec<_> = db.events(&ann).await.into_iter().filter(|event| event.kind == EventType::TokenUsed).collect();
    let seen: Vec<_> = used.iter().map(|event| (event.at, event.client.clone())).collect();
    let at = |minute| NOW.plus(minute * MINUTE);
    assert_eq!(seen, [(at(4), home.clone()), (at(3), away.clone()), (at(1), home.clone()), (at(0), away)]);
    assert!(used.iter().all(|event| event.actor.token_id.as_ref() == Some(&token.id)));
    let token = kept(db, &token).await.unwrap();
    assert_eq!((token.last_used_ip, token.last_used_at), (home.ip, Some(at(4))));
}

/// Whoever uses a token from one address after another does not fill the log.
pub(crate) async fn a_thousand_new_addresses_a_day_are_written_down(db: &Database) {
    let (ann, bob) = (db.user(ANN).await, db.user("bob@example.com").await);
    let (tokens, bobs) = ([db.token(&ann).await, db.token(&ann).await], db.token(&bob).await);
    let at = |number: u64| NOW.plus(Duration::from_secs(number));
    let address = |number: u64| client(&format!("192.0.{}.{}", number / 200, number % 200));
    let uses: Vec<_> = (0..1_010)
        .map(|number| token_use(db, &tokens[usize::from(number % 2 == 1)].id, at(number), address(number)))
        .collect();
    for some in uses.chunks(101) {
        db.store.record_token_uses(some).await.unwrap();
    }
    let written = "SELECT COUNT(*) FROM audit_events WHERE type = 'token.used'";
    assert_eq!(db.count(written).await, 1_000);
    assert_eq!(kept(db, &tokens[1]).await.unwrap().last_used_ip, address(1_009).ip, "the token says so all the same");
    db.store.record_token_uses(&[token_use(db, &bobs.id, at(1_010), address(1))]).await.unwrap();
    assert_eq!(db.count(written).await, 1_001, "others have their own");

    let day = Duration::from_hours(24);
    let later = [
        token_use(db, &tokens[0].id, at(2).plus(day), address(5)),
        token_use(db, &tokens[1].id, at(2).plus(day), address(6)),
    ];
    db.store.record_token_uses(&later).await.unwrap();
    assert_eq!(db.count(written).await, 1_003, "when older ones are a day old");

    for number in 0..1_005 {
        db.store.record_token_limited(&ann.id, &db.event(at(number))).await.unwrap();
    }
    assert_eq!(db.count("SELECT COUNT(*) FROM audit_events WHERE type = 'token.rate_limited'").await, 1_000);
}
