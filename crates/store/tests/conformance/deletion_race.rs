//! Everything that writes something of a user, at the same moment as their account is deleted. Whatever comes first,
//! nothing of the person is left in the end.

use domain::audit::EventType;
use domain::{ClientInfo, PairingId, TokenId, UserCode, UserId};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use store::{
    Approval, Decision, Import, LeakRemedy, MethodType, NewEvent, NewExchangeCode, NewLink, NewLinkCode, NewOAuthLink,
    NewPairing, NewReauthFlow, NewToken, Profile, ProfileChange, ReauthCode, Reauthentication, Refresh, SecondProof,
    Session, Store, TokenUse, User, WalletChallenge, WalletPurpose, WayIn,
};

use crate::chain::seal;
use crate::database::{DAY, Database, LIMITS, MINUTE, NOW, digest, digest_of, guess, in_parallel, plenty, seal_key};
use crate::deletion::{SETTLED, finish};

const ROUNDS: usize = 200;
/// In every text that a person enters or their programs send.
const MARK: &str = "zq7marker";
const ADDRESS: &str = "198.51.100.77";
const NUMBER: &str = "+15550177";

fn marked(name: &str) -> String {
    format!("{MARK} {name}")
}

/// From where the person acts.
fn client() -> ClientInfo {
    ClientInfo {
        ip: Some(ADDRESS.parse().unwrap()),
        user_agent: Some(marked("agent")),
        request_id: Some(marked("request")),
    }
}

fn event(db: &Database) -> NewEvent {
    let metadata = [("note".to_owned(), marked("note"))].into();
    NewEvent { client: client(), metadata, ..db.event(NOW) }
}

/// What a round begins with: an account with something of everything.
struct Person {
    db: Database,
    round: usize,
    email: String,
    user: User,
    sessions: Vec<Session>,
    tokens: Vec<(NewToken, TokenId)>,
}

impl Person {
    async fn new(db: Database, round: usize) -> Self {
        let email = format!("{MARK}{round}@example.com");
        let mut sessions = Vec::new();
        for _ in 0..3 {
            db.put_code(&email, "123456", NOW).await;
            let mut redemption = db.redemption(&email, "123456", NOW);
            redemption.sign_in.client = client();
            match db.store.redeem_code(&redemption).await.unwrap() {
                store::CodeOutcome::Right(store::SignInOutcome::SignedIn(signed_in)) => sessions.push(*signed_in),
                other => panic!("{other:?}"),
            }
        }
        let user = sessions[0].user.clone();
        let mut tokens = Vec::new();
        for number in 0..5 {
            let name = format!("{MARK} token {number}").parse().unwrap();
            let new = NewToken { name, expires_at: (number == 4).then(|| NOW.plus(MINUTE)), ..db.new_token(&user) };
            db.store.create_token(&new, &LIMITS, &event(&db)).await.unwrap();
            tokens.push((new.clone(), new.id));
        }
        db.put_code(&email, "123456", NOW).await;
        let sessions = sessions.into_iter().map(|signed_in| signed_in.session).collect();
        Self { db, round, email, user, sessions, tokens }
    }

    fn id(&self) -> UserId {
        self.user.id.clone()
    }

    fn store(&self, number: usize) -> Store {
        self.db.instance(number)
    }

    fn event(&self) -> NewEvent {
        event(&self.db)
    }

    fn link(&self, way_in: WayIn) -> NewLink {
        NewLink { user_id: self.id(), method_id: self.db.redemption("", "", NOW).sign_in.method_id, way_in }
    }

    fn phone(&self) -> WayIn {
        WayIn { method: MethodType::Sms, provider: None, identifier: format!("{NUMBER}{:03}", self.round) }
    }

    /// Somebody else's pairing, that the person decides about.
    async fn pairing(&self, number: usize) -> PairingId {
        let letter =
            |place: u32| char::from(b"BCDFGHJKLMNPQRSTVWXZ"[(self.round * 2 + number) / 20usize.pow(place) % 20]);
        let id: PairingId = format!("pairing-{}-{number}", self.round).parse().unwrap();
        let user_code: UserCode = format!("BCDFG{}{}{}", letter(2), letter(1), letter(0)).parse().unwrap();
        let new = NewPairing {
            poll_digest: digest(&[id.as_str()]),
            id: id.clone(),
            user_code,
            name: marked("laptop").parse().unwrap(),
            scopes: "projects:*".parse().unwrap(),
            client: client(),
            at: NOW,
            expires_at: NOW.plus(10 * MINUTE),
        };
        assert!(self.db.store.start_pairing(&new).await.unwrap());
        id
    }
}

type Racer = BoxFuture<'static, ()>;

/// Whatever becomes of it.
fn whatever<T: 'static>(work: impl Future<Output = T> + Send + 'static) -> Racer {
    work.map(|_| ()).boxed()
}

/// What the account's sessions and codes do.
async fn sessions_and_codes(person: &Person) -> Vec<Racer> {
    let (db, email) = (&person.db, person.email.clone());
    let mut racers: Vec<Racer> = Vec::new();
    let (store, code, event) = (person.store(0), db.new_code(&email, "123456", NOW.plus(10 * MINUTE)), person.event());
    racers.push(async move { drop(store.put_code(&code, &event, &plenty(NOW)).await.unwrap()) }.boxed());
    for typed in ["654321", "123456"] {
        let (store, mut redemption) = (person.store(1), db.redemption(&email, typed, NOW));
        redemption.sign_in.client = client();
        racers.push(async move { drop(store.redeem_code(&redemption).await) }.boxed());
    }
    let code = NewExchangeCode {
        digest: digest(&["exchange", &email]),
        way_in: WayIn {
            method: MethodType::OAuth,
            provider: Some("github".to_owned()),
            identifier: format!("{MARK} at github {}", person.round),
        },
        profile: Profile {
            email: Some(email.clone()),
            display_name: Some(marked("name")),
            avatar_url: Some(format!("https://example.com/{MARK}")),
        },
        challenge: None,
        expires_at: NOW.plus(MINUTE),
    };
    db.store.put_exchange_code(&code, NOW).await.unwrap();
    let (store, mut template) = (person.store(0), db.redemption("", "", NOW).sign_in);
    template.client = client();
    racers.push(async move { drop(store.redeem_exchange_code(&code.digest, None, &template).await) }.boxed());

    for (number, session) in person.sessions.iter().take(2).enumerate() {
        let presented = if number == 0 { digest_of(session) } else { digest(&["an old one"]) };
        let refresh = Refresh {
            session_id: session.id.clone(),
            user_id: person.id(),
            presented,
            grace: MINUTE,
            expires_at: NOW.plus(DAY),
        };
        let (store, event) = (person.store(number), person.event());
        racers.push(async move { drop(store.refresh_session(&refresh, digest_of, &event).await.unwrap()) }.boxed());
    }
    let (store, user_id, event) = (person.store(0), person.id(), person.event());
    let (kept, ended) = (person.sessions[0].id.clone(), person.sessions[2].id.clone());
    racers.push(
        async move {
            store.end_session(&user_id, &ended, &event).await.unwrap();
        }
        .boxed(),
    );
    let (store, user_id, event) = (person.store(1), person.id(), person.event());
    racers.push(whatever(async move { store.end_other_sessions(&user_id, &kept, &event).await.unwrap() }));
    racers
}

/// What the account's tokens do.
fn tokens(person: &Person) -> Vec<Racer> {
    let db = &person.db;
    let mut racers: Vec<Racer> = Vec::new();
    for kind in [EventType::TokenLimited, EventType::TokenExchanged] {
        let (store, user_id, event) = (person.store(0), person.id(), person.event());
        racers.push(async move { store.append_event(kind, Some(&user_id), &event).await.unwrap() }.boxed());
    }
    let use_of = |number: usize| TokenUse {
        token_id: person.tokens[number].1.clone(),
        at: NOW,
        client: client(),
        event_id: person.event().id,
    };
    let (store, uses) = (person.store(1), [use_of(0), use_of(1)]);
    racers.push(async move { store.record_token_uses(&uses).await.unwrap() }.boxed());
    let (store, new, event) = (person.store(0), db.new_token(&person.user), person.event());
    let new = NewToken { name: marked("one more").parse().unwrap(), ..new };
    racers.push(async move { drop(store.create_token(&new, &LIMITS, &event).await.unwrap()) }.boxed());
    let (store, user_id, event) = (person.store(1), person.id(), person.event());
    let (id, secret) = (person.tokens[1].1.clone(), db.new_secret(&seal_key("present")));
    racers.push(async move { drop(store.rotate_token(&user_id, &id, &secret, DAY, &event).await.unwrap()) }.boxed());
    let (store, user_id, event, id) = (person.store(0), person.id(), person.event(), person.tokens[2].1.clone());
    racers.push(async move { drop(store.delete_token(&user_id, &id, &event).await.unwrap()) }.boxed());
    let (store, user_id, event, (new, id)) = (person.store(1), person.id(), person.event(), person.tokens[3].clone());
    racers.push(
        async move {
            store.record_leak(&user_id, &id, &new.secret.id, LeakRemedy::Revoke, &event).await.unwrap();
        }
        .boxed(),
    );
    let (store, event) = (person.store(0), person.event());
    racers.push(
        async move {
            store.purge_tokens(NOW.plus(2 * MINUTE), 1, || event.clone()).await.unwrap();
        }
        .boxed(),
    );
    let (key, secret) = (seal_key("present"), db.new_secret(&seal_key("present")));
    let import = Import {
        id: format!("imported-{}", person.round).parse().unwrap(),
        user_id: person.id(),
        owner: None,
        name: marked("imported").parse().unwrap(),
        scopes: domain::Scopes::all(),
        expires_at: None,
        last_used_at: None,
        created_at: NOW,
        secret_id: secret.id.clone(),
        digest: secret.digest,
        seal_key: key.id().clone(),
        prefix: "old_".to_owned(),
        hint: None,
    };
    let (store, event) = (person.store(1), person.event());
    racers.push(
        async move {
            store.import_tokens(&[(import, "$2b$10$hash".to_owned())], || event.clone()).await.unwrap();
        }
        .boxed(),
    );
    racers
}

/// What the account itself does, its ways in, its second factor and its pairings.
async fn account(person: &Person) -> Vec<Racer> {
    let mut racers: Vec<Racer> = Vec::new();
    let (store, user_id, event) = (person.store(0), person.id(), person.event());
    let change = ProfileChange { display_name: Some(Some(marked("name"))), ..ProfileChange::default() };
    racers.push(async move { drop(store.update_profile(&user_id, &change, &event).await.unwrap()) }.boxed());

    // The phone is linked before by a code; a second address is being linked, which is the first one's end.
    crate::methods::link(&person.db, &person.user, person.phone()).await;
    // An address that has left the account before its end is not its any more, so it is the phone that leaves.
    let methods = person.db.store.list_methods(&person.id()).await.unwrap();
    let phone = methods.iter().find(|method| method.kind == "sms").unwrap();
    let new = WayIn::email(&format!("{MARK}new{}@example.com", person.round));
    let code =
        NewLinkCode { user_id: person.id(), digest: digest(&["code"]), way_in: new.clone(), expires_at: NOW.plus(DAY) };
    person.db.store.put_link_code(&code, &plenty(NOW)).await.unwrap();
    let (store, event, link) = (person.store(1), person.event(), person.link(new));
    racers
        .push(async move { drop(store.redeem_link_code(&link, &guess(&digest(&["code"])), 3, &event).await) }.boxed());
    let (store, user_id, event, id) = (person.store(0), person.id(), person.event(), phone.id.clone());
    racers.push(whatever(async move { store.set_primary_method(&user_id, &id, &event).await.unwrap() }));
    let (store, user_id, event, id) = (person.store(1), person.id(), person.event(), phone.id.clone());
    racers.push(
        async move {
            store.unlink_method(&user_id, &id, &event).await.unwrap();
        }
        .boxed(),
    );
    // What is kept beside, with no event.
    let store = person.store(0);
    let code = NewLinkCode { way_in: person.phone(), ..code };
    let oauth = NewOAuthLink {
        digest: digest(&["oauth", person.user.id.as_str()]),
        provider: "github".to_owned(),
        asked_by: store::ProofFor {
            purpose: store::ProofPurpose::Link,
            user_id: person.id(),
            session_id: person.sessions[0].id.clone(),
        },
        redirect_url: format!("https://{MARK}.example.com/"),
        expires_at: NOW.plus(MINUTE),
    };
    let challenge = WalletChallenge {
        digest: digest(&["wallet", person.user.id.as_str()]),
        purpose: WalletPurpose::Link,
        user_id: Some(person.id()),
        address: "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed".parse().unwrap(),
        chain_id: "1".to_owned(),
        message: marked("message"),
        expires_at: NOW.plus(MINUTE),
    };
    racers.push(
        async move {
            // Whose account is gone already keeps nothing.
            drop(store.put_link_code(&code, &plenty(NOW)).await);
            drop(store.put_oauth_link(&oauth, NOW).await);
            drop(store.put_wallet_challenge(&challenge, NOW).await);
        }
        .boxed(),
    );

    racers.push(second_factor(person).await);

    let (approved, denied) = (person.pairing(0).await, person.pairing(1).await);
    let (store, user_id, event) = (person.store(0), person.id(), person.event());
    racers.push(
        async move { drop(store.decide_pairing(&denied, &user_id, &Decision::Deny, &LIMITS, &event).await) }.boxed(),
    );
    let (store, user_id, event, minted) = (person.store(1), person.id(), person.event(), person.event());
    let secret = person.db.new_secret(&seal_key("present"));
    racers.push(
        async move {
            let approve = Decision::Approve(Approval::default());
            drop(store.decide_pairing(&approved, &user_id, &approve, &LIMITS, &event).await);
            let (proof, id) = (digest(&[approved.as_str()]), secret.id.as_str().parse().unwrap());
            drop(store.mint_for_pairing(&approved, &proof, &id, &secret, &LIMITS, &minted).await);
        }
        .boxed(),
    );
    if person.round.is_multiple_of(4) {
        let (store, user_id, ids) = (person.store(0), person.id(), (0..20).map(|_| person.event()).collect::<Vec<_>>());
        racers.push(
            async move {
                let next = std::sync::atomic::AtomicUsize::new(1);
                let new_event = || ids[next.fetch_add(1, std::sync::atomic::Ordering::Relaxed) % ids.len()].clone();
                drop(store.disable_user(&user_id, new_event).await);
                drop(store.enable_user(&user_id, &ids[0]).await);
            }
            .boxed(),
        );
    }
    racers
}

/// What is done with a second factor, or without one: in one round this, in another that, since the first changes what
/// the other may.
async fn second_factor(person: &Person) -> BoxFuture<'static, ()> {
    let (store, user_id, events) = (person.store(1), person.id(), [person.event(), person.event(), person.event()]);
    if person.round % 4 == 3 {
        let session_id = person.sessions[2].id.clone();
        let flow = NewReauthFlow {
            digest: digest(&["reauth", user_id.as_str()]),
            session_id: session_id.clone(),
            user_id: user_id.clone(),
            way_in: WayIn::email(&person.email),
            code_digest: digest(&["right"]),
            expires_at: NOW.plus(MINUTE),
        };
        let guess = |typed: &str| ReauthCode {
            method: MethodType::Email,
            flow: None,
            digest: digest(&[typed]),
            max_attempts: 5,
        };
        let late = NewReauthFlow { digest: digest(&["late", user_id.as_str()]), ..flow.clone() };
        let who = Reauthentication { user_id, session_id, max_failures: 20 };
        assert!(store.put_reauth_flow(&flow, &plenty(NOW), NOW).await.unwrap().is_some());
        if person.round == 3 {
            // Beside a deletion both are rarely in time.
            for typed in ["wrong", "right"] {
                store.reauthenticate_by_code(&who, &guess(typed), &person.event()).await.unwrap();
            }
        }
        return async move {
            for (typed, event) in ["wrong", "right"].into_iter().zip(&events) {
                drop(store.reauthenticate_by_code(&who, &guess(typed), event).await);
            }
            drop(store.put_reauth_flow(&late, &plenty(NOW), NOW).await);
        }
        .boxed();
    }
    store.put_factor(&user_id, "secret", seal_key("seal").id(), &person.event()).await.unwrap();
    let factor = store.find_factor(&user_id).await.unwrap().unwrap();
    let codes = [digest(&["backup"])];
    if person.round % 4 == 1 {
        assert!(store.enable_factor(&user_id, &factor, 1, &codes, &person.event()).await.unwrap());
        let is_lost = person.round % 8 == 5;
        return async move {
            let (proof, new) = (SecondProof::BackupCode(codes[0]), [digest(&["new"])]);
            if is_lost {
                drop(store.reset_factor(&user_id, &events[0]).await);
            } else {
                drop(store.replace_backup_codes(&user_id, &factor, &proof, &new, &events[0]).await);
            }
        }
        .boxed();
    }
    async move {
        drop(store.enable_factor(&user_id, &factor, 1, &codes, &events[0]).await);
        store.record_mfa_failure(&user_id, &events[1]).await.unwrap();
        drop(store.disable_factor(&user_id, &SecondProof::Step(2), &events[2]).await);
    }
    .boxed()
}

pub(crate) async fn whatever_is_written_beside_a_deletion_nothing_of_the_person_is_left(db: &Database) {
    let mut deleted: Vec<UserId> = Vec::new();
    for round in 0..ROUNDS {
        let person = Person::new(db.share(), round).await;
        if round == 1 {
            // Beside a deletion both are rarely in time.
            db.store.disable_user(&person.id(), || person.event()).await.unwrap();
            db.store.enable_user(&person.id(), &person.event()).await.unwrap();
        }
        if round == 2 {
            // A lost reply, asked for again from elsewhere.
            let (session, mut event) = (&person.sessions[1], person.event());
            let refresh = Refresh {
                session_id: session.id.clone(),
                user_id: person.id(),
                presented: digest_of(session),
                grace: MINUTE,
                expires_at: NOW.plus(DAY),
            };
            db.store.refresh_session(&refresh, digest_of, &event).await.unwrap();
            event = NewEvent { client: crate::database::client("203.0.113.7"), ..person.event() };
            db.store.refresh_session(&refresh, digest_of, &event).await.unwrap();
        }
        let link = if round % 4 == 0 { Some(crate::undo::link(db, &person.user, NOW).await) } else { None };
        if let Some(link) = link.filter(|_| round == 4) {
            db.store.secure_user(&link, 0, 500, || person.event()).await.unwrap();
        }
        let mut racers = sessions_and_codes(&person).await;
        racers.append(&mut tokens(&person));
        racers.append(&mut account(&person).await);
        if round == 0 {
            let found = traces(db).await;
            for column in ["users.email", "sessions.ip", "audit_events.metadata", "personal_access_tokens.name"] {
                assert!(found.iter().any(|trace| trace == column), "{column} is not looked at: {found:?}");
            }
        }
        if let Some(link) = link {
            let (store, other) = (db.instance(round), db.share());
            racers.push(whatever(async move { store.secure_user(&link, 0, 500, || event(&other)).await.unwrap() }));
        }
        let (store, user_id, event) = (db.instance(round), person.id(), person.event());
        let deleting = async move { assert!(store.delete_user(&user_id, &event).await.unwrap()) };
        racers.push(deleting.boxed());
        // The deletion is among the first in one round, among the last in another.
        let places = racers.len();
        racers.rotate_left((round * 7) % places);
        let store = db.instance(round + 1);
        racers.push(whatever(async move { seal(&store, "sealer", NOW, 50).await }));
        let other = db.share();
        racers.push(whatever(async move { finish(&other, NOW).await }));
        in_parallel(racers).await;
        deleted.push(person.id());
        // Whoever signed in after the end has a new account, which goes as well.
        for way_in in [WayIn::email(&person.email), person.phone()] {
            while let Some(new) = db.store.find_user_by_way_in(&way_in).await.unwrap() {
                assert_ne!(new.id, person.user.id, "round {round}");
                assert!(db.store.delete_user(&new.id, &person.event()).await.unwrap());
                deleted.push(new.id);
            }
        }
    }
    finish(db, NOW).await;
    finish(db, NOW.plus(SETTLED)).await;
    // What they are told about their end goes when they are gone.
    assert!(!crate::notices::deliver(db, NOW.plus(MINUTE)).await.is_empty());
    while seal(&db.store, "sealer", NOW, 500).await != Some(0) {}
    // A program that nobody has decided about is nobody's.
    db.by_hand("DELETE FROM pairings WHERE user_id IS NULL").await;
    assert_eq!(traces(db).await, [] as [String; 0]);
    assert_eq!(db.count("SELECT COUNT(*) FROM users").await, 0);
    assert_eq!(db.store.verify_chain().await.unwrap().problem, None);

    // Each kind of event that concerns a user has been there.
    let of_users = ["user.", "code.", "sign_in.", "method.", "mfa.", "session.", "token.", "pairing."];
    let mut seen = std::collections::HashSet::new();
    for id in &deleted {
        for event in db.store.list_events(id, None, None, 1_000).await.unwrap().events {
            seen.insert(event.kind);
        }
    }
    for kind in EventType::ALL.iter().filter(|kind| of_users.iter().any(|prefix| kind.as_str().starts_with(prefix))) {
        assert!(seen.contains(kind), "{kind} was never written");
    }
}

/// The columns, of all there are, that hold something of the person.
async fn traces(db: &Database) -> Vec<String> {
    let mut found = Vec::new();
    for (table, column) in db.text_columns().await {
        let texts = [MARK, ADDRESS, &NUMBER[1..]].map(|text| format!("{column} LIKE '%{text}%'")).join(" OR ");
        let rows = db.count_of(&format!("SELECT COUNT(*) FROM {table} WHERE {texts}")).await;
        if rows > 0 {
            found.push(format!("{table}.{column}"));
        }
    }
    found
}
