use domain::audit::EventType;
use domain::{ClientInfo, PairingId};
use store::{
    Approval, CodeOutcome, CreationLimits, CreationOutcome, Decision, DecisionOutcome, FormOutcome, FormSignIn,
    MintOutcome, NewPairing, NewPairingForm, PairingStatus, PollOutcome, User,
};

use crate::database::{DAY, Database, LIMITS, MINUTE, NOW, client, digest, in_parallel, seal_key};

const ANN: &str = "ann@example.com";
const SECOND: std::time::Duration = std::time::Duration::from_secs(1);

/// A pairing whose poll secret has the digest of its id.
pub(crate) async fn start(db: &Database, number: usize) -> PairingId {
    let new = new_pairing(number);
    assert!(db.store.start_pairing(&new).await.unwrap());
    new.id
}

fn new_pairing(number: usize) -> NewPairing {
    // Three letters of the code tell eight thousand numbers apart.
    let letter = |place: u32| char::from(b"BCDFGHJKLMNPQRSTVWXZ"[number / 20usize.pow(place) % 20]);
    let id: PairingId = format!("pairing-{number}").parse().unwrap();
    NewPairing {
        poll_digest: digest(&[id.as_str()]),
        id,
        user_code: format!("BCDFG{}{}{}", letter(2), letter(1), letter(0)).parse().unwrap(),
        name: "laptop".parse().unwrap(),
        scopes: "projects:*".parse().unwrap(),
        client: client("192.0.2.7"),
        at: NOW,
        expires_at: NOW.plus(10 * MINUTE),
    }
}

async fn decide(db: &Database, id: &PairingId, user: &User, decision: Decision) -> DecisionOutcome {
    db.store.decide_pairing(id, &user.id, &decision, &LIMITS, &db.event(NOW)).await.unwrap()
}

async fn approve(db: &Database, id: &PairingId, user: &User) -> DecisionOutcome {
    decide(db, id, user, Decision::Approve(Approval::default())).await
}

async fn status(db: &Database, id: &PairingId) -> PairingStatus {
    db.store.find_pairing(id).await.unwrap().unwrap().status
}

/// A future that mints on one of the two instances.
fn mint(
    db: &Database,
    number: usize,
    id: &PairingId,
    limits: CreationLimits,
) -> impl Future<Output = MintOutcome> + Send + use<> {
    let (store, secret, event) = (db.instance(number), db.new_secret(&seal_key("present")), db.event(NOW));
    let (id, token_id) = (id.clone(), secret.id.as_str().parse().unwrap());
    async move {
        let proof = digest(&[id.as_str()]);
        store.mint_for_pairing(&id, &proof, &token_id, &secret, &limits, &event).await.unwrap()
    }
}

pub(crate) async fn a_pairing_goes_its_way(db: &Database) {
    let user = db.user(ANN).await;
    let id = start(db, 1).await;
    let pairing = db.store.find_pairing(&id).await.unwrap().unwrap();
    assert_eq!((pairing.status, pairing.ip), (PairingStatus::Pending, client("192.0.2.7").ip));
    let code = pairing.user_code.clone();
    assert_eq!(db.store.find_pairing_by_user_code(&code, NOW).await.unwrap(), Some(pairing));
    assert_eq!(db.store.find_pairing_by_user_code(&code, NOW.plus(10 * MINUTE)).await.unwrap(), None);
    assert_eq!(mint(db, 0, &id, LIMITS).await, MintOutcome::NotApproved);

    let terms = Approval { name: Some("my laptop".parse().unwrap()), scopes: None, expires_at: Some(NOW.plus(DAY)) };
    assert_eq!(decide(db, &id, &user, Decision::Approve(terms)).await, DecisionOutcome::Decided);
    assert_eq!(approve(db, &id, &user).await, DecisionOutcome::AlreadyDecided);
    assert_eq!(decide(db, &id, &user, Decision::Deny).await, DecisionOutcome::AlreadyDecided);
    assert_eq!(db.store.find_pairing_by_user_code(&code, NOW).await.unwrap(), None);
    assert_eq!(db.store.list_tokens(&user.id).await.unwrap(), []);

    let MintOutcome::Minted(token) = mint(db, 0, &id, LIMITS).await else { panic!() };
    assert_eq!(db.store.list_tokens(&user.id).await.unwrap(), [*token.clone()]);
    assert_eq!((token.name.as_str(), token.expires_at), ("my laptop", Some(NOW.plus(DAY))));
    assert_eq!(token.scopes.to_string(), "projects:*");
    assert_eq!(mint(db, 0, &id, LIMITS).await, MintOutcome::NotApproved);
    assert_eq!(status(db, &id).await, PairingStatus::Used);
    let events = db.events(&user).await;
    let about = |kind| events.iter().filter(move |event| event.kind == kind).collect::<Vec<_>>();
    assert_eq!(about(EventType::TokenCreated).len(), 1);
    assert_eq!(about(EventType::TokenCreated)[0].metadata["pairingId"], id.as_str());
    assert_eq!(about(EventType::PairingApproved).len(), 1);
    assert_eq!(about(EventType::PairingApproved)[0].metadata["askedFrom"], "192.0.2.7");
    assert_eq!(about(EventType::PairingDenied).len(), 0);
}

pub(crate) async fn a_taken_user_code_is_not_given_again(db: &Database) {
    start(db, 1).await;
    let same_code = NewPairing { id: "another".parse().unwrap(), ..new_pairing(1) };
    assert!(!db.store.start_pairing(&same_code).await.unwrap());
    assert_eq!(db.count("SELECT COUNT(*) FROM pairings").await, 1);
}

pub(crate) async fn only_polls_with_the_secret_count(db: &Database) {
    let user = db.user(ANN).await;
    let id = start(db, 1).await;
    let poll = async |secret: &str, at| db.store.poll_pairing(&id, &digest(&[secret]), SECOND, at).await.unwrap();
    let unknown: PairingId = "unknown".parse().unwrap();
    let proof = digest(&[id.as_str()]);
    assert_eq!(db.store.poll_pairing(&unknown, &proof, SECOND, NOW).await.unwrap(), PollOutcome::Unknown);
    assert_eq!(poll("wrong", NOW).await, PollOutcome::WrongSecret);
    assert_eq!(poll(id.as_str(), NOW).await, PollOutcome::Pending);
    assert_eq!(poll(id.as_str(), NOW).await, PollOutcome::TooSoon { retry_at: NOW.plus(SECOND) });
    assert_eq!(poll("wrong", NOW.plus(SECOND)).await, PollOutcome::WrongSecret);
    assert_eq!(poll(id.as_str(), NOW.plus(SECOND)).await, PollOutcome::Pending);
    approve(db, &id, &user).await;
    assert_eq!(poll(id.as_str(), NOW.plus(2 * SECOND)).await, PollOutcome::Approved(user.id.clone()));
    assert_eq!(poll(id.as_str(), NOW.plus(10 * MINUTE)).await, PollOutcome::Expired);
    let (secret, event) = (db.new_secret(&seal_key("present")), db.event(NOW));
    let wrong = digest(&["wrong"]);
    let minted = db.store.mint_for_pairing(&id, &wrong, &"t".parse().unwrap(), &secret, &LIMITS, &event).await.unwrap();
    assert_eq!(minted, MintOutcome::NotApproved);
    assert_eq!(status(db, &id).await, PairingStatus::Approved);
}

pub(crate) async fn parallel_mints_make_one_token(db: &Database) {
    let user = db.user(ANN).await;
    for round in 0..20 {
        let id = start(db, round).await;
        approve(db, &id, &user).await;
        let outcomes = in_parallel((0..20).map(|number| mint(db, number, &id, LIMITS))).await;
        let minted = outcomes.iter().filter(|outcome| matches!(outcome, MintOutcome::Minted(_))).count();
        let too_late = outcomes.iter().filter(|outcome| **outcome == MintOutcome::NotApproved).count();
        assert_eq!((minted, too_late), (1, 19), "round {round}: {outcomes:?}");
    }
    assert_eq!(db.store.list_tokens(&user.id).await.unwrap().len(), 20);
    assert_eq!(db.count_events(&user, EventType::TokenCreated).await, 20);
}

pub(crate) async fn of_parallel_decisions_one_stands(db: &Database) {
    let users = [db.user(ANN).await, db.user("bob@example.com").await];
    for round in 0..20 {
        let id = start(db, round).await;
        let outcomes = in_parallel((0..20).map(|number| {
            let (store, user, id) = (db.instance(number), users[number % 2].clone(), id.clone());
            let deny = (number + round).is_multiple_of(3);
            let decision = if deny { Decision::Deny } else { Decision::Approve(Approval::default()) };
            let event = db.event(NOW);
            async move {
                let outcome = store.decide_pairing(&id, &user.id, &decision, &LIMITS, &event).await.unwrap();
                (outcome, if deny { PairingStatus::Denied } else { PairingStatus::Approved }, user)
            }
        }))
        .await;
        let standing: Vec<_> = outcomes.iter().filter(|(outcome, ..)| *outcome == DecisionOutcome::Decided).collect();
        assert_eq!(standing.len(), 1, "round {round}: {outcomes:?}");
        assert!(
            outcomes
                .iter()
                .all(|(outcome, ..)| { matches!(outcome, DecisionOutcome::Decided | DecisionOutcome::AlreadyDecided) })
        );
        let (_, decided, user) = standing[0];
        assert_eq!(status(db, &id).await, *decided);
        if *decided == PairingStatus::Approved {
            let MintOutcome::Minted(token) = mint(db, 0, &id, LIMITS).await else { panic!() };
            assert_eq!(token.user_id, user.id, "round {round}");
        }
    }
    let decisions = "SELECT COUNT(*) FROM audit_events WHERE type IN ('pairing.approved', 'pairing.denied')";
    assert_eq!(db.count(decisions).await, 20);
}

pub(crate) async fn a_poll_beside_its_approval_sees_before_or_after(db: &Database) {
    let user = db.user(ANN).await;
    for round in 0..20 {
        let id = start(db, round).await;
        let polls = (0..10).map(|number| {
            let (store, other, id, user) = (db.instance(number), db.instance(number + 1), id.clone(), user.clone());
            let (event, later) = (db.event(NOW), NOW.plus(SECOND * u32::try_from(number).unwrap()));
            let minting = mint(db, number, &id, LIMITS);
            async move {
                let approval = Decision::Approve(Approval::default());
                if number == 5 {
                    other.decide_pairing(&id, &user.id, &approval, &LIMITS, &event).await.unwrap();
                }
                let proof = digest(&[id.as_str()]);
                match store.poll_pairing(&id, &proof, SECOND, later).await.unwrap() {
                    PollOutcome::Approved(_) => matches!(minting.await, MintOutcome::Minted(_)),
                    PollOutcome::Pending | PollOutcome::TooSoon { .. } | PollOutcome::Used => false,
                    other => panic!("{other:?}"),
                }
            }
        });
        let minted = in_parallel(polls).await.into_iter().filter(|minted| *minted).count();
        let tokens = db.store.list_tokens(&user.id).await.unwrap().len();
        assert!(minted <= 1, "round {round}");
        if minted == 0 {
            assert!(matches!(mint(db, 0, &id, LIMITS).await, MintOutcome::Minted(_)), "round {round}");
            assert_eq!(db.store.list_tokens(&user.id).await.unwrap().len(), tokens + 1);
        }
        assert_eq!(db.store.list_tokens(&user.id).await.unwrap().len(), round + 1);
    }
}

pub(crate) async fn limits_on_creation_hold_at_both_steps(db: &Database) {
    let user = db.user(ANN).await;
    let (first, second) = (start(db, 1).await, start(db, 2).await);
    let one = CreationLimits { max_active: 1, ..LIMITS };
    approve(db, &first, &user).await;
    approve(db, &second, &user).await;
    let ids = [first, second.clone()];
    let outcomes = in_parallel((0..20).map(|number| mint(db, number, &ids[number % 2], one))).await;
    let minted = outcomes.iter().filter(|outcome| matches!(outcome, MintOutcome::Minted(_))).count();
    let refused = MintOutcome::Refused(CreationOutcome::TooManyActive);
    assert_eq!(minted, 1, "{outcomes:?}");
    assert!(outcomes.contains(&refused));
    assert_eq!(db.store.list_tokens(&user.id).await.unwrap().len(), 1);

    let third = start(db, 3).await;
    let approval = Decision::Approve(Approval::default());
    let decided = db.store.decide_pairing(&third, &user.id, &approval, &one, &db.event(NOW)).await.unwrap();
    assert_eq!(decided, DecisionOutcome::Refused(CreationOutcome::TooManyActive));
    assert_eq!(status(db, &third).await, PairingStatus::Pending);
    let denied = db.store.decide_pairing(&third, &user.id, &Decision::Deny, &one, &db.event(NOW)).await.unwrap();
    assert_eq!(denied, DecisionOutcome::Decided, "refusing costs nothing");

    db.disable(&user).await;
    let fourth = start(db, 4).await;
    assert_eq!(approve(db, &fourth, &user).await, DecisionOutcome::Refused(CreationOutcome::NoUser));
}

pub(crate) async fn a_form_decides_once_in_its_users_name(db: &Database) {
    for round in 0..10 {
        let email = format!("person{round}@example.com");
        let (id, other) = (start(db, 2 * round).await, start(db, 2 * round + 1).await);
        let form = NewPairingForm {
            digest: digest(&["form", id.as_str()]),
            newcomer: digest(&["newcomer", id.as_str()]),
            pairing_id: id.clone(),
            expires_at: NOW.plus(5 * MINUTE),
        };
        let user = db.user(&email).await;
        db.put_code(&email, "123456", NOW).await;
        let wrong = db.store.sign_in_to_pairing(&db.redemption(&email, "000000", NOW), &form).await.unwrap();
        assert_eq!(wrong, FormSignIn::NotRight(CodeOutcome::Wrong { attempts_remaining: 2 }));
        let right = db.redemption(&email, "123456", NOW);
        assert_eq!(db.store.sign_in_to_pairing(&right, &form).await.unwrap(), FormSignIn::SignedIn);
        let again = db.redemption(&email, "123456", NOW);
        let again = db.store.sign_in_to_pairing(&again, &form).await.unwrap();
        assert_eq!(again, FormSignIn::NotRight(CodeOutcome::Wrong { attempts_remaining: 2 }));

        let approval = Decision::Approve(Approval::default());
        let send = async |id: &PairingId, at| {
            let event = db.event(at);
            db.store.decide_pairing_by_form(&form.digest, id, &approval, &LIMITS, &event).await.unwrap()
        };
        assert_eq!(send(&other, NOW).await, FormOutcome::Unknown);
        assert_eq!(send(&id, NOW.plus(5 * MINUTE)).await, FormOutcome::Unknown);
        let outcomes = in_parallel((0..20).map(|number| {
            let (store, id, digest, event) = (db.instance(number), id.clone(), form.digest, db.event(NOW));
            let approval = approval.clone();
            async move { store.decide_pairing_by_form(&digest, &id, &approval, &LIMITS, &event).await.unwrap() }
        }))
        .await;
        let spent = FormOutcome::Spent(DecisionOutcome::Decided);
        assert_eq!(outcomes.iter().filter(|outcome| **outcome == spent).count(), 1, "{outcomes:?}");
        assert_eq!(outcomes.iter().filter(|outcome| **outcome == FormOutcome::Unknown).count(), 19);
        assert_eq!(status(db, &other).await, PairingStatus::Pending);
        let MintOutcome::Minted(token) = mint(db, 0, &id, LIMITS).await else { panic!() };
        assert_eq!(token.user_id, user.id);
    }
    assert_eq!(db.count("SELECT COUNT(*) FROM sessions").await, 10, "those from before");
    assert_eq!(db.count("SELECT COUNT(*) FROM pairing_forms").await, 0);
}

pub(crate) async fn whoever_decides_can_only_narrow(db: &Database) {
    let user = db.user(ANN).await;
    let id = start(db, 1).await;
    let with =
        |scopes: &str| Decision::Approve(Approval { scopes: Some(scopes.parse().unwrap()), ..Approval::default() });
    for wider in ["*", "projects:* tokens:read", "tokens:read", "projects"] {
        assert_eq!(decide(db, &id, &user, with(wider)).await, DecisionOutcome::Wider, "{wider}");
        assert_eq!(status(db, &id).await, PairingStatus::Pending);
    }
    assert_eq!(decide(db, &id, &user, with("projects:read projects:a:*")).await, DecisionOutcome::Decided);
    let MintOutcome::Minted(token) = mint(db, 0, &id, LIMITS).await else { panic!() };
    assert_eq!(token.scopes.to_string(), "projects:read projects:a:*");
}

fn form_for(id: &PairingId, name: &str) -> NewPairingForm {
    NewPairingForm {
        digest: digest(&["form", id.as_str(), name]),
        newcomer: digest(&["newcomer", id.as_str(), name]),
        pairing_id: id.clone(),
        expires_at: NOW.plus(5 * MINUTE),
    }
}

/// Whoever has no account is asked; of parallel answers one makes it.
pub(crate) async fn a_newcomer_is_asked_before_there_is_an_account(db: &Database) {
    for round in 0..10 {
        let id = start(db, round).await;
        let email = format!("new{round}@example.com");
        let asked = form_for(&id, "asked");
        let before = (db.count_rows("users").await, db.count_rows("auth_methods").await);
        db.put_code(&email, "123456", NOW).await;
        let redemption = db.redemption(&email, "123456", NOW);
        assert_eq!(db.store.sign_in_to_pairing(&redemption, &asked).await.unwrap(), FormSignIn::Newcomer);
        assert_eq!((db.count_rows("users").await, db.count_rows("auth_methods").await), before);
        assert_eq!(db.count_rows("pairing_forms").await, i64::try_from(round).unwrap());

        let template = db.redemption("", "", NOW).sign_in;
        let late = db.redemption("", "", NOW.plus(5 * MINUTE)).sign_in;
        let unknown = digest(&["unknown"]);
        for (newcomer, template) in [(&unknown, &template), (&asked.newcomer, &late)] {
            let made = db.store.make_account_for_pairing(newcomer, template, &form_for(&id, "x")).await.unwrap();
            assert_eq!(made, None);
        }
        let outcomes = in_parallel((0..16).map(|number| {
            let (store, template) = (db.instance(number), db.redemption("", "", NOW).sign_in);
            let (newcomer, form) = (asked.newcomer, form_for(&id, &number.to_string()));
            async move { store.make_account_for_pairing(&newcomer, &template, &form).await.unwrap() }
        }))
        .await;
        assert_eq!(outcomes.iter().flatten().collect::<Vec<_>>(), [&FormSignIn::SignedIn], "round {round}");
        assert_eq!((db.count_rows("users").await, db.count_rows("auth_methods").await), (before.0 + 1, before.1 + 1));
        assert_eq!(db.count_rows("pairing_forms").await, i64::try_from(round).unwrap() + 1);
    }
    assert_eq!(db.count_rows("sessions").await, 0);
}

pub(crate) async fn other_ways_lead_to_a_form_as_well(db: &Database) {
    let ann = db.user(ANN).await;
    let id = start(db, 1).await;
    let by_provider = store::NewSignIn {
        way_in: store::WayIn {
            method: store::MethodType::OAuth,
            provider: Some("github".to_owned()),
            identifier: "583231".to_owned(),
        },
        profile: store::Profile { email: Some(ANN.to_owned()), ..store::Profile::default() },
        ..db.redemption("", "", NOW).sign_in
    };
    let entered = db.store.sign_in_to_pairing_as(&by_provider, &form_for(&id, "github")).await.unwrap();
    assert_eq!(entered, FormSignIn::SignedIn, "whoever has the mailbox has the account");
    assert_eq!(db.count_rows("users").await, 1);

    let wallet: domain::wallet::WalletAddress = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed".parse().unwrap();
    let by_wallet = store::NewSignIn { way_in: store::WayIn::wallet(&wallet), ..db.redemption("", "", NOW).sign_in };
    for purpose in [store::WalletPurpose::SignIn, store::WalletPurpose::Pairing] {
        let challenge = store::WalletChallenge {
            digest: digest(&["challenge", purpose.as_str()]),
            purpose,
            user_id: None,
            address: wallet,
            chain_id: "1".to_owned(),
            message: "a message".to_owned(),
            expires_at: NOW.plus(MINUTE),
        };
        db.store.put_wallet_challenge(&challenge, NOW).await.unwrap();
        for number in 0..2 {
            let form = form_for(&id, &format!("{} {number}", purpose.as_str()));
            let entered = db.store.sign_in_to_pairing_by_wallet(&challenge.digest, &by_wallet, &form).await.unwrap();
            let is_right = purpose == store::WalletPurpose::Pairing && number == 0;
            assert_eq!(entered, is_right.then_some(FormSignIn::Newcomer), "for its purpose, once");
        }
    }
    assert_eq!(db.count_rows("users").await, 1);
    db.disable(&ann).await;
    let again = db.redemption("", "", NOW).sign_in;
    let again = store::NewSignIn { way_in: by_provider.way_in, profile: by_provider.profile, ..again };
    let entered = db.store.sign_in_to_pairing_as(&again, &form_for(&id, "again")).await.unwrap();
    assert_eq!(entered, FormSignIn::Disabled);
}

pub(crate) async fn pairings_that_are_over_go_in_batches(db: &Database) {
    for number in 0..5 {
        start(db, number).await;
    }
    let late = NewPairing { expires_at: NOW.plus(DAY), client: ClientInfo::default(), ..new_pairing(9) };
    db.store.start_pairing(&late).await.unwrap();
    for purged in [4, 1, 0] {
        assert_eq!(db.store.purge_pairings(NOW.plus(DAY), 4).await.unwrap(), purged);
    }
    assert_eq!(db.store.find_pairing(&late.id).await.unwrap().unwrap().ip, None);
}

/// Somebody who signs out everywhere else ends what a stolen session has let in and not yet fetched.
pub(crate) async fn a_session_that_has_ended_lets_nothing_in(db: &Database) {
    let by = |session: &store::Session| {
        let mut event = db.event(NOW);
        event.actor.session_id = Some(session.id.clone());
        event
    };
    let approving = Decision::Approve(Approval::default());
    let user = db.user(ANN).await;
    let [ended, kept] = [db.sign_in(ANN).await.session, db.sign_in(ANN).await.session];
    let ids = [start(db, 1).await, start(db, 2).await, start(db, 3).await];
    for (id, session) in [(&ids[0], &ended), (&ids[1], &kept)] {
        let decided = db.store.decide_pairing(id, &user.id, &approving, &LIMITS, &by(session)).await.unwrap();
        assert_eq!(decided, DecisionOutcome::Decided);
    }
    db.store.end_session(&user.id, &ended.id, &db.event(NOW)).await.unwrap().unwrap();

    let late = db.store.decide_pairing(&ids[2], &user.id, &approving, &LIMITS, &by(&ended)).await.unwrap();
    assert_eq!(late, DecisionOutcome::Refused(CreationOutcome::CallerGone));
    assert_eq!(status(db, &ids[2]).await, PairingStatus::Pending);
    assert_eq!(mint(db, 0, &ids[0], LIMITS).await, MintOutcome::Refused(CreationOutcome::CallerGone));
    assert_eq!(db.store.list_tokens(&user.id).await.unwrap(), []);
    assert!(matches!(mint(db, 0, &ids[1], LIMITS).await, MintOutcome::Minted(_)));
    assert_eq!(db.count_events(&user, EventType::TokenCreated).await, 1);
}
