//! What a security mail says.

use domain::Timestamp;
use domain::audit::EventType;
use store::Notice;

use super::device::program;
use crate::operator;

/// So many of a kind are told one by one, so that nobody hides what they have done behind what they do twenty times;
/// the mail says how many more there are.
const TOLD_SINGLY: usize = 5;
/// Kinds that the subject names.
const IN_THE_SUBJECT: usize = 2;

/// The words of a mail, for the templates.
#[derive(Debug)]
pub(crate) struct Told {
    /// What happened, in a few words.
    pub(crate) subject: String,
    /// What happened, one by one.
    pub(crate) events: Vec<ToldEvent>,
    /// How many more there are.
    pub(crate) more: usize,
    /// Whether the account is gone.
    pub(crate) is_deleted: bool,
}

/// One thing that happened.
#[derive(Debug)]
pub(crate) struct ToldEvent {
    /// A sentence.
    pub(crate) what: String,
    /// Label and text, in the order of reading.
    pub(crate) facts: Vec<(&'static str, String)>,
}

/// Puts notices, which are at least one, into words.
pub(super) fn told(notices: &[Notice], product: &str) -> Told {
    let kinds = kinds(notices);
    let of_kind = |kind| notices.iter().filter(move |notice| notice.kind == kind).take(TOLD_SINGLY);
    let events: Vec<_> =
        kinds.iter().flat_map(|&(kind, _)| of_kind(kind)).map(|notice| event(notice, product)).collect();
    Told {
        subject: subject(&kinds),
        more: notices.len() - events.len(),
        events,
        is_deleted: kinds.iter().any(|(kind, _)| *kind == EventType::UserDeleted),
    }
}

/// What happened how often, the gravest first.
fn kinds(notices: &[Notice]) -> Vec<(EventType, usize)> {
    let mut kinds: Vec<(EventType, usize)> = Vec::new();
    for notice in notices {
        match kinds.iter_mut().find(|(kind, _)| *kind == notice.kind) {
            Some((_, count)) => *count += 1,
            None => kinds.push((notice.kind, 1)),
        }
    }
    kinds.sort_by_key(|(kind, _)| match kind {
        EventType::UserDeleted => 0,
        EventType::SignInSucceeded => 2,
        EventType::TokenCreated | EventType::TokenRotated => 3,
        _ => 1,
    });
    kinds
}

fn subject(kinds: &[(EventType, usize)]) -> String {
    let named: Vec<_> = kinds.iter().take(IN_THE_SUBJECT).map(|&(kind, count)| phrase(kind, count)).collect();
    let rest = if kinds.len() > IN_THE_SUBJECT { ", and more" } else { "" };
    named.join(", ") + rest
}

/// What happened so often, to be put after a colon.
fn phrase(kind: EventType, count: usize) -> String {
    let one = match kind {
        EventType::SignInSucceeded => "a sign-in with a new device",
        EventType::MethodLinked => "a way in was added",
        EventType::MethodUnlinked => "a way in was removed",
        EventType::MethodPrimarySet => "the primary way in was changed",
        EventType::TokenCreated => "a token was created",
        EventType::TokenRotated => "a token got a new secret",
        EventType::MfaEnabled => "the second factor was switched on",
        EventType::MfaDisabled => "the second factor was switched off",
        EventType::MfaReset => "the second factor was reset",
        EventType::MfaBackupCodesReplaced => "the backup codes were replaced",
        EventType::SessionReuseDetected => "a session was ended for safety",
        EventType::UserSecured => "all sessions and tokens were ended",
        EventType::UserDeleted => "the account was deleted",
        // Nobody is told of anything else; if somebody is, it is not left out.
        other => return other.to_string(),
    };
    let many = match kind {
        EventType::SignInSucceeded => "sign-ins with new devices",
        EventType::MethodLinked => "ways in were added",
        EventType::MethodUnlinked => "ways in were removed",
        EventType::TokenCreated => "tokens were created",
        EventType::TokenRotated => "tokens got new secrets",
        EventType::SessionReuseDetected => "sessions were ended for safety",
        _ => return one.to_owned(),
    };
    if count == 1 { one.to_owned() } else { format!("{count} {many}") }
}

fn event(notice: &Notice, product: &str) -> ToldEvent {
    let detail = |name: &str| notice.details.get(name).map(String::as_str).filter(|text| !text.is_empty());
    let mut facts = Vec::new();
    match notice.kind {
        EventType::SignInSucceeded => facts.push(("By", way_in(detail("method"), detail("provider"), None))),
        EventType::MethodLinked | EventType::MethodUnlinked | EventType::MethodPrimarySet => {
            facts.push(("Way in", way_in(detail("method"), detail("provider"), detail("identifier"))));
            if detail("reason") == Some("proved_by_another") {
                facts.push(("Why", "somebody else has proved that it is theirs".to_owned()));
            }
        }
        EventType::TokenCreated | EventType::TokenRotated => {
            facts.extend(detail("name").map(|name| ("Token", name.to_owned())));
        }
        EventType::SessionReuseDetected => {
            facts.push(("Why", "an old copy of its refresh token was used; somebody may have stolen it".to_owned()));
        }
        _ => {}
    }
    facts.push(("When", moment(notice.at)));
    if detail("service") == Some(operator::SERVICE) {
        facts.push(("By whom", format!("an operator of {product}")));
    } else {
        facts.push(("From", notice.ip.map_or_else(|| "an unknown address".to_owned(), |ip| ip.to_string())));
        facts.push(("With", program(notice.user_agent.as_deref())));
    }
    ToldEvent { what: sentence(&phrase(notice.kind, 1)), facts }
}

fn sentence(phrase: &str) -> String {
    let mut chars = phrase.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// What people call a way in.
fn way_in(method: Option<&str>, provider: Option<&str>, identifier: Option<&str>) -> String {
    let name = match (method.unwrap_or_default(), provider) {
        ("email", _) => "e-mail",
        ("sms", _) => "SMS",
        ("wallet", Some("solana")) => "Solana wallet",
        ("wallet", Some("ethereum")) => "Ethereum wallet",
        ("wallet", _) => "wallet",
        ("oauth", Some("google")) => "Google",
        ("oauth", Some("github")) => "GitHub",
        ("oauth", Some("discord")) => "Discord",
        ("oauth", Some("twitter")) => "Twitter",
        ("oauth", _) => "an account at a provider",
        (other, _) => other,
    };
    match identifier {
        // An id at a provider tells nobody anything.
        Some(identifier) if method != Some("oauth") => format!("{name}, {identifier}"),
        _ => name.to_owned(),
    }
}

/// `2025-11-08 12:00:00 UTC`.
fn moment(at: Timestamp) -> String {
    let text = at.to_string();
    let text = text.split('.').next().unwrap_or_default().replace('T', " ");
    format!("{text} UTC")
}

#[cfg(test)]
mod tests {
    use EventType::{MethodLinked, MfaEnabled, TokenCreated, UserDeleted};

    use super::*;

    fn notice(kind: EventType, details: &[(&str, &str)]) -> Notice {
        Notice {
            event_id: "e".parse().unwrap(),
            kind,
            at: Timestamp::from_millis(1_762_603_200_000),
            ip: Some("203.0.113.7".parse().unwrap()),
            user_agent: Some("curl/8".to_owned()),
            details: details.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect(),
        }
    }

    #[test]
    fn the_subject_says_what_happened() {
        let subject_of = |kinds: &[EventType]| {
            told(&kinds.iter().map(|&kind| notice(kind, &[])).collect::<Vec<_>>(), "Example").subject
        };
        assert_eq!(subject_of(&[TokenCreated]), "a token was created");
        assert_eq!(subject_of(&[TokenCreated; 3]), "3 tokens were created");
        assert_eq!(
            subject_of(&[TokenCreated, MethodLinked, TokenCreated]),
            "a way in was added, 2 tokens were created"
        );
        assert_eq!(
            subject_of(&[MfaEnabled, TokenCreated, UserDeleted]),
            "the account was deleted, the second factor was switched on, and more"
        );
    }

    #[test]
    fn each_thing_says_when_from_where_and_with_what() {
        let linked = [("method", "email"), ("identifier", "eve@example.com"), ("provider", "")];
        let told = told(&[notice(MethodLinked, &linked)], "Example");
        let facts = [
            ("Way in", "e-mail, eve@example.com".to_owned()),
            ("When", "2025-11-08 12:00:00 UTC".to_owned()),
            ("From", "203.0.113.7".to_owned()),
            ("With", "curl".to_owned()),
        ];
        assert_eq!((told.events[0].what.as_str(), &told.events[0].facts[..]), ("A way in was added", &facts[..]));

        let by_operator = event(&notice(TokenCreated, &[("service", "afd"), ("name", "x")]), "Example");
        assert!(by_operator.facts.contains(&("By whom", "an operator of Example".to_owned())), "{by_operator:?}");
    }

    #[test]
    fn a_flood_is_counted_and_hides_nothing() {
        let mut notices = vec![notice(TokenCreated, &[]); 50];
        notices.push(notice(MethodLinked, &[]));
        let told = told(&notices, "Example");
        assert_eq!((told.events.len(), told.more, told.is_deleted), (6, 45, false));
        assert_eq!(told.events[0].what, "A way in was added");
        assert_eq!(told.subject, "a way in was added, 50 tokens were created");
    }

    #[test]
    fn every_kind_that_people_are_told_of_has_words() {
        for kind in [
            EventType::SignInSucceeded,
            MethodLinked,
            EventType::MethodUnlinked,
            EventType::MethodPrimarySet,
            TokenCreated,
            EventType::TokenRotated,
            MfaEnabled,
            EventType::MfaDisabled,
            EventType::MfaReset,
            EventType::MfaBackupCodesReplaced,
            EventType::SessionReuseDetected,
            EventType::UserSecured,
            UserDeleted,
        ] {
            assert!(!phrase(kind, 1).contains('.') && !phrase(kind, 2).contains('.'), "{kind}");
        }
    }
}
