//! Every way in, from nothing to a working personal access token, with the real program and the real counterpart.

use std::time::Duration;

use reqwest::{Client, redirect};
use serde_json::{Value, json};
use testkit::{HTTPSMS_KEY, OAuthProvider, SmsSink, TWILIO_SID, TWILIO_TOKEN, authenticator_code, sign_with_wallet};

use crate::installation::{Installation, Reply, six_digits};

const APP: &str = "https://app.example.com/in";

impl Installation {
    /// What every way in ends with: a token that the session makes works, at both services.
    async fn leads_to_a_token(&self, session: &Reply, way: &str) {
        assert_eq!((session.status, &session.body["success"]), (200, &json!(true)), "{way}: {session:?}");
        let mutation = "mutation { createPersonalAccessToken(name: \"first\") { token } }";
        let created = self.graphql(Some(session.text("/accessToken")), mutation, json!({})).await;
        self.is_a_token(created.text("/data/createPersonalAccessToken/token"), session.text("/user/id"), way).await;
    }

    async fn is_a_token(&self, token: &str, user_id: &str, way: &str) {
        assert!(token.starts_with("af_live_"), "{way}: {token}");
        let valid = self.validate(token).await;
        assert_eq!((valid.status, valid.text("/userId")), (200, user_id), "{way}");
        let me = self.graphql(Some(token), "{ me { id } }", json!({})).await;
        assert_eq!(me.text("/data/me/id"), user_id, "{way}");
    }

    async fn form(&self, path: &str, fields: &[(&str, &str)]) -> Reply {
        let request = self.http.post(format!("{}{path}", self.auth_url)).form(fields);
        Reply::of(request.send().await.unwrap()).await
    }
}

/// A browser's side of HTTP: what it is sent to, it visits only when told to.
fn browser() -> Client {
    Client::builder().no_proxy().redirect(redirect::Policy::none()).build().unwrap()
}

fn location(reply: &reqwest::Response) -> String {
    reply.headers()["location"].to_str().unwrap().to_owned()
}

#[tokio::test]
async fn the_mail_signs_in_by_its_code_and_by_its_link() {
    let installation = Installation::new(&[("APP_URL", APP)]).await;
    let (mut auth, _backend) = installation.start().await;
    let mut secrets = Vec::new();
    let mut link = async |email: &str| {
        let text = installation.mailed(email).await;
        let link = text.split_whitespace().find(|word| word.contains("/login/email/")).unwrap().to_owned();
        secrets.push(link.rsplit_once('/').unwrap().1.to_owned());
        secrets.push(six_digits(&text));
        link
    };

    let text = installation.mailed("code@example.com").await;
    let request = json!({ "email": "code@example.com", "code": six_digits(&text) });
    let session = installation.post("/auth/email/verify", None, request).await;
    installation.leads_to_a_token(&session, "the mail's code").await;

    // The page, its button, and the app at the end.
    let page = link("page@example.com").await;
    let scanned = browser().get(&page).send().await.unwrap();
    assert_eq!(scanned.status(), 200);
    let pressed = browser().post(&page).header("sec-fetch-site", "same-origin").send().await.unwrap();
    assert_eq!(pressed.status(), 303);
    let home = location(&pressed);
    let code = home.strip_prefix(&format!("{APP}?code=")).unwrap_or_else(|| panic!("{home}"));
    let session = installation.post("/auth/exchange", None, json!({ "code": code })).await;
    installation.leads_to_a_token(&session, "the mail's link").await;
    assert_eq!(session.text("/user/email"), "page@example.com");

    // A program that takes the link's token.
    let token = link("token@example.com").await;
    let request = json!({ "token": token.rsplit_once('/').unwrap().1 });
    let session = installation.post("/auth/email/link", None, request.clone()).await;
    installation.leads_to_a_token(&session, "the link's token").await;
    assert_eq!(installation.post("/auth/email/link", None, request).await.status, 400);

    assert_eq!(auth.terminate().await, Some(0), "{}", auth.output());
    let log = auth.output();
    assert!(log.contains("/login/email/{token}"), "{log}");
    secrets.push(code.to_owned());
    for secret in secrets {
        assert!(!log.contains(&secret), "{secret} is in the log");
    }
}

#[tokio::test]
async fn an_sms_signs_in_by_either_gateway() {
    let sink = SmsSink::start().await;
    let http_sms =
        [("HTTPSMS_API_KEY", HTTPSMS_KEY), ("HTTPSMS_PHONE_NUMBER", "+14155550100"), ("HTTPSMS_API_URL", sink.url())];
    let twilio = [
        ("TWILIO_ACCOUNT_SID", TWILIO_SID),
        ("TWILIO_AUTH_TOKEN", TWILIO_TOKEN),
        ("TWILIO_FROM", "+14155550100"),
        ("TWILIO_API_URL", sink.url()),
    ];
    for (gateway, settings) in [("httpsms", &http_sms[..]), ("twilio", &twilio[..])] {
        let settings = [settings, &[("SMS_DAILY_CAP", "2"), ("SMS_COUNTRIES", "US")]].concat();
        let installation = Installation::new(&settings).await;
        let (mut auth, _backend) = installation.start().await;
        let ask = async |phone: &str| installation.post("/auth/sms/request", None, json!({ "phone": phone })).await;
        assert_eq!(ask("+1 (415) 555-2671").await.status, 200);
        let sms = sink.received().pop().unwrap();
        assert_eq!((sms.gateway, sms.to.as_str()), (gateway, "+14155552671"));
        let code = six_digits(&sms.text);
        let request = json!({ "phone": "+14155552671", "code": code });
        let session = installation.post("/auth/sms/verify", None, request).await;
        installation.leads_to_a_token(&session, gateway).await;
        assert_eq!(session.text("/user/phone"), "+14155552671");

        // The day's cap is for all numbers together, and says until when.
        assert_eq!(ask("+14155552672").await.status, 200);
        let refused = ask("+14155552673").await;
        assert_eq!((refused.status, refused.text("/code")), (429, "RATE_LIMIT_EXCEEDED"), "{refused:?}");
        assert!(refused.headers.contains_key("retry-after") && refused.body["retryAfter"].as_u64() > Some(0));
        assert_eq!(sink.received().iter().filter(|sms| sms.gateway == gateway).count(), 2);
        assert_eq!(auth.terminate().await, Some(0), "{}", auth.output());
        assert!(!auth.output().contains(&code) && !auth.output().contains("5552671"), "{}", auth.output());
    }
}

#[tokio::test]
async fn wallets_sign_in_by_their_own_libraries() {
    let installation = Installation::new(&[("APP_URL", APP)]).await;
    let (_auth, _backend) = installation.start().await;
    for library in ["ethers", "viem", "tweetnacl"] {
        let address = sign_with_wallet(library, [7; 32], "").await.address;
        let asked = installation.post("/auth/wallet/challenge", None, json!({ "address": address })).await;
        let message = asked.text("/message");
        assert!(message.starts_with("app.example.com wants you to sign in with your "), "{message}");
        let signature = sign_with_wallet(library, [7; 32], message).await.signature;
        let signed = json!({ "address": address, "message": message, "signature": signature });
        let session = installation.post("/auth/wallet/verify", None, signed.clone()).await;
        installation.leads_to_a_token(&session, library).await;
        assert_eq!(session.text("/user/walletAddress"), address);
        assert_eq!(installation.post("/auth/wallet/verify", None, signed).await.status, 400, "once");
    }
}

/// Ann as each provider tells about her, and what it tells about addresses.
fn ann_at(provider: &str) -> (Value, Value) {
    match provider {
        "GOOGLE" => (json!({ "sub": "1", "email": "ann@google.example", "email_verified": true }), json!(null)),
        "GITHUB" => (
            json!({ "id": 2, "login": "ann" }),
            json!([{ "email": "ann@github.example", "primary": true, "verified": true }]),
        ),
        "TWITTER" => (json!({ "data": { "id": "3", "name": "Ann", "username": "ann" } }), json!(null)),
        _ => (json!({ "id": "4", "username": "ann", "email": "ann@discord.example", "verified": true }), json!(null)),
    }
}

#[tokio::test]
async fn each_oauth_provider_signs_in() {
    let names = ["GOOGLE", "GITHUB", "TWITTER", "DISCORD"];
    let mut providers = Vec::new();
    let mut settings = vec![("APP_URL".to_owned(), APP.to_owned())];
    for name in names {
        let provider = OAuthProvider::start().await;
        let (person, emails) = ann_at(name);
        provider.person(person, emails);
        for (variable, value) in [
            ("CLIENT_ID", OAuthProvider::CLIENT_ID.to_owned()),
            ("CLIENT_SECRET", OAuthProvider::CLIENT_SECRET.to_owned()),
            ("AUTH_URL", provider.url("/authorize")),
            ("TOKEN_URL", provider.url("/token")),
            ("USERINFO_URL", provider.url("/userinfo")),
        ] {
            settings.push((format!("{name}_{variable}"), value));
        }
        if name == "GITHUB" {
            settings.push(("GITHUB_EMAILS_URL".to_owned(), provider.url("/emails")));
        }
        providers.push(provider);
    }
    let settings: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let installation = Installation::new(&settings).await;
    let (_auth, _backend) = installation.start().await;
    let listed = installation.get("/auth/oauth/providers", "").await;
    for (number, provider) in providers.iter().enumerate() {
        let name = listed.text(&format!("/providers/{number}/name"));
        let away = browser().get(listed.text(&format!("/providers/{number}/authUrl"))).send().await.unwrap();
        let cookie = away.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
        let back = provider.visit(&location(&away)).await;
        let home = location(&browser().get(&back).header("cookie", cookie).send().await.unwrap());
        let code = home.strip_prefix(&format!("{APP}?code=")).unwrap_or_else(|| panic!("{name}: {home}"));
        let session = installation.post("/auth/exchange", None, json!({ "code": code })).await;
        installation.leads_to_a_token(&session, name).await;
        let email = session.body.pointer("/user/email").unwrap();
        let expected = if name == "twitter" { json!(null) } else { json!(format!("ann@{name}.example")) };
        assert_eq!(email, &expected, "{name}");
    }
}

#[tokio::test]
async fn a_program_is_let_in_by_either_protocol() {
    let installation = Installation::new(&[]).await;
    let (mut auth, _backend) = installation.start().await;
    let session = installation.sign_in("ann@example.com").await;
    let me = installation.get("/auth/me", &session).await;
    let ann = me.text("/user/id");
    let approve = async |id: &str| {
        let request = json!({ "verificationSessionId": id });
        let approved = installation.post("/auth/cli/approve", Some(&session), request).await;
        assert_eq!(approved.status, 200, "{approved:?}");
    };
    // A program that is told to wait does.
    let a_second = || tokio::time::sleep(Duration::from_millis(1_100));

    let started = installation.post("/auth/cli/start", None, json!({ "name": "laptop" })).await;
    let id = started.text("/verificationSessionId");
    let poll = json!({ "verificationSessionId": id, "pollSecret": started.text("/pollSecret") });
    assert_eq!(installation.post("/auth/cli/poll", None, poll.clone()).await.status, 202);
    approve(id).await;
    a_second().await;
    let fetched = installation.post("/auth/cli/poll", None, poll.clone()).await;
    installation.is_a_token(fetched.text("/token"), ann, "/auth/cli").await;
    a_second().await;
    assert_eq!(installation.post("/auth/cli/poll", None, poll).await.status, 404, "once");

    let asked =
        installation.form("/oauth/device_authorization", &[("client_id", "tool"), ("scope", "a:b profile:read")]).await;
    let device_code = asked.text("/device_code").to_owned();
    let grant = [("grant_type", "urn:ietf:params:oauth:grant-type:device_code"), ("device_code", device_code.as_str())];
    let pending = installation.form("/oauth/token", &grant).await;
    assert_eq!((pending.status, pending.text("/error")), (400, "authorization_pending"));
    let hurried = installation.form("/oauth/token", &grant).await;
    assert_eq!((hurried.status, hurried.text("/error")), (400, "slow_down"));
    // The page finds the pairing by the code that the device shows.
    let found = browser().post(format!("{}/login", installation.auth_url));
    let found = found.form(&[("user_code", asked.text("/user_code"))]).send().await.unwrap();
    let page = location(&found);
    assert_eq!(format!("{}{page}", installation.auth_url), asked.text("/verification_uri_complete"));
    approve(page.rsplit_once('/').unwrap().1).await;
    a_second().await;
    let granted = installation.form("/oauth/token", &grant).await;
    assert_eq!((granted.text("/token_type"), granted.text("/scope")), ("Bearer", "a:b profile:read"));
    installation.is_a_token(granted.text("/access_token"), ann, "RFC 8628").await;

    assert_eq!(auth.terminate().await, Some(0), "{}", auth.output());
    for secret in [started.text("/pollSecret"), &device_code, fetched.text("/token"), granted.text("/access_token")] {
        assert!(!auth.output().contains(secret), "{secret} is in the log");
    }
}

#[tokio::test]
async fn every_way_in_waits_for_an_authenticator_app() {
    let installation = Installation::new(&[]).await;
    let (_auth, _backend) = installation.start().await;
    let session = installation.sign_in("ann@example.com").await;
    let link_wallet = async |purpose: &str| {
        let address = sign_with_wallet("viem", [7; 32], "").await.address;
        let asked = match purpose {
            "link" => {
                let request = json!({ "type": "wallet", "address": address });
                installation.post("/account/methods/link", Some(&session), request).await
            }
            _ => installation.post("/auth/wallet/challenge", None, json!({ "address": address })).await,
        };
        let message = asked.text("/message").to_owned();
        let signature = sign_with_wallet("viem", [7; 32], &message).await.signature;
        json!({ "type": "wallet", "address": address, "message": message, "signature": signature })
    };
    let proof = link_wallet("link").await;
    assert_eq!(installation.post("/account/methods/link/verify", Some(&session), proof).await.status, 200);
    let setup = installation.post("/account/mfa/setup", Some(&session), json!({})).await;
    let app = setup.text("/otpauthUrl");
    let request = json!({ "code": authenticator_code(app).await });
    let enabled = installation.post("/account/mfa/enable", Some(&session), request).await;
    assert_eq!(enabled.status, 200, "{enabled:?}");

    let code = six_digits(&installation.mailed("ann@example.com").await);
    let by_mail = json!({ "email": "ann@example.com", "code": code });
    let by_mail = installation.post("/auth/email/verify", None, by_mail).await;
    let by_wallet = installation.post("/auth/wallet/verify", None, link_wallet("sign in").await).await;
    for (number, (waiting, way)) in [(by_mail, "mail"), (by_wallet, "wallet")].into_iter().enumerate() {
        assert_eq!((waiting.status, &waiting.body["mfaRequired"]), (200, &json!(true)), "{way}: {waiting:?}");
        assert!(waiting.body.get("accessToken").is_none(), "{way}: {waiting:?}");
        let backup_code = enabled.text(&format!("/backupCodes/{number}"));
        let request = json!({ "mfaToken": waiting.text("/mfaToken"), "code": backup_code });
        let session = installation.post("/auth/mfa/verify", None, request).await;
        installation.leads_to_a_token(&session, way).await;
    }
}
