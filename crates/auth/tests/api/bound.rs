//! Codes that a browser carries, bound to whoever began what they come from (RFC 7636).

use serde_json::{Value, json};
use testkit::OAuthProvider;

use crate::client::{Reply, parallel};
use crate::oauth_browser::*;
use crate::world::{World, person};

/// RFC 7636, appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
const OTHER: &str = "another-verifier-of-the-right-length-000000000";
const ANN: &str = "ann@example.com";

async fn start() -> (OAuthProvider, World) {
    let provider = OAuthProvider::start().await;
    provider.person(json!({ "id": 583_231, "login": "ann" }), json!([]));
    let world = world_with(&provider).await;
    (provider, world)
}

/// A code of a sign-in at a provider that began with this query.
async fn code_with(world: &World, provider: &OAuthProvider, query: &str) -> String {
    let trip = leave_for(world, "github", query).await;
    assert!(!trip.to.contains(CHALLENGE), "the provider gets one of our own");
    let back = at_provider(provider, &trip).await;
    code_of(&come_back(world, &back, &trip.cookie).await)
}

async fn exchange_with(world: &World, code: &str, verifier: Value) -> Reply {
    world.post("/auth/exchange").json(&json!({ "code": code, "codeVerifier": verifier })).await
}

#[tokio::test]
async fn a_stolen_code_is_worth_nothing_without_the_verifier() {
    let (provider, world) = start().await;
    let bound = format!("?code_challenge={CHALLENGE}&code_challenge_method=S256");
    for verifier in [Value::Null, json!(OTHER), json!(CHALLENGE)] {
        let code = code_with(&world, &provider, &bound).await;
        exchange_with(&world, &code, verifier).await.fails(400, "INVALID_CODE");
        // Somebody has it who should not: it is of no use to anybody any more.
        exchange_with(&world, &code, json!(VERIFIER)).await.fails(400, "INVALID_CODE");
    }
    assert_eq!(world.count("SELECT COUNT(*) FROM users").await, 0);
    assert_eq!(world.count("SELECT COUNT(*) FROM sessions").await, 0);

    let code = code_with(&world, &provider, &format!("?code_challenge={CHALLENGE}")).await;
    // What is no verifier at all is told so and spends nothing.
    for malformed in [json!(""), json!("short"), json!("x".repeat(129)), json!(format!("{VERIFIER}\n"))] {
        exchange_with(&world, &code, malformed).await.fails_at("codeVerifier");
    }
    person(&exchange_with(&world, &code, json!(VERIFIER)).await.ok(200));
}

#[tokio::test]
async fn clients_that_send_no_challenge_go_on_as_before() {
    let (provider, world) = start().await;
    let code = code_with(&world, &provider, "").await;
    person(&exchange(&world, &code).await.ok(200));
    // A verifier where nobody gave a challenge: the code is of somebody else's sign-in (RFC 9700 §2.1.1).
    let code = code_with(&world, &provider, "").await;
    exchange_with(&world, &code, json!(VERIFIER)).await.fails(400, "INVALID_CODE");
    exchange(&world, &code).await.fails(400, "INVALID_CODE");
}

#[tokio::test]
async fn what_is_no_challenge_begins_nothing() {
    let (_provider, world) = start().await;
    let padded = format!("{CHALLENGE}=");
    for challenge in ["", "x", VERIFIER, &padded, &CHALLENGE[1..], &CHALLENGE.replace('-', "%2B"), &"%00".repeat(43)] {
        // A verifier of 43 characters may look like a challenge; this one does.
        if challenge == VERIFIER {
            continue;
        }
        world.get(&format!("/auth/oauth/github?code_challenge={challenge}")).await.fails_at("code_challenge");
        let request = json!({ "email": ANN, "codeChallenge": challenge });
        world.post("/auth/email/request").json(&request).await.fails_at("codeChallenge");
    }
    for method in ["plain", "s256", ""] {
        let query = format!("code_challenge={CHALLENGE}&code_challenge_method={method}");
        world.get(&format!("/auth/oauth/github?{query}")).await.fails_at("code_challenge_method");
    }
    let ann = world.ann().await;
    let reference = request_link(&world, &ann, "github").await;
    let link = format!("/auth/oauth/github?link={}&code_challenge={CHALLENGE}", reference.expose());
    world.get(&link).header("referer", APP_URL).await.fails_at("code_challenge");
    assert_eq!(world.count("SELECT COUNT(*) FROM oauth_states WHERE browser_digest IS NOT NULL").await, 0);
    assert_eq!(world.outbox.mails().len(), 1, "the one that signed Ann in");
}

#[tokio::test]
async fn a_mails_link_is_bound_to_the_app_that_asked() {
    let world = World::with(|setup| setup.config.app_url = Some(APP_URL.parse().unwrap())).await;
    let code = async || {
        let request = json!({ "email": ANN, "codeChallenge": CHALLENGE });
        world.post("/auth/email/request").json(&request).await.ok(200);
        let text = world.outbox.mails().remove(0).text;
        let token = text.split("/login/email/").nth(1).unwrap()[..32].to_owned();
        let pressed = world.post(&format!("/login/email/{token}")).body("application/x-www-form-urlencoded", "").await;
        assert_eq!(pressed.status, 303, "{}", pressed.text);
        pressed.header("location").rsplit_once("code=").unwrap().1.to_owned()
    };
    exchange(&world, &code().await).await.fails(400, "INVALID_CODE");
    exchange_with(&world, &code().await, json!(OTHER)).await.fails(400, "INVALID_CODE");
    assert_eq!(world.count("SELECT COUNT(*) FROM users").await, 0);
    let ann = person(&exchange_with(&world, &code().await, json!(VERIFIER)).await.ok(200));
    // Whoever reads the mailbox has the code in the mail as well, which is bound to nothing.
    assert_eq!(world.ann().await.id, ann.id);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_parallel_exchanges_one_is_looked_at() {
    let (provider, world) = start().await;
    for round in 0..10 {
        let code = code_with(&world, &provider, &format!("?code_challenge={CHALLENGE}")).await;
        let before = world.count("SELECT COUNT(*) FROM sessions").await;
        let replies = parallel(16, |number| {
            let verifier = if number % 2 == 0 { VERIFIER } else { OTHER };
            let request = json!({ "code": code, "codeVerifier": verifier });
            world.post("/auth/exchange").json(&request).into_future()
        })
        .await;
        let right = replies.iter().filter(|reply| reply.status == 200).count();
        assert!(right <= 1, "round {round}");
        let after = world.count("SELECT COUNT(*) FROM sessions").await;
        assert_eq!(usize::try_from(after - before).unwrap(), right, "round {round}");
    }
}
