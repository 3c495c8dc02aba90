//! The schema: one file a topic, and how they make one.

mod audit;
mod date;
mod limits;
mod me;
mod tokens;
mod version;

use std::sync::Arc;

use async_graphql::{EmptySubscription, MergedObject, SDLExportOptions, ValidationMode};
use auth_client::AuthClient;

pub(crate) use version::Version;

/// The most that an operation may weigh: each field one, the fields of an audit page times its length.
const MAX_COMPLEXITY: usize = 2_000;
/// What the executor says to an operation that weighs more.
pub(crate) const TOO_COMPLEX_MESSAGE: &str = "Query is too complex.";

/// What can be asked.
#[derive(MergedObject, Default)]
#[graphql(name = "Query")]
pub(crate) struct Query(
    version::VersionQuery,
    me::MeQuery,
    tokens::TokensQuery,
    limits::LimitsQuery,
    audit::AuditQuery,
);

/// What can be done.
#[derive(MergedObject, Default)]
#[graphql(name = "Mutation")]
pub(crate) struct Mutation(tokens::TokensMutation);

pub(crate) type Schema = async_graphql::Schema<Query, Mutation, EmptySubscription>;

/// The schema, ready to execute.
pub(crate) struct Schemas {
    /// For any document.
    pub(crate) strict: Schema,
    /// The same for documents that are known to be valid: it weighs them, and does not validate them once more.
    pub(crate) of_valid: Schema,
}

impl Schemas {
    pub(crate) fn new(auth: &Arc<AuthClient>, version: &Version) -> Self {
        let schema = |mode| {
            let query = Query { 0: version::VersionQuery { version: version.clone() }, ..Query::default() };
            builder(query).data(Arc::clone(auth)).validation_mode(mode).finish()
        };
        Self { strict: schema(ValidationMode::Strict), of_valid: schema(ValidationMode::Fast) }
    }
}

/// The schema in the schema definition language, as `afd schema` prints it.
#[must_use]
pub fn sdl() -> String {
    builder(Query::default())
        .finish()
        .sdl_with_options(SDLExportOptions::new().use_space_ident().indent_width(2).prefer_single_line_descriptions())
}

fn builder(query: Query) -> async_graphql::SchemaBuilder<Query, Mutation, EmptySubscription> {
    Schema::build(query, Mutation::default(), EmptySubscription).limit_complexity(MAX_COMPLEXITY)
}
