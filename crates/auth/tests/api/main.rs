//! The auth service through its real router: what the contract promises, and what hostile and unlucky callers meet.
//!
//! One file a topic; [`world`] is a service with a database, a clock and an outbox of its own, [`client`] speaks to it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![expect(clippy::unchecked_time_subtraction, reason = "spans of time are constants here")]

mod client;
mod world;

mod accounts;
mod allow_lists;
mod at_rest;
mod audit;
mod background;
mod bearer;
mod bound;
mod clocks;
mod code_sign_in;
mod code_sign_in_hostile;
mod code_sign_in_strangers;
mod contract_wallets;
mod creation_limits;
mod described;
mod documents;
mod email_link;
mod forward_auth;
mod header_bytes;
mod http;
mod imported;
mod instances;
mod introspection;
mod leaks;
mod limits_by_address;
mod limits_of_services;
mod linking;
mod login_page;
mod login_ways;
mod logs;
mod lost_factor;
mod mail;
mod memory;
mod message_caps;
mod mfa;
mod oauth;
mod oauth_browser;
mod oauth_hostile;
mod oauth_link;
mod pairing;
mod pairing_device;
mod published;
mod reauthentication;
mod reauthentication_at_providers;
mod recovery;
mod renewal;
mod revocation;
mod rotation;
mod scopes;
mod secret_rotation;
mod security_mails;
mod service_jwt;
mod sessions;
mod signing_keys;
mod sms;
mod step_up;
mod token_exchange;
mod tokens;
mod validate;
mod wallets;
mod window;
mod windows_survive;
