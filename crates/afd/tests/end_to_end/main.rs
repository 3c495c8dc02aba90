//! Real processes on free ports, driven over HTTP as anybody would.

mod configuration;
mod durability;
mod installation;
mod tour;
mod two_services;
