//! Who somebody is, from what a provider says.

use domain::EmailAddress;
use serde_json::Value;
use store::Profile;
use url::Url;

use super::ProviderName;

/// Somebody at a provider.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Identity {
    /// The provider's id for them, which never changes.
    pub(super) id: String,
    /// What else it vouches for.
    pub(super) profile: Profile,
}

const MAX_ID: usize = 255;
const MAX_NAME: usize = 100;
const MAX_AVATAR_URL: usize = 2048;

/// Reads the reply of the provider's userinfo, and with GitHub that of its e-mail addresses. `None` when it names nobody.
///
/// An address counts only when the provider says that it is verified: whoever has one here gets the account that has
/// the same address.
pub(super) fn read(provider: ProviderName, user: &Value, emails: Option<&Value>) -> Option<Identity> {
    // Twitter wraps its replies.
    let user = if provider == ProviderName::Twitter { &user["data"] } else { user };
    let id = match provider {
        // OpenID Connect calls it `sub`; Google's older userinfo, `id`.
        ProviderName::Google => id(&user["sub"]).or_else(|| id(&user["id"]))?,
        _ => id(&user["id"])?,
    };
    let (email, names, avatar) = match provider {
        ProviderName::Google => {
            let verified = is_true(&user["email_verified"]) || is_true(&user["verified_email"]);
            (user["email"].as_str().filter(|_| verified), ["name", "given_name"], text(&user["picture"]))
        }
        ProviderName::GitHub => (primary(emails), ["name", "login"], text(&user["avatar_url"])),
        ProviderName::Twitter => (None, ["name", "username"], text(&user["profile_image_url"])),
        ProviderName::Discord => {
            let verified = is_true(&user["verified"]);
            (user["email"].as_str().filter(|_| verified), ["global_name", "username"], discord_avatar(&id, user))
        }
    };
    let email = email.and_then(|email| email.parse::<EmailAddress>().ok()).map(|email| email.as_str().to_owned());
    let display_name = names.into_iter().find_map(|name| display_name(&user[name]));
    let avatar_url = avatar.filter(|url| is_picture_url(url));
    Some(Identity { id, profile: Profile { email, display_name, avatar_url } })
}

/// Ids are numbers with some, strings with others.
fn id(value: &Value) -> Option<String> {
    let id = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.as_u64()?.to_string(),
        _ => return None,
    };
    let is_id = !id.is_empty() && id.len() <= MAX_ID && id.bytes().all(|byte| byte.is_ascii_graphic());
    is_id.then_some(id)
}

/// Some of Google's replies say `"true"`.
fn is_true(value: &Value) -> bool {
    value == &Value::Bool(true) || value.as_str() == Some("true")
}

/// The one address of GitHub's that is both primary and verified.
fn primary(emails: Option<&Value>) -> Option<&str> {
    let is_it = |email: &&Value| email["primary"] == true && email["verified"] == true;
    emails?.as_array()?.iter().find(is_it)?["email"].as_str()
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

/// A name fit for people's eyes: no control characters, not endless.
fn display_name(value: &Value) -> Option<String> {
    let clean: String = value.as_str()?.chars().filter(|c| !c.is_control()).take(MAX_NAME).collect();
    let clean = clean.trim();
    (!clean.is_empty()).then(|| clean.to_owned())
}

/// Discord names the picture by its hash.
fn discord_avatar(id: &str, user: &Value) -> Option<String> {
    let hash = user["avatar"].as_str()?;
    let is_safe = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    (is_safe(hash) && is_safe(id)).then(|| format!("https://cdn.discordapp.com/avatars/{id}/{hash}.png"))
}

fn is_picture_url(text: &str) -> bool {
    text.len() <= MAX_AVATAR_URL
        && Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn email(provider: ProviderName, user: &Value) -> Option<String> {
        read(provider, user, None).unwrap().profile.email
    }

    #[test]
    fn only_verified_addresses_count() {
        let google = |field: &str, value: Value| {
            email(ProviderName::Google, &json!({ "sub": "1", "email": "Ann@Example.com", field: value }))
        };
        for (field, value) in [
            ("email_verified", json!(true)),
            ("email_verified", json!("true")),
            ("verified_email", json!(true)),
            ("verified_email", json!("true")),
        ] {
            assert_eq!(google(field, value).as_deref(), Some("ann@example.com"));
        }
        for value in [json!(false), json!("false"), json!(null), json!(1), json!("TRUE"), json!([true]), json!("")] {
            assert_eq!(google("email_verified", value.clone()), None, "{value}");
        }
        assert_eq!(google("verified", json!(true)), None);

        let discord = |verified: Value| {
            email(ProviderName::Discord, &json!({ "id": "1", "email": "ann@example.com", "verified": verified }))
        };
        assert_eq!(discord(json!(true)).as_deref(), Some("ann@example.com"));
        assert_eq!(discord(json!(false)), None);
        let twitter = json!({ "data": { "id": "1", "email": "ann@example.com", "verified": true } });
        assert_eq!(email(ProviderName::Twitter, &twitter), None);
    }

    #[test]
    fn of_githubs_addresses_the_primary_and_verified_one_counts() {
        let read = |emails: Value| {
            let user = json!({ "id": 1, "email": "public@example.com" });
            read(ProviderName::GitHub, &user, Some(&emails)).unwrap().profile.email
        };
        let entry = |email: &str, primary: Value, verified: Value| json!({ "email": email, "primary": primary, "verified": verified });
        let ann = entry("ann@example.com", json!(true), json!(true));
        let other = entry("other@example.com", json!(false), json!(true));
        assert_eq!(read(json!([other, ann])).as_deref(), Some("ann@example.com"));
        assert_eq!(read(json!([other, entry("ann@example.com", json!(true), json!(false))])), None);
        assert_eq!(read(json!([entry("ann@example.com", json!(true), json!("true"))])), None);
        for nonsense in [json!([]), json!({}), json!(null), json!([1, "x", null]), json!("ann@example.com")] {
            assert_eq!(read(nonsense), None);
        }
    }

    #[test]
    fn ids_are_numbers_or_strings() {
        let id = |value: Value| read(ProviderName::Discord, &json!({ "id": value }), None).map(|identity| identity.id);
        assert_eq!(id(json!("80351110224678912")).as_deref(), Some("80351110224678912"));
        assert_eq!(id(json!(583_231)).as_deref(), Some("583231"));
        for nobody in [json!(null), json!(""), json!(-1), json!(1.5), json!([]), json!({}), json!(true), json!("a b")] {
            assert_eq!(id(nobody.clone()), None, "{nobody}");
        }
        for provider in ProviderName::ALL {
            for nobody in [json!({}), json!([]), json!(null), json!("x"), json!({ "data": null })] {
                assert_eq!(read(provider, &nobody, None), None);
            }
        }
        assert_eq!(read(ProviderName::Google, &json!({ "id": "old" }), None).unwrap().id, "old");
    }

    #[test]
    fn names_and_pictures_are_fit_to_be_shown() {
        let profile = |user: Value| read(ProviderName::GitHub, &user, None).unwrap().profile;
        let shown = profile(json!({ "id": 1, "name": " A\u{0}nn\n ", "avatar_url": "https://a.example/x.png" }));
        assert_eq!(shown.display_name.as_deref(), Some("Ann"));
        assert_eq!(shown.avatar_url.as_deref(), Some("https://a.example/x.png"));
        assert_eq!(profile(json!({ "id": 1, "name": null, "login": "ann" })).display_name.as_deref(), Some("ann"));
        assert_eq!(profile(json!({ "id": 1, "name": "x".repeat(1000) })).display_name.unwrap().len(), MAX_NAME);
        for url in ["javascript:alert(1)", "data:image/png,x", "//a.example", "", "x", "file:///etc/passwd"] {
            assert_eq!(profile(json!({ "id": 1, "avatar_url": url })).avatar_url, None, "{url}");
        }
        let discord = json!({ "id": "8", "avatar": "a_1b" });
        assert_eq!(
            read(ProviderName::Discord, &discord, None).unwrap().profile.avatar_url.as_deref(),
            Some("https://cdn.discordapp.com/avatars/8/a_1b.png")
        );
        let discord = json!({ "id": "8", "avatar": "../../x" });
        assert_eq!(read(ProviderName::Discord, &discord, None).unwrap().profile.avatar_url, None);
    }
}
