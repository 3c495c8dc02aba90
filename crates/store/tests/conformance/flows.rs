//! Guesses at codes: whose they are, and how many a mailbox suffers.

use std::time::Duration;

use domain::{CodeShape, Timestamp};
use store::{
    CodeOutcome, CodePurpose, Flow, GUARDED_FOR, GUESSES_COUNT_FOR, GUESSES_PER_YEAR, LinkSecret, SignInOutcome,
    TradedLink,
};

use crate::database::{DAY, Database, MINUTE, NOW, digest, in_parallel, long};

const ANN: &str = "ann@example.com";
const WRONG: &str = "000000";

fn wrong(attempts_remaining: u32) -> CodeOutcome {
    CodeOutcome::Wrong { attempts_remaining }
}

fn is_right(outcome: &CodeOutcome) -> bool {
    matches!(outcome, CodeOutcome::Right(SignInOutcome::SignedIn(_)))
}

/// Guesses as a stranger does: in as many flows as it takes, and whatever the mailbox's quota.
async fn guess(db: &Database, times: u32, at: Timestamp) {
    let mut flow = Flow::Named(digest(&["none"]));
    for number in 0..times {
        if number % 3 == 0 {
            flow = db.begin_flow_without_room(ANN, "999999", at).await.0;
        }
        assert!(matches!(db.redeem_in(flow, ANN, WRONG, at).await, CodeOutcome::Wrong { .. }));
    }
}

async fn counted(db: &Database) -> i64 {
    db.count("SELECT CAST(COALESCE(SUM(counted), 0) AS BIGINT) FROM sign_in_flows").await
}

pub(crate) async fn guesses_count_against_the_flow_that_makes_them(db: &Database) {
    // Her code goes out last: she asks, strangers ask and guess, and no more mail goes out.
    let strangers: Vec<Flow> =
        vec![db.begin_flow(ANN, "111111", NOW).await.0, db.begin_flow(ANN, "222222", NOW).await.0];
    let (anns, _) = db.begin_flow(ANN, "123456", NOW).await;
    for flow in strangers {
        for remaining in [2, 1, 0] {
            assert_eq!(db.redeem_in(flow, ANN, WRONG, NOW).await, wrong(remaining));
        }
        for code in [WRONG, "123456"] {
            assert_eq!(
                db.redeem_in(flow, ANN, code, NOW).await,
                CodeOutcome::TooManyAttempts,
                "not even the right one"
            );
        }
    }
    assert_eq!(db.redeem_in(anns, ANN, WRONG, NOW).await, wrong(2), "none of it is hers");
    assert!(is_right(&db.redeem_in(anns, ANN, "123456", NOW).await));
    assert_eq!(db.redeem_in(anns, ANN, "123456", NOW).await, CodeOutcome::TooManyAttempts, "a flow ends with its code");
}

pub(crate) async fn a_flow_that_was_not_begun_has_no_guesses(db: &Database) {
    let bob = "bob@example.com";
    let (bobs, _) = db.begin_flow(bob, "654321", NOW).await;
    let (anns, _) = db.begin_flow(ANN, "123456", NOW).await;
    let made_up = Flow::Named(digest(&["made up"]));
    for flow in [made_up, bobs] {
        assert_eq!(db.redeem_in(flow, ANN, "123456", NOW).await, CodeOutcome::TooManyAttempts);
    }
    let late = NOW.plus(10 * MINUTE);
    assert_eq!(db.redeem_in(anns, ANN, "123456", late).await, CodeOutcome::Expired);
    assert_eq!(counted(db).await, 0);
    assert!(is_right(&db.redeem_in(bobs, bob, "654321", NOW).await), "nothing of it is taken from him");
    assert!(is_right(&db.redeem_in(anns, ANN, "123456", NOW).await));
}

pub(crate) async fn who_names_no_flow_shares_three_guesses_at_each_code(db: &Database) {
    for (code, is_sent) in [("111111", false), ("222222", true), ("333333", true)] {
        let mut flow = None;
        if is_sent {
            flow = Some(db.begin_flow(ANN, code, NOW).await.0);
        }
        for remaining in [2, 1, 0] {
            assert_eq!(db.redeem(ANN, WRONG, NOW).await, wrong(remaining), "the same whether there is a code or none");
        }
        for typed in [WRONG, code] {
            assert_eq!(db.redeem(ANN, typed, NOW).await, CodeOutcome::TooManyAttempts);
        }
        if let Some(flow) = flow {
            assert!(is_right(&db.redeem_in(flow, ANN, code, NOW).await), "flows do not notice");
            assert_eq!(db.redeem(ANN, WRONG, NOW).await, wrong(2), "and the right code makes them begin anew");
        }
    }
    let later = NOW.plus(10 * MINUTE);
    assert_eq!(db.redeem(ANN, WRONG, later).await, wrong(2), "so does time");
}

pub(crate) async fn no_guess_hurts_the_link(db: &Database) {
    let link = LinkSecret { purpose: CodePurpose::SignInByEmail, digest: digest(&["link", ANN, "123456"]) };
    let (anns, _) = db.begin_flow(ANN, "123456", NOW).await;
    for _ in 0..4 {
        db.redeem(ANN, WRONG, NOW).await;
    }
    guess(db, 17, NOW).await;
    assert_eq!(db.redeem_in(anns, ANN, "123456", NOW).await, CodeOutcome::TooManyAttempts, "the code is dead");
    let template = db.redemption(ANN, "", NOW).sign_in;
    let outcome = db.store.redeem_link(&link, &template).await.unwrap();
    assert!(matches!(outcome, TradedLink::Right(SignInOutcome::SignedIn(_))), "{outcome:?}");
}

pub(crate) async fn a_mailbox_that_has_had_enough_gets_a_flow_and_no_mail_while_a_code_works(db: &Database) {
    let (first, shape) = db.begin_flow_without_room(ANN, "111111", NOW).await;
    assert_eq!(shape, Some(CodeShape::SixDigits), "there is none that would do");
    let (second, shape) = db.begin_flow_without_room(ANN, "222222", NOW.plus(4 * MINUTE)).await;
    assert_eq!(shape, None);
    // Whoever asked later has the code that was sent, in a flow of their own.
    for remaining in [2, 1, 0] {
        assert_eq!(db.redeem_in(first, ANN, WRONG, NOW.plus(5 * MINUTE)).await, wrong(remaining));
    }
    assert_eq!(db.redeem_in(second, ANN, "222222", NOW.plus(5 * MINUTE)).await, wrong(2), "nobody was sent this one");
    let end = NOW.plus(10 * MINUTE);
    assert_eq!(
        db.redeem_in(second, ANN, "111111", end).await,
        CodeOutcome::Expired,
        "a flow makes no code live longer"
    );
    assert!(is_right(&db.redeem_in(second, ANN, "111111", end.minus(Duration::from_millis(1))).await));

    let (_, shape) = db.begin_flow_without_room(ANN, "333333", NOW.plus(5 * MINUTE)).await;
    assert_eq!(shape, Some(CodeShape::SixDigits), "the one before is spent");
    let late = NOW.plus(10 * MINUTE).plus(Duration::from_millis(1));
    let (third, shape) = db.begin_flow_without_room(ANN, "444444", late).await;
    assert_eq!(shape, Some(CodeShape::SixDigits), "the one before has less than five minutes left");
    assert!(is_right(&db.redeem_in(third, ANN, "444444", late).await));
}

pub(crate) async fn a_code_dies_of_twenty_guesses_and_longer_ones_of_none(db: &Database) {
    let (anns, shape) = db.begin_flow(ANN, "123456", NOW).await;
    assert_eq!(shape, Some(CodeShape::SixDigits));
    guess(db, 20, NOW).await;
    assert_eq!(db.redeem_in(anns, ANN, "123456", NOW).await, CodeOutcome::TooManyAttempts, "it is dead");
    assert_eq!((counted(db).await, db.count("SELECT attempts FROM one_time_codes").await), (20, 20));
    assert_eq!(db.redeem_in(anns, ANN, WRONG, NOW).await, wrong(1));
    assert_eq!(counted(db).await, 20, "what could not be right does not count");

    let (again, shape) = db.begin_flow_without_room(ANN, "222222", NOW).await;
    assert_eq!(shape, Some(CodeShape::TenCharacters), "she gets another at once, whatever the quota");
    guess(db, 60, NOW).await;
    assert_eq!(db.redeem_in(again, ANN, "222222", NOW).await, wrong(2), "it is not the one of six digits");
    assert!(is_right(&db.redeem_in(again, ANN, &long("222222"), NOW).await));
    assert_eq!(counted(db).await, 20);

    // A day without a guess, and not a moment less.
    let calm = NOW.plus(GUARDED_FOR);
    let (_, shape) = db.begin_flow(ANN, "333333", calm.minus(Duration::from_millis(1))).await;
    assert_eq!(shape, Some(CodeShape::TenCharacters));
    let (flow, shape) = db.begin_flow(ANN, "333333", calm).await;
    assert_eq!(shape, Some(CodeShape::SixDigits));
    assert!(is_right(&db.redeem_in(flow, ANN, "333333", calm).await));
}

pub(crate) async fn a_mailbox_suffers_eighty_guesses_a_year(db: &Database) {
    // A stranger who knows the rules: nineteen guesses at each code.
    let mut at = NOW;
    let (mut six, mut ten) = (0, 0);
    for _ in 0..12 {
        at = at.plus(2 * DAY);
        match db.begin_flow(ANN, "123456", at).await.1 {
            Some(CodeShape::SixDigits) => six += 1,
            _ => ten += 1,
        }
        guess(db, 19, at).await;
    }
    assert_eq!((six, ten), (4, 8), "as soon as fewer than twenty are left, codes are longer");
    assert_eq!(counted(db).await, 76);
    assert!(counted(db).await <= i64::from(GUESSES_PER_YEAR));

    // What a program of an older version has put there meanwhile is no way around it.
    db.by_hand("UPDATE one_time_codes SET long_id = NULL").await;
    guess(db, 10, at).await;
    assert_eq!(counted(db).await, i64::from(GUESSES_PER_YEAR));

    // The first nineteen count for a year.
    let later = NOW.plus(2 * DAY).plus(GUESSES_COUNT_FOR);
    let (_, shape) = db.begin_flow(ANN, "123456", later).await;
    assert_eq!(shape, Some(CodeShape::TenCharacters));
    let (_, shape) = db.begin_flow(ANN, "123456", later.plus(10 * MINUTE)).await;
    assert_eq!(shape, Some(CodeShape::TenCharacters), "eighty less nineteen leave room for nineteen");
    let (_, shape) = db.begin_flow(ANN, "123456", later.plus(2 * DAY).plus(10 * MINUTE)).await;
    assert_eq!(shape, Some(CodeShape::SixDigits));
    assert_eq!(db.begin_flow("bob@example.com", "123456", at).await.1, Some(CodeShape::SixDigits), "nobody else's");
}

pub(crate) async fn whoever_has_the_right_code_takes_their_guesses_back(db: &Database) {
    for _ in 0..100 {
        let (flow, shape) = db.begin_flow(ANN, "123456", NOW).await;
        assert_eq!(shape, Some(CodeShape::SixDigits), "who mistypes twice each time is no stranger");
        assert_eq!(db.redeem_in(flow, ANN, WRONG, NOW).await, wrong(2));
        assert_eq!(db.redeem_in(flow, ANN, WRONG, NOW).await, wrong(1));
        assert!(is_right(&db.redeem_in(flow, ANN, "123456", NOW).await));
    }
    assert_eq!(counted(db).await, 0);

    // A stranger's are not taken back, nor are those that name no flow.
    let (flow, _) = db.begin_flow(ANN, "123456", NOW).await;
    guess(db, 3, NOW).await;
    assert_eq!(db.redeem(ANN, WRONG, NOW).await, wrong(2));
    assert!(is_right(&db.redeem_in(flow, ANN, "123456", NOW).await));
    assert_eq!(counted(db).await, 4);
    db.put_code(ANN, "123456", NOW).await;
    assert_eq!(db.redeem(ANN, WRONG, NOW).await, wrong(2));
    assert!(is_right(&db.redeem(ANN, "123456", NOW).await));
    assert_eq!(counted(db).await, 5);
}

pub(crate) async fn of_parallel_guesses_three_a_flow_and_twenty_a_code_are_compared(db: &Database) {
    let mut all = 0;
    for round in 0..6u32 {
        let at = NOW.plus(2 * DAY * round);
        let (anns, shape) = db.begin_flow(ANN, "123456", at).await;
        let mut flows = Vec::new();
        for _ in 0..11 {
            flows.push(db.begin_flow_without_room(ANN, "999999", at).await.0);
        }
        // Four guesses of each flow, and some of none, all at once.
        let outcomes = in_parallel((0..64usize).map(|number| {
            let flow = flows.get(number % 16);
            let mut redemption = db.redemption(ANN, &format!("{:06}", 100 + number), at);
            redemption.flow = flow.copied().unwrap_or(redemption.flow);
            let store = db.instance(number);
            async move { (number % 16, store.redeem_code(&redemption).await.unwrap()) }
        }))
        .await;
        for flow in 0..11 {
            let mut remaining: Vec<_> = outcomes
                .iter()
                .filter(|(number, _)| *number == flow)
                .filter_map(|(_, outcome)| match outcome {
                    CodeOutcome::Wrong { attempts_remaining } => Some(*attempts_remaining),
                    _ => None,
                })
                .collect();
            remaining.sort_unstable();
            assert_eq!(remaining, [0, 1, 2], "round {round}, flow {flow}");
        }
        let shared =
            outcomes.iter().filter(|(number, outcome)| *number > 10 && matches!(outcome, CodeOutcome::Wrong { .. }));
        assert_eq!(shared.count(), 3, "round {round}");

        let before = all;
        all = counted(db).await;
        if shape == Some(CodeShape::SixDigits) {
            assert_eq!((round, all - before), (round, 20), "36 were looked at, and 20 compared with the code");
            assert_eq!(db.redeem_in(anns, ANN, "123456", at).await, CodeOutcome::TooManyAttempts);
        } else {
            assert_eq!(all, before, "round {round}");
            assert!(is_right(&db.redeem_in(anns, ANN, &long("123456"), at).await), "no guess hurts this one");
        }
    }
    assert_eq!(all, i64::from(GUESSES_PER_YEAR));
}

/// By what the database is asked to do, which time follows, and by what it leaves behind.
pub(crate) async fn a_guess_does_the_same_whether_there_is_a_code_or_an_account(db: &Database) {
    let known = db.user("known@example.com").await;
    let mut left = Vec::new();
    for (email, has_code) in
        [("known@example.com", true), ("known@example.com", false), ("a@example.com", true), ("b@example.com", false)]
    {
        db.by_hand("DELETE FROM sign_in_flows").await;
        db.by_hand("DELETE FROM one_time_codes").await;
        db.by_hand("DELETE FROM audit_events").await;
        let (flow, _) = db.begin_flow(email, "123456", NOW).await;
        if !has_code {
            db.by_hand("DELETE FROM one_time_codes").await;
        }
        db.by_hand("DELETE FROM audit_events").await;
        let mut outcomes = Vec::new();
        for _ in 0..4 {
            outcomes.push(db.redeem_in(flow, email, WRONG, NOW).await);
        }
        for _ in 0..4 {
            outcomes.push(db.store.redeem_code(&db.redemption(email, WRONG, NOW)).await.unwrap());
        }
        let looked_at = db.count("SELECT CAST(SUM(guesses) AS BIGINT) FROM sign_in_flows").await;
        let events = db.count("SELECT COUNT(*) FROM audit_events WHERE type = 'sign_in.failed'").await;
        left.push((outcomes, looked_at, events));
    }
    assert!(left.windows(2).all(|pair| pair[0] == pair[1]), "{left:?}");
    assert_eq!(left[0].2, 6);
    assert_eq!(db.count_events(&known, domain::audit::EventType::SignInFailed).await, 0, "those were deleted above");
}

pub(crate) async fn flows_that_are_over_go_in_batches(db: &Database) {
    for number in 0..3 {
        db.begin_flow(&format!("a{number}@example.com"), "123456", NOW).await;
    }
    db.begin_flow(ANN, "123456", NOW).await;
    guess(db, 20, NOW).await;
    let rows = async || (db.count_rows("sign_in_flows").await, db.count_rows("guarded_subjects").await);
    assert_eq!(rows().await, (11, 1), "three, hers, and seven that guessed");
    let hour = Duration::from_hours(1);
    assert_eq!(db.store.purge_flows(NOW.plus(10 * MINUTE).plus(hour), 2).await.unwrap(), 0);
    let over = NOW.plus(11 * MINUTE).plus(hour);
    for purged in [2, 2, 0] {
        assert_eq!(db.store.purge_flows(over, 2).await.unwrap(), purged);
    }
    assert_eq!(rows().await, (7, 1), "what counts stays");
    assert_eq!(db.store.purge_flows(NOW.plus(GUARDED_FOR).plus(MINUTE), 9).await.unwrap(), 1);
    assert_eq!(rows().await, (7, 0));
    assert_eq!(db.store.purge_flows(NOW.plus(GUESSES_COUNT_FOR).plus(11 * MINUTE), 9).await.unwrap(), 7);
    assert_eq!(rows().await, (0, 0));
}
