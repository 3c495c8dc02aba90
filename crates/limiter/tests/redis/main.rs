//! The limiter on a real Redis: the conformance suite, and what only a Redis can do to it.
#![expect(clippy::unwrap_used, reason = "a test ends where something unexpected happens")]

#[path = "../conformance/mod.rs"]
mod conformance;

mod conforms;
mod evidence;
mod failures;
mod resharding;
mod server;
mod subject;
mod turns;
