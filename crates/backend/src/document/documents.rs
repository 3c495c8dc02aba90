//! Documents that are known to be valid: a program asks the same few again and again.

use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::{Budget, Document};
use crate::error::CodedError;

/// What the documents may take in memory together, in bytes.
const CAPACITY: u64 = 16 * 1024 * 1024;
/// What a token of a document takes at most when it is parsed: a field with its empty lists.
const BYTES_OF_A_TOKEN: usize = 320;
/// Documents that there is room for before the table grows.
const EXPECTED: usize = 1_000;

/// Valid documents by their text.
///
/// Nothing else gets in, and what is asked once does not drive out what is asked often, so whoever sends ever new
/// documents pays for the parsing of them and nobody else does.
pub(crate) struct Documents(Cache<Box<str>, Arc<Document>, Weight>);

/// About the bytes that a document takes, its text among them.
#[derive(Clone)]
struct Weight;

impl Weighter<Box<str>, Arc<Document>> for Weight {
    fn weight(&self, text: &Box<str>, document: &Arc<Document>) -> u64 {
        // The text's names and strings are in the parsed document once more.
        (2 * text.len() + BYTES_OF_A_TOKEN * document.tokens) as u64
    }
}

/// A document that has been read.
pub(crate) struct Read {
    pub(crate) document: Arc<Document>,
    /// Whether it was executed before, and so fits the schema.
    pub(crate) is_known: bool,
}

impl Default for Documents {
    fn default() -> Self {
        Self(Cache::with_weighter(EXPECTED, CAPACITY, Weight))
    }
}

impl Documents {
    /// Parses `query`, unless it is known, if it and the documents before it are within `budget`.
    pub(crate) fn read(&self, query: &str, budget: &mut Budget) -> Result<Read, CodedError> {
        let read = match self.0.get(query) {
            Some(document) => Read { document, is_known: true },
            None => Read { document: Arc::new(Document::parse(query)?), is_known: false },
        };
        budget.spend(read.document.cost)?;
        Ok(read)
    }

    /// Keeps a document that turned out to be valid.
    pub(crate) fn keep(&self, query: String, document: Arc<Document>) {
        self.0.insert(query.into(), document);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(documents: &Documents, query: &str) -> Read {
        documents.read(query, &mut Budget::default()).unwrap()
    }

    #[test]
    fn a_document_is_known_once_it_was_kept_and_costs_as_much_as_before() {
        let documents = Documents::default();
        let fields: Vec<_> = (0..20).map(|i| format!("a{i}:f")).collect();
        let query = format!("{{{}}}", fields.join(" "));
        assert!(!read(&documents, &query).is_known);
        assert!(!read(&documents, &query).is_known, "reading alone proves nothing");
        documents.keep(query.clone(), read(&documents, &query).document);

        let mut budget = Budget::default();
        assert!(documents.read(&query, &mut budget).unwrap().is_known);
        assert!(documents.read(&query, &mut budget).is_err(), "thirty aliases a request, known or not");
        assert!(!read(&documents, &query.replace("a0", "b0")).is_known);
    }

    #[test]
    fn however_many_are_kept_they_take_what_they_may_and_those_asked_often_stay() {
        let documents = Documents::default();
        let often = "{often}";
        documents.keep(often.to_owned(), read(&documents, often).document);
        for i in 0..2_000 {
            let query = format!("{{{} n{i}}}", "f ".repeat(100));
            documents.keep(query.clone(), read(&documents, &query).document);
            assert!(read(&documents, often).is_known, "{i}");
        }
        assert!(documents.0.weight() <= CAPACITY);
        assert!(documents.0.len() > 100);
    }
}
