//! Moments in GraphQL.

use async_graphql::{InputValueError, InputValueResult, Scalar, ScalarType, Value};
use domain::Timestamp;

#[derive(Debug, Clone, Copy)]
pub(super) struct Date(pub(super) Timestamp);

/// A moment: ISO 8601 with an offset, such as `2025-11-08T12:00:00.000Z`. Replies are in UTC with milliseconds.
#[Scalar(name = "Date")]
impl ScalarType for Date {
    fn parse(value: Value) -> InputValueResult<Self> {
        match value {
            Value::String(text) => text.parse().map(Self).map_err(InputValueError::custom),
            other => Err(InputValueError::expected_type(other)),
        }
    }

    fn to_value(&self) -> Value {
        Value::String(self.0.to_string())
    }
}

impl From<Timestamp> for Date {
    fn from(moment: Timestamp) -> Self {
        Self(moment)
    }
}
