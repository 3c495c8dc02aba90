//! Real processes on free ports, driven over HTTP as anybody would.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod configuration;
mod copying;
mod databases;
mod durability;
mod installation;
mod oauth;
mod operations;
mod tour;
mod traces;
mod two_services;
