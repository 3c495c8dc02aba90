//! What the page of each step shows.

use domain::{OneTimeSecret, Scopes};
use minijinja::{Value, context};
use store::Pairing;
use web::ApiError;

use crate::AuthService;
use crate::http::pages::Page;

/// What a page asks for.
pub(super) enum Step<'a> {
    /// Which program? Its user code.
    UserCode,
    /// Who decides? Their address.
    Email,
    /// The code that was sent to this address, in the flow of this id; after a wrong one, how many more guesses it has.
    Code { email: &'a str, flow: &'a str, attempts_remaining: Option<u32> },
    /// The second factor of whom the token was made for.
    SecondFactor { mfa_token: &'a OneTimeSecret },
    /// The decision, by a form that decides once.
    Decide { email: Option<&'a str>, form: &'a OneTimeSecret, name: &'a str },
    /// Nothing more: it is decided.
    Done { approved: bool },
    /// Nothing more: there is nothing to decide about.
    Over,
}

/// The page of this step; with the program that asks, where it is known.
pub(super) fn page(auth: &AuthService, step: &Step<'_>, pairing: Option<&Pairing>) -> Page {
    render(auth, step, pairing, None)
}

/// The page of this step again, with what went wrong.
pub(super) fn failed(auth: &AuthService, step: &Step<'_>, pairing: Option<&Pairing>, error: &ApiError) -> Page {
    render(auth, step, pairing, Some(error.message())).with_status_of(error)
}

fn render(auth: &AuthService, step: &Step<'_>, pairing: Option<&Pairing>, problem: Option<&str>) -> Page {
    const ASKING: &str = "Let this program in?";
    let (name, title, fields) = match step {
        Step::UserCode => {
            ("user_code", "Let a program in", context! { message => "Enter the code that the program shows you." })
        }
        Step::Email => ("email", ASKING, context! {}),
        Step::Code { email, flow, attempts_remaining } => {
            ("code", ASKING, context! { email => *email, flow => *flow, attempts_remaining => *attempts_remaining })
        }
        Step::SecondFactor { mfa_token } => ("second_factor", ASKING, context! { mfa_token => mfa_token.expose() }),
        Step::Decide { email, form, name } => {
            ("decide", ASKING, context! { email => *email, form => form.expose(), name => *name })
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
    Page::new(auth, title, "login.html", context! { ..fields, ..shared })
}

/// What people see of a program that asks.
fn shown(pairing: &Pairing) -> Value {
    let asked_at = pairing.created_at.to_string();
    let asked_at = match (asked_at.get(..10), asked_at.get(11..19)) {
        (Some(date), Some(time)) => format!("{date} {time} UTC"),
        _ => asked_at,
    };
    context! {
        id => pairing.id.as_str(),
        user_code => pairing.user_code.to_string(),
        name => pairing.name.as_str(),
        ip => pairing.ip.map_or_else(|| "unknown".to_owned(), |ip| ip.to_canonical().to_string()),
        user_agent => pairing.user_agent.as_deref().unwrap_or("unknown"),
        asked_at,
        access => if pairing.scopes == Scopes::all() {
            "everything you can do".to_owned()
        } else {
            pairing.scopes.to_string()
        },
    }
}
