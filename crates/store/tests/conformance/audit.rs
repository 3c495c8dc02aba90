use domain::audit::{Actor, EventType};
use store::{Cursor, MalformedCursor};

use crate::database::{Database, MINUTE, NOW, client};

const ANN: &str = "ann@example.com";

pub(crate) async fn events_keep_what_they_were_given(db: &Database) {
    let (ann, bob) = (db.user(ANN).await, db.user("bob@example.com").await);
    let mut new = db.event(NOW.plus(MINUTE));
    new.actor = Actor {
        session_id: Some("session-1".parse().unwrap()),
        token_id: Some("token-1".parse().unwrap()),
        service: Some("alternatefutures-backend".to_owned()),
    };
    new.client = client("2001:db8::1");
    new.client.user_agent = Some("\"quoted\" \\ ä 😀 ' ; --".to_owned());
    new.metadata = [("limit".to_owned(), "1000".to_owned()), ("note".to_owned(), "\"\n'".to_owned())].into();
    db.store.append_event(EventType::TokenLimited, Some(&ann.id), &new).await.unwrap();
    db.store.append_event(EventType::CodesPurged, None, &db.event(NOW.plus(MINUTE))).await.unwrap();

    let event = db.events(&ann).await.remove(0);
    assert_eq!((event.kind, event.user_id), (EventType::TokenLimited, Some(ann.id)));
    assert_eq!((event.id, event.at), (new.id.clone(), new.at));
    assert_eq!(
        (event.actor, event.client, event.metadata),
        (new.actor.clone(), new.client.clone(), new.metadata.clone())
    );
    assert!(db.events(&bob).await.iter().all(|event| event.user_id.as_ref() == Some(&bob.id)));
    assert_eq!(db.count("SELECT COUNT(*) FROM audit_events WHERE user_id IS NULL").await, 1);

    let twice = db.store.append_event(EventType::TokenLimited, Some(&bob.id), &new).await;
    assert!(!twice.unwrap_err().is_unavailable(), "an id is used once");
}

pub(crate) async fn pages_follow_each_other_without_gaps(db: &Database) {
    let user = db.user(ANN).await;
    for number in 0..23 {
        // Several at the same moment.
        let event = db.event(NOW.plus(number / 4 * MINUTE));
        db.store.append_event(EventType::TokenLimited, Some(&user.id), &event).await.unwrap();
    }
    let all = db.events(&user).await;
    assert_eq!(all.len(), 25);
    // Those of one moment in whatever order the database gives ids, as long as it is always the same.
    assert!(all.is_sorted_by(|a, b| a.at >= b.at), "newest first");

    for limit in [1, 4, 5, 24, 25, 26] {
        let (mut paged, mut after) = (Vec::new(), None);
        loop {
            let page = db.store.list_events(&user.id, None, after.as_ref(), limit).await.unwrap();
            paged.extend(page.events);
            assert!(paged.len() <= all.len(), "limit {limit}: pages overlap");
            let Some(next) = page.next else { break };
            // As it goes to the client and comes back.
            after = Some(next.to_string().parse().unwrap());
            if paged.len() == 4 {
                // Something new while somebody is paging is not on the later pages.
                let event = db.event(NOW.plus(600 * MINUTE));
                db.store.append_event(EventType::TokenLimited, None, &event).await.unwrap();
            }
        }
        assert_eq!(paged, all, "limit {limit}");
    }
    for text in ["", "1", "1.", ".a", "x.a", "1.a b", "1.a.b", "99999999999999999999.a"] {
        assert_eq!(text.parse::<Cursor>(), Err(MalformedCursor), "{text:?}");
    }
}

pub(crate) async fn pages_can_be_of_one_kind(db: &Database) {
    let user = db.user(ANN).await;
    for _ in 0..5 {
        db.token(&user).await;
    }
    let kind = Some(EventType::TokenCreated);
    let page = db.store.list_events(&user.id, kind, None, 3).await.unwrap();
    assert_eq!(page.events.len(), 3);
    let rest = db.store.list_events(&user.id, kind, page.next.as_ref(), 3).await.unwrap();
    assert_eq!((rest.events.len(), rest.next), (2, None));
    assert!(page.events.iter().chain(&rest.events).all(|event| event.kind == EventType::TokenCreated));
    let none = db.store.list_events(&user.id, Some(EventType::TokenPurged), None, 3).await.unwrap();
    assert_eq!((none.events, none.next), (vec![], None));
}
