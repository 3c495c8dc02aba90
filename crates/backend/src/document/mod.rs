//! What a document may cost, decided before anything is asked or executed.
//!
//! The executor's own limits come too late for some documents: its parser recurses once per bracket, and its walks
//! follow fragments without remembering where they were, so a few hundred bytes could cost a stack or an hour.

mod budget;
mod scan;

use async_graphql::Name;
use async_graphql::parser::parse_query;
use async_graphql::parser::types::{ExecutableDocument, OperationDefinition, OperationType, Selection, SelectionSet};

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

/// The operation that will be executed; `None` where the executor will not find out either.
fn chosen<'d>(document: &'d ExecutableDocument, name: Option<&str>) -> Option<&'d OperationDefinition> {
    let mut operations = document.operations.iter();
    let (_, operation) = match name {
        None if operations.len() == 1 => operations.next()?,
        None => return None,
        Some(name) => operations.find(|(other, _)| other.is_some_and(|other| other.as_str() == name))?,
    };
    Some(&operation.node)
}

/// Whether the operation that will be executed is a mutation.
pub(crate) fn is_mutation(document: &ExecutableDocument, operation: Option<&str>) -> bool {
    chosen(document, operation).is_some_and(|operation| operation.ty == OperationType::Mutation)
}

/// The keys of the reply's data in the order of the query, a key perhaps several times.
pub(crate) fn root_keys(document: &ExecutableDocument, operation: Option<&str>) -> Vec<Name> {
    let mut keys = Vec::new();
    if let Some(operation) = chosen(document, operation) {
        push_keys(document, &operation.selection_set.node, &mut keys);
    }
    keys
}

fn push_keys(document: &ExecutableDocument, set: &SelectionSet, keys: &mut Vec<Name>) {
    for selection in &set.items {
        match &selection.node {
            Selection::Field(field) => keys.push(field.node.response_key().node.clone()),
            Selection::InlineFragment(inline) => push_keys(document, &inline.node.selection_set.node, keys),
            Selection::FragmentSpread(spread) => {
                if let Some(fragment) = document.fragments.get(&spread.node.fragment_name.node) {
                    push_keys(document, &fragment.node.selection_set.node, keys);
                }
            }
        }
    }
}
