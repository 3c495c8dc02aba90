//! Where browsers may be sent in the end.

use url::{Origin, Url};

/// The installation's own addresses. A redirect is compared with them as a parsed origin and whole segments of a path,
/// never as text.
pub struct AllowedRedirects {
    default: Url,
    places: Vec<Place>,
}

/// An origin, or what is below a path of it.
struct Place {
    origin: Origin,
    /// Without the slash at its end: empty for all of the origin.
    path: String,
}

/// A URL that browsers are not sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be an absolute URL of one of the allowed origins")]
pub struct RedirectError;

/// Longer than any app's URL, shorter than what servers refuse.
const MAX_LENGTH: usize = 2048;

/// The parameters that are ours; an app that read somebody else's would sign in somebody else.
const OURS: [&str; 3] = ["code", "error", "linked"];

impl AllowedRedirects {
    /// `default` is where browsers go when nobody says where; its origin is allowed. Of `others` so is the origin, or,
    /// of one with a path, that path and what is below it.
    #[must_use]
    pub fn new(default: Url, others: &[Url]) -> Self {
        let whole = Place { origin: default.origin(), path: String::new() };
        let others =
            others.iter().map(|url| Place { origin: url.origin(), path: url.path().trim_end_matches('/').to_owned() });
        let places = std::iter::once(whole).chain(others).collect();
        Self { default, places }
    }

    /// The URL, if browsers may be sent there.
    pub(crate) fn check(&self, text: Option<&str>) -> Result<Url, RedirectError> {
        let Some(text) = text else { return Ok(self.default.clone()) };
        // Browsers read a backslash as a slash and skip tabs and line ends; other readers do neither.
        if text.len() > MAX_LENGTH || text.contains(|c: char| c == '\\' || c.is_control() || c.is_whitespace()) {
            return Err(RedirectError);
        }
        let url = Url::parse(text).map_err(|_| RedirectError)?;
        let is_web = matches!(url.scheme(), "http" | "https");
        let has_login = !url.username().is_empty() || url.password().is_some();
        if is_web && !has_login && self.is_allowed(&url) { Ok(url) } else { Err(RedirectError) }
    }

    fn is_allowed(&self, url: &Url) -> bool {
        let origin = url.origin();
        self.places.iter().any(|place| place.origin == origin && place.has(url.path()))
    }

    /// Whether the URL, which is a page that sends a browser here, is on one of the installation's origins. Browsers say no
    /// more than that of pages elsewhere.
    pub(crate) fn is_own_page(&self, url: &Url) -> bool {
        let origin = url.origin();
        self.places.iter().any(|place| place.origin == origin)
    }
}

impl Place {
    /// Whether the path is this one or below it, whoever reads it. `..` has been resolved; what some servers take for it or
    /// for a slash has no place below a path that is to bound something.
    fn has(&self, path: &str) -> bool {
        if self.path.is_empty() {
            return true;
        }
        let is_below = path.strip_prefix(&self.path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        is_below && !path.contains("//") && !path.contains(';') && !has_escaped_syntax(path)
    }
}

/// Whether an escape in the path stands for what has a meaning in paths, or for a control character.
fn has_escaped_syntax(path: &str) -> bool {
    path.split('%').skip(1).any(|rest| {
        let byte = rest.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        byte.is_none_or(|byte| byte.is_ascii_control() || b"/\\.%;?#".contains(&byte))
    })
}

/// The URL with one parameter more. What is there stays as it is, letter by letter, except parameters of our names.
pub(crate) fn with_parameter(mut url: Url, name: &str, value: &str) -> Url {
    let is_ours =
        |pair: &&str| url::form_urlencoded::parse(pair.as_bytes()).any(|(key, _)| OURS.contains(&key.as_ref()));
    let kept: Vec<&str> = url.query().unwrap_or_default().split('&').filter(|pair| !is_ours(pair)).collect();
    let kept = kept.join("&");
    url.set_query((!kept.is_empty()).then_some(kept.as_str()));
    url.query_pairs_mut().append_pair(name, value);
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed() -> AllowedRedirects {
        let url = |text| Url::parse(text).unwrap();
        AllowedRedirects::new(url("https://app.example.com/home"), &[url("http://localhost:5173")])
    }

    #[test]
    fn urls_of_allowed_origins_pass() {
        assert_eq!(allowed().check(None).unwrap().as_str(), "https://app.example.com/home");
        for text in [
            "https://app.example.com",
            "https://app.example.com/",
            "https://app.example.com:443/in?next=%2Fa&x=1",
            "HTTPS://APP.EXAMPLE.COM/Callback",
            "https://app.example.com/#/signed-in",
            "http://localhost:5173/x",
            "https://app.example.com/?u=https://evil.example",
            "https://app.example.com//evil.example",
        ] {
            assert!(allowed().check(Some(text)).is_ok(), "{text}");
        }
    }

    #[test]
    fn foreign_ones_are_refused_in_every_disguise() {
        for text in [
            "",
            "/",
            "/path",
            "//evil.example",
            "///evil.example",
            "https:evil.example",
            "https:///evil.example",
            "https://evil.example",
            "https://app.example.com.evil.example",
            "https://app.example.com@evil.example",
            "https://app.example.com:x@evil.example",
            "https://app.example.com%40evil.example",
            "https://app.example.com%2eevil.example",
            "https://evil.example#@app.example.com",
            "https://evil.example?@app.example.com",
            "https://evil.example/https://app.example.com",
            "https://evilapp.example.com",
            "https://xapp.example.com",
            "https://sub.app.example.com",
            "https://example.com",
            "https://app.example.com.",
            "https://app.example.com:8443",
            "https://app.example.com:80",
            "https://app.example.com:",
            "http://app.example.com",
            "http://app.example.com:443",
            "http://localhost",
            "http://localhost:5174",
            "http://127.0.0.1:5173",
            "ftp://app.example.com",
            "ws://app.example.com",
            "javascript:alert(1)",
            "JaVaScRiPt:alert(1)//https://app.example.com",
            "javascript://app.example.com/%0aalert(1)",
            "data:text/html,x",
            "blob:https://app.example.com/x",
            "view-source:https://app.example.com",
            "https://user@app.example.com",
            "https://user:password@app.example.com",
            "https://:password@app.example.com",
            "https://evil.example\\@app.example.com",
            "https://app.example.com\\@evil.example",
            "https:\\\\evil.example",
            "\\\\evil.example",
            " https://app.example.com",
            "https://app.example.com ",
            "https://app.exa\tmple.com",
            "java\nscript:alert(1)",
            "https://app.example.com/\r\nSet-Cookie: x=y",
            "https://app.example.com/\0",
            "https://аpp.example.com",
            "null",
            "https://",
        ] {
            // A port that is left empty is the default one.
            let is_same = text == "https://app.example.com:";
            assert_eq!(allowed().check(Some(text)).is_ok(), is_same, "{text:?}");
        }
        assert!(allowed().check(Some(&format!("https://app.example.com/{}", "x".repeat(2048)))).is_err());
    }

    #[test]
    fn a_path_bounds_by_whole_segments() {
        let url = |text| Url::parse(text).unwrap();
        let listed = [url("https://shared.example.com/app"), url("https://slash.example.com/a/b/")];
        let allowed = AllowedRedirects::new(url("https://home.example.com/home"), &listed);
        for text in [
            "https://shared.example.com/app",
            "https://shared.example.com/app/",
            "https://shared.example.com/app/x/y?z=1#w",
            "https://shared.example.com/app?next=//evil.example",
            "https://SHARED.example.com:443/app/x",
            "https://shared.example.com/other/../app/x",
            "https://shared.example.com/app/b%C3%BCcher",
            "https://slash.example.com/a/b",
            "https://slash.example.com/a/b/c",
            "https://home.example.com/anywhere",
        ] {
            assert!(allowed.check(Some(text)).is_ok(), "{text}");
        }
        for text in [
            "https://shared.example.com",
            "https://shared.example.com/",
            "https://shared.example.com/application",
            "https://shared.example.com/app.evil",
            "https://shared.example.com/App",
            "https://shared.example.com//app",
            "https://shared.example.com/%61pp",
            "https://shared.example.com/app%2f..",
            "https://shared.example.com/app/../admin",
            "https://shared.example.com/app/%2e%2e/admin",
            "https://shared.example.com/app/%2E./admin",
            "https://shared.example.com/app/..%2fadmin",
            "https://shared.example.com/app/..%5Cadmin",
            "https://shared.example.com/app/%252e%252e/admin",
            "https://shared.example.com/app/..;/admin",
            "https://shared.example.com/app;/../admin",
            "https://shared.example.com/app//x",
            "https://shared.example.com/app/%00",
            "https://shared.example.com/app/%zz",
            "https://shared.example.com/app\\..\\admin",
            "https://user@shared.example.com/app",
            "https://shared.example.com@evil.example/app",
            "https://shared.example.com./app",
            "https://shared.example.com:8443/app",
            "http://shared.example.com/app",
            "https://evil.example/app",
            "https://slash.example.com/a",
            "https://slash.example.com/a/bc",
        ] {
            assert!(allowed.check(Some(text)).is_err(), "{text}");
        }
    }

    #[test]
    fn a_parameter_joins_those_that_are_there() {
        let with = |text: &str| with_parameter(Url::parse(text).unwrap(), "code", "X").to_string();
        assert_eq!(with("https://a.example"), "https://a.example/?code=X");
        assert_eq!(with("https://a.example/?"), "https://a.example/?code=X");
        assert_eq!(with("https://a.example/p?a=%20b+c&d"), "https://a.example/p?a=%20b+c&d&code=X");
        assert_eq!(with("https://a.example/p?a=1#/route"), "https://a.example/p?a=1&code=X#/route");
        assert_eq!(
            with("https://a.example/?code=mine&x=1&%63ode=mine&error=e&linked=g"),
            "https://a.example/?x=1&code=X"
        );
        assert_eq!(with("https://a.example/?codes=1"), "https://a.example/?codes=1&code=X");
    }
}
