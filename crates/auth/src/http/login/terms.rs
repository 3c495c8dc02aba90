//! What whoever decides has chosen: less than the program asks for, never more.

use std::collections::BTreeMap;
use std::time::Duration;

use auth_api::ErrorCode;
use domain::{Scope, Scopes, Timestamp};
use serde::Deserialize;
use store::Decision;
use web::ApiError;

use super::view::{Terms, wants_all};
use crate::pairing;

const DAY: Duration = Duration::from_hours(24);

/// What the page that asks for the decision sends.
#[derive(Deserialize)]
pub(super) struct DecisionForm {
    pub(super) form: String,
    decision: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    lifetime: String,
    /// Of a program that asks for everything: what it is to get instead.
    #[serde(default)]
    only: String,
    /// `scope:…` for each scope that was left ticked.
    #[serde(flatten)]
    ticked: BTreeMap<String, String>,
}

impl DecisionForm {
    /// The decision about a program that asks for these scopes.
    pub(super) fn read(&self, asked: &Scopes, now: Timestamp) -> Result<Decision, ApiError> {
        let days = match (self.decision.as_str(), self.lifetime.as_str()) {
            ("deny", _) => return Ok(Decision::Deny),
            ("approve", "1") => Some(1),
            ("approve", "7") => Some(7),
            ("approve", "30") => Some(30),
            ("approve", "90") => Some(90),
            ("approve", "365") => Some(365),
            ("approve", "forever") => None,
            _ => return Err(ApiError::new(ErrorCode::ValidationError, "Choose one of what the page offers")),
        };
        let expires_at = days.map(|days: u32| now.plus(DAY * days));
        pairing::approval(Some(&self.name), self.scopes(asked)?, expires_at, now).map(Decision::Approve)
    }

    /// What is left of the scopes; `None` for all.
    fn scopes(&self, asked: &Scopes) -> Result<Option<Scopes>, ApiError> {
        let refused = |sentence: &'static str| ApiError::new(ErrorCode::ValidationError, sentence);
        if wants_all(asked) {
            let only = self.only.trim();
            let scopes = (!only.is_empty()).then(|| only.parse()).transpose();
            return scopes.map_err(|_| refused("Scopes are words such as profile:read, separated by spaces"));
        }
        let kept: Vec<Scope> = asked.iter().filter(|scope| self.is_ticked(scope)).cloned().collect();
        kept.try_into().map(Some).map_err(|_| refused("Leave the program at least one scope, or deny"))
    }

    fn is_ticked(&self, scope: &Scope) -> bool {
        self.ticked.contains_key(&format!("scope:{scope}"))
    }

    /// The scopes that were left without a tick.
    pub(super) fn left_out(&self, asked: &Scopes) -> Vec<String> {
        asked.iter().filter(|scope| !self.is_ticked(scope)).map(Scope::to_string).collect()
    }

    /// The same terms for the page that asks again.
    pub(super) fn terms<'a>(&'a self, left_out: &'a [String]) -> Terms<'a> {
        Terms { name: &self.name, lifetime: &self.lifetime, only: &self.only, left_out }
    }
}
