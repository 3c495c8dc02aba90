//! Signing in at a provider, with the real program and a provider on real HTTP.

use reqwest::{Client, Response, redirect};
use serde_json::json;
use testkit::OAuthProvider;

use crate::installation::Installation;

const APP: &str = "https://app.example.com/in";

fn location(reply: &Response) -> String {
    assert_eq!(reply.status(), 302, "{reply:?}");
    reply.headers()["location"].to_str().unwrap().to_owned()
}

#[tokio::test]
async fn another_process_finishes_the_sign_in_that_one_began() {
    let provider = OAuthProvider::start().await;
    provider.person(
        json!({ "id": 583_231, "login": "ann" }),
        json!([{ "email": "ann@example.com", "primary": true, "verified": true }]),
    );
    let installation = Installation::new(&[
        ("GITHUB_CLIENT_ID", OAuthProvider::CLIENT_ID),
        ("GITHUB_CLIENT_SECRET", OAuthProvider::CLIENT_SECRET),
        ("GITHUB_AUTH_URL", &provider.url("/authorize")),
        ("GITHUB_TOKEN_URL", &provider.url("/token")),
        ("GITHUB_USERINFO_URL", &provider.url("/userinfo")),
        ("GITHUB_EMAILS_URL", &provider.url("/emails")),
        ("APP_URL", APP),
    ])
    .await;
    let browser = Client::builder().no_proxy().redirect(redirect::Policy::none()).build().unwrap();
    let visit = async |url: &str, cookie: &str| browser.get(url).header("cookie", cookie).send().await.unwrap();

    let mut first = installation.auth.start().await;
    let listed: serde_json::Value =
        visit(&format!("{}/auth/oauth/providers", installation.auth_url), "").await.json().await.unwrap();
    let start = listed["providers"][0]["authUrl"].as_str().unwrap();
    let away = visit(start, "").await;
    let cookie = away.headers()["set-cookie"].to_str().unwrap().to_owned();
    // No https here, so neither `Secure` nor the prefix that demands it.
    assert!(cookie.starts_with("af_oauth_github="), "{cookie}");
    assert!(cookie.ends_with("; Path=/; Max-Age=600; HttpOnly; SameSite=Lax"), "{cookie}");
    let cookie = cookie.split(';').next().unwrap();
    let back = provider.visit(&location(&away)).await;
    assert!(back.starts_with(&format!("{}/auth/oauth/callback/github?", installation.auth_url)), "{back}");
    assert_eq!(first.terminate().await, Some(0), "{}", first.output());

    let (mut auth, _backend) = installation.start().await;
    let home = location(&visit(&back, cookie).await);
    let code = home.strip_prefix(&format!("{APP}?code=")).unwrap_or_else(|| panic!("{home}"));
    let session = installation.post("/auth/exchange", None, json!({ "code": code })).await;
    assert_eq!(session.status, 200, "{session:?}");
    assert_eq!(session.text("/user/email"), "ann@example.com");

    let created = installation
        .graphql(
            Some(session.text("/accessToken")),
            "mutation { createPersonalAccessToken(name: \"first\") { token } }",
            json!({}),
        )
        .await;
    let token = created.text("/data/createPersonalAccessToken/token");
    assert_eq!(installation.validate(token).await.status, 200);

    assert_eq!(auth.terminate().await, Some(0), "{}", auth.output());
    let state = back.rsplit_once("state=").unwrap().1;
    let log = auth.output();
    assert!(log.contains("/auth/oauth/callback/{provider}"), "{log}");
    for secret in [state, code, cookie.split_once('=').unwrap().1, &provider.tokens()[0], OAuthProvider::CLIENT_SECRET]
    {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
}
