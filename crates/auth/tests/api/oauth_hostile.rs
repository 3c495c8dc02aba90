//! OAuth in the hands of those who want into somebody else's account, and providers that fail.

use std::time::Duration;

use serde_json::json;
use testkit::{OAuthFault, OAuthProvider, OAuthStep};
use url::Url;

use crate::client::Reply;
use crate::oauth_browser::*;
use crate::world::{MINUTE, World};

async fn start() -> (OAuthProvider, World) {
    let provider = OAuthProvider::start().await;
    provider.person(json!({ "id": 1, "sub": "1", "data": { "id": "1" } }), json!([]));
    let world = world_with(&provider).await;
    (provider, world)
}

/// Nobody came into being, and no code was given out.
async fn assert_nothing_happened(world: &World) {
    for table in ["users", "sessions", "auth_methods", "exchange_codes", "audit_events"] {
        assert_eq!(world.count(&format!("SELECT COUNT(*) FROM {table}")).await, 0, "{table}");
    }
}

fn state_of(trip: &Trip) -> String {
    let url = Url::parse(&trip.to).unwrap();
    url.query_pairs().find(|(name, _)| name == "state").unwrap().1.into_owned()
}

#[track_caller]
fn refused(reply: Reply) {
    assert_eq!(reply.header("referrer-policy"), "no-referrer");
    assert_eq!(reply.header("set-cookie"), "", "a sign-in under way is left alone");
    reply.fails(400, "INVALID_STATE");
}

#[tokio::test]
async fn browsers_are_not_sent_to_foreign_places() {
    let (_provider, world) = start().await;
    for redirect in [
        "",
        "/",
        "//evil.example",
        "https://evil.example",
        "https://app.example.com.evil.example",
        "https://app.example.com@evil.example",
        "https://user@app.example.com",
        "https://evil.example#@app.example.com",
        "https://evil.example\\@app.example.com",
        "https://app.example.com\\@evil.example",
        "https:\\\\evil.example",
        "\\\\evil.example",
        "https://app.example.com:8443",
        "http://app.example.com",
        "HTTPS://EVIL.EXAMPLE",
        "https://app.example.com.",
        "javascript:alert(1)",
        "JavaScript://app.example.com/%0aalert(1)",
        "data:text/html,x",
        " https://app.example.com",
        "https://app.example.com\r\nSet-Cookie: x=y",
        "https://app.exa\tmple.com",
        PUBLIC_URL,
        "null",
        "*",
    ] {
        let query: String =
            url::form_urlencoded::Serializer::new(String::new()).append_pair("redirect_url", redirect).finish();
        let reply = world.get(&format!("/auth/oauth/github?{query}")).await;
        assert_eq!((reply.header("location"), reply.header("set-cookie")), ("", ""), "{redirect:?}");
        assert_eq!(reply.header("referrer-policy"), "no-referrer");
        reply.fails(400, "INVALID_REDIRECT");
    }
    let both = "redirect_url=https://app.example.com&redirect_url=https://evil.example";
    world.get(&format!("/auth/oauth/github?{both}")).await.fails(400, "VALIDATION_ERROR");
    assert_eq!(world.count("SELECT COUNT(*) FROM oauth_states").await, 0);
}

#[tokio::test]
async fn a_state_that_is_missing_or_made_up_is_refused() {
    let (provider, world) = start().await;
    let trip = leave(&world, "github").await;
    let (state, other) = (state_of(&trip), "x".repeat(32));
    for query in [
        String::new(),
        "?".to_owned(),
        "?code=x".to_owned(),
        "?code=x&state=".to_owned(),
        format!("?code=x&state={other}"),
        format!("?code=x&state={state}x"),
        format!("?code=x&state={}", &state[1..]),
        format!("?code=x&state={}", state.to_lowercase()),
        format!("?code=x&state={state}%00"),
        format!("?code=x&state={state}&state={other}"),
        format!("?code=x&code=y&state={state}"),
        format!("?error=access_denied&state={other}"),
        "?state=%ff".to_owned(),
    ] {
        refused(come_back(&world, &format!("/auth/oauth/callback/github{query}"), &trip.cookie).await);
    }
    assert_eq!(provider.asked(), []);
    assert_nothing_happened(&world).await;
    // None of it spent the real one.
    let back = at_provider(&provider, &trip).await;
    location(&come_back(&world, &back, &trip.cookie).await);
}

#[tokio::test]
async fn a_state_works_once() {
    let (provider, world) = start().await;
    let trip = leave(&world, "github").await;
    let back = at_provider(&provider, &trip).await;
    location(&come_back(&world, &back, &trip.cookie).await);
    let asked = provider.asked().len();
    refused(come_back(&world, &back, &trip.cookie).await);
    // With a fresh code of the provider's neither.
    let fresh = at_provider(&provider, &trip).await;
    refused(come_back(&world, &fresh, &trip.cookie).await);
    assert_eq!(provider.asked().len(), asked);
    assert_eq!(world.count("SELECT COUNT(*) FROM exchange_codes").await, 1);
}

#[tokio::test]
async fn a_state_of_another_provider_is_refused() {
    let (provider, world) = start().await;
    let trip = leave(&world, "github").await;
    let back = at_provider(&provider, &trip).await;
    for name in ["google", "twitter", "discord"] {
        let there = back.replace("/callback/github", &format!("/callback/{name}"));
        refused(come_back(&world, &there, &trip.cookie).await);
        let renamed = trip.cookie.replace("_github=", &format!("_{name}="));
        refused(come_back(&world, &there, &renamed).await);
    }
    assert_eq!(provider.asked(), []);
    assert_nothing_happened(&world).await;
    location(&come_back(&world, &back, &trip.cookie).await);
}

#[tokio::test]
async fn a_state_of_another_browser_is_refused() {
    let (provider, world) = start().await;
    // Mallory has gone all the way to the last step and sends Ann the rest.
    let mallory = leave(&world, "github").await;
    let back = at_provider(&provider, &mallory).await;
    let ann = leave(&world, "github").await;
    let value = mallory.cookie.split_once('=').unwrap().1;
    let half = &mallory.cookie[..mallory.cookie.len() - 1];
    refused(world.get(&back).await);
    for cookie in [
        ann.cookie.as_str(),
        "",
        ";;=;",
        half,
        &format!("af_oauth_github={value}"),
        &format!("__host-af_oauth_github={value}"),
        &format!("other={value}"),
        &format!("__Host-af_oauth_github=\"{value}\""),
    ] {
        refused(come_back(&world, &back, cookie).await);
    }
    assert_eq!(provider.asked(), []);
    assert_nothing_happened(&world).await;
    // Among other cookies the right one is found.
    let among = format!("a=b; {}; c=d", mallory.cookie);
    location(&come_back(&world, &back, &among).await);
}

#[tokio::test]
async fn a_state_is_over_after_ten_minutes() {
    let (provider, world) = start().await;
    let (late, just_in_time) = (leave(&world, "github").await, leave(&world, "github").await);
    world.clock.advance(10 * MINUTE - Duration::from_millis(1));
    let back = at_provider(&provider, &just_in_time).await;
    location(&come_back(&world, &back, &just_in_time.cookie).await);
    world.clock.advance(Duration::from_millis(1));
    let back = at_provider(&provider, &late).await;
    refused(come_back(&world, &back, &late.cookie).await);
}

/// The code of somebody else's authorization, put into one's own: the verifier does not fit.
#[tokio::test]
async fn a_code_of_another_authorization_is_worthless() {
    let (provider, world) = start().await;
    let (ann, mallory) = (leave(&world, "github").await, leave(&world, "github").await);
    let anns = at_provider(&provider, &ann).await;
    let stolen = anns.replace(&state_of(&ann), &state_of(&mallory));
    come_back(&world, &stolen, &mallory.cookie).await.fails(502, "PROVIDER_ERROR");
    assert_nothing_happened(&world).await;
}

const FAULTS: [OAuthFault; 7] = [
    OAuthFault::Status500,
    OAuthFault::Html,
    OAuthFault::Nothing,
    OAuthFault::Huge,
    OAuthFault::Redirect,
    OAuthFault::ErrorWith200,
    OAuthFault::OtherJson,
];

#[tokio::test]
async fn a_provider_that_fails_makes_an_error_and_no_user() {
    let (provider, world) = start().await;
    for name in ["google", "github", "twitter", "discord"] {
        for step in [OAuthStep::Token, OAuthStep::Userinfo, OAuthStep::Emails] {
            for fault in FAULTS {
                if step == OAuthStep::Emails && name != "github" {
                    continue;
                }
                provider.fail(step, Some(fault));
                let reply = round_trip(&world, &provider, name).await;
                assert_eq!(reply.header("location"), "", "{name} {step:?} {fault:?}");
                assert!(reply.text.len() < 300, "{name} {step:?} {fault:?}: {}", reply.text);
                reply.fails(502, "PROVIDER_ERROR");
                provider.fail(step, None);
            }
        }
    }
    assert_nothing_happened(&world).await;
    // It recovers by itself.
    sign_in_at(&world, &provider, "github").await;
}

#[tokio::test]
async fn a_provider_that_hangs_is_not_waited_for() {
    let provider = OAuthProvider::start().await;
    let world = World::with(|setup| {
        switch_on(setup, &provider);
        setup.config.oauth.timeout = Duration::from_millis(200);
    })
    .await;
    provider.person(json!({ "id": 1 }), json!([]));
    for fault in [OAuthFault::Hang, OAuthFault::Stall] {
        for step in [OAuthStep::Token, OAuthStep::Userinfo, OAuthStep::Emails] {
            provider.fail(step, Some(fault));
            round_trip(&world, &provider, "github").await.fails(502, "PROVIDER_ERROR");
            provider.fail(step, None);
        }
    }
    assert_nothing_happened(&world).await;
}

#[tokio::test]
async fn a_provider_that_is_away_makes_an_error() {
    let (provider, world) = start().await;
    let trip = leave(&world, "github").await;
    let back = at_provider(&provider, &trip).await;
    let away = OAuthProvider::start().await;
    let token_url = Url::parse(&away.url("/token")).unwrap();
    drop(away);
    let world = world
        .restart(|setup| {
            switch_on(setup, &provider);
            for provider in &mut setup.config.oauth.providers {
                provider.token_url = token_url.clone();
            }
        })
        .await;
    come_back(&world, &back, &trip.cookie).await.fails(502, "PROVIDER_ERROR");
    assert_nothing_happened(&world).await;
}

#[tokio::test]
async fn whoever_has_no_id_is_nobody() {
    let (provider, world) = start().await;
    for user in [
        json!({}),
        json!(null),
        json!([]),
        json!({ "id": null, "sub": null, "email": "ann@example.com", "email_verified": true, "verified": true }),
        json!({ "id": "", "sub": "" }),
        json!({ "id": {}, "sub": [] }),
        json!({ "data": {} }),
        json!({ "data": { "id": "" } }),
    ] {
        for name in ["google", "github", "twitter", "discord"] {
            provider.person(user.clone(), json!([]));
            round_trip(&world, &provider, name).await.fails(502, "PROVIDER_ERROR");
        }
    }
    assert_nothing_happened(&world).await;
}

#[tokio::test]
async fn errors_of_the_providers_are_errors() {
    let (_provider, world) = start().await;
    for error in ["server_error", "temporarily_unavailable", "invalid_scope", "%3Cscript%3E"] {
        let trip = leave(&world, "github").await;
        let back = format!("/auth/oauth/callback/github?error={error}&state={}", state_of(&trip));
        let reply = come_back(&world, &back, &trip.cookie).await;
        assert!(!reply.text.contains(error));
        reply.fails(502, "PROVIDER_ERROR");
    }
    let trip = leave(&world, "github").await;
    let back = format!("/auth/oauth/callback/github?state={}", state_of(&trip));
    come_back(&world, &back, &trip.cookie).await.fails(502, "PROVIDER_ERROR");
    assert_nothing_happened(&world).await;
}

#[tokio::test]
async fn the_routes_are_limited_by_address() {
    let provider = OAuthProvider::start().await;
    let world = World::with(|setup| {
        switch_on(setup, &provider);
        setup.config.limits.standard = "2/1m".parse().unwrap();
    })
    .await;
    for path in ["/auth/oauth/providers", "/auth/oauth/github", "/auth/oauth/callback/github?state=x&code=y"] {
        for _ in 0..2 {
            assert_ne!(world.get(path).await.status, 429, "{path}");
        }
        world.get(path).await.fails(429, "RATE_LIMIT_EXCEEDED");
        assert_ne!(world.get(path).from("198.51.100.2").await.status, 429, "{path}");
    }
    assert_eq!(world.count("SELECT COUNT(*) FROM oauth_states").await, 3);
}

/// U+212A, the Kelvin sign, is a `k` in lower case.
#[tokio::test]
async fn an_address_that_only_looks_like_hers_does_not_open_kates_account() {
    let (provider, world) = start().await;
    let kate = world.sign_in("kate@example.com").await;
    let office = world.sign_in("kate@office.example").await;
    for (number, address) in [
        "\u{212a}ate@example.com",
        "\u{ff4b}ate@example.com",
        "kate@o\u{fb03}ce.example",
        "kate@exam\u{ad}ple.com",
        "kate@example\u{ff0e}com",
        "\u{3000}kate@example.com",
    ]
    .into_iter()
    .enumerate()
    {
        provider.person(json!({ "sub": format!("10{number}"), "email": address, "email_verified": true }), json!(null));
        let reply = sign_in_at(&world, &provider, "google").await;
        let mallory = crate::world::person(&reply);
        assert!(mallory.id != kate.id && mallory.id != office.id, "{address:?}");
        assert!(reply["user"]["email"].as_str().is_none_or(|email| !email.is_ascii()), "{address:?}: {reply}");
        // Whoever types it reaches nobody else's mailbox either.
        if address.starts_with(|c: char| c != '\u{ff4b}') {
            world.request_code(address).await.fails_at("email");
        }
    }
    for who in [&kate, &office] {
        assert_eq!(world.count_events(who, "method.linked").await, 0);
    }
}
