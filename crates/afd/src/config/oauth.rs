//! Sign-in at providers.

use ::auth::{AllowedRedirects, OAuth, OAuthProvider, ProviderName};
use url::Url;

use super::Source;

/// What a provider's variables are called.
struct Names {
    provider: ProviderName,
    client_id: &'static str,
    client_secret: &'static str,
    client_secret_file: &'static str,
    redirect_uri: &'static str,
    auth_url: &'static str,
    token_url: &'static str,
    userinfo_url: &'static str,
    emails_url: &'static str,
}

macro_rules! names {
    ($provider:ident, $prefix:literal) => {
        Names {
            provider: ProviderName::$provider,
            client_id: concat!($prefix, "_CLIENT_ID"),
            client_secret: concat!($prefix, "_CLIENT_SECRET"),
            client_secret_file: concat!($prefix, "_CLIENT_SECRET_FILE"),
            redirect_uri: concat!($prefix, "_REDIRECT_URI"),
            auth_url: concat!($prefix, "_AUTH_URL"),
            token_url: concat!($prefix, "_TOKEN_URL"),
            userinfo_url: concat!($prefix, "_USERINFO_URL"),
            emails_url: concat!($prefix, "_EMAILS_URL"),
        }
    };
}

const PROVIDERS: [Names; 4] =
    [names!(Google, "GOOGLE"), names!(GitHub, "GITHUB"), names!(Twitter, "TWITTER"), names!(Discord, "DISCORD")];

/// Reads the providers that have an id, and where browsers may be sent.
pub(super) fn oauth(source: &mut Source) -> OAuth {
    // Whatever is wrong with it is told where the service's address is read.
    let public_url = source
        .text("PUBLIC_URL")
        .and_then(|text| web_url(&text).ok())
        .unwrap_or_else(|| Url::parse("http://localhost").expect("it is a URL"));
    let providers: Vec<_> = PROVIDERS.iter().filter_map(|names| provider(source, names, &public_url)).collect();
    let app_url = source.read("APP_URL", web_url);
    if app_url.is_none() && !providers.is_empty() {
        source.missing("APP_URL", "where browsers go after signing in at a provider, such as https://app.example.com");
    }
    let mut others = source.list("ALLOWED_REDIRECTS", web_url);
    // All of its origin, as with APP_URL; what is listed may name less.
    others.extend(source.read("FRONTEND_URL", web_url).and_then(|url| url.join("/").ok()));
    OAuth {
        providers,
        redirects: AllowedRedirects::new(app_url.unwrap_or_else(|| public_url.clone()), &others),
        public_url,
        timeout: OAuth::TIMEOUT,
    }
}

fn provider(source: &mut Source, names: &Names, public_url: &Url) -> Option<OAuthProvider> {
    let client_id = source.text(names.client_id)?;
    let client_secret = source.secret(names.client_secret, names.client_secret_file);
    if client_secret.is_none() {
        source.missing(names.client_secret, &format!("{} has an id and no secret", names.provider));
    }
    let name = names.provider;
    let callback = format!("{}/auth/oauth/callback/{name}", public_url.as_str().trim_end_matches('/'));
    let mut read = |variable: &'static str, default: &str| {
        let default = Url::parse(default).expect("defaults are URLs");
        source.read_or(variable, default, web_url)
    };
    Some(OAuthProvider {
        name,
        client_id,
        client_secret: client_secret.unwrap_or_default(),
        redirect_uri: read(names.redirect_uri, &callback),
        auth_url: read(names.auth_url, name.default_auth_url()),
        token_url: read(names.token_url, name.default_token_url()),
        userinfo_url: read(names.userinfo_url, name.default_userinfo_url()),
        emails_url: name.default_emails_url().map(|default| read(names.emails_url, default)),
    })
}

fn web_url(text: &str) -> Result<Url, &'static str> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    url.ok_or("must be a URL such as https://app.example.com")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use secrecy::ExposeSecret;

    use super::*;

    fn source(settings: &[(&str, &str)]) -> Source {
        let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Source::new(
            settings
                .chain([("PUBLIC_URL".to_owned(), "https://auth.example.com/".to_owned())])
                .collect::<BTreeMap<_, _>>(),
        )
    }

    fn read(settings: &[(&str, &str)]) -> Result<OAuth, String> {
        let mut source = source(settings);
        let oauth = oauth(&mut source);
        source.finish(oauth).map_err(|problems| problems.to_string())
    }

    const GITHUB: [(&str, &str); 3] =
        [("GITHUB_CLIENT_ID", "id"), ("GITHUB_CLIENT_SECRET", "secret"), ("APP_URL", "https://app.example.com")];

    #[test]
    fn a_provider_with_an_id_is_on() {
        assert!(read(&[]).unwrap().providers.is_empty());
        assert!(read(&[("GITHUB_CLIENT_SECRET", "secret")]).unwrap().providers.is_empty(), "without an id it is off");

        let oauth = read(&GITHUB).unwrap();
        assert_eq!(oauth.providers.len(), 1);
        let provider = &oauth.providers[0];
        assert_eq!(provider.name, ProviderName::GitHub);
        assert_eq!(provider.client_secret.expose_secret(), "secret");
        assert_eq!(provider.redirect_uri.as_str(), "https://auth.example.com/auth/oauth/callback/github");
        assert_eq!(provider.token_url.as_str(), "https://github.com/login/oauth/access_token");
        assert_eq!(provider.emails_url.as_ref().unwrap().as_str(), "https://api.github.com/user/emails");
    }

    #[test]
    fn everything_about_a_provider_can_point_elsewhere() {
        let mut settings = GITHUB.to_vec();
        for (name, url) in [
            ("GITHUB_REDIRECT_URI", "https://login.example.com/back"),
            ("GITHUB_AUTH_URL", "http://localhost:9/a"),
            ("GITHUB_TOKEN_URL", "http://localhost:9/t"),
            ("GITHUB_USERINFO_URL", "http://localhost:9/u"),
            ("GITHUB_EMAILS_URL", "http://localhost:9/e"),
        ] {
            settings.push((name, url));
        }
        let oauth = read(&settings).unwrap();
        let provider = &oauth.providers[0];
        assert_eq!(provider.redirect_uri.as_str(), "https://login.example.com/back");
        assert_eq!(provider.auth_url.as_str(), "http://localhost:9/a");
        assert_eq!(provider.token_url.as_str(), "http://localhost:9/t");
        assert_eq!(provider.userinfo_url.as_str(), "http://localhost:9/u");
        assert_eq!(provider.emails_url.as_ref().unwrap().as_str(), "http://localhost:9/e");
    }

    #[test]
    fn what_is_wrong_is_told_by_name() {
        for names in &PROVIDERS {
            let told = read(&[(names.client_id, "id")]).err().unwrap();
            assert!(told.contains(&format!("  {}: is required", names.client_secret)), "{told}");
            assert!(told.contains("  APP_URL: is required"), "{told}");
        }
        for (name, value) in [
            ("GITHUB_AUTH_URL", "github.com"),
            ("GITHUB_TOKEN_URL", "ftp://github.com"),
            ("GITHUB_USERINFO_URL", "javascript:alert(1)"),
            ("GITHUB_EMAILS_URL", "/user/emails"),
            ("GITHUB_REDIRECT_URI", "//auth.example.com"),
            ("FRONTEND_URL", "app.example.com"),
            ("ALLOWED_REDIRECTS", "https://a.example.com,*"),
        ] {
            let mut settings = GITHUB.to_vec();
            settings.push((name, value));
            let told = read(&settings).err().unwrap();
            assert!(told.contains(&format!("  {name}: ")), "{told}");
        }
    }
}
