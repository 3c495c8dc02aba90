//! Real processes on free ports, driven over HTTP as anybody would.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod backup;
mod bounded;
mod configuration;
mod copying;
mod crashes;
mod databases;
mod durability;
mod examples;
mod fleet;
mod guard;
mod installation;
mod instances;
mod jwks;
mod moving_in;
mod narrowed;
mod oauth;
mod operations;
mod operators;
mod pages;
mod redis_tls;
mod revoking;
mod rolling;
mod security_mails;
mod stepping_up;
mod tour;
mod traces;
mod two_services;
mod ways_in;
mod windows;
