use store::{LinkCodeOutcome, LinkOutcome, MethodType, NewEvent, NewLink, UnlinkOutcome, User, WayIn};

use crate::database::{Database, NOW, digest, guess, in_parallel, plenty};

/// Sends a code for a way in, as the service does.
async fn send_code(db: &Database, user: &User, way_in: &WayIn) {
    let code = store::NewLinkCode {
        user_id: user.id.clone(),
        digest: digest(&["code"]),
        way_in: way_in.clone(),
        expires_at: NOW.plus(crate::database::MINUTE),
    };
    db.store.put_link_code(&code, &plenty(NOW)).await.unwrap();
}

/// Adds the way in by that code.
async fn redeem(db: &Database, user: &User, way_in: WayIn, event: &NewEvent) -> LinkCodeOutcome {
    let link = NewLink { user_id: user.id.clone(), method_id: db.redemption("", "", NOW).sign_in.method_id, way_in };
    db.store.redeem_link_code(&link, &guess(&digest(&["code"])), 3, event).await.unwrap()
}

/// Adds ways in to the account by codes, as the service does.
pub(crate) async fn link(db: &Database, user: &User, way_in: WayIn) {
    send_code(db, user, &way_in).await;
    let outcome = redeem(db, user, way_in, &db.event(NOW)).await;
    assert_eq!(outcome, LinkCodeOutcome::Right(LinkOutcome::Linked));
}

fn sms(number: &str) -> WayIn {
    WayIn { method: MethodType::Sms, provider: None, identifier: number.to_owned() }
}

pub(crate) async fn of_parallel_unlinks_the_last_way_in_stays(db: &Database) {
    for round in 0..10 {
        let user = db.user(&format!("user{round}@example.com")).await;
        for number in 0..19 {
            link(db, &user, WayIn::email(&format!("other{round}-{number}@example.com"))).await;
        }
        let methods = db.store.list_methods(&user.id).await.unwrap();
        assert_eq!(methods.len(), 20);
        let outcomes = in_parallel(methods.into_iter().enumerate().map(|(number, method)| {
            let (store, event, user_id) = (db.instance(number), db.event(NOW), user.id.clone());
            async move { store.unlink_method(&user_id, &method.id, &event).await.unwrap() }
        }))
        .await;
        let count = |outcome| outcomes.iter().filter(|it| **it == outcome).count();
        assert_eq!((count(UnlinkOutcome::Unlinked), count(UnlinkOutcome::Last)), (19, 1), "round {round}");
        let left = db.store.list_methods(&user.id).await.unwrap();
        assert_eq!((left.len(), left[0].is_primary), (1, true));
        let user = db.store.find_user(&user.id).await.unwrap().unwrap();
        assert_eq!(user.email.as_ref(), Some(&left[0].identifier), "what is shown is what is left");
    }
}

/// Each way to end it, by whichever instance, while the proof was being checked.
pub(crate) async fn a_session_that_has_ended_meanwhile_adds_no_way_in(db: &Database) {
    for end in 0..4 {
        let ann = db.sign_in("ann@example.com").await;
        let (user, session) = (ann.user, ann.session.id);
        let other = WayIn::email(&format!("other{end}@example.com"));
        send_code(db, &user, &other).await;
        match end {
            0 => {}
            1 => drop(db.other.end_session(&user.id, &session, &db.event(NOW)).await.unwrap().unwrap()),
            2 => {
                let keeps = db.sign_in("ann@example.com").await.session.id;
                db.other.end_other_sessions(&user.id, &keeps, &db.event(NOW)).await.unwrap();
            }
            _ => {
                db.other.disable_user(&user.id, || db.event(NOW)).await.unwrap();
                db.other.enable_user(&user.id, &db.event(NOW)).await.unwrap();
            }
        }
        let before = db.store.list_methods(&user.id).await.unwrap();
        let events = db.events(&user).await.len();
        let mut event = db.event(NOW);
        event.actor.session_id = Some(session);
        let outcome = redeem(db, &user, other, &event).await;
        if end == 0 {
            assert_eq!(outcome, LinkCodeOutcome::Right(LinkOutcome::Linked));
            continue;
        }
        assert_eq!(outcome, LinkCodeOutcome::Right(LinkOutcome::NoAccount), "{end}");
        assert_eq!(db.store.list_methods(&user.id).await.unwrap(), before);
        assert_eq!(db.events(&user).await.len(), events);
    }
}

pub(crate) async fn what_was_never_proved_is_no_way_in_that_is_left(db: &Database) {
    let ann = db.user("ann@example.com").await;
    link(db, &ann, WayIn::email("never-proved@example.com")).await;
    db.by_hand("UPDATE auth_methods SET verified = 0 WHERE identifier = 'never-proved@example.com'").await;
    let methods = db.store.list_methods(&ann.id).await.unwrap();
    let proved = methods.iter().find(|method| method.verified).unwrap();
    let outcome = db.store.unlink_method(&ann.id, &proved.id, &db.event(NOW)).await.unwrap();
    assert_eq!(outcome, UnlinkOutcome::Last);
    assert_eq!(db.store.list_methods(&ann.id).await.unwrap(), methods);
}

pub(crate) async fn the_primary_way_in_is_one_and_is_shown(db: &Database) {
    let (ann, bob) = (db.user("ann@example.com").await, db.user("bob@example.com").await);
    link(db, &ann, WayIn::email("new@example.com")).await;
    link(db, &ann, sms("+14155552671")).await;
    for round in 0..10 {
        let methods = db.store.list_methods(&ann.id).await.unwrap();
        assert!(!db.store.set_primary_method(&bob.id, &methods[0].id, &db.event(NOW)).await.unwrap(), "not Bob's");
        let set = in_parallel((0..20usize).map(|number| {
            let (store, event, user_id) = (db.instance(number), db.event(NOW), ann.id.clone());
            let id = methods[number % 3].id.clone();
            async move { store.set_primary_method(&user_id, &id, &event).await.unwrap() }
        }))
        .await;
        assert!(set.into_iter().all(|set| set));
        let methods = db.store.list_methods(&ann.id).await.unwrap();
        assert_eq!(methods.iter().filter(|method| method.is_primary).count(), 1, "round {round}");
    }
    let methods = db.store.list_methods(&ann.id).await.unwrap();
    let new = methods.iter().find(|method| method.identifier == "new@example.com").unwrap();
    assert!(db.store.set_primary_method(&ann.id, &new.id, &db.event(NOW)).await.unwrap());
    let user = db.store.find_user(&ann.id).await.unwrap().unwrap();
    assert_eq!(user.email.as_deref(), Some("new@example.com"));
    let unlinked = db.store.unlink_method(&ann.id, &new.id, &db.event(NOW)).await.unwrap();
    assert_eq!(unlinked, UnlinkOutcome::Unlinked);
    let user = db.store.find_user(&ann.id).await.unwrap().unwrap();
    assert_eq!(user.email.as_deref(), Some("ann@example.com"), "another of the kind takes its place");
    let methods = db.store.list_methods(&ann.id).await.unwrap();
    assert_eq!(methods.iter().filter(|method| method.is_primary).count(), 1);
}

pub(crate) async fn deleting_a_user_ends_everything_of_theirs(db: &Database) {
    let (ann, bob) = (db.user("ann@example.com").await, db.user("bob@example.com").await);
    let token = db.token(&ann).await;
    db.token(&bob).await;
    db.put_code("ann@example.com", "123456", NOW).await;
    link(db, &ann, sms("+14155552671")).await;
    db.store.put_factor(&ann.id, "secret", crate::database::seal_key("seal").id(), &db.event(NOW)).await.unwrap();

    let had = db.store.count_credentials(&ann.id).await.unwrap();
    assert_eq!((had.sessions, had.tokens), (1, 1));
    crate::deletion::delete_all(db, &ann.id).await;
    assert!(!db.store.delete_user(&ann.id, &db.event(NOW)).await.unwrap(), "once");
    assert_eq!(db.store.find_anybodys_token(&token.id).await.unwrap(), None);
    for (table, left) in [
        ("SELECT COUNT(*) FROM users", 1),
        ("SELECT COUNT(*) FROM auth_methods", 1),
        ("SELECT COUNT(*) FROM sessions", 1),
        ("SELECT COUNT(*) FROM personal_access_tokens", 1),
        ("SELECT COUNT(*) FROM token_secrets", 1),
        ("SELECT COUNT(*) FROM totp_factors", 0),
        ("SELECT COUNT(*) FROM one_time_codes WHERE subject = 'ann@example.com'", 0),
    ] {
        assert_eq!(db.count(table).await, left, "{table}");
    }
    assert_ne!(db.user("ann@example.com").await.id, ann.id, "the mailbox leads to a new account");
}
