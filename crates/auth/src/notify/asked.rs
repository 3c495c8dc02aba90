//! Who asked for a message, in words that nobody but us has chosen.

use domain::{ClientInfo, Timestamp};
use serde::Serialize;

/// Programs by what is in their `User-Agent`. Others claim to be the later ones, too.
const PROGRAMS: [(&str, &str); 14] = [
    ("Edg/", "Edge"),
    ("OPR/", "Opera"),
    ("SamsungBrowser/", "Samsung Internet"),
    ("Firefox/", "Firefox"),
    ("FxiOS/", "Firefox"),
    ("CriOS/", "Chrome"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
    ("curl/", "curl"),
    ("python-requests/", "a Python program"),
    ("Go-http-client/", "a Go program"),
    ("node", "a Node.js program"),
    ("okhttp/", "an Android app"),
    ("CFNetwork/", "an Apple app"),
];

/// Likewise.
const SYSTEMS: [(&str, &str); 7] = [
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("CrOS", "ChromeOS"),
    ("Windows", "Windows"),
    ("Mac OS X", "macOS"),
    ("Linux", "Linux"),
];

/// With what, from where and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Asked {
    pub(crate) program: String,
    pub(crate) address: String,
    pub(crate) at: String,
}

impl Asked {
    pub(crate) fn of(client: &ClientInfo, at: Timestamp) -> Self {
        let at = at.to_string();
        Self {
            program: program(client.user_agent.as_deref().unwrap_or_default()),
            address: client.ip.map_or_else(|| "an unknown address".to_owned(), |ip| ip.to_canonical().to_string()),
            at: match (at.get(..10), at.get(11..16)) {
                (Some(date), Some(time)) => format!("{date} {time} UTC"),
                _ => at,
            },
        }
    }
}

/// What the text is of, in our own words: whoever asks for a mail to somebody else must not write a part of it.
fn program(user_agent: &str) -> String {
    let find = |known: &[(&str, &'static str)]| {
        known.iter().find(|(part, _)| user_agent.contains(part)).map(|(_, name)| *name)
    };
    match (find(&PROGRAMS), find(&SYSTEMS)) {
        (Some(program), Some(system)) => format!("{program} on {system}"),
        (Some(program), None) => program.to_owned(),
        (None, Some(system)) => format!("a program on {system}"),
        (None, None) => "an unknown program".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_named_in_our_own_words() {
        let names = [
            (
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0 \
                 Safari/537.36 Edg/126.0",
                "Edge on Windows",
            ),
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) \
                 Version/17.5 Mobile/15E148 Safari/604.1",
                "Safari on iPhone",
            ),
            ("Mozilla/5.0 (X11; Linux x86_64; rv:127.0) Gecko/20100101 Firefox/127.0", "Firefox on Linux"),
            ("curl/8.5.0", "curl"),
            ("Call +1 900 555 0100 now, Google Security", "an unknown program"),
            ("", "an unknown program"),
        ];
        for (user_agent, name) in names {
            assert_eq!(program(user_agent), name, "{user_agent}");
        }
    }
}
