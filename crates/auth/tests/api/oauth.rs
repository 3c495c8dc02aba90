//! Signing in at a provider, from the app's link to a working token.

use serde_json::{Value, json};
use testkit::{OAuthProvider, OAuthStep};
use url::Url;

use crate::client::parallel;
use crate::oauth_browser::*;
use crate::world::{DAY, MINUTE, SECOND, World, person};

const PROVIDERS: [&str; 4] = ["google", "github", "twitter", "discord"];

/// Ann as each of the four tells about her, and what it tells about addresses.
fn ann_at(name: &str) -> (Value, Value) {
    match name {
        "google" => (
            json!({ "sub": "1077", "email": "Ann@Example.com", "email_verified": true, "name": "Ann",
                    "picture": "https://pictures.example/ann.png" }),
            json!(null),
        ),
        "github" => (
            json!({ "id": 583_231, "login": "ann", "name": "Ann", "email": null,
                    "avatar_url": "https://pictures.example/ann.png" }),
            json!([{ "email": "old@example.com", "primary": false, "verified": true },
                   { "email": "ann@example.com", "primary": true, "verified": true }]),
        ),
        "twitter" => (
            json!({ "data": { "id": "2244994945", "name": "Ann", "username": "ann",
                              "profile_image_url": "https://pictures.example/ann.png" } }),
            json!(null),
        ),
        _ => (
            json!({ "id": "80351110224678912", "username": "ann", "global_name": "Ann", "avatar": "8342729096ea",
                    "email": "ann@example.com", "verified": true }),
            json!(null),
        ),
    }
}

async fn provider_with_ann(name: &str) -> OAuthProvider {
    let provider = OAuthProvider::start().await;
    let (user, emails) = ann_at(name);
    provider.person(user, emails);
    provider
}

#[tokio::test]
async fn each_provider_leads_from_nothing_to_a_working_token() {
    for name in PROVIDERS {
        let provider = provider_with_ann(name).await;
        let world = world_with(&provider).await;

        let reply = sign_in_at(&world, &provider, name).await;
        let ann = person(&reply);
        let picture = match name {
            "discord" => "https://cdn.discordapp.com/avatars/80351110224678912/8342729096ea.png",
            _ => "https://pictures.example/ann.png",
        };
        let email = if name == "twitter" { json!(null) } else { json!("ann@example.com") };
        assert_eq!(
            reply["user"],
            json!({ "id": ann.id, "email": email, "phone": null, "displayName": "Ann", "avatarUrl": picture,
                    "walletAddress": null })
        );
        let me = world.get("/auth/me").by(&ann.access).await.ok(200);
        assert_eq!(me["user"]["emailVerified"], name != "twitter");
        let token = world.token(&ann).await;
        assert!(world.is_valid(&token.secret).await, "{name}");

        let asked = provider.asked();
        let expected: &[OAuthStep] = match name {
            "github" => &[OAuthStep::Token, OAuthStep::Userinfo, OAuthStep::Emails],
            _ => &[OAuthStep::Token, OAuthStep::Userinfo],
        };
        assert_eq!(asked, expected, "{name}");

        // The second time it is the same account, whatever the provider says about addresses by then.
        world.clock.advance(MINUTE);
        let again = person(&sign_in_at(&world, &provider, name).await);
        assert_eq!(again.id, ann.id);
        assert_eq!(world.count("SELECT COUNT(*) FROM users").await, 1);
        assert_eq!(world.count_events(&ann, "user.created").await, 1);
        assert_eq!(world.count_events(&ann, "sign_in.succeeded").await, 2);
    }
}

#[tokio::test]
async fn the_providers_are_listed_and_only_they_exist() {
    let provider = OAuthProvider::start().await;
    let world = world_with(&provider).await;
    let listed = world.get("/auth/oauth/providers").await.ok(200);
    let entry = |name| json!({ "name": name, "authUrl": format!("{PUBLIC_URL}/auth/oauth/{name}") });
    assert_eq!(listed, json!({ "providers": PROVIDERS.map(entry) }));

    for path in [
        "/auth/oauth/facebook",
        "/auth/oauth/GitHub",
        "/auth/oauth/%ff",
        "/auth/oauth/callback/%ff",
        "/auth/oauth/callback/facebook?state=x&code=y",
    ] {
        world.get(path).await.fails(404, "NOT_FOUND");
    }
    let bare = World::new().await;
    assert_eq!(bare.get("/auth/oauth/providers").await.ok(200), json!({ "providers": [] }));
    bare.get("/auth/oauth/github").await.fails(404, "NOT_FOUND");
    bare.get("/auth/oauth/callback/github?state=x&code=y").await.fails(404, "NOT_FOUND");
    assert_eq!(world.count("SELECT COUNT(*) FROM oauth_states").await, 0);
}

#[tokio::test]
async fn the_browser_is_sent_away_with_state_and_pkce() {
    let provider = OAuthProvider::start().await;
    let world = world_with(&provider).await;
    for (name, scope) in [
        ("google", "openid email profile"),
        ("github", "read:user user:email"),
        ("twitter", "users.read tweet.read"),
        ("discord", "identify email"),
    ] {
        let (first, second) = (leave(&world, name).await, leave(&world, name).await);
        let fields = |to: &str| -> std::collections::HashMap<String, String> {
            Url::parse(to).unwrap().query_pairs().into_owned().collect()
        };
        let (first_fields, second_fields) = (fields(&first.to), fields(&second.to));
        assert_eq!(first_fields["response_type"], "code");
        assert_eq!(first_fields["client_id"], OAuthProvider::CLIENT_ID);
        assert_eq!(first_fields["scope"], scope);
        assert_eq!(first_fields["redirect_uri"], format!("{PUBLIC_URL}/auth/oauth/callback/{name}"));
        assert_eq!(first_fields["code_challenge_method"], "S256");
        assert_eq!(first_fields.len(), 7, "{first_fields:?}");
        for fresh in ["state", "code_challenge"] {
            assert_ne!(first_fields[fresh], second_fields[fresh]);
        }
        assert_ne!(first.cookie, second.cookie);
        assert!(!first.to.contains(first.cookie.split_once('=').unwrap().1), "the cookie is the browser's alone");
    }
}

#[tokio::test]
async fn the_app_gets_a_code_beside_what_its_url_says_already() {
    let provider = provider_with_ann("github").await;
    let world = world_with(&provider).await;
    for (redirect, expected) in [
        ("", "https://app.example.com/home?code="),
        (
            "https%3A%2F%2Fapp.example.com%2Fin%3Fnext%3D%252Fa%26x%3D1",
            "https://app.example.com/in?next=%2Fa&x=1&code=",
        ),
        ("HTTPS%3A%2F%2FAPP.example.com%3A443%2F%23%2Fhere", "https://app.example.com/?code="),
        ("http%3A%2F%2Flocalhost%3A5173", "http://localhost:5173/?code="),
        // A code that somebody has put there for the app to find first.
        ("https%3A%2F%2Fapp.example.com%2F%3Fcode%3Dtheirs%26error%3Dx", "https://app.example.com/?code="),
    ] {
        let query = if redirect.is_empty() { String::new() } else { format!("?redirect_url={redirect}") };
        let trip = leave_for(&world, "github", &query).await;
        let back = at_provider(&provider, &trip).await;
        let reply = come_back(&world, &back, &trip.cookie).await;
        let url = location(&reply);
        let code = url.strip_prefix(expected).unwrap_or_else(|| panic!("{url}"));
        let code = code.strip_suffix("#/here").unwrap_or(code);
        assert_eq!(code.len(), 32, "{url}");
        exchange(&world, code).await.ok(200);
        assert!(reply.header("set-cookie").starts_with("__Host-af_oauth_github=; Path=/; Max-Age=0"));
    }
}

#[tokio::test]
async fn a_code_works_once_and_for_a_minute() {
    let provider = provider_with_ann("github").await;
    let world = world_with(&provider).await;
    let code = code_of(&round_trip(&world, &provider, "github").await);
    let late = code_of(&round_trip(&world, &provider, "github").await);
    exchange(&world, &code).await.ok(200);
    exchange(&world, &code).await.fails(400, "INVALID_CODE");
    world.clock.advance(MINUTE);
    exchange(&world, &late).await.fails(400, "CODE_EXPIRED");
    assert_eq!(world.count("SELECT COUNT(*) FROM sessions").await, 1);
}

#[tokio::test]
async fn another_process_finishes_what_one_began() {
    let provider = provider_with_ann("github").await;
    let world = world_with(&provider).await;
    let trip = leave(&world, "github").await;
    let back = at_provider(&provider, &trip).await;
    let world = world.restart(|setup| switch_on(setup, &provider)).await;
    let code = code_of(&come_back(&world, &back, &trip.cookie).await);
    let world = world.restart(|setup| switch_on(setup, &provider)).await;
    exchange(&world, &code).await.ok(200);
}

#[tokio::test]
async fn whoever_says_no_is_back_at_the_app() {
    let provider = provider_with_ann("github").await;
    let world = world_with(&provider).await;
    provider.deny(true);
    let reply = round_trip(&world, &provider, "github").await;
    assert_eq!(location(&reply), "https://app.example.com/home?error=access_denied");
    assert_eq!(provider.asked(), []);
    assert_eq!(world.count("SELECT COUNT(*) FROM exchange_codes").await, 0);
}

#[tokio::test]
async fn one_mailbox_is_one_account_whichever_way_comes_first() {
    // The provider first: the mailbox's own code leads to the same account.
    let provider = provider_with_ann("google").await;
    let world = world_with(&provider).await;
    let at_google = person(&sign_in_at(&world, &provider, "google").await);
    let by_mail = world.ann().await;
    assert_eq!(by_mail.id, at_google.id);
    let methods = "SELECT COUNT(*) FROM auth_methods WHERE verified = 1";
    assert_eq!(world.count(methods).await, 2);
    assert_eq!(world.count(&format!("{methods} AND is_primary = 1 AND type = 'oauth'")).await, 1);

    // Two providers that vouch for the same mailbox.
    let (user, emails) = ann_at("github");
    provider.person(user, emails);
    assert_eq!(person(&sign_in_at(&world, &provider, "github").await).id, at_google.id);
    assert_eq!(world.count_events(&at_google, "method.linked").await, 1);

    // The mailbox first.
    let world = world_with(&provider).await;
    let by_mail = world.ann().await;
    assert_eq!(person(&sign_in_at(&world, &provider, "github").await).id, by_mail.id);
    assert_eq!(world.count("SELECT COUNT(*) FROM users").await, 1);
}

#[tokio::test]
async fn an_address_that_the_provider_has_not_verified_leads_nowhere() {
    let provider = OAuthProvider::start().await;
    for (name, user, emails) in [
        ("google", json!({ "sub": "666", "email": "ann@example.com", "email_verified": false }), json!(null)),
        ("google", json!({ "sub": "666", "email": "ann@example.com" }), json!(null)),
        ("discord", json!({ "id": "666", "email": "ann@example.com", "verified": false }), json!(null)),
        (
            "github",
            json!({ "id": 666, "email": "ann@example.com" }),
            json!([{ "email": "ann@example.com", "primary": true, "verified": false }]),
        ),
        (
            "github",
            json!({ "id": 666, "email": "ann@example.com" }),
            json!([{ "email": "ann@example.com", "primary": false, "verified": true }]),
        ),
        ("twitter", json!({ "data": { "id": "666", "email": "ann@example.com", "verified": true } }), json!(null)),
    ] {
        // Ann has an account: it stays hers.
        let world = world_with(&provider).await;
        let ann = world.ann().await;
        provider.person(user.clone(), emails.clone());
        let reply = sign_in_at(&world, &provider, name).await;
        assert_ne!(person(&reply).id, ann.id, "{name}");
        assert_eq!(reply["user"]["email"], json!(null), "{name}");
        let me = world.get("/auth/me").by(&person(&reply).access).await.ok(200);
        assert_eq!(me["user"]["emailVerified"], false);

        // Ann has none yet: hers will be her own, and nobody else is in it.
        let world = world_with(&provider).await;
        let mallory = person(&sign_in_at(&world, &provider, name).await);
        let ann = world.ann().await;
        assert_ne!(ann.id, mallory.id);
        assert_eq!(person(&sign_in_at(&world, &provider, name).await).id, mallory.id, "{name}");
    }
}

/// An older system's import, say, may know addresses that nobody has proved.
#[tokio::test]
async fn an_account_with_an_unproven_address_gets_nobody_elses_sign_ins() {
    let provider = provider_with_ann("google").await;
    let world = world_with(&provider).await;
    let mallory = world.ann().await;
    world.by_hand("UPDATE auth_methods SET verified = 0").await;
    world.by_hand("UPDATE users SET email_verified = 0").await;

    let reply = sign_in_at(&world, &provider, "google").await;
    assert_ne!(person(&reply).id, mallory.id);
    assert_eq!(reply["user"]["email"], json!(null), "it is decided who has the address when its owner proves it");
    assert_eq!(world.count_events(&mallory, "method.linked").await, 0);
}

#[tokio::test]
async fn a_disabled_user_is_refused() {
    let provider = provider_with_ann("github").await;
    let world = world_with(&provider).await;
    sign_in_at(&world, &provider, "github").await;
    world.by_hand("UPDATE users SET disabled_at = 1").await;
    let code = code_of(&round_trip(&world, &provider, "github").await);
    exchange(&world, &code).await.fails(403, "FORBIDDEN");
    assert_eq!(world.count("SELECT COUNT(*) FROM sessions").await, 1);
}

#[tokio::test]
async fn nothing_secret_is_at_rest() {
    let provider = provider_with_ann("github").await;
    let world = world_with(&provider).await;
    let trip = leave(&world, "github").await;
    let back = at_provider(&provider, &trip).await;
    let state = back.rsplit_once("state=").unwrap().1.to_owned();
    let code = code_of(&come_back(&world, &back, &trip.cookie).await);
    let browser = trip.cookie.split_once('=').unwrap().1.to_owned();
    let kept = world.kept_bytes();
    let mut secrets = vec![state, code, browser, OAuthProvider::CLIENT_SECRET.to_owned()];
    secrets.extend(provider.tokens());
    assert_eq!(secrets.len(), 5);
    for secret in secrets {
        assert!(!kept.windows(secret.len()).any(|window| window == secret.as_bytes()));
    }
    assert!(kept.windows(6).any(|window| window == b"583231"), "the search finds what is there");
}

#[tokio::test]
async fn states_that_are_over_are_removed() {
    let provider = provider_with_ann("github").await;
    let world = world_with(&provider).await;
    leave(&world, "github").await;
    round_trip(&world, &provider, "github").await;
    world.clock.advance(DAY + 10 * MINUTE);
    world.auth.clean().await.unwrap();
    assert_eq!(world.count("SELECT COUNT(*) FROM oauth_states").await, 2);
    world.clock.advance(SECOND);
    leave(&world, "github").await;
    world.auth.clean().await.unwrap();
    assert_eq!(world.count("SELECT COUNT(*) FROM oauth_states").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_parallel_returns_one_counts() {
    let provider = provider_with_ann("github").await;
    let world = world_with(&provider).await;
    for round in 0..10_usize {
        let trip = leave(&world, "github").await;
        let back = at_provider(&provider, &trip).await;
        let calls: Vec<_> = (0..20).map(|_| world.get(&back).header("cookie", &trip.cookie)).collect();
        let calls = std::sync::Mutex::new(calls);
        let replies = parallel(20, |_| calls.lock().unwrap().pop().unwrap().into_future()).await;
        let won = replies.iter().filter(|reply| reply.status == 302).count();
        assert_eq!(won, 1, "round {round}");
        for reply in replies {
            if reply.status != 302 {
                reply.fails(400, "INVALID_STATE");
            }
        }
        let exchanged = provider.asked().iter().filter(|step| **step == OAuthStep::Token).count();
        assert_eq!(exchanged, round + 1, "the provider sees each code once");
    }
}

#[tokio::test]
async fn a_second_factor_is_asked_for() {
    let provider = provider_with_ann("github").await;
    let world = world_with(&provider).await;
    sign_in_at(&world, &provider, "github").await;
    let enabled = "INSERT INTO totp_factors (user_id, sealed_secret, seal_key, created_at, enabled_at) \
                   SELECT id, 'x', 'x', 1, 1 FROM users";
    assert_eq!(world.by_hand(enabled).await, 1);
    let code = code_of(&round_trip(&world, &provider, "github").await);
    let reply = exchange(&world, &code).await.ok(200);
    assert_eq!((&reply["success"], &reply["mfaRequired"]), (&json!(false), &json!(true)));
    assert!(reply.get("accessToken").is_none(), "{reply}");
    assert_eq!(world.count("SELECT COUNT(*) FROM sessions").await, 1);
}

/// The mailbox alone is not enough for an account with a second factor, not even to leave a way in behind.
#[tokio::test]
async fn an_account_that_is_not_opened_is_not_changed() {
    let second_factor = "INSERT INTO totp_factors (user_id, sealed_secret, seal_key, created_at, enabled_at) \
                         SELECT id, 'x', 'x', 1, 1 FROM users";
    for (shut, status) in [(second_factor, 200), ("UPDATE users SET disabled_at = 1", 403)] {
        let provider = provider_with_ann("github").await;
        let world = world_with(&provider).await;
        let ann = world.ann().await;
        assert_eq!(world.by_hand(shut).await, 1);
        let code = code_of(&round_trip(&world, &provider, "github").await);
        let reply = exchange(&world, &code).await;
        assert_eq!((reply.status, &reply.json["accessToken"]), (status, &json!(null)), "{}", reply.text);
        let linked = "SELECT COUNT(*) FROM auth_methods WHERE type = 'oauth'";
        assert_eq!(world.count(linked).await, 0);
        assert_eq!(world.count("SELECT COUNT(*) FROM users").await, 1);
        assert_eq!(world.count("SELECT COUNT(*) FROM audit_events WHERE type = 'method.linked'").await, 0);
        assert_eq!(world.count("SELECT COUNT(*) FROM sessions").await, 1, "{}", ann.id);
    }
}

/// Each is a session and an event in the log for ever.
#[tokio::test]
async fn from_however_many_addresses_an_identity_signs_in_within_the_standard_limit() {
    let provider = provider_with_ann("github").await;
    let world = World::with(|setup| {
        switch_on(setup, &provider);
        setup.config.limits.standard = "2/1m".parse().unwrap();
    })
    .await;
    let arrive = async |number: u8| {
        let from = format!("203.0.113.{number}");
        let trip = trip("github", &world.get("/auth/oauth/github").from(&from).await);
        let back = at_provider(&provider, &trip).await;
        world.get(&back).header("cookie", &trip.cookie).from(&from).await
    };
    for number in 0..2 {
        exchange(&world, &code_of(&arrive(number).await)).await.ok(200);
    }
    arrive(2).await.fails(429, "RATE_LIMIT_EXCEEDED");
    assert_eq!(world.count("SELECT COUNT(*) FROM exchange_codes").await, 2);
    assert_eq!(world.count("SELECT COUNT(*) FROM audit_events WHERE type = 'sign_in.succeeded'").await, 2);
    world.clock.advance(MINUTE + SECOND);
    code_of(&arrive(3).await);
}
