//! `/auth/cli/*`: from nothing to a token, and what must not happen on the way.

use serde_json::{Value, json};

use crate::client::{Call, parallel};
use crate::world::{DAY, MINUTE, PUBLIC_URL, Person, SECOND, World};

/// A program that has asked to be let in.
#[derive(Clone)]
pub(crate) struct Asking {
    pub(crate) id: String,
    pub(crate) secret: String,
    pub(crate) user_code: String,
}

pub(crate) async fn start(world: &World, request: Value) -> Asking {
    let reply = world.post("/auth/cli/start").json(&request).await.ok(200);
    let text = |name: &str| reply[name].as_str().unwrap().to_owned();
    let id = text("verificationSessionId");
    assert_eq!((&reply["success"], &reply["expiresIn"]), (&json!(true), &json!(600)));
    assert_eq!(reply["verificationUrl"], format!("{PUBLIC_URL}/login/{id}"));
    Asking { id, secret: text("pollSecret"), user_code: text("userCode") }
}

pub(crate) fn poll(world: &World, asking: &Asking) -> Call {
    let request = json!({ "verificationSessionId": asking.id, "pollSecret": asking.secret });
    world.post("/auth/cli/poll").json(&request)
}

/// A poll that is not too soon after the last one.
pub(crate) fn poll_later(world: &World, asking: &Asking) -> Call {
    world.clock.advance(SECOND);
    poll(world, asking)
}

pub(crate) fn approve(world: &World, who: &Person, asking: &Asking, mut terms: Value) -> Call {
    terms["verificationSessionId"] = asking.id.as_str().into();
    world.post("/auth/cli/approve").by(&who.access).json(&terms)
}

fn deny(world: &World, who: &Person, asking: &Asking) -> Call {
    world.post("/auth/cli/deny").by(&who.access).json(&json!({ "verificationSessionId": asking.id }))
}

#[tokio::test]
async fn a_program_is_let_in() {
    let world = World::new().await;
    let ann = world.ann().await;
    let asking = start(&world, json!({ "name": "laptop" })).await;
    assert_eq!(poll(&world, &asking).await.ok(202), json!({ "status": "pending" }));
    assert_eq!(approve(&world, &ann, &asking, json!({})).await.ok(200), json!({ "success": true }));
    assert_eq!(world.token_ids(&ann).await, [""; 0], "there is no token before it is fetched");

    let reply = poll_later(&world, &asking).await.ok(200);
    assert_eq!(reply["success"], true);
    let token = reply["token"].as_str().unwrap();
    assert!(token.starts_with("af_live_"));
    let valid = world.validate(token).await.ok(200);
    assert_eq!((&valid["userId"], &valid["name"]), (&json!(ann.id), &json!("laptop")));
    assert_eq!((&valid["scopes"], &valid["expiresAt"]), (&json!(["*"]), &Value::Null));

    poll_later(&world, &asking).await.fails(404, "NOT_FOUND");
    assert_eq!(world.token_ids(&ann).await.len(), 1);
    let events = world.events(&ann).await;
    let created = events.iter().find(|event| event["type"] == "token.created").unwrap();
    let approved = events.iter().find(|event| event["type"] == "pairing.approved").unwrap();
    assert_eq!(created["metadata"]["pairingId"], asking.id);
    assert_eq!(created["metadata"]["name"], "laptop");
    assert_eq!(approved["metadata"]["pairingId"], asking.id);
    assert!(approved["actor"]["sessionId"].is_string());
}

#[tokio::test]
async fn whoever_approves_sets_the_terms() {
    let world = World::new().await;
    let ann = world.ann().await;
    let asking = start(&world, json!({ "name": "laptop", "scopes": ["projects:read"] })).await;
    let end = world.now().plus(DAY);
    approve(&world, &ann, &asking, json!({ "name": "Ann's".replace('\'', ""), "expiresAt": end })).await.ok(200);
    let token = poll(&world, &asking).await.ok(200);
    let valid = world.validate(token["token"].as_str().unwrap()).await.ok(200);
    assert_eq!((&valid["name"], &valid["expiresAt"]), (&json!("Anns"), &json!(end)));
    assert_eq!(valid["scopes"], json!(["projects:read"]));

    let nameless = world.post("/auth/cli/start").await.ok(200);
    let nameless = Asking {
        id: nameless["verificationSessionId"].as_str().unwrap().to_owned(),
        secret: nameless["pollSecret"].as_str().unwrap().to_owned(),
        user_code: String::new(),
    };
    approve(&world, &ann, &nameless, json!({})).await.ok(200);
    let token = poll(&world, &nameless).await.ok(200);
    assert_eq!(world.validate(token["token"].as_str().unwrap()).await.ok(200)["name"], "CLI");
}

#[tokio::test]
async fn a_program_is_refused() {
    let world = World::new().await;
    let ann = world.ann().await;
    let asking = start(&world, json!({})).await;
    deny(&world, &ann, &asking).await.ok(200);
    approve(&world, &ann, &asking, json!({})).await.fails(409, "CONFLICT");
    deny(&world, &ann, &asking).await.fails(409, "CONFLICT");
    for _ in 0..2 {
        poll_later(&world, &asking).await.fails(400, "INVALID_STATE");
    }
    assert_eq!(world.token_ids(&ann).await, [""; 0]);
    assert_eq!(world.count_events(&ann, "pairing.denied").await, 1);
    assert_eq!(world.count_events(&ann, "pairing.approved").await, 0);
}

#[tokio::test]
async fn a_pairing_ends() {
    let world = World::new().await;
    let ann = world.ann().await;
    let (undecided, approved) = (start(&world, json!({})).await, start(&world, json!({})).await);
    let brief = start(&world, json!({})).await;
    approve(&world, &ann, &approved, json!({})).await.ok(200);
    approve(&world, &ann, &brief, json!({ "expiresAt": world.now().plus(MINUTE) })).await.ok(200);
    world.clock.advance(MINUTE);
    poll(&world, &brief).await.fails(400, "CODE_EXPIRED");
    world.clock.advance(9 * MINUTE);
    approve(&world, &ann, &undecided, json!({})).await.fails(400, "CODE_EXPIRED");
    deny(&world, &ann, &undecided).await.fails(400, "CODE_EXPIRED");
    poll(&world, &undecided).await.fails(400, "CODE_EXPIRED");
    poll(&world, &approved).await.fails(400, "CODE_EXPIRED");
    assert_eq!(world.token_ids(&ann).await, [""; 0]);
    assert_eq!(world.count_events(&ann, "token.created").await, 0);

    world.clock.advance(2 * DAY);
    world.auth.clean().await.unwrap();
    assert_eq!(world.count("SELECT COUNT(*) FROM pairings").await, 0);
    poll(&world, &approved).await.fails(404, "NOT_FOUND");
}

#[tokio::test]
async fn polls_a_second_apart_are_free_and_faster_ones_wait() {
    let world = World::with(|setup| setup.config.limits.standard = domain::Limit::per_minute(5)).await;
    let asking = start(&world, json!({})).await;
    for _ in 0..120 {
        poll_later(&world, &asking).await.ok(202);
    }
    for _ in 0..20 {
        let body = poll(&world, &asking).await.fails(429, "RATE_LIMIT_EXCEEDED");
        assert_eq!(body["retryAfter"], 1);
    }
    world.clock.advance(SECOND - std::time::Duration::from_millis(1));
    poll(&world, &asking).await.fails(429, "RATE_LIMIT_EXCEEDED");
    world.clock.advance(std::time::Duration::from_millis(1));
    poll(&world, &asking).await.ok(202);
}

#[tokio::test]
async fn who_does_not_know_the_secret_gets_nothing_and_delays_nobody() {
    let world = World::with(|setup| setup.config.limits.standard = domain::Limit::per_minute(50)).await;
    let ann = world.ann().await;
    let (asking, other) = (start(&world, json!({})).await, start(&world, json!({})).await);
    approve(&world, &ann, &asking, json!({})).await.ok(200);
    for secret in [other.secret.as_str(), "", "x", "ä\0", &asking.secret.to_lowercase(), &"x".repeat(10_000)] {
        let wrong = Asking { secret: secret.to_owned(), ..asking.clone() };
        poll(&world, &wrong).from("203.0.113.9").await.fails(401, "INVALID_TOKEN");
    }
    for id in ["", "nothing", "../x", &asking.id.to_lowercase(), &"x".repeat(100)] {
        let wrong = Asking { id: id.to_owned(), ..asking.clone() };
        poll(&world, &wrong).from("203.0.113.9").await.fails(404, "NOT_FOUND");
    }
    let wrong = Asking { secret: other.secret, ..asking.clone() };
    let mut statuses = Vec::new();
    for _ in 0..50 {
        statuses.push(poll(&world, &wrong).from("203.0.113.9").await.status);
    }
    assert_eq!(statuses.iter().filter(|status| **status == 401).count(), 39);
    assert_eq!(statuses.iter().filter(|status| **status == 429).count(), 11, "guessing is limited");
    assert_eq!(world.token_ids(&ann).await, [""; 0]);
    poll(&world, &asking).await.ok(200);
}

#[tokio::test]
async fn only_a_signed_in_person_decides() {
    let world = World::new().await;
    let ann = world.ann().await;
    let pat = world.token(&ann).await.secret;
    let service = world.service_jwt().user(&ann.id).sign();
    let asking = start(&world, json!({})).await;
    for path in ["/auth/cli/approve", "/auth/cli/deny"] {
        let call = || world.post(path).json(&json!({ "verificationSessionId": asking.id }));
        call().await.fails(401, "UNAUTHORIZED");
        call().by("nonsense").await.fails(401, "INVALID_TOKEN");
        call().by(&asking.secret).await.fails(401, "INVALID_TOKEN");
        for credential in [&pat, &service] {
            call().by(credential).await.fails(403, "FORBIDDEN");
        }
    }
    poll(&world, &asking).await.ok(202);
}

#[tokio::test]
async fn bad_input_changes_nothing() {
    let world = World::new().await;
    let ann = world.ann().await;
    for (request, code) in [
        (json!({ "name": "" }), "INVALID_TOKEN_NAME"),
        (json!({ "name": "<b>" }), "INVALID_TOKEN_NAME"),
        (json!({ "name": "x".repeat(101) }), "INVALID_TOKEN_NAME"),
        (json!({ "name": 1 }), "VALIDATION_ERROR"),
        (json!({ "scopes": [] }), "VALIDATION_ERROR"),
        (json!({ "scopes": ["NOT A SCOPE"] }), "VALIDATION_ERROR"),
        (json!([]), "VALIDATION_ERROR"),
    ] {
        world.post("/auth/cli/start").json(&request).await.fails(400, code);
    }
    assert_eq!(world.count("SELECT COUNT(*) FROM pairings").await, 0);

    let asking = start(&world, json!({})).await;
    approve(&world, &ann, &asking, json!({ "name": "a/b" })).await.fails(400, "INVALID_TOKEN_NAME");
    for end in [json!(1), json!("soon"), json!(world.now()), json!(world.now().plus(DAY * 3700))] {
        approve(&world, &ann, &asking, json!({ "expiresAt": end })).await.fails_at("expiresAt");
    }
    world.post("/auth/cli/approve").by(&ann.access).json(&json!({})).await.fails_at("verificationSessionId");
    for id in ["", "nothing", "a/b"] {
        let unknown = Asking { id: id.to_owned(), ..asking.clone() };
        approve(&world, &ann, &unknown, json!({})).await.fails(404, "NOT_FOUND");
        deny(&world, &ann, &unknown).await.fails(404, "NOT_FOUND");
    }
    world.post("/auth/cli/poll").json(&json!({ "verificationSessionId": asking.id })).await.fails_at("pollSecret");
    world.post("/auth/cli/poll").body("application/json", "{").await.fails(400, "INVALID_JSON");
    world.post("/auth/cli/poll").body("text/plain", "{}").await.fails(415, "UNSUPPORTED_MEDIA_TYPE");
    poll(&world, &asking).await.ok(202);
}

#[tokio::test]
async fn the_limits_on_creation_are_those_of_whoever_approves() {
    let world = World::with(|setup| setup.config.limits.max_active_tokens = 2).await;
    let ann = world.ann().await;
    let (first, second) = (start(&world, json!({})).await, start(&world, json!({})).await);
    let existing = world.token(&ann).await;
    approve(&world, &ann, &first, json!({})).await.ok(200);
    // Both fit when they are approved; only one does when they are minted.
    approve(&world, &ann, &second, json!({})).await.ok(200);
    poll(&world, &first).await.ok(200);
    poll(&world, &second).await.fails(400, "MAX_TOKENS_EXCEEDED");
    let third = start(&world, json!({})).await;
    approve(&world, &ann, &third, json!({})).await.fails(400, "MAX_TOKENS_EXCEEDED");
    poll(&world, &third).await.ok(202);

    world.delete(&format!("/tokens/{}", existing.id)).by(&ann.access).await.ok(200);
    poll_later(&world, &second).await.ok(200);
    assert_eq!(world.token_ids(&ann).await.len(), 2);
}

#[tokio::test]
async fn who_is_disabled_after_approving_lets_nobody_in() {
    let world = World::new().await;
    let ann = world.ann().await;
    let asking = start(&world, json!({})).await;
    approve(&world, &ann, &asking, json!({})).await.ok(200);
    world.by_hand("UPDATE users SET disabled_at = 1").await;
    poll(&world, &asking).await.fails(400, "INVALID_STATE");
    assert_eq!(world.count("SELECT COUNT(*) FROM personal_access_tokens").await, 0);
}

#[tokio::test]
async fn nothing_secret_is_kept() {
    let world = World::new().await;
    let ann = world.ann().await;
    let asking = start(&world, json!({})).await;
    approve(&world, &ann, &asking, json!({})).await.ok(200);
    let token = poll(&world, &asking).await.ok(200)["token"].as_str().unwrap().to_owned();
    let kept = world.kept_bytes();
    let has = |text: &str| kept.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(has(&asking.id), "the search finds what is there");
    assert!(!has(&asking.secret));
    assert!(!has(&token[..24]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_parallel_polls_one_gets_the_token() {
    let world = World::new().await;
    let ann = world.ann().await;
    for round in 1..=20 {
        let asking = start(&world, json!({})).await;
        approve(&world, &ann, &asking, json!({})).await.ok(200);
        let replies = parallel(20, |_| poll(&world, &asking).into_future()).await;
        let fetched = replies.iter().filter(|reply| reply.status == 200).count();
        assert_eq!(fetched, 1, "round {round}");
        assert!(replies.iter().all(|reply| [200, 404, 429].contains(&reply.status)), "{replies:?}");
        assert_eq!(world.token_ids(&ann).await.len(), round);
        poll_later(&world, &asking).await.fails(404, "NOT_FOUND");
    }
}

/// What a stolen session let in and nobody has fetched ends when the session does.
#[tokio::test]
async fn a_pairing_ends_with_the_session_that_approved_it() {
    let world = World::new().await;
    let (thief, ann) = (world.ann().await, world.ann().await);
    let [theirs, hers] = [start(&world, json!({})).await, start(&world, json!({})).await];
    approve(&world, &thief, &theirs, json!({})).await.ok(200);
    approve(&world, &ann, &hers, json!({})).await.ok(200);
    world.delete("/auth/sessions").by(&ann.access).await.ok(200);

    poll_later(&world, &theirs).await.fails(400, "INVALID_STATE");
    assert_eq!(world.token_ids(&ann).await, [""; 0]);
    poll_later(&world, &hers).await.ok(200);
    assert_eq!(world.count_events(&ann, "token.created").await, 1);
}
