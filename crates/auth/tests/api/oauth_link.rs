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
    assert_eq!(location(&reply), "https://app.example.com/account?linked=github");
    assert_eq!(world.count_events(&ann, "method.linked").await, 1);
    assert_eq!(world.count("SELECT COUNT(*) FROM sessions").await, 1, "linking signs nobody in");
    assert_eq!(world.count("SELECT COUNT(*) FROM exchange_codes").await, 0);
    assert_eq!(world.count("SELECT COUNT(*) FROM oauth_states").await, 0);

    assert_eq!(person(&sign_in_at(&world, &provider, "github").await).id, ann.id);
    come_back(&world, &back, &trip.cookie).await.fails(400, "INVALID_STATE");
    follow(&world, "github", reference.expose()).await.fails(400, "INVALID_STATE");

    // Once more is no change and no error.
    let reference = request_link(&world, &ann, "github").await;
    let again = crate::oauth_browser::trip("github", &follow(&world, "github", reference.expose()).await);
    let back = at_provider(&provider, &again).await;
    let reply = come_back(&world, &back, &again.cookie).await;
    assert_eq!(location(&reply), "https://app.example.com/account?linked=github");
    assert_eq!(world.count("SELECT COUNT(*) FROM auth_methods").await, 2);
}

#[tokio::test]
async fn what_is_somebody_elses_stays_theirs() {
    let (provider, world, ann) = start().await;
    let bob = person(&sign_in_at(&world, &provider, "github").await);
    assert_ne!(ann.id, bob.id);
    let reference = request_link(&world, &ann, "github").await;
    let trip = trip("github", &follow(&world, "github", reference.expose()).await);
    let back = at_provider(&provider, &trip).await;
    let reply = come_back(&world, &back, &trip.cookie).await;
    assert_eq!(location(&reply), "https://app.example.com/account?error=conflict");
    assert_eq!(world.count_events(&ann, "method.linked").await, 0);
    assert_eq!(person(&sign_in_at(&world, &provider, "github").await).id, bob.id);
}

/// Mallory asks for a link to her own account and sends Ann's browser there: Ann's GitHub would open Mallory's account.
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
        come_back(&world, &back, &trip.cookie).await.fails(400, "INVALID_STATE");
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
