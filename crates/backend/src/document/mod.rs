//! What a document may cost, decided before anything is asked or executed.
//!
//! The executor's own limits come too late for some documents: its parser recurses once per bracket, and its walks
//! follow fragments without remembering where they were, so a few hundred bytes could cost a stack or an hour.

mod budget;
mod documents;
mod scan;

use async_graphql::Name;
use async_graphql::parser::parse_query;
use async_graphql::parser::types::{ExecutableDocument, OperationDefinition, OperationType, Selection, SelectionSet};

pub(crate) use budget::Budget;
pub(crate) use documents::{Documents, Read};

use crate::error::{self, CodedError};
use budget::Cost;

/// A document within its bounds.
pub(crate) struct Document {
    pub(crate) parsed: ExecutableDocument,
    cost: Cost,
    tokens: usize,
}

impl Document {
    fn parse(query: &str) -> Result<Self, CodedError> {
        let tokens = scan::scan(query)?;
        let parsed = parse_query(query).map_err(|failure| parse_failed(&failure))?;
        let cost = Cost::of(&parsed)?;
        Ok(Self { parsed, cost, tokens })
    }

    /// Whether variables belong to it: whether it is valid then depends on their values as well.
    pub(crate) fn has_variables(&self) -> bool {
        self.parsed.operations.iter().any(|(_, operation)| !operation.node.variable_definitions.is_empty())
    }

    /// Whether the operation that will be executed is a mutation.
    pub(crate) fn is_mutation(&self, operation: Option<&str>) -> bool {
        self.chosen(operation).is_some_and(|operation| operation.ty == OperationType::Mutation)
    }

    /// Whether the operation that will be executed has this field at its root.
    pub(crate) fn selects(&self, operation: Option<&str>, field: &str) -> bool {
        self.chosen(operation).is_some_and(|operation| self.has(&operation.selection_set.node, field))
    }

    fn has(&self, set: &SelectionSet, name: &str) -> bool {
        set.items.iter().any(|selection| match &selection.node {
            Selection::Field(field) => field.node.name.node == name,
            Selection::InlineFragment(inline) => self.has(&inline.node.selection_set.node, name),
            Selection::FragmentSpread(spread) => {
                let fragment = self.parsed.fragments.get(&spread.node.fragment_name.node);
                fragment.is_some_and(|fragment| self.has(&fragment.node.selection_set.node, name))
            }
        })
    }

    /// The keys of the reply's data in the order of the query, a key perhaps several times.
    pub(crate) fn root_keys(&self, operation: Option<&str>) -> Vec<Name> {
        let mut keys = Vec::new();
        if let Some(operation) = self.chosen(operation) {
            self.push_keys(&operation.selection_set.node, &mut keys);
        }
        keys
    }

    fn push_keys(&self, set: &SelectionSet, keys: &mut Vec<Name>) {
        for selection in &set.items {
            match &selection.node {
                Selection::Field(field) => keys.push(field.node.response_key().node.clone()),
                Selection::InlineFragment(inline) => self.push_keys(&inline.node.selection_set.node, keys),
                Selection::FragmentSpread(spread) => {
                    if let Some(fragment) = self.parsed.fragments.get(&spread.node.fragment_name.node) {
                        self.push_keys(&fragment.node.selection_set.node, keys);
                    }
                }
            }
        }
    }

    /// The operation that will be executed; `None` where the executor will not find out either.
    fn chosen(&self, name: Option<&str>) -> Option<&OperationDefinition> {
        let mut operations = self.parsed.operations.iter();
        let (_, operation) = match name {
            None => operations.next().filter(|_| operations.next().is_none())?,
            Some(name) => operations.find(|(other, _)| other.is_some_and(|other| other.as_str() == name))?,
        };
        Some(&operation.node)
    }
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
