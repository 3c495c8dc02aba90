//! RFC 8693, section by section, and that a narrowed token is never more than its parent.

use domain::Limit;
use serde_json::{Value, json};

use crate::client::{Call, Reply, parallel};
use crate::world::{DAY, MINUTE, SECOND, World, decode_jwt, token};

const FORM: &str = "application/x-www-form-urlencoded";
const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

fn post(world: &World, form: &str) -> Call {
    world.post("/oauth/token").body(FORM, form.to_owned())
}

fn exchange(world: &World, subject: &str, more: &str) -> Call {
    post(world, &format!("grant_type={GRANT}&subject_token={subject}&subject_token_type={ACCESS_TOKEN}{more}"))
}

async fn narrowed(world: &World, subject: &str, more: &str) -> String {
    exchange(world, subject, more).await.ok(200)["access_token"].as_str().unwrap().to_owned()
}

#[track_caller]
fn refused(reply: &Reply, error: &str) {
    assert_eq!((reply.status, &reply.json["error"]), (400, &json!(error)), "{}", reply.text);
    assert!(reply.json["error_description"].as_str().is_some_and(|text| !text.is_empty()), "{}", reply.text);
    assert_eq!((reply.header("cache-control"), reply.header("pragma")), ("no-store", "no-cache"));
    assert_eq!(reply.json.as_object().unwrap().len(), 2, "{}", reply.text);
}

#[tokio::test]
async fn section_2_1_what_is_required_and_what_is_not_supported() {
    let world = World::new().await;
    let ann = world.ann().await;
    let pat = world.token(&ann).await.secret;
    let with = |form: &str| post(&world, &form.replace("PAT", &pat).replace("AT", ACCESS_TOKEN));
    for (form, error) in [
        ("subject_token=PAT&subject_token_type=AT".to_owned(), "invalid_request"),
        (format!("grant_type={GRANT}&subject_token_type=AT"), "invalid_request"),
        (format!("grant_type={GRANT}&subject_token=&subject_token_type=AT"), "invalid_request"),
        (format!("grant_type={GRANT}&subject_token=PAT"), "invalid_request"),
        (format!("grant_type={GRANT}x&subject_token=PAT&subject_token_type=AT"), "unsupported_grant_type"),
    ] {
        refused(&with(&form).await, error);
    }
    for (more, error) in [
        ("&subject_token_type=x", "invalid_request"),
        ("&requested_token_type=urn:ietf:params:oauth:token-type:refresh_token", "invalid_request"),
        ("&requested_token_type=urn:ietf:params:oauth:token-type:id_token", "invalid_request"),
        ("&actor_token=x&actor_token_type=x", "invalid_request"),
        ("&actor_token=x", "invalid_request"),
        ("&actor_token_type=x", "invalid_request"),
        ("&scope=a&scope=b", "invalid_request"),
        ("&scope=NOT", "invalid_scope"),
        ("&expires_in=59", "invalid_request"),
        ("&expires_in=3601", "invalid_request"),
        ("&expires_in=-60", "invalid_request"),
        ("&expires_in=1e3", "invalid_request"),
        ("&resource=relative", "invalid_target"),
        ("&resource=https://a.example/%23part", "invalid_target"),
        ("&audience=a%20b", "invalid_target"),
        ("&audience=%C3%A4", "invalid_target"),
        (&"&audience=a".repeat(9), "invalid_target"),
    ] {
        refused(&exchange(&world, &pat, more).await, error);
    }
    let wrong_type = format!("grant_type={GRANT}&subject_token=PAT&subject_token_type=urn:x");
    refused(&with(&wrong_type).await, "invalid_request");
    assert_eq!(world.count_events(&ann, "token.exchanged").await, 0);
    // What has no value is as good as left out, and what is not known is ignored.
    exchange(&world, &pat, "&scope=&audience=&resource=&actor_token=&expires_in=&unknown=x&unknown=y").await.ok(200);
}

#[tokio::test]
async fn section_2_2_1_the_reply_and_what_the_token_says() {
    let world = World::new().await;
    let ann = world.ann().await;
    let pat = world.scoped(&ann, &["projects:*", "a:b"]).await;
    let reply = exchange(&world, &pat.secret, "&scope=projects:read").await;
    assert_eq!((reply.header("content-type"), reply.header("pragma")), ("application/json", "no-cache"));
    let mut reply = reply.ok(200);
    let jwt = reply.as_object_mut().unwrap().remove("access_token").unwrap();
    let jwt = jwt.as_str().unwrap();
    assert_eq!(
        reply,
        json!({ "issued_token_type": ACCESS_TOKEN, "token_type": "Bearer", "expires_in": 900, "scope": "projects:read" })
    );
    let (header, mut claims) = decode_jwt(jwt);
    assert_eq!(header["alg"], "EdDSA");
    let unknown: Vec<Value> =
        ["jti", "parent_secret_id"].map(|name| claims.as_object_mut().unwrap().remove(name).unwrap()).into();
    assert!(unknown.iter().all(|text| text.as_str().is_some_and(|text| text.len() == 21)));
    let now = world.now().as_seconds();
    assert_eq!(
        claims,
        json!({ "type": "narrowed", "iss": "alternatefutures-auth", "sub": ann.id, "aud": "alternatefutures-api",
                "iat": now, "exp": now + 900, "scope": "projects:read", "parent": pat.id, "act": { "sub": pat.id } })
    );

    let valid = world.validate(jwt).await.ok(200);
    assert_eq!((&valid["kind"], &valid["narrowed"]), (&json!("pat"), &json!(true)));
    assert_eq!((&valid["tokenId"], &valid["userId"]), (&json!(pat.id), &json!(ann.id)));
    assert_eq!((&valid["scopes"], &valid["name"]), (&json!(["projects:read"]), &json!("a token")));
    assert_eq!(valid["expiresAt"], json!(world.now().plus(15 * MINUTE)));

    let form = format!("token={jwt}");
    let about = world.post("/oauth/introspect").by(&world.service_jwt().sign()).body(FORM, form).await.ok(200);
    assert_eq!((&about["act"], &about["jti"]), (&json!({ "sub": pat.id }), &unknown[0]));
    assert_eq!((&about["scope"], &about["iat"], about.get("aud")), (&json!("projects:read"), &json!(now), None));

    let as_jwt = "urn:ietf:params:oauth:token-type:jwt";
    let reply = exchange(&world, &pat.secret, &format!("&requested_token_type={as_jwt}&expires_in=60")).await.ok(200);
    assert_eq!((&reply["issued_token_type"], &reply["expires_in"]), (&json!(as_jwt), &json!(60)));
    assert_eq!(reply["scope"], "projects:* a:b", "all that the parent has, if nobody names less");

    let events = world.events(&ann).await;
    let event = events.iter().rfind(|event| event["type"] == "token.exchanged").unwrap();
    assert_eq!(event["actor"]["tokenId"], pat.id);
    assert_eq!((&event["metadata"]["jti"], &event["metadata"]["scope"]), (&unknown[0], &json!("projects:read")));
}

#[tokio::test]
async fn section_2_2_2_a_subject_that_is_not_good_is_an_invalid_request() {
    let world = World::new().await;
    let ann = world.ann().await;
    let pat = world.scoped(&ann, &["a:b"]).await;
    let jwt = narrowed(&world, &pat.secret, "").await;
    let service = world.service_jwt().sign();
    let homely = world.token_with(&ann, json!({ "allowedIps": ["192.0.2.0/24"] })).await;
    for subject in ["x", "af_live_x", &ann.access, &ann.refresh, &jwt, &service, &homely.secret] {
        refused(&exchange(&world, subject, "").await, "invalid_request");
    }
    for scope in ["a:*", "*", "a:b+c", "a"] {
        refused(&exchange(&world, &pat.secret, &format!("&scope={scope}")).await, "invalid_scope");
    }
    assert_eq!(world.count_events(&ann, "token.exchanged").await, 1);
    world.delete(&format!("/tokens/{}", pat.id)).by(&ann.access).await.ok(200);
    refused(&exchange(&world, &pat.secret, "").await, "invalid_request");
}

#[tokio::test]
async fn section_2_2_2_guesses_are_limited_by_address() {
    let world = World::with(|setup| setup.config.limits.standard = Limit::per_minute(5)).await;
    for _ in 0..5 {
        refused(&exchange(&world, "af_live_x", "").await, "invalid_request");
    }
    exchange(&world, "af_live_x", "").await.fails(429, "RATE_LIMIT_EXCEEDED");
}

#[tokio::test]
async fn section_4_1_and_rfc_7519_an_audience_is_kept_to() {
    let world = World::new().await;
    let ann = world.ann().await;
    let pat = world.token(&ann).await;
    let jwt = narrowed(&world, &pat.secret, "&audience=billing&resource=https://files.example").await;
    assert_eq!(decode_jwt(&jwt).1["aud"], json!(["billing", "https://files.example"]));
    let one = narrowed(&world, &pat.secret, "&audience=billing").await;
    assert_eq!(decode_jwt(&one).1["aud"], "billing");

    let named = |audience: &str| {
        let body = json!({ "token": jwt, "audience": audience });
        world.post("/tokens/validate").by(&world.service_jwt().sign()).json(&body)
    };
    // Twice: the copy knows it too.
    for _ in 0..2 {
        world.validate(&jwt).await.fails(401, "INVALID_TOKEN");
        named("files").await.fails(401, "INVALID_TOKEN");
        named("billing").await.ok(200);
        world.get("/forward-auth").by(&jwt).await.fails(401, "INVALID_TOKEN");
        world.get("/forward-auth?audience=files").by(&jwt).await.fails(401, "INVALID_TOKEN");
        assert_eq!(world.get("/forward-auth?audience=https://files.example").by(&jwt).await.status, 200);
        world.get("/auth/me").by(&jwt).await.fails(401, "INVALID_TOKEN");
    }
    let body = format!("token={jwt}");
    let about = world.post("/oauth/introspect").by(&world.service_jwt().sign()).body(FORM, body).await.ok(200);
    assert_eq!(about["aud"], json!(["billing", "https://files.example"]));
    // Whoever names an audience takes what is for everybody, too.
    assert_eq!(world.get("/forward-auth?audience=files").by(&pat.secret).await.status, 200);
}

#[tokio::test]
async fn it_counts_in_its_parents_window() {
    let world = World::with(|setup| setup.config.limits.token = Limit::per_minute(6)).await;
    let pat = world.token(&world.ann().await).await;
    let first = narrowed(&world, &pat.secret, "").await;
    let second = narrowed(&world, &pat.secret, "").await;
    let remaining = async |credential: &str| world.validate(credential).await.ok(200)["rateLimit"]["remaining"].clone();
    for (credential, left) in [(&first, 3), (&second, 2), (&pat.secret, 1), (&first, 0)] {
        assert_eq!(remaining(credential).await, left);
    }
    for credential in [&first, &second, &pat.secret] {
        world.validate(credential).await.fails(429, "RATE_LIMIT_EXCEEDED");
    }
    exchange(&world, &pat.secret, "").await.fails(429, "RATE_LIMIT_EXCEEDED");
}

#[tokio::test]
async fn it_ends_with_its_time_and_never_after_its_parent() {
    let world = World::new().await;
    let ann = world.ann().await;
    let short = world.token_with(&ann, json!({ "expiresAt": world.now().plus(100 * SECOND) })).await;
    let reply = exchange(&world, &short.secret, "&expires_in=3600").await.ok(200);
    assert_eq!(reply["expires_in"], 100);
    let of_short = reply["access_token"].as_str().unwrap();
    let of_long = narrowed(&world, &world.token(&ann).await.secret, "&expires_in=60").await;
    assert!(world.is_valid(of_short).await && world.is_valid(&of_long).await);
    world.clock.advance(60 * SECOND);
    assert!(world.is_valid(of_short).await && !world.is_valid(&of_long).await);
    world.clock.advance(40 * SECOND);
    assert!(!world.is_valid(of_short).await);
}

#[tokio::test]
async fn on_the_next_call_after_its_parents_deletion_it_is_dead() {
    let world = World::new().await;
    let ann = world.ann().await;
    let pat = world.token(&ann).await;
    let jwt = narrowed(&world, &pat.secret, "").await;
    assert!(world.is_valid(&jwt).await, "and in the cache");
    world.delete(&format!("/tokens/{}", pat.id)).by(&ann.access).await.ok(200);
    assert!(!world.is_valid(&jwt).await);
    world.get("/forward-auth").by(&jwt).await.fails(401, "INVALID_TOKEN");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_call_that_begins_after_the_deletion_gets_through() {
    let world = World::new().await;
    let ann = world.ann().await;
    for _ in 0..10 {
        let pat = world.token(&ann).await;
        let jwt = narrowed(&world, &pat.secret, "").await;
        let deletion = world.delete(&format!("/tokens/{}", pat.id)).by(&ann.access).into_future();
        let (_, deleted) = tokio::join!(parallel(8, |_| world.validate(&jwt).into_future()), deletion);
        deleted.ok(200);
        for reply in parallel(8, |_| world.validate(&jwt).into_future()).await {
            reply.fails(401, "INVALID_TOKEN");
        }
    }
}

#[tokio::test]
async fn it_lives_as_long_as_the_secret_it_was_got_with() {
    let world = World::new().await;
    let ann = world.ann().await;
    let pat = world.token(&ann).await;
    let rotate = |seconds: u64| {
        let body = json!({ "graceSeconds": seconds });
        world.post(&format!("/tokens/{}/rotate", pat.id)).by(&ann.access).json(&body)
    };
    let of_first = narrowed(&world, &pat.secret, "").await;
    assert!(world.is_valid(&of_first).await);
    let second = token(&rotate(0).await.ok(201)).secret;
    assert!(!world.is_valid(&of_first).await, "the secret is dead");

    let of_second = narrowed(&world, &second, "").await;
    let third = token(&rotate(60).await.ok(201)).secret;
    let late_of_second = exchange(&world, &second, "").await.ok(200);
    assert_eq!(late_of_second["expires_in"], 60);
    let of_third = narrowed(&world, &third, "").await;
    assert!(world.is_valid(&of_second).await && world.is_valid(&of_third).await);
    world.clock.advance(MINUTE);
    assert!(!world.is_valid(&of_second).await && !world.is_valid(&second).await);
    assert!(world.is_valid(&of_third).await);
}

#[tokio::test]
async fn it_is_dead_when_its_owner_is_shut_out_or_gone() {
    let world = World::new().await;
    let (ann, bob) = (world.ann().await, world.bob().await);
    let of_ann = narrowed(&world, &world.token(&ann).await.secret, "").await;
    let of_bob = narrowed(&world, &world.token(&bob).await.secret, "").await;
    assert!(world.is_valid(&of_ann).await && world.is_valid(&of_bob).await);
    world.by_hand(&format!("UPDATE users SET disabled_at = 1 WHERE id = '{}'", ann.id)).await;
    world.look().await;
    assert!(!world.is_valid(&of_ann).await);
    world.delete("/account/profile").by(&bob.access).await.ok(200);
    assert!(!world.is_valid(&of_bob).await);
}

#[tokio::test]
async fn it_does_at_the_auth_service_what_its_scopes_say_and_makes_nothing_that_outlives_it() {
    let world = World::new().await;
    let ann = world.ann().await;
    let pat = world.token_with(&ann, json!({ "expiresAt": world.now().plus(DAY) })).await;
    let reader = narrowed(&world, &pat.secret, "&scope=tokens:read").await;
    world.get("/tokens").by(&reader).await.ok(200);
    let delete = |jwt: &str, id: &str| world.delete(&format!("/tokens/{id}")).by(jwt);
    delete(&reader, &pat.id).await.fails(403, "FORBIDDEN");
    world.get("/auth/me").by(&reader).await.fails(403, "FORBIDDEN");

    let writer = narrowed(&world, &pat.secret, "").await;
    let end = world.now().plus(MINUTE);
    let small = json!({ "name": "x", "scopes": ["a:b"], "expiresAt": end });
    world.post("/tokens").by(&writer).json(&small).await.fails(403, "FORBIDDEN");
    world.post(&format!("/tokens/{}/rotate", pat.id)).by(&writer).await.fails(403, "FORBIDDEN");
    world.get("/auth/sessions").by(&writer).await.fails(403, "FORBIDDEN");
    world.delete("/account/profile").by(&writer).await.fails(403, "FORBIDDEN");
    assert_eq!(world.token_ids(&ann).await, [pat.id.as_str()]);

    // Nor by way of a service that passes its scopes on, as the backend does.
    let jwt = |scopes: Value| {
        let jwt = world.service_jwt().user(&ann.id).claim("tokenId", pat.id.as_str());
        jwt.claim("scopes", scopes).sign()
    };
    world.get("/tokens").by(&jwt(json!(["tokens:read"]))).await.ok(200);
    world.get("/auth/me").by(&jwt(json!(["tokens:read"]))).await.fails(403, "FORBIDDEN");
    world.post("/tokens").by(&jwt(json!(["*"]))).json(&small).await.fails(403, "FORBIDDEN");
    assert_eq!(world.token_ids(&ann).await.len(), 1);
}

#[tokio::test]
async fn it_is_held_to_its_parents_networks() {
    let world = World::new().await;
    let ann = world.ann().await;
    let pat = world.token_with(&ann, json!({ "allowedIps": ["192.0.2.0/24"] })).await;
    let reply = exchange(&world, &pat.secret, "").from("192.0.2.7").await.ok(200);
    let jwt = reply["access_token"].as_str().unwrap();
    for _ in 0..2 {
        world.get("/forward-auth").by(jwt).from("203.0.113.9").await.fails(403, "FORBIDDEN");
        assert_eq!(world.get("/forward-auth").by(jwt).from("192.0.2.8").await.status, 200);
    }
    world.validate(jwt).await.fails(401, "IP_NOT_ALLOWED");
}

#[tokio::test]
async fn a_token_that_nobody_could_show_is_not_made() {
    let world = World::new().await;
    let ann = world.ann().await;
    let long: Vec<String> = (0..32).map(|n| format!("a{n}:{}", "x".repeat(200))).collect();
    let pat = world.token_with(&ann, json!({ "scopes": long })).await;
    refused(&exchange(&world, &pat.secret, "").await, "invalid_request");
    let jwt = narrowed(&world, &pat.secret, &format!("&scope={}", long[0])).await;
    assert!(world.is_valid(&jwt).await);
}

fn capped(count: u32) -> impl FnOnce(&mut crate::world::Setup) {
    move |setup| setup.config.limits.exchanges = Limit::per_minute(count)
}

#[tokio::test]
async fn a_user_exchanges_so_often_a_minute_by_however_many_tokens() {
    let world = World::with(capped(3)).await;
    let (ann, bob) = (world.ann().await, world.bob().await);
    let [one, other] = [world.token(&ann).await.secret, world.token(&ann).await.secret];
    // What is refused for another reason costs nothing.
    let scoped = world.scoped(&ann, &["a:b"]).await.secret;
    refused(&exchange(&world, &scoped, "&scope=c:d").await, "invalid_scope");
    for subject in [&one, &other, &one] {
        narrowed(&world, subject, "").await;
    }
    let events = world.events(&ann).await.len();
    for subject in [&other, &one] {
        let reply = exchange(&world, subject, "").await;
        assert_eq!(reply.header("x-ratelimit-limit"), "3");
        let body = reply.fails(429, "RATE_LIMIT_EXCEEDED");
        assert!(body.get("access_token").is_none() && body["retryAfter"].as_u64() <= Some(61), "{body}");
    }
    assert_eq!(world.events(&ann).await.len(), events, "nothing is written down");
    assert_eq!(world.count_events(&ann, "token.exchanged").await, 3);
    narrowed(&world, &world.token(&bob).await.secret, "").await;
    world.clock.advance(MINUTE + SECOND);
    narrowed(&world, &other, "").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_parallel_exchanges_as_many_succeed_as_may() {
    for _ in 0..20 {
        let world = World::with(capped(5)).await;
        let ann = world.ann().await;
        let tokens = [world.token(&ann).await.secret, world.token(&ann).await.secret];
        let replies = parallel(20, |number| exchange(&world, &tokens[number % 2], "").into_future()).await;
        let (done, over): (Vec<_>, Vec<_>) = replies.into_iter().partition(|reply| reply.status == 200);
        assert_eq!((done.len(), over.len()), (5, 15));
        for reply in over {
            reply.fails(429, "RATE_LIMIT_EXCEEDED");
        }
        assert_eq!(world.count_events(&ann, "token.exchanged").await, 5);
    }
}

#[tokio::test]
async fn a_narrowed_token_of_a_replaced_secret_ends_with_the_grace() {
    let world = World::new().await;
    let ann = world.ann().await;
    let old = world.token(&ann).await;
    let path = format!("/tokens/{}/rotate", old.id);
    world.post(&path).by(&ann.access).json(&json!({ "graceSeconds": 120 })).await.ok(201);
    let reply = exchange(&world, &old.secret, "&expires_in=3600").await.ok(200);
    assert_eq!(reply["expires_in"], 120);
    let jwt = reply["access_token"].as_str().unwrap().to_owned();
    assert_eq!(decode_jwt(&jwt).1["exp"], json!(world.now().as_seconds() + 120));
    assert!(world.is_valid(&jwt).await);
    world.clock.advance(2 * MINUTE);
    assert!(!world.is_valid(&jwt).await);
}
