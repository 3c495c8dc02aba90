//! No kind of credential is accepted where another is due, and nothing forged anywhere.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use crate::world::{JWT_SECRET, REFRESH_SECRET, World, decode_jwt};

fn sign(header: &Header, secret: &[u8], claims: &Value) -> String {
    jsonwebtoken::encode(header, claims, &EncodingKey::from_secret(secret)).unwrap()
}

fn unsigned(header: &Value, claims: &Value, signature: &str) -> String {
    let part = |value: &Value| BASE64URL.encode(value.to_string());
    format!("{}.{}.{signature}", part(header), part(claims))
}

#[tokio::test]
async fn a_refresh_jwt_is_no_bearer_credential() {
    let world = World::new().await;
    let ann = world.ann().await;
    for path in ["/auth/me", "/tokens", "/audit"] {
        world.get(path).by(&ann.refresh).await.fails(401, "INVALID_TOKEN");
    }
    assert!(!world.is_valid(&ann.refresh).await);
    world.post("/tokens").by(&ann.refresh).json(&json!({ "name": "x" })).await.fails(401, "INVALID_TOKEN");
    assert_eq!(world.token_ids(&ann).await, [""; 0]);
}

#[tokio::test]
async fn only_a_refresh_jwt_renews() {
    let world = World::new().await;
    let ann = world.ann().await;
    let pat = world.token(&ann).await;
    let (_, claims) = decode_jwt(&ann.refresh);
    let mut access_claims = claims.clone();
    access_claims["type"] = "access".into();
    let hs256 = Header::new(Algorithm::HS256);
    for wrong in [
        ann.access.clone(),
        pat.secret,
        world.service_jwt().user(&ann.id).sign(),
        sign(&hs256, JWT_SECRET.as_bytes(), &claims),
        sign(&hs256, REFRESH_SECRET.as_bytes(), &access_claims),
        sign(&Header::new(Algorithm::HS512), REFRESH_SECRET.as_bytes(), &claims),
        unsigned(&json!({ "alg": "none" }), &claims, ""),
        String::new(),
        "\0".to_owned(),
        "ä".repeat(3000),
    ] {
        world.refresh(&wrong).await.fails(401, "INVALID_TOKEN");
    }
    world.post("/auth/refresh").json(&json!({})).await.fails_at("refreshToken");
    assert_eq!(world.count_events(&ann, "session.refreshed").await, 0);
    world.refresh(&ann.refresh).await.ok(200);
}

#[tokio::test]
async fn a_forged_access_jwt_is_refused() {
    let world = World::new().await;
    let ann = world.ann().await;
    let bob = world.bob().await;
    let (header, claims) = decode_jwt(&ann.access);
    let kid = header["kid"].as_str().unwrap().to_owned();
    let parts: Vec<&str> = ann.access.split('.').collect();
    let [head, _, signature] = parts[..] else { panic!("a JWT has three parts") };
    let bobs_claims = BASE64URL.encode(decode_jwt(&bob.access).1.to_string());

    let mut connection = world.connect().await;
    let public_key: String =
        sqlx::query_scalar("SELECT public_key FROM signing_keys").fetch_one(&mut connection).await.unwrap();
    let with_kid = |algorithm, kid: &str| Header { kid: Some(kid.to_owned()), ..Header::new(algorithm) };
    let mut forged = vec![
        unsigned(&json!({ "alg": "none", "kid": kid }), &claims, ""),
        unsigned(&json!({ "alg": "None", "kid": kid }), &claims, signature),
        unsigned(&json!({ "alg": "EdDSA", "kid": "unknown" }), &claims, signature),
        unsigned(&json!({ "alg": "EdDSA" }), &claims, signature),
        format!("{head}.{bobs_claims}.{signature}"),
        format!("{}x", ann.access),
        ann.access[..ann.access.len() - 2].to_owned(),
        format!("{}.", ann.access),
        ann.access.to_uppercase(),
    ];
    // Whoever holds the shared secret, or the public key, must not be able to make sessions of them.
    let raw_key = BASE64URL.decode(&public_key).unwrap();
    for secret in [JWT_SECRET.as_bytes(), REFRESH_SECRET.as_bytes(), public_key.as_bytes(), &raw_key] {
        for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
            forged.push(sign(&with_kid(algorithm, &kid), secret, &claims));
            forged.push(sign(&Header::new(algorithm), secret, &claims));
        }
    }
    for jwt in &forged {
        world.get("/auth/me").by(jwt).await.fails(401, "INVALID_TOKEN");
        assert!(!world.is_valid(jwt).await, "{jwt}");
    }
    world.get("/auth/me").by(&ann.access).await.ok(200);
}

#[tokio::test]
async fn what_is_no_bearer_credential_is_unauthorized() {
    let world = World::new().await;
    let ann = world.ann().await;
    let reply = world.get("/auth/me").await;
    assert_eq!(reply.header("www-authenticate"), r#"Bearer realm="alternatefutures""#, "nothing was wrong with it");
    reply.fails(401, "UNAUTHORIZED");

    let basic = format!("Basic {}", ann.access);
    for value in ["Bearer", "Bearer ", "", " ", &ann.access, &basic, "Bearerx y", "Bearer\t", "ä"] {
        world.get("/auth/me").header("authorization", value).await.fails(401, "UNAUTHORIZED");
    }
    // Which of two would count is nobody's guess.
    world.get("/auth/me").by(&ann.access).by(&ann.access).await.fails(401, "UNAUTHORIZED");
    for scheme in ["bearer", "BEARER", "bEaReR"] {
        world.get("/auth/me").header("authorization", &format!("{scheme} {}", ann.access)).await.ok(200);
    }
}

#[tokio::test]
async fn unknown_text_is_an_invalid_token() {
    let world = World::new().await;
    for text in ["x", "a.b.c", "..", "af_live_", "af_", "eyJhbGciOiJIUzI1NiJ9.e30.", &"x".repeat(9000)] {
        world.get("/auth/me").by(text).await.fails(401, "INVALID_TOKEN");
    }
}
