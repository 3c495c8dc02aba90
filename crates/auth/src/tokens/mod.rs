//! Personal access tokens: making, showing, changing, ending and, above all, validating them.

mod cache;
mod cache_key;
mod create;
mod delete;
mod description;
mod exchange;
mod fair_queue;
mod in_the_making;
mod leak;
mod limits;
mod list;
mod older;
mod recovery;
mod renew;
mod rotate;
mod upkeep;
mod usage;
mod validate;
mod validate_jwt;
mod weight;

pub(crate) use cache::{Credential, CredentialId, MARK_LIFETIME};
pub(crate) use create::{
    Wish, check_expiry, create, creation_limits, ensure_may_create, new_secret, read_name, refused,
};
pub(crate) use delete::delete;
pub(crate) use exchange::{Exchange, NotExchanged, exchange};
pub(crate) use in_the_making::InTheMaking;
pub use leak::LeakPolicy;
pub(crate) use leak::{LeakReports, report};
pub(crate) use limits::limits;
pub(crate) use list::list;
pub(crate) use older::OlderTokens;
pub(crate) use recovery::Recovery;
pub(crate) use rotate::{grace, rotate};
pub(crate) use validate::{Audience, Rejection, Validated, Validator, ValidatorParts};
