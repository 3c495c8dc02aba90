use std::time::Duration;

use domain::audit::EventType;
use domain::{Digest, SessionId, Timestamp, UserId};
use store::{Refresh, RefreshOutcome, Session};

use crate::database::{DAY, Database, MINUTE, NOW, client, digest_of, in_parallel};

const ANN: &str = "ann@example.com";
const GRACE: Duration = Duration::from_secs(15);
const LATER: Timestamp = Timestamp::from_millis(NOW.as_millis() + 60_000);

fn refresh(session: &Session, presented: Digest) -> Refresh {
    Refresh {
        session_id: session.id.clone(),
        user_id: session.user_id.clone(),
        presented,
        grace: GRACE,
        expires_at: LATER.plus(7 * DAY),
    }
}

async fn run(db: &Database, refresh: &Refresh, at: Timestamp) -> RefreshOutcome {
    db.store.refresh_session(refresh, digest_of, &db.event(at)).await.unwrap()
}

async fn rotate(db: &Database, session: &Session, at: Timestamp) -> Session {
    match run(db, &refresh(session, digest_of(session)), at).await {
        RefreshOutcome::Rotated(rotated) => rotated.0,
        other => panic!("{other:?}"),
    }
}

async fn kept(db: &Database, session: &Session) -> Option<Session> {
    db.store.find_session(&session.id).await.unwrap().map(|(session, _)| session)
}

pub(crate) async fn a_session_is_found_with_its_user(db: &Database) {
    let signed_in = db.sign_in(ANN).await;
    let (session, user) = db.store.find_session(&signed_in.session.id).await.unwrap().unwrap();
    assert_eq!((session, user.disabled_at), (signed_in.session.clone(), None));

    db.disable(&signed_in.user).await;
    let (_, user) = db.store.find_session(&signed_in.session.id).await.unwrap().unwrap();
    assert!(user.disabled_at.is_some());
    assert_eq!(db.store.find_session(&"nobodys".parse().unwrap()).await.unwrap(), None);
    assert_eq!(db.store.find_user(&"nobody".parse().unwrap()).await.unwrap(), None);
}

pub(crate) async fn a_refresh_starts_the_next_generation(db: &Database) {
    let first = db.sign_in(ANN).await;
    let presented = refresh(&first.session, digest_of(&first.session));
    let RefreshOutcome::Rotated(rotated) = run(db, &presented, LATER).await else { panic!() };
    let (session, user) = *rotated;

    assert_eq!(user, first.user);
    assert_eq!((session.generation, session.rotated_at), (1, LATER));
    assert_eq!(session.expires_at, LATER.plus(7 * DAY));
    assert_eq!(session.absolute_expires_at, first.session.absolute_expires_at);
    assert_eq!(session.created_at, NOW);
    assert_eq!(kept(db, &session).await.as_ref(), Some(&session));
    let event = &db.events(&user).await[0];
    assert_eq!((event.kind, event.metadata["sessionId"].as_str()), (EventType::SessionRefreshed, session.id.as_str()));

    // However often it is renewed, it ends when it was to end.
    let mut last = Refresh { expires_at: LATER.plus(99 * DAY), ..refresh(&session, digest_of(&session)) };
    let RefreshOutcome::Rotated(rotated) = run(db, &last, LATER).await else { panic!() };
    assert_eq!(rotated.0.expires_at, first.session.absolute_expires_at);
    last.presented = digest_of(&rotated.0);
    assert_eq!(run(db, &last, first.session.absolute_expires_at).await, RefreshOutcome::Expired);
}

pub(crate) async fn a_lost_reply_is_answered_again_within_the_grace(db: &Database) {
    let first = db.sign_in(ANN).await;
    let rotated = rotate(db, &first.session, LATER).await;

    let again = refresh(&first.session, digest_of(&first.session));
    let RefreshOutcome::Replayed(replayed) = run(db, &again, LATER.plus(GRACE)).await else { panic!() };

    assert_eq!(digest_of(&replayed.0), digest_of(&rotated), "the very same pair");
    assert_eq!((replayed.0.generation, &replayed.1), (1, &first.user));
    assert_eq!(db.count_events(&first.user, EventType::SessionRefreshed).await, 1);
    assert_eq!(rotate(db, &rotated, LATER.plus(GRACE)).await.generation, 2, "and it works");
}

pub(crate) async fn a_replay_by_another_program_from_elsewhere_is_written_down(db: &Database) {
    let first = db.sign_in(ANN).await;
    let presented = refresh(&first.session, digest_of(&first.session));
    rotate(db, &first.session, LATER).await;
    let replay = async |address: &str, program: &str| {
        let mut event = db.event(LATER);
        event.client = domain::ClientInfo { user_agent: Some(program.to_owned()), ..client(address) };
        let outcome = db.store.refresh_session(&presented, digest_of, &event).await.unwrap();
        assert!(matches!(outcome, RefreshOutcome::Replayed(_)), "{outcome:?}");
        db.count_events(&first.user, EventType::SessionRefreshReplayed).await
    };
    // A phone that changes its network, and a program that updates itself.
    assert_eq!(replay("192.0.2.1", "curl/8").await, 0);
    assert_eq!(replay("203.0.113.7", "curl/8").await, 0);
    assert_eq!(replay("192.0.2.1", "curl/9").await, 0);
    assert_eq!(replay("203.0.113.7", "python/3").await, 1);
    let event = &db.events(&first.user).await.into_iter().find(|it| it.kind == EventType::SessionRefreshReplayed);
    let event = event.as_ref().unwrap();
    assert_eq!(event.metadata["sessionId"], first.session.id.as_str());
    assert_eq!(event.client.ip, client("203.0.113.7").ip);
}

pub(crate) async fn a_replay_after_the_grace_ends_the_session(db: &Database) {
    let first = db.sign_in(ANN).await;
    let rotated = rotate(db, &first.session, LATER).await;

    let again = refresh(&first.session, digest_of(&first.session));
    let after = LATER.plus(GRACE).plus(Duration::from_millis(1));
    assert_eq!(run(db, &again, after).await, RefreshOutcome::Reused);

    assert_eq!(kept(db, &rotated).await, None);
    assert_eq!(
        run(db, &refresh(&rotated, digest_of(&rotated)), after).await,
        RefreshOutcome::Gone,
        "the family is dead"
    );
    let event = &db.events(&first.user).await[0];
    assert_eq!(event.kind, EventType::SessionReuseDetected);
    assert_eq!(event.metadata["sessionId"], rotated.id.as_str());
}

/// Or a copy of the one before would be good for as long as the clock is behind, and nobody would hear of it.
pub(crate) async fn a_clock_that_was_set_back_does_not_prolong_the_grace(db: &Database) {
    let first = db.sign_in(ANN).await;
    let rotated = rotate(db, &first.session, LATER).await;
    let again = refresh(&first.session, digest_of(&first.session));
    assert!(matches!(run(db, &again, LATER.minus(GRACE)).await, RefreshOutcome::Replayed(_)), "clocks that disagree");
    let before = LATER.minus(GRACE).minus(Duration::from_millis(1));
    assert_eq!(run(db, &again, before).await, RefreshOutcome::Reused);
    assert_eq!(kept(db, &rotated).await, None);
}

pub(crate) async fn an_older_generation_ends_the_session(db: &Database) {
    let first = db.sign_in(ANN).await;
    let second = rotate(db, &first.session, LATER).await;
    let third = rotate(db, &second, LATER).await;

    let old = refresh(&first.session, digest_of(&first.session));
    assert_eq!(run(db, &old, LATER).await, RefreshOutcome::Reused, "no grace for the one before the previous");
    assert_eq!(kept(db, &third).await, None);
}

pub(crate) async fn refreshes_end_with_the_session(db: &Database) {
    let first = db.sign_in(ANN).await;
    let present = refresh(&first.session, digest_of(&first.session));
    assert_eq!(run(db, &present, first.session.expires_at).await, RefreshOutcome::Expired);

    let stranger = Refresh { user_id: "bob".parse().unwrap(), ..present.clone() };
    assert_eq!(run(db, &stranger, LATER).await, RefreshOutcome::Gone);
    let unknown = Refresh { session_id: "nobodys".parse().unwrap(), ..present.clone() };
    assert_eq!(run(db, &unknown, LATER).await, RefreshOutcome::Gone);

    assert_eq!(kept(db, &first.session).await.unwrap().generation, 0, "none of them changed it");
    assert_eq!(db.count_events(&first.user, EventType::SessionRefreshed).await, 0);
}

pub(crate) async fn a_disabled_user_refreshes_nothing(db: &Database) {
    let first = db.sign_in(ANN).await;
    db.disable(&first.user).await;
    let present = refresh(&first.session, digest_of(&first.session));
    assert_eq!(run(db, &present, LATER).await, RefreshOutcome::Disabled);
    assert_eq!(kept(db, &first.session).await.unwrap().generation, 0);
}

pub(crate) async fn parallel_refreshes_make_one_lineage(db: &Database) {
    for round in 0..15 {
        let mut session = db.sign_in(&format!("person{round}@example.com")).await.session;
        for generation in 1..=2 {
            let presented = refresh(&session, digest_of(&session));
            let outcomes = in_parallel((0..20).map(|number| {
                let (store, presented, event) = (db.instance(number), presented.clone(), db.event(LATER));
                async move { store.refresh_session(&presented, digest_of, &event).await.unwrap() }
            }))
            .await;

            let mut rotated = 0;
            for outcome in &outcomes {
                let (RefreshOutcome::Rotated(pair) | RefreshOutcome::Replayed(pair)) = outcome else {
                    panic!("round {round}: {outcome:?}")
                };
                assert_eq!((pair.0.generation, pair.0.rotated_at), (generation, LATER), "all got the same pair");
                rotated += usize::from(matches!(outcome, RefreshOutcome::Rotated(_)));
            }
            assert_eq!(rotated, 1, "round {round}");
            session = kept(db, &session).await.unwrap();
            assert_eq!(session.generation, generation);
        }
    }
}

pub(crate) async fn only_its_owner_ends_a_session(db: &Database) {
    let ann = db.sign_in(ANN).await;
    let bob = db.sign_in("bob@example.com").await;

    let by_bob = db.store.end_session(&bob.user.id, &ann.session.id, &db.event(LATER)).await.unwrap();
    assert_eq!(by_bob, None);
    assert!(kept(db, &ann.session).await.is_some());
    assert_eq!(db.count("SELECT COUNT(*) FROM audit_events WHERE type = 'session.ended'").await, 0);

    let by_ann = db.store.end_session(&ann.user.id, &ann.session.id, &db.event(LATER)).await.unwrap();
    assert_eq!(by_ann.as_ref(), Some(&ann.session));
    assert_eq!(kept(db, &ann.session).await, None);
    assert!(kept(db, &bob.session).await.is_some());
    let event = &db.events(&ann.user).await[0];
    assert_eq!((event.kind, event.metadata["sessionId"].as_str()), (EventType::SessionEnded, ann.session.id.as_str()));
    assert_eq!(event.client, client("192.0.2.1"));

    assert_eq!(db.store.end_session(&ann.user.id, &ann.session.id, &db.event(LATER)).await.unwrap(), None);
}

pub(crate) async fn touching_never_sets_back(db: &Database) {
    let ann = db.sign_in(ANN).await.session;
    let bob = db.sign_in("bob@example.com").await.session;
    let gone: SessionId = "gone".parse().unwrap();

    db.store.touch_sessions(&[]).await.unwrap();
    let seen = [(ann.id.clone(), LATER), (gone, LATER), (bob.id.clone(), NOW.minus(DAY)), (ann.id.clone(), NOW)];
    db.store.touch_sessions(&seen).await.unwrap();

    assert_eq!(kept(db, &ann).await.unwrap().last_seen_at, LATER);
    assert_eq!(kept(db, &bob).await.unwrap().last_seen_at, NOW);
    let unknown: UserId = "nobody".parse().unwrap();
    assert_eq!(db.store.find_user(&unknown).await.unwrap(), None);
    assert_eq!(ann.expires_at, kept(db, &ann).await.unwrap().expires_at, "being seen is no refresh");
    assert!(ann.is_live(ann.expires_at.minus(MINUTE)) && !ann.is_live(ann.expires_at));
}
