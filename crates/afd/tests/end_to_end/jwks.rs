//! The public keys, by the libraries that others verify with.

use domain::{Clock as _, SystemClock};
use serde_json::{Value, json};
use testkit::{service_jwt, until, verify_by_jwks};

use crate::installation::{Installation, JWT_SECRET, Reply};

async fn narrowed(installation: &Installation, session: &str) -> String {
    let created = installation.post("/tokens", Some(session), json!({ "name": "ci", "scopes": ["a:b"] })).await;
    let form = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("subject_token", created.text("/token/token")),
        ("subject_token_type", "urn:ietf:params:oauth:token-type:access_token"),
        ("audience", "billing"),
    ];
    let reply = installation.http.post(format!("{}/oauth/token", installation.auth_url)).form(&form).send().await;
    Reply::of(reply.unwrap()).await.text("/access_token").to_owned()
}

#[tokio::test]
async fn jose_and_pyjwt_verify_our_jwts_and_nobody_elses_also_after_a_rotation() {
    let installation = Installation::new(&[]).await;
    let _auth = installation.auth.start().await;
    let jwks = format!("{}/.well-known/jwks.json", installation.auth_url);
    let mut session = installation.sign_in("ann@example.com").await;
    let first_kid = kid(&session);
    for round in 0..2 {
        let narrowed = narrowed(&installation, &session).await;
        for library in ["jose", "PyJWT"] {
            let claims = verify_by_jwks(library, &jwks, "alternatefutures-app", &session).await.unwrap();
            assert_eq!((&claims["type"], &claims["email"]), (&json!("access"), &json!("ann@example.com")), "{library}");
            let claims = verify_by_jwks(library, &jwks, "billing", &narrowed).await.unwrap();
            assert_eq!((&claims["type"], &claims["scope"]), (&json!("narrowed"), &json!("a:b")), "{library}");
            // Neither stands in for the other, and what JWT_SECRET signs is neither.
            verify_by_jwks(library, &jwks, "alternatefutures-app", &narrowed).await.unwrap_err();
            let (head, claims) = session.rsplit_once('.').unwrap().0.split_once('.').unwrap();
            let forged = service_jwt(JWT_SECRET, SystemClock.now()).claim("aud", "alternatefutures-app").sign();
            for forged in [forged, format!("{head}.{claims}."), format!("{head}.{claims}.AAAA")] {
                verify_by_jwks(library, &jwks, "alternatefutures-app", &forged).await.unwrap_err();
            }
        }
        if round == 0 {
            session = after_rotation(&installation, &first_kid).await;
        }
    }
}

/// `afd keys rotate` beside the running service, which takes the new key up by itself.
async fn after_rotation(installation: &Installation, first_kid: &str) -> String {
    let rotated = installation.auth.clone().command(["keys", "rotate"]).run().await;
    assert_eq!(rotated.code, Some(0), "{}", rotated.output);
    let sign_in = async || installation.sign_in("ann@example.com").await;
    until("the new key to be taken up", sign_in, |session| kid(session) != first_kid).await
}

fn kid(jwt: &str) -> String {
    use base64::Engine as _;
    let header = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(jwt.split('.').next().unwrap()).unwrap();
    let header: Value = serde_json::from_slice(&header).unwrap();
    header["kid"].as_str().unwrap().to_owned()
}
