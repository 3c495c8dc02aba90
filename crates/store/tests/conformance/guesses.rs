//! Guesses at authenticator apps, for each person; and at all codes, for the installation.

use std::time::Duration;

use domain::audit::Actor;
use domain::{Digest, SessionId};
use store::{
    GUESSES_COUNT_FOR, GuessCounts, Guessed, MfaAttempt, MfaOutcome, NewEvent, SecondProof, TOTP_GUESSES_PER_YEAR,
};

use crate::database::{DAY, Database, MINUTE, NOW, digest, in_parallel};
use crate::second_factor::{ann, backup, finish, waiting};

async fn attempt(db: &Database, challenge: &Digest, guessed: Guessed, at: domain::Timestamp) -> MfaAttempt {
    db.store.count_mfa_attempt(challenge, guessed, 5, at).await.unwrap()
}

async fn counted(db: &Database) -> i64 {
    db.count("SELECT CAST(COALESCE(SUM(wrong), 0) AS BIGINT) FROM totp_guesses").await
}

pub(crate) async fn a_person_suffers_thirty_guesses_at_single_codes_a_year(db: &Database) {
    ann(db).await;
    // Whoever has her mailbox, five guesses with each sign-in.
    for _ in 0..6 {
        let challenge = waiting(db, NOW).await;
        for _ in 0..5 {
            assert!(matches!(attempt(db, &challenge, Guessed::OneStep, NOW).await, MfaAttempt::Counted { .. }));
        }
        assert_eq!(attempt(db, &challenge, Guessed::Long, NOW).await, MfaAttempt::TooMany);
    }
    assert_eq!(counted(db).await, i64::from(TOTP_GUESSES_PER_YEAR));
    let challenge = waiting(db, NOW).await;
    let wants_two = MfaAttempt::WantsTwoSteps { attempts_remaining: 4 };
    assert_eq!(attempt(db, &challenge, Guessed::OneStep, NOW).await, wants_two);
    assert_eq!(counted(db).await, i64::from(TOTP_GUESSES_PER_YEAR), "it is not compared");
    for guessed in [Guessed::Long, Guessed::Long] {
        let admitted = attempt(db, &challenge, guessed, NOW).await;
        assert!(matches!(admitted, MfaAttempt::Counted { .. }), "she is not shut out: {admitted:?}");
    }
    assert!(matches!(finish(db, &challenge, &SecondProof::TwoSteps(1_002), NOW).await, MfaOutcome::Right(_)));
    let challenge = waiting(db, NOW).await;
    assert!(matches!(finish(db, &challenge, &backup(0), NOW).await, MfaOutcome::Right(_)));
    assert_eq!(counted(db).await, i64::from(TOTP_GUESSES_PER_YEAR), "the guesses of others are not taken back");

    let later = NOW.plus(GUESSES_COUNT_FOR);
    let challenge = waiting(db, later).await;
    assert!(matches!(attempt(db, &challenge, Guessed::OneStep, later).await, MfaAttempt::Counted { .. }));
    assert_eq!(db.store.purge_guesses(later.plus(MINUTE), 9).await.unwrap(), 6);
    assert_eq!(counted(db).await, 1);

    // A sign-in that ends with the right code has guessed nothing.
    for _ in 0..2 {
        attempt(db, &challenge, Guessed::OneStep, later).await;
    }
    assert!(matches!(finish(db, &challenge, &SecondProof::Step(1_003), later).await, MfaOutcome::Right(_)));
    assert_eq!(counted(db).await, 0);
}

pub(crate) async fn a_session_takes_back_what_was_right_and_no_more(db: &Database) {
    let ann = ann(db).await;
    let session: SessionId = "thesession".parse().unwrap();
    let event = || NewEvent { actor: Actor { session_id: Some(session.clone()), ..Actor::default() }, ..db.event(NOW) };
    for _ in 0..3 {
        assert!(db.store.count_totp_guess(&ann.id, Some(&session), NOW).await.unwrap());
    }
    assert!(!db.store.disable_factor(&ann.id, &SecondProof::Step(1), &event()).await.unwrap());
    assert_eq!(counted(db).await, 3);
    let (factor, right) = (db.store.find_factor(&ann.id).await.unwrap().unwrap(), SecondProof::Step(1_001));
    assert!(db.store.replace_backup_codes(&ann.id, &factor, &right, &[digest(&["new"])], &event()).await.unwrap());
    assert_eq!(counted(db).await, 2, "what was wrong before may have been a thief's");
    assert!(db.store.disable_factor(&ann.id, &SecondProof::Step(1_002), &event()).await.unwrap());
    assert_eq!(counted(db).await, 0, "a new secret has not been guessed at");
    let nobody = "nobody".parse().unwrap();
    assert!(!db.store.count_totp_guess(&nobody, Some(&session), NOW).await.unwrap());
}

pub(crate) async fn of_parallel_guesses_at_a_person_thirty_are_compared(db: &Database) {
    let ann = ann(db).await;
    let mut compared = 0;
    for round in 0..4 {
        let mut challenges = Vec::new();
        for _ in 0..3 {
            challenges.push(waiting(db, NOW).await);
        }
        compared += in_parallel((0..16usize).map(|number| {
            let (store, user_id, challenge) = (db.instance(number), ann.id.clone(), challenges[number % 3]);
            async move {
                if number % 4 == 3 {
                    let session: SessionId = format!("session{round}x{number}").parse().unwrap();
                    return store.count_totp_guess(&user_id, Some(&session), NOW).await.unwrap();
                }
                let attempt = store.count_mfa_attempt(&challenge, Guessed::OneStep, 5, NOW).await.unwrap();
                matches!(attempt, MfaAttempt::Counted { .. })
            }
        }))
        .await
        .into_iter()
        .filter(|compared| *compared)
        .count();
        assert_eq!(counted(db).await, i64::try_from(compared).unwrap(), "round {round}");
    }
    assert_eq!(u32::try_from(compared).unwrap(), TOTP_GUESSES_PER_YEAR);
}

pub(crate) async fn guesses_of_all_instances_are_weighed_together(db: &Database) {
    let add = async |instance: &str, at, right, wrong| {
        db.store.add_guesses(instance, at, GuessCounts { right, wrong }).await.unwrap()
    };
    assert_eq!(add("one", NOW, 1, 20).await, GuessCounts { right: 1, wrong: 20 });
    assert_eq!(add("two", NOW, 0, 30).await, GuessCounts { right: 1, wrong: 50 });
    assert_eq!(add("one", NOW, 0, 5).await, GuessCounts { right: 1, wrong: 55 });
    assert_eq!(add("one", NOW.plus(9 * MINUTE), 0, 0).await, GuessCounts { right: 1, wrong: 55 });
    assert_eq!(add("one", NOW.plus(10 * MINUTE), 0, 0).await, GuessCounts::default());
    assert_eq!(db.count_rows("guess_minutes").await, 2, "nothing is written where nobody guesses");
    assert_eq!(db.store.purge_guesses(NOW.plus(Duration::from_mins(30)), 9).await.unwrap(), 0);
    assert_eq!(db.store.purge_guesses(NOW.plus(DAY), 9).await.unwrap(), 2);
}
