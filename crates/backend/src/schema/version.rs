//! Which build answers.

use async_graphql::SimpleObject;

/// Which build of the service answers.
#[derive(Debug, Clone, Default, SimpleObject)]
pub(crate) struct Version {
    /// The commit it was built from.
    pub(crate) commit_hash: String,
    /// Its release.
    pub(crate) version: String,
}

#[derive(Default, SimpleObject)]
pub(super) struct VersionQuery {
    /// Which build of the service answers. Public.
    pub(super) version: Version,
}
