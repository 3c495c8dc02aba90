use domain::audit::EventType;
use domain::{AuthMethodId, UserId};
use store::{DisableOutcome, NewUser, NewUserOutcome, WayIn};

use crate::chain::seal;
use crate::database::{Database, MINUTE, NOW};

fn new_user(id: &str, email: &str) -> NewUser {
    let method_id: AuthMethodId = format!("method-of-{id}").parse().unwrap();
    NewUser {
        id: id.parse().unwrap(),
        display_name: Some("Ann".to_owned()),
        ways_in: vec![(method_id, WayIn::email(email))],
    }
}

pub(crate) async fn a_made_account_is_signed_in_to(db: &Database) {
    let new = new_user("u1", "ann@example.com");
    let NewUserOutcome::Created(user) = db.store.create_user(&new, &db.event(NOW)).await.unwrap() else { panic!() };
    assert_eq!((user.email.as_deref(), user.email_verified), (Some("ann@example.com"), true));
    let signed_in = db.sign_in("ann@example.com").await;
    assert_eq!((&signed_in.user.id, signed_in.user_created), (&new.id, false));
    assert_eq!(db.store.find_user_by_way_in(&WayIn::email("ann@example.com")).await.unwrap().unwrap().id, new.id);

    let again = db.store.create_user(&new_user("u1", "other@example.com"), &db.event(NOW)).await.unwrap();
    assert_eq!(again, NewUserOutcome::IdTaken);
    let taken = db.store.create_user(&new_user("u2", "ann@example.com"), &db.event(NOW)).await.unwrap();
    assert_eq!(taken, NewUserOutcome::WayInTaken(new.id));
    assert_eq!(db.count("SELECT COUNT(*) FROM users").await, 1);
    assert_eq!(db.count("SELECT COUNT(*) FROM audit_events WHERE type = 'user.created'").await, 1);
}

pub(crate) async fn disabling_ends_sessions_and_enabling_keeps_tokens(db: &Database) {
    let signed_in = db.sign_in("ann@example.com").await;
    let (ann, session) = (signed_in.user, signed_in.session);
    let token = db.token(&ann).await;
    let nobody: UserId = "nobody".parse().unwrap();
    assert_eq!(db.store.disable_user(&nobody, || db.event(NOW)).await.unwrap(), DisableOutcome::NoUser);
    assert_eq!(db.store.enable_user(&nobody, &db.event(NOW)).await.unwrap(), None);
    assert_eq!(db.store.enable_user(&ann.id, &db.event(NOW)).await.unwrap(), Some(false));

    let disabled = db.store.disable_user(&ann.id, || db.event(NOW.plus(MINUTE))).await.unwrap();
    assert_eq!(disabled, DisableOutcome::Disabled { sessions_ended: 1 });
    assert_eq!(db.store.find_session(&session.id).await.unwrap(), None);
    assert_eq!(db.store.find_user(&ann.id).await.unwrap().unwrap().disabled_at, Some(NOW.plus(MINUTE)));
    assert_eq!(db.store.list_users(true, 10).await.unwrap().len(), 1);
    let again = db.store.disable_user(&ann.id, || db.event(NOW)).await.unwrap();
    assert_eq!(again, DisableOutcome::AlreadyDisabled);

    assert_eq!(db.store.enable_user(&ann.id, &db.event(NOW)).await.unwrap(), Some(true));
    assert_eq!(db.store.find_anybodys_token(&token.id).await.unwrap(), Some(token));
    for kind in [EventType::UserDisabled, EventType::UserEnabled, EventType::SessionEnded] {
        assert_eq!(db.count_events(&ann, kind).await, 1, "{kind}");
    }
}

pub(crate) async fn operators_see_what_is_newest(db: &Database) {
    let (ann, bob) = (db.user("ann@example.com").await, db.user("bob@example.com").await);
    let (first, second) = (db.token(&ann).await, db.token(&bob).await);
    let listed = db.store.list_everybodys_tokens(10).await.unwrap();
    assert_eq!(listed.len(), 2);
    assert!(listed.contains(&first) && listed.contains(&second));
    assert_eq!(db.store.list_everybodys_tokens(1).await.unwrap().len(), 1);
    assert_eq!(db.store.list_users(false, 1).await.unwrap().len(), 1);

    // Half of the events are sealed; the others come first.
    let all = usize::try_from(db.count("SELECT COUNT(*) FROM audit_events").await).unwrap();
    seal(&db.store, "sealer", NOW, u32::try_from(all / 2).unwrap()).await.unwrap();
    db.store.append_event(EventType::UserUpdated, Some(&ann.id), &db.event(NOW.plus(MINUTE))).await.unwrap();
    let events = db.store.list_everybodys_events(None, 100).await.unwrap();
    assert_eq!((events.len(), events[0].kind), (all + 1, EventType::UserUpdated));
    let few = db.store.list_everybodys_events(None, 3).await.unwrap();
    assert_eq!(few, events[..3]);
    let created = db.store.list_everybodys_events(Some(EventType::TokenCreated), 100).await.unwrap();
    assert_eq!(created.len(), 2);
}
