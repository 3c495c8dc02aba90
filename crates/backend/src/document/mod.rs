//! What a document may cost, decided before anything is asked or executed.
//!
//! The executor's own limits come too late for some documents: its parser recurses once per bracket, and its walks
//! follow fragments without remembering where they were, so a few hundred bytes could cost a stack or an hour.

mod budget;
mod scan;

use async_graphql::parser::parse_query;
use async_graphql::parser::types::{DocumentOperations, ExecutableDocument, OperationType};

pub(crate) use budget::Budget;

use crate::error::{self, CodedError};

/// Parses `query` if it and the documents before it are within `budget`.
pub(crate) fn read(query: &str, budget: &mut Budget) -> Result<ExecutableDocument, CodedError> {
    scan::scan(query)?;
    let document = parse_query(query).map_err(|failure| parse_failed(&failure))?;
    budget.spend(&document)?;
    Ok(document)
}

fn parse_failed(failure: &async_graphql::parser::Error) -> CodedError {
    // The parser draws the place over several lines; its last line says what was expected there.
    let text = failure.to_string();
    let reason = text.lines().last().unwrap_or_default().trim().trim_start_matches("= ");
    error::new(error::GRAPHQL_PARSE_FAILED, format!("The document does not parse: {reason}")).at(failure.positions())
}

fn too_complex(reason: impl Into<String>) -> CodedError {
    error::new(error::QUERY_TOO_COMPLEX, reason)
}

/// Whether executing `operation` of the document could execute a mutation.
pub(crate) fn could_mutate(document: &ExecutableDocument, operation: Option<&str>) -> bool {
    let is_meant = |name: &str| operation.is_none_or(|wanted| wanted == name);
    match &document.operations {
        DocumentOperations::Single(only) => only.node.ty == OperationType::Mutation,
        DocumentOperations::Multiple(all) => {
            all.iter().any(|(name, one)| is_meant(name) && one.node.ty == OperationType::Mutation)
        }
    }
}
