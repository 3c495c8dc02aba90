//! What the page of each step shows.

use std::net::IpAddr;
use std::ops::Deref;

use domain::{OneTimeSecret, Scope, Scopes};
use minijinja::{Value, context};
use store::Pairing;
use web::ApiError;

use crate::AuthService;
use crate::asker::{Asker, program_name, same_network};
use crate::http::pages::Page;

/// A program that waits, as somebody sees it who is somewhere.
pub(super) struct Waiting {
    pub(super) pairing: Pairing,
    /// Where whoever looks at the page is.
    pub(super) seen_from: Option<IpAddr>,
}

impl Deref for Waiting {
    type Target = Pairing;

    fn deref(&self) -> &Pairing {
        &self.pairing
    }
}

/// What a page asks for.
pub(super) enum Step<'a> {
    /// Which program? Its user code.
    UserCode,
    /// Who decides? Their address, or another way in.
    Email,
    /// The same; somebody has chosen an SMS.
    Sms,
    /// The code that was sent to this address, in the flow of this id; after a wrong one, how many more guesses it has.
    Code { email: &'a str, flow: &'a str, attempts_remaining: Option<u32> },
    /// The same for this number.
    SmsCode { phone: &'a str, flow: &'a str, attempts_remaining: Option<u32> },
    /// This wallet's signature of the text.
    Wallet { chain: &'a str, address: &'a str, text: &'a str },
    /// The second factor of whom the token was made for.
    SecondFactor { mfa_token: &'a OneTimeSecret },
    /// Whether an account is to be made for whoever this is.
    Newcomer { who: &'a str, newcomer: &'a OneTimeSecret },
    /// The decision, by a form that decides once.
    Decide { who: Option<&'a str>, form: &'a OneTimeSecret, terms: Terms<'a> },
    /// Nothing more: it is decided.
    Done { approved: bool },
    /// Nothing more: there is nothing to decide about.
    Over,
}

/// On what terms the program would be let in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms<'a> {
    pub(super) name: &'a str,
    pub(super) lifetime: &'a str,
    /// What was typed to allow less than everything.
    pub(super) only: &'a str,
    /// Scopes that are not to be allowed.
    pub(super) left_out: &'a [String],
}

impl<'a> Terms<'a> {
    /// Those that the page offers for this program.
    pub(super) fn offered(pairing: &'a Pairing) -> Self {
        Self { name: pairing.name.as_str(), lifetime: "90", only: "", left_out: &[] }
    }
}

/// The page of this step; with the program that asks, where it is known.
pub(super) fn page(auth: &AuthService, step: &Step<'_>, pairing: Option<&Waiting>) -> Page {
    render(auth, step, pairing, None)
}

/// The page of this step again, with what went wrong.
pub(super) fn failed(auth: &AuthService, step: &Step<'_>, pairing: Option<&Waiting>, error: &ApiError) -> Page {
    render(auth, step, pairing, Some(error.message())).with_status_of(error)
}

fn render(auth: &AuthService, step: &Step<'_>, pairing: Option<&Waiting>, problem: Option<&str>) -> Page {
    const ASKING: &str = "Let this program in?";
    let (name, title, fields) = match step {
        Step::UserCode => {
            ("user_code", "Let a program in", context! { message => "Enter the code that the program shows you." })
        }
        Step::Email => ("email", ASKING, ways_in(auth)),
        Step::Sms => ("email", ASKING, context! { opened => "sms", ..ways_in(auth) }),
        Step::Code { email, flow, attempts_remaining } => {
            ("code", ASKING, context! { email => *email, flow => *flow, attempts_remaining => *attempts_remaining })
        }
        Step::SmsCode { phone, flow, attempts_remaining } => {
            ("sms_code", ASKING, context! { phone => *phone, flow => *flow, attempts_remaining => *attempts_remaining })
        }
        Step::Wallet { chain, address, text } => {
            ("wallet", ASKING, context! { chain => *chain, address => *address, text => *text })
        }
        Step::SecondFactor { mfa_token } => ("second_factor", ASKING, context! { mfa_token => mfa_token.expose() }),
        Step::Newcomer { who, newcomer } => {
            ("newcomer", "Make a new account?", context! { who => *who, newcomer => newcomer.expose() })
        }
        Step::Decide { who, form, terms: Terms { name, lifetime, only, left_out } } => {
            let terms = context! { name => *name, lifetime => *lifetime, only => *only, left_out => left_out.to_vec() };
            ("decide", ASKING, context! { who => *who, form => form.expose(), ..terms })
        }
        Step::Done { approved: true } => (
            "done",
            "The program is let in",
            context! { message => "Go back to it; it goes on by itself. You can close this page." },
        ),
        Step::Done { approved: false } => {
            ("done", "The program is refused", context! { message => "It gets nothing. You can close this page." })
        }
        Step::Over => ("over", "Nothing to decide here", context! {}),
    };
    let shared = context! { step => name, problem, pairing => pairing.map(shown) };
    let page = Page::new(auth, title, "login.html", context! { ..fields, ..shared });
    if matches!(name, "email" | "wallet") { page.with_script() } else { page }
}

/// Every way to prove who one is that this installation has.
fn ways_in(auth: &AuthService) -> Value {
    let providers = auth.config.oauth.providers.iter().map(|provider| {
        context! { name => provider.name.as_str(), title => provider.name.title() }
    });
    let providers: Vec<_> = providers.collect();
    context! { by_email => auth.mailer.is_some(), by_sms => auth.sms.is_some(), providers }
}

/// What people see of a program that asks. What it says of itself is quoted, and no more than a line.
fn shown(waiting: &Waiting) -> Value {
    let Waiting { pairing, seen_from } = waiting;
    let asked = Asker::of(pairing.ip, pairing.user_agent.as_deref(), pairing.created_at);
    context! {
        id => pairing.id.as_str(),
        user_code => pairing.user_code.to_string(),
        name => program_name(pairing),
        asked,
        same_network => same_network(pairing.ip, *seen_from),
        wants_all => wants_all(&pairing.scopes),
        scopes => pairing.scopes.iter().map(Scope::to_string).collect::<Vec<_>>(),
    }
}

/// Whether a program asks for everything, so that what is less has to be named.
pub(super) fn wants_all(scopes: &Scopes) -> bool {
    scopes.allow(Scope::ALL)
}
