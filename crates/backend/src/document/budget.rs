//! What all documents of one request may cost together.

use std::collections::HashMap;

use async_graphql::parser::types::{Directive, ExecutableDocument, Field, Selection, SelectionSet};
use async_graphql::{Name, Positioned};

use super::too_complex;
use crate::error::{self, CodedError};

/// Fields with all fragments written out. `GraphiQL`'s introspection query has 230.
const MAX_FIELDS: u32 = 1_000;
/// Fields under another name than their own: each may be one more call to the auth service.
const MAX_ALIASES: u32 = 30;
/// `@skip`, `@include` and whatever else starts with an at sign.
const MAX_DIRECTIVES: u32 = 30;
/// Fields within fields. `GraphiQL`'s introspection query has 15.
const MAX_DEPTH: u32 = 20;
/// How often an introspection query may go from a type to its fields to their types' fields; each step multiplies the
/// reply by the size of the schema. The same bound as graphql-js's `MaxIntrospectionDepthRule`.
const MAX_INTROSPECTION_LISTS: u32 = 2;

/// What the documents of one request may still cost.
#[derive(Debug)]
pub(crate) struct Budget {
    fields: u32,
    aliases: u32,
    directives: u32,
}

/// What a document or a part of it costs, its fragments written out.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Cost {
    fields: u32,
    aliases: u32,
    directives: u32,
    depth: u32,
    introspection_lists: u32,
}

impl Cost {
    fn plus(self, other: Self) -> Self {
        Self {
            fields: self.fields.saturating_add(other.fields),
            aliases: self.aliases.saturating_add(other.aliases),
            directives: self.directives.saturating_add(other.directives),
            depth: self.depth.max(other.depth),
            introspection_lists: self.introspection_lists.max(other.introspection_lists),
        }
    }

    fn with_directives(self, directives: &[Positioned<Directive>]) -> Self {
        let count = u32::try_from(directives.len()).unwrap_or(u32::MAX);
        Self { directives: self.directives.saturating_add(count), ..self }
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self { fields: MAX_FIELDS, aliases: MAX_ALIASES, directives: MAX_DIRECTIVES }
    }
}

impl Cost {
    /// What `document` costs, all its operations and fragments, used or not; an error where it nests too deep.
    pub(super) fn of(document: &ExecutableDocument) -> Result<Self, CodedError> {
        let mut weigher = Weigher { document, fragments: HashMap::new() };
        let mut total = Self::default();
        for (_, operation) in document.operations.iter() {
            let operation = &operation.node;
            let variables = operation.variable_definitions.iter().map(|variable| &variable.node.directives);
            let own = variables.fold(Self::default(), |cost, directives| cost.with_directives(directives));
            let selection = weigher.selection_set(&operation.selection_set.node)?;
            total = total.plus(own.with_directives(&operation.directives)).plus(selection);
        }
        // What no operation reaches is validated all the same.
        for name in document.fragments.keys() {
            if !weigher.fragments.contains_key(name) {
                total = total.plus(weigher.fragment(name)?);
            }
        }
        if total.depth > MAX_DEPTH {
            return Err(too_complex(format!("The query nests fields deeper than {MAX_DEPTH} levels")));
        }
        if total.introspection_lists > MAX_INTROSPECTION_LISTS {
            return Err(too_complex("The introspection query goes through the schema more than twice"));
        }
        Ok(total)
    }
}

impl Budget {
    /// Takes the cost of a document off.
    pub(super) fn spend(&mut self, cost: Cost) -> Result<(), CodedError> {
        take(&mut self.fields, cost.fields, "fields", MAX_FIELDS)?;
        take(&mut self.aliases, cost.aliases, "aliases", MAX_ALIASES)?;
        take(&mut self.directives, cost.directives, "directives", MAX_DIRECTIVES)
    }
}

fn take(left: &mut u32, cost: u32, what: &str, limit: u32) -> Result<(), CodedError> {
    *left = left
        .checked_sub(cost)
        .ok_or_else(|| too_complex(format!("One request may have {limit} {what}, fragments written out")))?;
    Ok(())
}

/// Weighs a document, each fragment once however often it is spread: written out, thirty fragments that spread the next
/// one twice are a thousand million fields.
struct Weigher<'d> {
    document: &'d ExecutableDocument,
    /// What a fragment costs; `None` while it is being weighed.
    fragments: HashMap<&'d Name, Option<Cost>>,
}

impl<'d> Weigher<'d> {
    /// Recurses as deep as the document nests, which the scan has bounded, and as its fragments follow one another,
    /// which the bound on tokens keeps to a few hundred.
    fn selection_set(&mut self, set: &'d SelectionSet) -> Result<Cost, CodedError> {
        let mut total = Cost::default();
        for selection in &set.items {
            let cost = match &selection.node {
                Selection::Field(field) => self.field(&field.node)?,
                Selection::FragmentSpread(spread) => self.fragment(&spread.node.fragment_name.node)?,
                Selection::InlineFragment(inline) => self.selection_set(&inline.node.selection_set.node)?,
            };
            total = total.plus(cost.with_directives(selection.node.directives()));
        }
        Ok(total)
    }

    fn field(&mut self, field: &'d Field) -> Result<Cost, CodedError> {
        let within = self.selection_set(&field.selection_set.node)?;
        let is_list = matches!(field.name.node.as_str(), "fields" | "inputFields" | "interfaces" | "possibleTypes");
        Ok(Cost {
            fields: within.fields.saturating_add(1),
            aliases: within.aliases.saturating_add(u32::from(field.alias.is_some())),
            directives: within.directives,
            depth: within.depth.saturating_add(1),
            introspection_lists: within.introspection_lists.saturating_add(u32::from(is_list)),
        })
    }

    fn fragment(&mut self, name: &'d Name) -> Result<Cost, CodedError> {
        match self.fragments.get(name) {
            Some(Some(cost)) => return Ok(*cost),
            Some(None) => {
                let message = format!("The fragment {name} contains itself");
                return Err(error::new(error::GRAPHQL_VALIDATION_FAILED, message));
            }
            None => {}
        }
        // Validation names an unknown fragment. Until then it costs as much as a field: fragments that spread nothing
        // else twice each would be free, however often a walk comes by.
        let Some(fragment) = self.document.fragments.get(name) else {
            return Ok(Cost { fields: 1, ..Cost::default() });
        };
        self.fragments.insert(name, None);
        let cost = self.selection_set(&fragment.node.selection_set.node)?.with_directives(&fragment.node.directives);
        self.fragments.insert(name, Some(cost));
        Ok(cost)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Documents;
    use super::*;

    fn read(query: &str, budget: &mut Budget) -> Result<(), CodedError> {
        Documents::default().read(query, budget).map(|_| ())
    }

    fn code(query: &str) -> Option<String> {
        let error: async_graphql::ServerError = read(query, &mut Budget::default()).err()?.into();
        let code = error.extensions.unwrap().get("code").unwrap().clone();
        Some(code.into_json().unwrap().as_str().unwrap().to_owned())
    }

    /// `count` times `text`, its `N` counted up.
    fn numbered(count: usize, text: &str) -> String {
        (0..count).map(|i| text.replace('N', &i.to_string())).collect()
    }

    fn is_too_complex(query: &str) -> bool {
        code(query).as_deref() == Some(error::QUERY_TOO_COMPLEX)
    }

    #[test]
    fn fields_aliases_directives_and_depth_are_bounded() {
        let fields = |count| format!("{{{}}}", numbered(count, "fN "));
        assert_eq!(code(&fields(1_000)), None);
        assert!(is_too_complex(&fields(1_001)));

        let aliases = |count| format!("{{{}}}", numbered(count, "aN:f "));
        assert_eq!(code(&aliases(30)), None);
        assert!(is_too_complex(&aliases(31)));

        let directives = |count: usize| format!("{{f {}}}", "@skip(if:true)".repeat(count));
        assert_eq!(code(&directives(30)), None);
        assert!(is_too_complex(&directives(31)));
        for place in ["query @x{f}", "query($a:Int @x){f}", "{...F @x} fragment F on Q {f}", "{... @x{f}}"] {
            assert!(is_too_complex(&place.replace("@x", &"@x".repeat(31))), "{place}");
        }
        assert!(is_too_complex(&format!("{{f}} fragment F on Q {} {{f}}", "@x".repeat(31))), "also where unused");

        let depth = |count: usize| format!("{{{}f{}}}", "f{".repeat(count - 1), "}".repeat(count - 1));
        assert_eq!(code(&depth(20)), None);
        assert!(is_too_complex(&depth(21)));
    }

    #[test]
    fn fragments_count_as_often_as_they_are_spread() {
        let doubling = |count: usize| {
            let fragments = (0..count).map(|i| format!("fragment F{i} on Q {{...F{0} ...F{0}}} ", i + 1));
            format!("{{...F0}} {}fragment F{count} on Q {{f}}", fragments.collect::<String>())
        };
        assert_eq!(code(&doubling(7)), None);
        assert!(is_too_complex(&doubling(10)));
        assert!(is_too_complex(&doubling(60)), "saturates instead of overflowing");
        let to_nowhere = |count| doubling(count).replace("{f}", "{...Unknown ...Unknown}");
        assert_eq!(code(&to_nowhere(7)), None);
        assert!(is_too_complex(&to_nowhere(30)), "also where it leads to nothing");

        let chain = |count: usize| {
            let fragments = (0..count).map(|i| format!("fragment F{i} on Q {{f{{...F{}}}}} ", i + 1));
            format!("{{...F0}} {}fragment F{count} on Q {{f}}", fragments.collect::<String>())
        };
        assert!(is_too_complex(&chain(120)), "depth through fragments is depth");
    }

    #[test]
    fn circles_are_found() {
        for query in [
            "{...A} fragment A on Q {...A}",
            "{...A} fragment A on Q {...A ...A}",
            "{...A} fragment A on Q {f{...B}} fragment B on Q {...{...A}}",
            "{f} fragment A on Q {...B} fragment B on Q {...A}",
        ] {
            assert_eq!(code(query).as_deref(), Some(error::GRAPHQL_VALIDATION_FAILED), "{query}");
        }
        assert_eq!(code("{...A ...B} fragment A on Q {...B} fragment B on Q {f}"), None);
    }

    #[test]
    fn introspection_may_not_circle() {
        assert_eq!(code("{__schema{types{fields{type{fields{name}}}}}}"), None);
        assert!(is_too_complex("{__schema{types{fields{type{fields{type{fields{name}}}}}}}}"));
        assert!(is_too_complex(
            "{__schema{types{...T}}} fragment T on __Type {fields{type{...U}}} \
             fragment U on __Type {inputFields{type{possibleTypes{name}}}}"
        ));
    }

    #[test]
    fn the_documents_of_a_request_share_one_budget() {
        let mut budget = Budget::default();
        let document = format!("{{{}}}", numbered(20, "aN:f "));
        assert!(read(&document, &mut budget).is_ok());
        assert!(read(&document, &mut budget).is_err());
        assert!(read("{f}", &mut budget).is_ok(), "what is left can still be spent");
    }

    #[test]
    fn what_does_not_parse_is_said_in_one_line() {
        let error: async_graphql::ServerError = read("{ a(b: }", &mut Budget::default()).err().unwrap().into();
        assert_eq!(error.message.lines().count(), 1);
        assert_eq!(error.locations, [async_graphql::Pos { line: 1, column: 8 }]);
        assert_eq!(code("").as_deref(), Some(error::GRAPHQL_PARSE_FAILED));
    }
}
