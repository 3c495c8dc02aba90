//! What one day has of messages, however many ask at once.

use store::{Allowance, Allowed, Channel, NewCode, NewLinkCode, Share, WayIn};

use crate::database::{DAY, Database, MINUTE, NOW, digest, in_parallel, plenty};

fn allowance(day: i64, all: u32, shares: Vec<(Share, u32)>) -> Allowance {
    Allowance { channel: Channel::Sms, day, all, shares }
}

async fn asked(db: &Database, subject: &str, allowance: &Allowance) -> Allowed {
    let code = db.new_code(subject, "123456", NOW.plus(MINUTE));
    db.store.put_code(&code, &db.event(NOW), allowance).await.unwrap().allowed
}

async fn counted(db: &Database, day: i64, share: &str) -> i64 {
    let sql = format!("SELECT COALESCE(MAX(sent), 0) FROM message_days WHERE day = {day} AND share = '{share}'");
    db.count_of(&sql).await
}

/// Each round asks for sixteen at once from two instances: half of them newcomers, half of them not.
pub(crate) async fn of_parallel_messages_no_more_than_each_share_are_counted(db: &Database) {
    for number in 0..8 {
        db.sign_in(&format!("known{number}@example.com")).await;
    }
    for round in 0..12 {
        let day = 100 + round;
        let shares = vec![
            (Share::Block("b".to_owned()), 9),
            (Share::Newcomers, 5),
            (Share::Country("DE".to_owned()), 4),
            (Share::NewcomersOfBlock("b".to_owned()), 3),
        ];
        let wanted = allowance(day, 10, shares);
        let outcomes = in_parallel((0..16).map(|number| {
            let who = if number % 2 == 0 { format!("new{day}-{number}") } else { format!("known{}", number / 2) };
            let code = db.new_code(&format!("{who}@example.com"), "123456", NOW.plus(MINUTE));
            let (store, event, wanted) = (db.instance(number / 2), db.event(NOW), wanted.clone());
            async move { (number % 2 == 0, store.put_code(&code, &event, &wanted).await.unwrap().allowed) }
        }))
        .await;
        let sent = |newcomer: bool| {
            let outcomes = outcomes.iter().filter(|(is_newcomer, _)| *is_newcomer == newcomer);
            outcomes.filter(|(_, allowed)| allowed.is_counted()).count()
        };
        assert!(sent(true) <= 3, "round {round}: {outcomes:?}");
        assert_eq!(sent(true) + sent(false), 9, "round {round}: {outcomes:?}");
        let mut places: Vec<_> = outcomes
            .iter()
            .filter_map(|(_, allowed)| match allowed {
                Allowed::Counted { today, .. } => Some(*today),
                Allowed::Unneeded { .. } | Allowed::Newcomer(_) | Allowed::Nobody(_) => None,
            })
            .collect();
        places.sort_unstable();
        let all = u32::try_from(places.len()).unwrap();
        assert_eq!(places, (1..=all).collect::<Vec<_>>(), "round {round}: each has a place of its own");
        assert_eq!(counted(db, day, "all").await, i64::from(all));
        assert_eq!(counted(db, day, "block:b").await, i64::from(all));
        for share in ["newcomers", "country:DE", "newcomers:b"] {
            assert_eq!(counted(db, day, share).await, i64::try_from(sent(true)).unwrap(), "{share}");
        }
        let refused = format!("SELECT COUNT(*) FROM one_time_codes WHERE subject LIKE 'new{day}-%'");
        assert_eq!(db.count_of(&refused).await, i64::try_from(sent(true)).unwrap(), "a refusal keeps nothing");
    }
}

pub(crate) async fn newcomers_wait_and_whoever_was_here_does_not(db: &Database) {
    db.sign_in("ann@example.com").await;
    let wanted = allowance(7, 4, vec![(Share::Newcomers, 2)]);
    let first = asked(db, "a@example.com", &wanted).await;
    assert_eq!(first, Allowed::Counted { today: 1, last_of: vec![], newcomers_wait: None });
    let last_of = vec![Share::Newcomers];
    assert_eq!(asked(db, "b@example.com", &wanted).await, Allowed::Counted { today: 2, last_of, newcomers_wait: None });
    assert_eq!(asked(db, "c@example.com", &wanted).await, Allowed::Newcomer(Share::Newcomers));
    let newcomers_wait = Some(Share::Newcomers);
    assert_eq!(
        asked(db, "ann@example.com", &wanted).await,
        Allowed::Counted { today: 3, last_of: vec![], newcomers_wait: newcomers_wait.clone() },
        "who is none is told the same"
    );
    assert_eq!(
        asked(db, "ann@example.com", &wanted).await,
        Allowed::Counted { today: 4, last_of: vec![Share::All], newcomers_wait }
    );
    for subject in ["ann@example.com", "c@example.com"] {
        assert_eq!(asked(db, subject, &wanted).await, Allowed::Nobody(Share::All));
    }
    assert_eq!(counted(db, 7, "all").await, 4);
    let raised = Allowance { all: 5, ..wanted.clone() };
    assert!(asked(db, "ann@example.com", &raised).await.is_counted(), "a raised cap counts on");
    assert!(asked(db, "c@example.com", &Allowance { day: 8, ..wanted }).await.is_counted(), "another day");
    let mail = Allowance { channel: Channel::Mail, ..raised };
    assert!(asked(db, "d@example.com", &mail).await.is_counted(), "another channel");
}

pub(crate) async fn past_the_quota_only_names_that_somebody_signs_in_by_get_a_message(db: &Database) {
    db.sign_in("known+1@gmail.com").await;
    let wanted = allowance(7, 9, vec![(Share::Newcomers, 5)]);
    let ask = async |email: &str, has_room: bool| {
        let code = NewCode { has_room, is_alias: true, ..db.new_code(email, "123456", NOW.plus(10 * MINUTE)) };
        let kept = db.store.put_code(&code, &db.event(NOW), &wanted).await.unwrap();
        (kept.shape.is_some(), kept.allowed.is_counted())
    };
    assert_eq!(ask("new+1@gmail.com", true).await, (true, true));
    for made_up in ["new+2@gmail.com", "new+3@gmail.com"] {
        assert_eq!(ask(made_up, false).await, (false, false));
    }
    assert_eq!(ask("known+1@gmail.com", false).await, (true, true));
    assert_eq!(ask("known+1@gmail.com", false).await, (false, false), "the one that was sent will do");
    assert_eq!(counted(db, 7, "all").await, 2);
    // Whoever needs none is told what whoever does is told.
    let full = Allowance { all: 2, ..wanted.clone() };
    let code = NewCode { has_room: false, ..db.new_code("known+1@gmail.com", "123456", NOW.plus(10 * MINUTE)) };
    let kept = db.store.put_code(&code, &db.event(NOW), &full).await.unwrap();
    assert_eq!(kept.allowed, Allowed::Nobody(Share::All));
}

pub(crate) async fn a_code_for_linking_counts_and_a_refused_one_is_not_kept(db: &Database) {
    let ann = db.user("ann@example.com").await;
    let code = |identifier: &str, typed: &str| NewLinkCode {
        user_id: ann.id.clone(),
        digest: digest(&[typed]),
        way_in: WayIn::email(identifier),
        expires_at: NOW.plus(MINUTE),
    };
    let wanted = allowance(7, 3, vec![(Share::Newcomers, 1)]);
    let put =
        async |identifier: &str, typed: &str| db.store.put_link_code(&code(identifier, typed), &wanted).await.unwrap();
    assert!(put("new@example.com", "123456").await.is_counted());
    assert_eq!(put("other@example.com", "654321").await, Allowed::Newcomer(Share::Newcomers));
    assert_eq!(db.count("SELECT COUNT(*) FROM link_codes WHERE identifier = 'new@example.com'").await, 1);
    assert!(put("ann@example.com", "123456").await.is_counted());
}

pub(crate) async fn days_that_are_over_go_in_batches(db: &Database) {
    for day in 100..105 {
        assert!(asked(db, "ann@example.com", &allowance(day, 9, vec![])).await.is_counted());
    }
    for deleted in [2, 1, 0] {
        assert_eq!(db.store.purge_message_days(103, 2).await.unwrap(), deleted);
    }
    assert_eq!(db.count("SELECT COUNT(*) FROM message_days").await, 2);
    assert!(plenty(NOW).day < plenty(NOW.plus(DAY)).day);
}
