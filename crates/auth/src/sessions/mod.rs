//! Sessions: the pair of JWTs that a device holds, its renewal and its end.

pub(crate) mod devices;
mod logout;
mod pair;
mod refresh;

pub(crate) use logout::{logout, logout_by_refresh};
pub(crate) use pair::{new_session, session_reply};
pub(crate) use refresh::refresh;
