//! For tests only: a clock that stands still, a mail server and SMS gateways that keep what they get, service JWTs with any claims, and
//! real processes. What cannot go on panics: a test that cannot go on has failed.

#![expect(clippy::missing_panics_doc, reason = "everything here panics when a test cannot go on")]

mod process;
mod service_jwt;
mod sms;
mod smtp;
mod time;

pub use jsonwebtoken::Algorithm;
pub use process::{Afd, Finished, Launch, free_port};
pub use service_jwt::{ServiceJwt, service_jwt};
pub use sms::{HTTPSMS_KEY, ReceivedSms, SmsBehaviour, SmsSink, TWILIO_SID, TWILIO_TOKEN};
pub use smtp::{ReceivedMail, SmtpBehaviour, SmtpSink};
pub use time::{TestClock, seeded_chance};
