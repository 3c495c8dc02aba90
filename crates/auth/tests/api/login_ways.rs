//! `/login/:id`: every way in that there is, no account unasked, and less than the program asks for.

use serde_json::json;
use testkit::{OAuthProvider, sign_with_wallet};

use crate::client::parallel;
use crate::login_page::{decide, form_secret, hidden, new_account, page, send, sign_in};
use crate::mfa;
use crate::oauth_browser::*;
use crate::pairing::{Asking, poll, poll_later, start};
use crate::world::{MINUTE, World};

const ANN: &str = "ann@example.com";
const KEY: [u8; 32] = [7; 32];

fn at(asking: &Asking, step: &str) -> String {
    format!("/login/{}/{step}", asking.id)
}

fn encoded(fields: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
}

async fn with_provider() -> (OAuthProvider, World) {
    let provider = OAuthProvider::start().await;
    provider.person(json!({ "id": 583_231, "login": "ann" }), json!([]));
    let world = world_with(&provider).await;
    (provider, world)
}

/// Somebody's way to the provider and back, to the page that is shown then.
async fn by_provider(world: &World, provider: &OAuthProvider, asking: &Asking) -> String {
    let left = world.get(&at(asking, "oauth/github")).header("sec-fetch-site", "same-origin").await;
    assert_eq!(left.status, 302, "{}", left.text);
    let cookie = left.header("set-cookie").split(';').next().unwrap().to_owned();
    let trip = Trip { to: left.header("location").to_owned(), cookie };
    let back = at_provider(provider, &trip).await;
    let mut reply = come_back(world, &back, &trip.cookie).await;
    let cleared = reply.headers.remove("set-cookie").unwrap();
    assert!(cleared.to_str().unwrap().contains("Max-Age=0"));
    assert!(!come_back(world, &back, &trip.cookie).await.text.contains("name=\"form\""), "once");
    page(reply, 200)
}

/// Signs what the page asks the wallet for; returns the page that follows.
async fn by_wallet(world: &World, asking: &Asking, library: &str) -> String {
    let address = sign_with_wallet(library, KEY, "").await.address;
    let asked = page(send(world, &at(asking, "wallet"), &format!("address={address}")).await, 200);
    let message = text_of(&hidden(&asked, "message"));
    assert!(message.starts_with("auth.example.com wants you to sign in"), "the page's own site: {message}");
    assert!(message.contains(&format!("URI: https://auth.example.com/login/{}", asking.id)), "{message}");
    let signature = sign_with_wallet(library, KEY, &message).await.signature;
    // A form's line ends.
    let message = message.replace('\n', "\r\n");
    let form = encoded(&[("address", &address), ("message", &message), ("signature", &signature)]);
    page(send(world, &at(asking, "wallet-signed"), &form).await, 200)
}

fn text_of(html: &str) -> String {
    [("&#x2f;", "/"), ("&#x27;", "'"), ("&quot;", "\""), ("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&")]
        .iter()
        .fold(html.to_owned(), |text, (escaped, letter)| text.replace(escaped, letter))
}

#[tokio::test]
async fn the_page_offers_every_way_in_that_is_on() {
    let (_provider, world) = with_provider().await;
    let asking = start(&world, json!({})).await;
    let shown = page(world.get(&format!("/login/{}", asking.id)).await, 200);
    for text in ["name=\"email\"", "name=\"phone\"", "data-wallet=\"ethereum\"", "data-wallet=\"solana\""] {
        assert!(shown.contains(text), "{text}: {shown}");
    }
    for title in ["Google", "GitHub", "Twitter", "Discord"] {
        assert!(shown.contains(&format!("Go on with {title}")), "{title}: {shown}");
    }
    let bare = World::with(|setup| setup.sms = None).await;
    let asking = start(&bare, json!({})).await;
    let shown = page(bare.get(&format!("/login/{}", asking.id)).await, 200);
    assert!(!shown.contains("name=\"phone\"") && !shown.contains("/oauth/"), "{shown}");
    page(bare.get(&at(&asking, "oauth/github")).await, 404);
    page(send(&bare, &at(&asking, "sms"), "phone=%2B14155552671").await, 503);
}

/// Before, whoever has a wallet could only go on by mail, and got a second, empty account by it.
#[tokio::test]
async fn each_way_in_leads_to_its_own_account_and_makes_none_unasked() {
    let (provider, world) = with_provider().await;
    for way in ["email", "sms", "wallet", "solana", "provider"] {
        for round in 0..2 {
            let asking = start(&world, json!({})).await;
            let users = world.count("SELECT COUNT(*) FROM users").await;
            let shown = match way {
                "email" => {
                    let asked = page(send(&world, &at(&asking, "email"), &format!("email={ANN}")).await, 200);
                    let form = format!("email={ANN}&flow={}&code={}", hidden(&asked, "flow"), world.mailed_code(ANN));
                    page(send(&world, &at(&asking, "code"), &form).await, 200)
                }
                "sms" => {
                    let asked = page(send(&world, &at(&asking, "sms"), "phone=%2B14155552671").await, 200);
                    let text = world.outbox.mails().remove(0).text;
                    assert!(text.contains("\"CLI\"") && text.is_ascii(), "it names the program: {text}");
                    let form = |code: &str| format!("phone=%2B14155552671&flow={}&code={code}", hidden(&asked, "flow"));
                    page(send(&world, &at(&asking, "sms-code"), &form("x")).await, 400);
                    let wrong = page(
                        send(
                            &world,
                            &at(&asking, "sms-code"),
                            &form(if &text[..6] == "000000" { "000001" } else { "000000" }),
                        )
                        .await,
                        400,
                    );
                    assert!(wrong.contains("2 tries left"), "{wrong}");
                    let form = form(&text[..6]);
                    page(send(&world, &at(&asking, "sms-code"), &form).await, 200)
                }
                "wallet" => by_wallet(&world, &asking, "viem").await,
                "solana" => by_wallet(&world, &asking, "tweetnacl").await,
                _ => by_provider(&world, &provider, &asking).await,
            };
            let shown = if round == 0 {
                assert!(shown.contains("no account yet") && !shown.contains("name=\"form\""), "{way}: {shown}");
                assert_eq!(world.count("SELECT COUNT(*) FROM users").await, users, "{way}");
                let made = new_account(&world, &asking, &shown).await;
                assert_eq!(world.count("SELECT COUNT(*) FROM users").await, users + 1, "{way}");
                // Neither again, nor for another program, nor as an exchange code.
                let newcomer = hidden(&shown, "newcomer");
                let other = start(&world, json!({})).await;
                for asking in [&asking, &other] {
                    let again = send(&world, &at(asking, "new-account"), &format!("newcomer={newcomer}")).await;
                    page(again, 400);
                }
                exchange(&world, &newcomer).await.fails(400, "INVALID_CODE");
                made
            } else {
                assert_eq!(world.count("SELECT COUNT(*) FROM users").await, users, "{way}: the account is found");
                shown
            };
            let form = format!("form={}&decision=approve&name=x&lifetime=1", form_secret(&shown));
            page(decide(&world, &asking, &form).await, 200);
            let token = poll(&world, &asking).await.ok(200);
            assert!(world.is_valid(token["token"].as_str().unwrap()).await, "{way}");
        }
    }
    assert_eq!(world.count("SELECT COUNT(*) FROM users").await, 5);
    assert_eq!(world.count("SELECT COUNT(*) FROM sessions").await, 0, "no session begins on the page");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_newcomer_who_presses_often_gets_one_account() {
    let world = World::new().await;
    for round in 1..=10 {
        let asking = start(&world, json!({})).await;
        let email = format!("new{round}@example.com");
        let asked = page(send(&world, &at(&asking, "email"), &format!("email={email}")).await, 200);
        let form = format!("email={email}&flow={}&code={}", hidden(&asked, "flow"), world.mailed_code(&email));
        let newcomer = hidden(&page(send(&world, &at(&asking, "code"), &form).await, 200), "newcomer");
        let replies =
            parallel(16, |_| send(&world, &at(&asking, "new-account"), &format!("newcomer={newcomer}")).into_future())
                .await;
        assert_eq!(replies.iter().filter(|reply| reply.status == 200).count(), 1, "round {round}");
        assert_eq!(world.count("SELECT COUNT(*) FROM users").await, round);
    }
}

#[tokio::test]
async fn a_newcomers_proof_is_over_after_five_minutes() {
    let world = World::new().await;
    let asking = start(&world, json!({})).await;
    let shown = by_wallet(&world, &asking, "viem").await;
    world.clock.advance(5 * MINUTE);
    let form = format!("newcomer={}", hidden(&shown, "newcomer"));
    page(send(&world, &at(&asking, "new-account"), &form).await, 400);
    for forged in ["", "newcomer=", "newcomer=x", &format!("newcomer={}", "x".repeat(32))] {
        page(send(&world, &at(&asking, "new-account"), forged).await, 400);
    }
    assert_eq!(world.count("SELECT COUNT(*) FROM users").await, 0);
}

#[tokio::test]
async fn a_wallets_signature_is_of_this_page_and_once() {
    let world = World::new().await;
    let (asking, other) = (start(&world, json!({})).await, start(&world, json!({})).await);
    let address = sign_with_wallet("viem", KEY, "").await.address;
    let asked = page(send(&world, &at(&asking, "wallet"), &format!("address={address}")).await, 200);
    let message = text_of(&hidden(&asked, "message"));
    let signature = sign_with_wallet("viem", KEY, &message).await.signature;
    let form = encoded(&[("address", &address), ("message", &message), ("signature", &signature)]);
    page(send(&world, &at(&other, "wallet-signed"), &form).await, 400);
    // It signs in nowhere else, and what was signed elsewhere does not here.
    let request = json!({ "address": address, "message": message, "signature": signature });
    world.post("/auth/wallet/verify").json(&request).await.fails(400, "INVALID_SIGNATURE");
    let challenge = world.post("/auth/wallet/challenge").json(&json!({ "address": address })).await.ok(200);
    let elsewhere = challenge["message"].as_str().unwrap();
    let signed = sign_with_wallet("viem", KEY, elsewhere).await.signature;
    let foreign = encoded(&[("address", &address), ("message", elsewhere), ("signature", &signed)]);
    page(send(&world, &at(&asking, "wallet-signed"), &foreign).await, 400);
    let wrong = encoded(&[("address", &address), ("message", &message), ("signature", &signed)]);
    page(send(&world, &at(&asking, "wallet-signed"), &wrong).await, 400);
    for nonsense in ["", "address=x", "address=0x0&message=&signature="] {
        page(send(&world, &at(&asking, "wallet-signed"), nonsense).await, 400);
        page(send(&world, &at(&asking, "wallet"), nonsense).await, 400);
    }
    assert!(page(send(&world, &at(&asking, "wallet-signed"), &form).await, 200).contains("no account yet"));
    page(send(&world, &at(&asking, "wallet-signed"), &form).await, 400);
    assert_eq!(world.count("SELECT COUNT(*) FROM users").await, 0);
}

#[tokio::test]
async fn forms_of_other_sites_begin_nothing_by_any_way() {
    let (provider, world) = with_provider().await;
    let asking = start(&world, json!({})).await;
    for site in ["cross-site", "same-site"] {
        for (step, form) in [
            ("sms", "phone=%2B14155552671"),
            ("sms-code", "phone=%2B14155552671&code=123456"),
            ("wallet", "address=0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"),
            ("wallet-signed", "address=x&message=x&signature=x"),
            ("new-account", "newcomer=x"),
        ] {
            page(send(&world, &at(&asking, step), form).header("sec-fetch-site", site).await, 403);
        }
        page(world.get(&at(&asking, "oauth/github")).header("sec-fetch-site", site).await, 403);
    }
    assert_eq!(world.outbox.mails().len(), 0);
    for table in ["oauth_states", "wallet_challenges", "exchange_codes"] {
        assert_eq!(world.count(&format!("SELECT COUNT(*) FROM {table}")).await, 0, "{table}");
    }
    assert_eq!(provider.asked(), []);
}

#[tokio::test]
async fn a_provider_that_refuses_or_fails_leads_back_to_the_page() {
    let (provider, world) = with_provider().await;
    let asking = start(&world, json!({})).await;
    let left = world.get(&at(&asking, "oauth/github")).await;
    let cookie = left.header("set-cookie").split(';').next().unwrap().to_owned();
    let state = left.header("location").split("state=").nth(1).unwrap()[..32].to_owned();
    let back = format!("/auth/oauth/callback/github?error=access_denied&state={state}");
    let mut told = come_back(&world, &back, &cookie).await;
    told.headers.remove("set-cookie");
    assert!(page(told, 400).contains("name=\"email\""));
    // Another browser is not told even that.
    let left = world.get(&at(&asking, "oauth/github")).await;
    let to = left.header("location").to_owned();
    let back = at_provider(&provider, &Trip { to, cookie: String::new() }).await;
    world.get(&back).await.fails(400, "INVALID_STATE");
    assert_eq!(world.count("SELECT COUNT(*) FROM exchange_codes").await, 0);
}

#[tokio::test]
async fn a_second_factor_is_asked_for_by_every_way() {
    let provider = OAuthProvider::start().await;
    provider.person(json!({ "sub": "1077", "email": ANN, "email_verified": true }), json!(null));
    let world = world_with(&provider).await;
    let (_, app, _) = mfa::ann(&world).await;
    let asking = start(&world, json!({})).await;
    let left = world.get(&at(&asking, "oauth/google")).await;
    let cookie = left.header("set-cookie").split(';').next().unwrap().to_owned();
    let trip = Trip { to: left.header("location").to_owned(), cookie };
    let back = at_provider(&provider, &trip).await;
    let mut reply = come_back(&world, &back, &trip.cookie).await;
    reply.headers.remove("set-cookie");
    let asked = page(reply, 200);
    assert!(asked.contains("authenticator") && !asked.contains("name=\"form\""), "{asked}");
    let form = format!("mfa_token={}&code={}", hidden(&asked, "mfa_token"), app.code(&world, 0));
    assert!(page(send(&world, &at(&asking, "second-factor"), &form).await, 200).contains("name=\"form\""));
}

#[tokio::test]
async fn whoever_approves_allows_less_and_never_more() {
    let world = World::new().await;
    let ann = world.ann().await;
    let scopes = ["projects:read", "projects:write", "tokens:read"];
    let asking = start(&world, json!({ "scopes": scopes })).await;
    let offered = sign_in(&world, &asking, ANN).await;
    for scope in scopes {
        assert!(offered.contains(&format!("name=\"scope:{scope}\" value=\"yes\" checked")), "{scope}: {offered}");
    }
    let secret = form_secret(&offered);
    let form = |more: &str| format!("form={secret}&decision=approve&name=x&lifetime=7{more}");
    // None is none; what was not asked for is not there to be ticked, nor to be typed.
    for none in ["", "&scope%3A*=yes", "&scope%3Atokens%3Awrite=yes", "&only=*", "&scope=projects%3Aread"] {
        let again = page(decide(&world, &asking, &form(none)).await, 400);
        assert!(again.contains("at least one scope") && !again.contains(" checked"), "{none}: {again}");
    }
    poll(&world, &asking).await.ok(202);
    let end = world.now().plus(7 * 24 * 60 * MINUTE);
    page(decide(&world, &asking, &form("&scope%3Aprojects%3Aread=yes&scope%3A*=yes")).await, 200);
    let token = poll_later(&world, &asking).await.ok(200);
    let valid = world.validate(token["token"].as_str().unwrap()).await.ok(200);
    assert_eq!(valid["scopes"], json!(["projects:read"]));
    assert_eq!(valid["expiresAt"], json!(end));

    // Of everything it is what one names.
    let asking = start(&world, json!({})).await;
    let secret = form_secret(&sign_in(&world, &asking, ANN).await);
    let form = |only: &str| format!("form={secret}&decision=approve&name=x&lifetime=30&only={only}");
    let again = page(decide(&world, &asking, &form("NOT+ONE")).await, 400);
    assert!(again.contains("value=\"NOT ONE\""), "{again}");
    page(decide(&world, &asking, &form("profile%3Aread+tokens%3Aread")).await, 200);
    let token = poll(&world, &asking).await.ok(200);
    let valid = world.validate(token["token"].as_str().unwrap()).await.ok(200);
    assert_eq!(valid["scopes"], json!(["profile:read", "tokens:read"]));
    assert_eq!(world.count_events(&ann, "pairing.approved").await, 2);
}

#[tokio::test]
async fn the_page_says_when_the_program_is_elsewhere() {
    let world = World::new().await;
    let asking = start(&world, json!({ "name": "laptop" })).await;
    let path = format!("/login/{}", asking.id);
    let here = page(world.get(&path).from("198.51.100.200").await, 200);
    assert!(here.contains("your network") && !here.contains("class=\"warn\""), "{here}");
    let elsewhere = page(world.get(&path).from("203.0.113.9").await, 200);
    assert!(elsewhere.contains("another network: 198.51.100.0&#x2f;24"), "{elsewhere}");
    assert!(elsewhere.contains("class=\"warn\"") && !elsewhere.contains("198.51.100.1<"), "{elsewhere}");
}

#[tokio::test]
async fn the_mail_names_the_program_and_has_no_link_past_the_page() {
    let world = World::new().await;
    let asking = start(&world, json!({ "name": format!("laptop {}", "x".repeat(80)) })).await;
    page(send(&world, &at(&asking, "email"), &format!("email={ANN}")).await, 200);
    let mail = world.outbox.mails().remove(0);
    assert!(!mail.subject.contains("laptop"), "a stranger writes no subject: {}", mail.subject);
    for text in [&mail.text, &mail.html] {
        assert!(text.contains(&format!("“laptop {}...”", "x".repeat(50))), "{text}");
    }
    assert!(mail.text.contains("198.51.100.0/24") && mail.text.contains("test/1.0"), "{}", mail.text);
    assert!(!mail.text.contains("/login/email/") && !mail.html.contains("href"), "{}", mail.text);
    assert!(mail.html.contains("prefers-color-scheme:dark"), "{}", mail.html);
    assert_eq!(world.count("SELECT COUNT(*) FROM mail_links").await, 0);
}
