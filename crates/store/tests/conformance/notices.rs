use std::collections::HashMap;
use std::time::Duration;

use domain::audit::EventType;
use domain::{EventId, Timestamp, UserId};
use store::{
    Addressee, Attempt, AuthMethod, ClaimedNotices, CodeOutcome, NewClaim, SecondProof, SignInOutcome, Store,
    UnlinkOutcome, User, WayIn,
};

use crate::database::{DAY, Database, MINUTE, NOW, client, digest, in_parallel, seal_key};

const ANN: &str = "ann@example.com";
const SECOND: &str = "ann@second.example";
const HOUR: Duration = Duration::from_hours(1);
/// When everything that happened at `NOW` may be told.
const DUE: Timestamp = Timestamp::from_millis(NOW.as_millis() + 5_000);

pub(crate) fn new_claim(db: &Database, at: Timestamp) -> NewClaim {
    let id = db.chance().with(|rng| EventId::generate(rng));
    NewClaim { undo: digest(&["undo", id.as_str()]), id, at, until: at.plus(2 * MINUTE), undo_until: at.plus(3 * DAY) }
}

async fn claim(db: &Database, store: &Store, to: &Addressee, at: Timestamp) -> Option<ClaimedNotices> {
    store.claim_notices(to, &new_claim(db, at)).await.unwrap()
}

/// Sends whatever is due, as an instance does, and returns it.
pub(crate) async fn deliver(db: &Database, at: Timestamp) -> Vec<ClaimedNotices> {
    let mut sent = Vec::new();
    loop {
        let due = db.store.due_notices(at, 64).await.unwrap();
        if due.is_empty() {
            return sent;
        }
        for to in due {
            if let Some(claimed) = claim(db, &db.store, &to, at).await {
                db.store.finish_notices(&claimed, Attempt::Sent).await.unwrap();
                sent.push(claimed);
            }
        }
    }
}

/// The kinds that each address is told of.
fn kinds(sent: &[ClaimedNotices]) -> HashMap<&str, Vec<EventType>> {
    let kinds = |claimed: &ClaimedNotices| claimed.notices.iter().map(|notice| notice.kind).collect();
    sent.iter().map(|claimed| (claimed.to.recipient.as_str(), kinds(claimed))).collect()
}

async fn method(db: &Database, user: &User, address: &str) -> AuthMethod {
    let methods = db.store.list_methods(&user.id).await.unwrap();
    methods.into_iter().find(|method| method.identifier == address).unwrap()
}

async fn two_addresses(db: &Database) -> User {
    let ann = db.user(ANN).await;
    crate::methods::link(db, &ann, WayIn::email(SECOND)).await;
    deliver(db, DUE).await;
    ann
}

pub(crate) async fn what_happens_is_told_to_every_proved_address_and_to_nobody_else(db: &Database) {
    let (ann, _bob) = (two_addresses(db).await, db.user("bob@example.com").await);
    crate::methods::link(db, &ann, WayIn::email("never-proved@example.com")).await;
    db.by_hand("UPDATE auth_methods SET verified = 0 WHERE identifier = 'never-proved@example.com'").await;
    deliver(db, DUE).await;
    let token = db.token(&ann).await;
    assert_eq!(db.store.due_notices(NOW, 10).await.unwrap(), [], "what happens together goes together");
    let sent = deliver(db, DUE).await;
    assert_eq!(
        kinds(&sent),
        HashMap::from([(ANN, vec![EventType::TokenCreated]), (SECOND, vec![EventType::TokenCreated])])
    );
    let notice = &sent[0].notices[0];
    assert_eq!((notice.at, notice.ip, notice.user_agent.as_deref()), (NOW, client("192.0.2.1").ip, Some("curl/8")));
    assert_eq!(notice.details["name"], token.name.as_str());
    assert!(sent[0].can_undo && sent[0].attempts == 1);

    // The one that is removed is told as well, with what it was, and of nothing after that.
    let second = method(db, &ann, SECOND).await;
    db.store.unlink_method(&ann.id, &second.id, &db.event(NOW)).await.unwrap();
    db.token(&ann).await;
    let sent = deliver(db, DUE).await;
    let both = vec![EventType::MethodUnlinked, EventType::TokenCreated];
    let mut found = kinds(&sent);
    for kinds in found.values_mut() {
        kinds.sort_by_key(|kind| kind.as_str());
    }
    assert_eq!(found, HashMap::from([(ANN, both), (SECOND, vec![EventType::MethodUnlinked])]));
    let removed = sent.iter().flat_map(|claimed| &claimed.notices).find(|it| it.kind == EventType::MethodUnlinked);
    assert_eq!(removed.unwrap().details["identifier"], SECOND);

    // What others notice by themselves, or what a token does for itself, is in nobody's mail.
    let mut by_itself = db.event(NOW);
    by_itself.actor.token_id = Some(token.id.clone());
    let secret = db.new_secret(&seal_key("present"));
    db.store.rotate_token(&ann.id, &token.id, &secret, DAY, &by_itself).await.unwrap().unwrap();
    db.store.delete_token(&ann.id, &token.id, &db.event(NOW)).await.unwrap().unwrap();
    assert_eq!(deliver(db, DUE).await, []);
    assert_eq!(db.store.count_notices().await.unwrap(), 0);
}

/// Two programs with several senders each, and a thousand people.
pub(crate) async fn of_a_thousand_notices_each_is_sent_once_by_parallel_senders(db: &Database) {
    let numbers = "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 1000)";
    for sql in [
        format!(
            "{numbers} INSERT INTO users (id, app_id, created_at, updated_at) SELECT 'u' || n, 'default', 1, 1 \
             FROM numbers"
        ),
        format!(
            "{numbers} INSERT INTO security_notices (event_id, recipient, app_id, user_id, type, at, details, due_at) \
             SELECT 'e' || n, 'u' || (n % 400) || '@example.com', 'default', 'u' || (n % 400 + 1), 'token.created', n, \
             '{{}}', {} FROM numbers",
            NOW.as_millis()
        ),
    ] {
        db.execute(&sql).await;
    }
    let senders = (0..8).map(|number| {
        let (db, store) = (db.share(), db.instance(number));
        async move {
            let mut sent = Vec::new();
            loop {
                let due = store.due_notices(NOW, 64).await.unwrap();
                if due.is_empty() {
                    return sent;
                }
                for to in due {
                    if let Some(claimed) = claim(&db, &store, &to, NOW).await {
                        // As long as it takes to send: others look meanwhile.
                        tokio::task::yield_now().await;
                        store.finish_notices(&claimed, Attempt::Sent).await.unwrap();
                        sent.extend(claimed.notices.into_iter().map(|notice| notice.event_id));
                    }
                }
            }
        }
    });
    let mut sent: Vec<EventId> = in_parallel(senders).await.into_iter().flatten().collect();
    assert_eq!(sent.len(), 1000);
    sent.sort_by(|one, other| one.as_str().cmp(other.as_str()));
    sent.dedup();
    assert_eq!(sent.len(), 1000, "none twice");
    assert_eq!(db.store.count_notices().await.unwrap(), 0);
}

pub(crate) async fn what_somebody_was_killed_at_is_sent_by_the_next_after_a_while(db: &Database) {
    let ann = db.user(ANN).await;
    db.token(&ann).await;
    let to = db.store.due_notices(DUE, 10).await.unwrap().remove(0);
    let taken = claim(db, &db.store, &to, DUE).await.unwrap();
    assert_eq!(claim(db, &db.other, &to, DUE).await, None, "somebody is at it");
    assert_eq!(db.other.due_notices(DUE.plus(MINUTE), 10).await.unwrap(), []);

    let later = DUE.plus(2 * MINUTE);
    assert_eq!(db.other.due_notices(later, 10).await.unwrap(), std::slice::from_ref(&to));
    let again = claim(db, &db.other, &to, later).await.unwrap();
    assert_eq!((&again.notices, again.attempts), (&taken.notices, 2));
    // The first was only slow, and comes to tell now: it is not its business any more.
    assert_eq!(db.store.finish_notices(&taken, Attempt::Sent).await.unwrap(), 0);
    assert_eq!(db.store.count_notices().await.unwrap(), 1);
    db.other.finish_notices(&again, Attempt::Sent).await.unwrap();
    assert_eq!(db.store.count_notices().await.unwrap(), 0);
}

pub(crate) async fn an_address_gets_ten_mails_at_once_then_one_an_hour_and_learns_of_everything(db: &Database) {
    let ann = db.user(ANN).await;
    let (mut mails, mut told, mut created) = (0, 0, 0);
    // A thief's program, or an operator's, at it all day: something every five minutes.
    let mut at = NOW;
    while at < NOW.plus(DAY) {
        let mut event = db.event(at);
        event.metadata.insert("number".to_owned(), created.to_string());
        db.store.create_token(&db.new_token(&ann), &generous(), &event).await.unwrap();
        created += 1;
        let sent = deliver(db, at.plus(Duration::from_secs(5))).await;
        mails += sent.len();
        told += sent.iter().map(|claimed| claimed.notices.len()).sum::<usize>();
        if created == 12 {
            assert_eq!(mails, 10);
        }
        at = at.plus(5 * MINUTE);
    }
    assert!((30..=34).contains(&mails), "{mails} mails in a day");
    told += deliver(db, at.plus(HOUR)).await.iter().map(|claimed| claimed.notices.len()).sum::<usize>();
    assert_eq!((told, created), (288, 288), "nothing is lost");

    // Another address has a budget of its own, and this one's is paid back.
    let bob = db.user("bob@example.com").await;
    db.store.create_token(&db.new_token(&bob), &generous(), &db.event(at)).await.unwrap();
    assert_eq!(deliver(db, at.plus(2 * HOUR)).await.len(), 1);
    assert_eq!(db.store.purge_mail_budgets(at.plus(DAY), 10).await.unwrap(), 2);
    assert_eq!(db.count_rows("security_mail_budgets").await, 0);
    // A clock that is set back by a year does not keep anybody untold.
    for _ in 0..3 {
        db.store.create_token(&db.new_token(&bob), &generous(), &db.event(at)).await.unwrap();
        deliver(db, at.plus(3 * HOUR)).await;
    }
    let earlier = at.minus(365 * DAY);
    db.store.create_token(&db.new_token(&bob), &generous(), &db.event(earlier)).await.unwrap();
    deliver(db, earlier.plus(MINUTE)).await;
    assert_eq!(deliver(db, earlier.plus(2 * HOUR)).await.len(), 1);
}

fn generous() -> store::CreationLimits {
    store::CreationLimits { creations: domain::Limit::per_day(10_000), max_active: 10_000 }
}

pub(crate) async fn many_notices_go_in_one_mail(db: &Database) {
    let ann = db.user(ANN).await;
    for _ in 0..250 {
        db.store.create_token(&db.new_token(&ann), &generous(), &db.event(NOW)).await.unwrap();
    }
    let sent = deliver(db, DUE).await;
    assert_eq!(sent.iter().map(|claimed| claimed.notices.len()).collect::<Vec<_>>(), [200, 50]);
}

pub(crate) async fn what_cannot_be_sent_waits_and_is_given_up_in_the_end(db: &Database) {
    let ann = db.user(ANN).await;
    db.token(&ann).await;
    let to = db.store.due_notices(DUE, 10).await.unwrap().remove(0);
    let mut claimed = claim(db, &db.store, &to, DUE).await.unwrap();
    let again_at = DUE.plus(MINUTE);
    let failed = |at: Timestamp| Attempt::Failed { given_up_before: at.minus(DAY), again_at };
    assert_eq!(db.store.finish_notices(&claimed, failed(DUE)).await.unwrap(), 0);
    assert_eq!(db.store.due_notices(DUE, 10).await.unwrap(), []);
    assert_eq!(db.other.due_notices(again_at, 10).await.unwrap(), std::slice::from_ref(&to));

    // What is new does not wait for it, and takes it along.
    db.token(&ann).await;
    claimed = claim(db, &db.other, &to, DUE).await.unwrap();
    assert_eq!((claimed.notices.len(), claimed.attempts), (2, 2));
    assert_eq!(db.store.finish_notices(&claimed, failed(NOW.plus(DAY))).await.unwrap(), 0, "not yet");
    claimed = claim(db, &db.store, &to, NOW.plus(DAY)).await.unwrap();
    assert_eq!(db.store.finish_notices(&claimed, failed(NOW.plus(DAY).plus(MINUTE))).await.unwrap(), 2);
    assert_eq!(db.store.count_notices().await.unwrap(), 0);
}

pub(crate) async fn the_mail_about_a_deletion_goes_when_the_account_is_gone(db: &Database) {
    let ann = two_addresses(db).await;
    db.token(&ann).await;
    crate::deletion::delete_all(db, &ann.id).await;
    assert_eq!(db.count_rows("users").await, 0);
    let sent = deliver(db, NOW.plus(MINUTE)).await;
    let expected = vec![EventType::TokenCreated, EventType::UserDeleted];
    let mut found = kinds(&sent);
    for kinds in found.values_mut() {
        kinds.sort_by_key(|kind| kind.as_str());
    }
    assert_eq!(found, HashMap::from([(ANN, expected.clone()), (SECOND, expected)]));
    assert!(sent.iter().all(|claimed| !claimed.can_undo), "there is nothing to undo");
    let last = sent[0].notices.iter().find(|notice| notice.kind == EventType::UserDeleted).unwrap();
    assert_eq!(last.ip, client("192.0.2.1").ip, "the mail says from where, as no event does");
    for table in ["security_notices", "security_mail_budgets", "undo_links", "known_devices"] {
        assert_eq!(db.count_rows(table).await, 0, "{table}");
    }
}

pub(crate) async fn an_installation_that_tells_nobody_keeps_nothing(db: &Database) {
    let ann = two_addresses(db).await;
    db.token(&ann).await;
    db.token(&ann).await;
    assert_eq!(db.store.discard_notices(NOW, 10).await.unwrap(), 0);
    assert_eq!(db.store.discard_notices(NOW.plus(MINUTE), 10).await.unwrap(), 4);
    assert_eq!(deliver(db, NOW.plus(MINUTE)).await, []);
}

/// Signs in with this device.
async fn sign_in_with(db: &Database, email: &str, device: &str, at: Timestamp) -> UserId {
    db.put_code(email, "123456", at).await;
    let mut redemption = db.redemption(email, "123456", at);
    redemption.sign_in.device = digest(&[device]);
    match db.store.redeem_code(&redemption).await.unwrap() {
        CodeOutcome::Right(SignInOutcome::SignedIn(signed_in)) => signed_in.user.id,
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn a_device_is_new_once_and_fifty_are_known(db: &Database) {
    let at = |number: u32| NOW.plus(MINUTE * number);
    let told = async |number: u32| deliver(db, at(number).plus(Duration::from_secs(5))).await.len();
    sign_in_with(db, ANN, "laptop", at(0)).await;
    assert_eq!(told(0).await, 0, "whose account it is signs in first");
    sign_in_with(db, ANN, "laptop", at(1)).await;
    assert_eq!(told(1).await, 0);
    sign_in_with(db, ANN, "phone", at(2)).await;
    let sent = deliver(db, at(3)).await;
    assert_eq!(sent[0].notices[0].kind, EventType::SignInSucceeded);
    assert_eq!(sent[0].notices[0].details["method"], "email");
    // To somebody else it is new, and their row is another one.
    sign_in_with(db, "bob@example.com", "laptop", at(3)).await;
    assert_eq!(db.count("SELECT COUNT(DISTINCT digest) FROM known_devices").await, 3);

    for number in 4..60 {
        sign_in_with(db, ANN, &format!("device {number}"), at(number)).await;
        db.store.discard_notices(at(number).plus(MINUTE), 100).await.unwrap();
    }
    assert_eq!(db.count_rows("known_devices").await, 51, "fifty, and Bob's");
    sign_in_with(db, ANN, "device 59", at(61)).await;
    assert_eq!(db.store.count_notices().await.unwrap(), 0);
    sign_in_with(db, ANN, "laptop", at(62)).await;
    assert_eq!(db.store.count_notices().await.unwrap(), 1, "forgotten long ago");
}

pub(crate) async fn parallel_sign_ins_by_a_new_device_are_told_once_each_way(db: &Database) {
    for round in 0..10 {
        let email = format!("ann{round}@example.com");
        sign_in_with(db, &email, "laptop", NOW).await;
        let sign_ins = (0..4).map(|number| {
            let (db, email) = (db.share(), email.clone());
            async move {
                let mut template = db.redemption(&email, "", NOW).sign_in;
                template.device = digest(&["phone"]);
                let code = store::NewExchangeCode {
                    digest: digest(&["exchange", &email, &number.to_string()]),
                    way_in: WayIn::email(&email),
                    profile: store::Profile::default(),
                    challenge: None,
                    expires_at: NOW.plus(MINUTE),
                };
                db.store.put_exchange_code(&code, NOW).await.unwrap();
                db.instance(number).redeem_exchange_code(&code.digest, None, &template).await.unwrap()
            }
        });
        for outcome in in_parallel(sign_ins).await {
            assert!(matches!(outcome, store::ExchangeOutcome::Right(SignInOutcome::SignedIn(_))), "round {round}");
        }
        assert_eq!(db.store.discard_notices(NOW.plus(MINUTE), 10).await.unwrap(), 1, "round {round}");
    }
}

pub(crate) async fn a_session_ends_with_the_way_in_that_it_began_with(db: &Database) {
    let first = db.sign_in(ANN).await;
    let ann = first.user.clone();
    crate::methods::link(db, &ann, WayIn::email(SECOND)).await;
    let (thief, owner) = (db.sign_in(SECOND).await, db.sign_in(ANN).await);
    // One that an older version of this program began: nobody knows by what.
    let older = db.sign_in(ANN).await;
    db.execute(&format!("UPDATE sessions SET method_id = NULL WHERE id = '{}'", older.session.id)).await;
    let other_session = db.sign_in("bob@example.com").await;

    let second = method(db, &ann, SECOND).await;
    let mut event = db.event(NOW);
    event.actor.session_id = Some(owner.session.id.clone());
    assert_eq!(db.store.unlink_method(&ann.id, &second.id, &event).await.unwrap(), UnlinkOutcome::Unlinked);
    let is_there =
        async |signed_in: &store::SignedIn| db.other.find_session(&signed_in.session.id).await.unwrap().is_some();
    assert!(!is_there(&thief).await && !is_there(&older).await);
    assert!(is_there(&first).await && is_there(&owner).await && is_there(&other_session).await);
    let owed = crate::owed_marks::owed(db).await;
    assert!(owed.contains(&store::MarkedCredential::Owner(ann.id.clone()).key()), "{owed:?}");
    let events = db.events(&ann).await;
    let unlinked = events.iter().find(|event| event.kind == EventType::MethodUnlinked).unwrap();
    assert_eq!(unlinked.metadata["sessionsEnded"], "2");

    // The session that asks goes on, whatever it began with.
    crate::methods::link(db, &ann, WayIn::email(SECOND)).await;
    let asks = db.sign_in(SECOND).await;
    let second = method(db, &ann, SECOND).await;
    event = db.event(NOW);
    event.actor.session_id = Some(asks.session.id.clone());
    db.store.unlink_method(&ann.id, &second.id, &event).await.unwrap();
    assert!(is_there(&asks).await);
}

pub(crate) async fn any_number_of_sessions_ends_with_a_way_in(db: &Database) {
    let owner = db.sign_in(ANN).await;
    let ann = owner.user.clone();
    crate::methods::link(db, &ann, WayIn::email(SECOND)).await;
    let second = method(db, &ann, SECOND).await;
    db.execute(&format!(
        "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 3000) INSERT INTO sessions \
         (id, app_id, user_id, generation, refresh_digest, created_at, last_seen_at, rotated_at, expires_at, \
         absolute_expires_at, method_id) SELECT 's-' || n, 'default', '{}', 0, 'd', n, n, n, {end}, {end}, '{}' \
         FROM numbers",
        ann.id,
        second.id,
        end = NOW.plus(DAY).as_millis()
    ))
    .await;
    let mut event = db.event(NOW);
    event.actor.session_id = Some(owner.session.id.clone());
    db.store.unlink_method(&ann.id, &second.id, &event).await.unwrap();
    let left = db.store.list_sessions(&ann.id, NOW).await.unwrap();
    assert_eq!(left.iter().map(|session| &session.id).collect::<Vec<_>>(), [&owner.session.id]);
    assert!(db.store.find_session(&"s-2999".parse().unwrap()).await.unwrap().is_none());
}

/// A first proof of what is removed before the second one comes.
pub(crate) async fn what_waits_for_its_second_proof_ends_with_its_way_in(db: &Database) {
    let ann = db.user(ANN).await;
    crate::methods::link(db, &ann, WayIn::email(SECOND)).await;
    db.store.put_factor(&ann.id, "secret", seal_key("seal").id(), &db.event(NOW)).await.unwrap();
    let factor = db.store.find_factor(&ann.id).await.unwrap().unwrap();
    let backup: Vec<_> = (0..10).map(|number| digest(&["backup", &number.to_string()])).collect();
    assert!(db.store.enable_factor(&ann.id, &factor, 1, &backup, &db.event(NOW)).await.unwrap());
    let waiting = async |email: &str| {
        db.put_code(email, "123456", NOW).await;
        let redemption = db.redemption(email, "123456", NOW);
        let outcome = db.store.redeem_code(&redemption).await.unwrap();
        assert_eq!(outcome, CodeOutcome::Right(SignInOutcome::MfaRequired));
        redemption.sign_in.mfa.digest
    };
    let (by_first, by_second) = (waiting(ANN).await, waiting(SECOND).await);
    let second = method(db, &ann, SECOND).await;
    db.store.unlink_method(&ann.id, &second.id, &db.event(NOW)).await.unwrap();

    let template = db.redemption("", "", NOW).sign_in;
    let outcome = db.store.finish_mfa(&by_second, &SecondProof::BackupCode(backup[0]), &template).await.unwrap();
    assert_eq!(outcome, store::MfaOutcome::NoProof);
    let outcome = db.store.finish_mfa(&by_first, &SecondProof::BackupCode(backup[0]), &template).await.unwrap();
    let store::MfaOutcome::Right(signed_in) = outcome else { panic!("the code is not spent: {outcome:?}") };

    // What began with two proofs ends with the first one's way in as well.
    crate::methods::link(db, &ann, WayIn::email("third@example.com")).await;
    let first = method(db, &ann, ANN).await;
    db.store.unlink_method(&ann.id, &first.id, &db.event(NOW)).await.unwrap();
    assert_eq!(db.store.find_session(&signed_in.session.id).await.unwrap(), None);
}
