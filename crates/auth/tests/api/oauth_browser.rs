//! Somebody's browser on its way to a provider and back.

use auth::{AllowedRedirects, OAuth, OAuthProvider, ProviderName};
use domain::OneTimeSecret;
use serde_json::{Value, json};
use url::Url;

use crate::client::{Call, Reply};
use crate::world::{Person, SECOND, Setup, World};

pub(crate) const PUBLIC_URL: &str = "https://auth.example.com";
pub(crate) const APP_URL: &str = "https://app.example.com/home";

/// A service whose four providers are all this one.
pub(crate) async fn world_with(provider: &testkit::OAuthProvider) -> World {
    World::with(|setup| switch_on(setup, provider)).await
}

pub(crate) fn switch_on(setup: &mut Setup, provider: &testkit::OAuthProvider) {
    let url = |text: &str| Url::parse(text).unwrap();
    setup.config.oauth = OAuth {
        providers: ProviderName::ALL
            .into_iter()
            .map(|name| OAuthProvider {
                name,
                client_id: testkit::OAuthProvider::CLIENT_ID.to_owned(),
                client_secret: testkit::OAuthProvider::CLIENT_SECRET.into(),
                redirect_uri: url(&format!("{PUBLIC_URL}/auth/oauth/callback/{name}")),
                auth_url: url(&provider.url("/authorize")),
                token_url: url(&provider.url("/token")),
                userinfo_url: url(&provider.url("/userinfo")),
                emails_url: (name == ProviderName::GitHub).then(|| url(&provider.url("/emails"))),
            })
            .collect(),
        public_url: url(PUBLIC_URL),
        redirects: AllowedRedirects::new(url(APP_URL), &[url("http://localhost:5173")]),
        timeout: 10 * SECOND,
    };
}

/// A browser that has been sent to a provider: where to, and its cookie.
#[derive(Debug, Clone)]
pub(crate) struct Trip {
    pub(crate) to: String,
    pub(crate) cookie: String,
}

/// Follows the link that an app shows.
pub(crate) async fn leave(world: &World, name: &str) -> Trip {
    leave_for(world, name, "").await
}

pub(crate) async fn leave_for(world: &World, name: &str, query: &str) -> Trip {
    trip(name, &world.get(&format!("/auth/oauth/{name}{query}")).await)
}

pub(crate) fn trip(name: &str, reply: &Reply) -> Trip {
    let to = location(reply);
    let cookie = reply.header("set-cookie");
    let (pair, attributes) = cookie.split_once(';').unwrap();
    assert_eq!(attributes, " Path=/; Max-Age=600; HttpOnly; SameSite=Lax; Secure");
    assert!(pair.starts_with(&format!("__Host-af_oauth_{name}=")), "{pair}");
    Trip { to, cookie: pair.to_owned() }
}

/// Where a redirect leads; nothing of it may be kept by a cache or told to the next page.
#[track_caller]
pub(crate) fn location(reply: &Reply) -> String {
    assert_eq!(reply.status, 302, "{}", reply.text);
    assert_eq!((reply.header("cache-control"), reply.header("referrer-policy")), ("no-store", "no-referrer"));
    assert_eq!(reply.text, "");
    reply.header("location").to_owned()
}

/// The path and query of ours that the provider sends the browser back to.
pub(crate) async fn at_provider(provider: &testkit::OAuthProvider, trip: &Trip) -> String {
    let back = provider.visit(&trip.to).await;
    back.strip_prefix(PUBLIC_URL).unwrap().to_owned()
}

/// What the browser with this cookie is answered when it comes back.
pub(crate) async fn come_back(world: &World, path: &str, cookie: &str) -> Reply {
    world.get(path).header("cookie", cookie).await
}

/// The whole way: what the browser is answered in the end.
pub(crate) async fn round_trip(world: &World, provider: &testkit::OAuthProvider, name: &str) -> Reply {
    let trip = leave(world, name).await;
    let back = at_provider(provider, &trip).await;
    come_back(world, &back, &trip.cookie).await
}

/// The one-time code that the browser brings to the app.
pub(crate) fn code_of(reply: &Reply) -> String {
    let url = Url::parse(&location(reply)).unwrap();
    let (_, code) = url.query_pairs().find(|(name, _)| name == "code").unwrap();
    code.into_owned()
}

pub(crate) async fn exchange(world: &World, code: &str) -> Reply {
    world.post("/auth/exchange").json(&json!({ "code": code })).await
}

/// Signs in at a provider; the reply to the exchange.
pub(crate) async fn sign_in_at(world: &World, provider: &testkit::OAuthProvider, name: &str) -> Value {
    let code = code_of(&round_trip(world, provider, name).await);
    exchange(world, &code).await.ok(200)
}

/// The reference of a link that `owner` asks for.
pub(crate) async fn request_link(world: &World, owner: &Person, name: &str) -> OneTimeSecret {
    let request = json!({ "type": "oauth", "provider": name, "redirectUrl": "https://app.example.com/account" });
    let reply = world.post("/account/methods/link").by(&owner.access).json(&request).await.ok(200);
    let url = reply["authUrl"].as_str().unwrap();
    url.strip_prefix(&format!("{PUBLIC_URL}/auth/oauth/{name}?link=")).unwrap().parse().unwrap()
}

/// The code that somebody's browser has who went where a link's address leads.
pub(crate) async fn proof(
    world: &World,
    provider: &testkit::OAuthProvider,
    name: &str,
    reference: &OneTimeSecret,
) -> String {
    let path = format!("/auth/oauth/{name}?link={}", reference.expose());
    let trip = trip(name, &world.get(&path).header("referer", "https://app.example.com/").await);
    let back = at_provider(provider, &trip).await;
    code_of(&come_back(world, &back, &trip.cookie).await)
}

/// Finishes a link.
pub(crate) fn finish_link(world: &World, who: &Person, code: &str) -> Call {
    world.post("/account/methods/link/verify").by(&who.access).json(&json!({ "type": "oauth", "code": code }))
}
