//! Linking an account at a provider to the account of somebody who is signed in.

use serde_json::json;
use testkit::OAuthProvider;

use crate::client::{Reply, parallel};
use crate::oauth_browser::*;
use crate::world::{MINUTE, Person, World, person};

const PAGE: &str = "https://app.example.com/account/settings?tab=1";

async fn start() -> (OAuthProvider, World, Person) {
    let provider = OAuthProvider::start().await;
    provider.person(json!({ "id": 583_231, "login": "ann" }), json!([]));
    let world = world_with(&provider).await;
    let ann = world.ann().await;
    (provider, world, ann)
}

/// Follows the reference from a page of the app's.
async fn follow(world: &World, name: &str, reference: &str) -> Reply {
    world.get(&format!("/auth/oauth/{name}?link={reference}")).header("referer", PAGE).await
}

#[tokio::test]
async fn a_link_makes_the_provider_a_way_in() {
    let (provider, world, ann) = start().await;
    let reference = request_link(&world, &ann, "github").await;
    let trip = trip("github", &follow(&world, "github", reference.expose()).await);
    assert!(!trip.to.contains(reference.expose()));
    let back = at_provider(&provider, &trip).await;
    let reply = come_back(&world, &back, &trip.cookie).await;
    let code = code_of(&reply);
    assert_eq!(location(&reply), format!("https://app.example.com/account?code={code}"));
    assert_eq!(world.count("SELECT COUNT(*) FROM auth_methods").await, 1, "nothing has changed yet");
    assert_eq!(world.count_events(&ann, "method.linked").await, 0);

    finish_link(&world, &ann, &code).await.ok(200);
    assert_eq!(world.count_events(&ann, "method.linked").await, 1);
    assert_eq!(world.count("SELECT COUNT(*) FROM sessions").await, 1, "linking signs nobody in");
    assert_eq!(world.count("SELECT COUNT(*) FROM exchange_codes").await, 0);
    assert_eq!(world.count("SELECT COUNT(*) FROM oauth_states").await, 0);
    assert_eq!(world.count("SELECT COUNT(*) FROM oauth_proofs").await, 0);
    finish_link(&world, &ann, &code).await.fails(400, "INVALID_CODE");

    assert_eq!(person(&sign_in_at(&world, &provider, "github").await).id, ann.id);
    come_back(&world, &back, &trip.cookie).await.fails(400, "INVALID_STATE");
    follow(&world, "github", reference.expose()).await.fails(400, "INVALID_STATE");

    // Once more is no change and no error.
    let reference = request_link(&world, &ann, "github").await;
    let code = proof(&world, &provider, "github", &reference).await;
    finish_link(&world, &ann, &code).await.ok(200);
    assert_eq!(world.count("SELECT COUNT(*) FROM auth_methods").await, 2);
    assert!(!world.kept_bytes().windows(32).any(|bytes| bytes == code.as_bytes()), "only digests are kept");
}

#[tokio::test]
async fn what_is_somebody_elses_stays_theirs() {
    let (provider, world, ann) = start().await;
    let bob = person(&sign_in_at(&world, &provider, "github").await);
    assert_ne!(ann.id, bob.id);
    let reference = request_link(&world, &ann, "github").await;
    let code = proof(&world, &provider, "github", &reference).await;
    finish_link(&world, &ann, &code).await.fails(409, "CONFLICT");
    assert_eq!(world.count_events(&ann, "method.linked").await, 0);
    assert_eq!(person(&sign_in_at(&world, &provider, "github").await).id, bob.id);
}

/// Mallory starts a link and gets Ann's browser to go all the way, from a page of the app's even. The browser has a code in
/// the end, and the app that finds it there comes with Ann's session: neither account gets anything, and the code is dead.
#[tokio::test]
async fn another_browser_links_nothing_to_whoever_sent_it_there() {
    let (provider, world, mallory) = start().await;
    let ann = world.bob().await;
    let reference = request_link(&world, &mallory, "github").await;
    let code = proof(&world, &provider, "github", &reference).await;
    assert_eq!(world.count("SELECT COUNT(*) FROM auth_methods WHERE type = 'oauth'").await, 0);
    finish_link(&world, &ann, &code).await.fails(400, "INVALID_CODE");
    finish_link(&world, &mallory, &code).await.fails(400, "INVALID_CODE");
    // Nor does it sign in, or the reverse.
    let reference = request_link(&world, &mallory, "github").await;
    let code = proof(&world, &provider, "github", &reference).await;
    exchange(&world, &code).await.fails(400, "INVALID_CODE");
    let sign_in = code_of(&round_trip(&world, &provider, "github").await);
    finish_link(&world, &mallory, &sign_in).await.fails(400, "INVALID_CODE");
    for code in ["", "x", &"x".repeat(32)] {
        finish_link(&world, &mallory, code).await.fails(400, "INVALID_CODE");
    }
    assert_eq!(world.count("SELECT COUNT(*) FROM auth_methods WHERE type = 'oauth'").await, 0);
    for who in [&ann, &mallory] {
        assert_eq!(world.count_events(who, "method.linked").await, 0);
    }
}

#[tokio::test]
async fn a_link_ends_with_the_session_that_began_it() {
    let (provider, world, ann) = start().await;
    // Another session of the same person's is another.
    let elsewhere = world.ann().await;
    let reference = request_link(&world, &ann, "github").await;
    let code = proof(&world, &provider, "github", &reference).await;
    finish_link(&world, &elsewhere, &code).await.fails(400, "INVALID_CODE");

    let reference = request_link(&world, &ann, "github").await;
    let code = proof(&world, &provider, "github", &reference).await;
    world.post("/auth/logout").by(&ann.access).await.ok(200);
    finish_link(&world, &ann, &code).await.fails(401, "SESSION_REVOKED");
    finish_link(&world, &elsewhere, &code).await.fails(400, "INVALID_CODE");

    // A refreshed session is the same one; and the code is good for a minute.
    let ann = elsewhere;
    let reference = request_link(&world, &ann, "github").await;
    let code = proof(&world, &provider, "github", &reference).await;
    let renewed = person(&world.refresh(&ann.refresh).await.ok(200));
    world.clock.advance(MINUTE);
    finish_link(&world, &renewed, &code).await.fails(400, "INVALID_CODE");
    let reference = request_link(&world, &renewed, "github").await;
    let code = proof(&world, &provider, "github", &reference).await;
    finish_link(&world, &renewed, &code).await.ok(200);
    assert_eq!(world.count("SELECT COUNT(*) FROM auth_methods WHERE type = 'oauth'").await, 1);
}

/// Mallory asks for a link to her own account and sends Ann's browser there: it does not even start.
#[tokio::test]
async fn only_a_page_of_the_apps_own_can_begin_it() {
    let (provider, world, mallory) = start().await;
    let reference = request_link(&world, &mallory, "github").await;
    let path = format!("/auth/oauth/github?link={}", reference.expose());
    world.get(&path).await.fails(400, "INVALID_STATE");
    for page in
        ["https://evil.example/", "https://app.example.com.evil.example/", "about:blank", "", "null", PUBLIC_URL]
    {
        world.get(&path).header("referer", page).await.fails(400, "INVALID_STATE");
    }
    // The reference is not spent by it.
    let trip = trip("github", &follow(&world, "github", reference.expose()).await);
    let back = at_provider(&provider, &trip).await;
    location(&come_back(&world, &back, &trip.cookie).await);
}

#[tokio::test]
async fn a_reference_is_of_one_provider_and_two_minutes() {
    let (provider, world, ann) = start().await;
    let reference = request_link(&world, &ann, "github").await;
    follow(&world, "google", reference.expose()).await.fails(400, "INVALID_STATE");
    for other in ["", "x", &"x".repeat(32)] {
        follow(&world, "github", other).await.fails(400, "INVALID_STATE");
    }
    // Neither is it a state, nor is a state a reference.
    let back = format!("/auth/oauth/callback/github?code=x&state={}", reference.expose());
    let browser = leave(&world, "github").await;
    come_back(&world, &back, &browser.cookie).await.fails(400, "INVALID_STATE");
    let state = browser.to.split("state=").nth(1).unwrap()[..32].to_owned();
    follow(&world, "github", &state).await.fails(400, "INVALID_STATE");

    world.clock.advance(2 * MINUTE);
    follow(&world, "github", reference.expose()).await.fails(400, "INVALID_STATE");
    assert_eq!(provider.asked(), []);
    assert_eq!(world.count_events(&ann, "method.linked").await, 0);
}

#[tokio::test]
async fn a_link_to_an_account_that_is_no_more_is_refused() {
    for change in ["DELETE FROM users", "UPDATE users SET disabled_at = 1"] {
        let (provider, world, ann) = start().await;
        let reference = request_link(&world, &ann, "github").await;
        let trip = trip("github", &follow(&world, "github", reference.expose()).await);
        let back = at_provider(&provider, &trip).await;
        world.by_hand(change).await;
        let reply = come_back(&world, &back, &trip.cookie).await;
        if change.starts_with("DELETE") {
            reply.fails(400, "INVALID_STATE");
        } else {
            world.auth.look().await.unwrap();
            assert_eq!(finish_link(&world, &ann, &code_of(&reply)).await.status, 401);
        }
        assert_eq!(world.count("SELECT COUNT(*) FROM auth_methods WHERE type = 'oauth'").await, 0, "{change}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_parallel_followers_one_gets_on() {
    let (_provider, world, ann) = start().await;
    for round in 0..10 {
        let reference = request_link(&world, &ann, "github").await;
        let path = format!("/auth/oauth/github?link={}", reference.expose());
        let calls: Vec<_> = (0..20).map(|_| world.get(&path).header("referer", PAGE)).collect();
        let calls = std::sync::Mutex::new(calls);
        let replies = parallel(20, |_| calls.lock().unwrap().pop().unwrap().into_future()).await;
        assert_eq!(replies.iter().filter(|reply| reply.status == 302).count(), 1, "round {round}");
        assert_eq!(replies.iter().filter(|reply| reply.status == 400).count(), 19, "round {round}");
    }
}
