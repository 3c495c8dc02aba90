//! The GraphQL service: a schema over the auth service's tokens, limits and audit log (contract §5).
//!
//! A request's way: [`http`] reads it and refuses what is no GraphQL request; [`document`] refuses what would cost too
//! much; then, and only then, the auth service is asked who is calling; then [`schema`] executes it. Nothing about
//! credentials is kept between requests.

mod caller;
mod document;
mod error;
mod http;
mod schema;

pub use http::{App, Config, app};
pub use schema::sdl;
