//! From columns to the domain's types.

use std::str::FromStr;

use domain::{AppId, Timestamp};
use sqlx::Row;
use sqlx::any::AnyRow;

use crate::StoreError;

/// Reads a row's columns by name.
pub(crate) trait Columns {
    fn opt_text(&self, column: &'static str) -> Result<Option<String>, StoreError>;
    fn opt_int(&self, column: &'static str) -> Result<Option<i64>, StoreError>;

    fn text(&self, column: &'static str) -> Result<String, StoreError> {
        self.opt_text(column)?.ok_or(StoreError::Malformed { column })
    }

    fn int(&self, column: &'static str) -> Result<i64, StoreError> {
        self.opt_int(column)?.ok_or(StoreError::Malformed { column })
    }

    /// A `COUNT(*)` or a counter that is never negative.
    fn count(&self, column: &'static str) -> Result<u32, StoreError> {
        u32::try_from(self.int(column)?).map_err(|_| StoreError::Malformed { column })
    }

    fn flag(&self, column: &'static str) -> Result<bool, StoreError> {
        Ok(self.int(column)? != 0)
    }

    fn time(&self, column: &'static str) -> Result<Timestamp, StoreError> {
        self.int(column).map(Timestamp::from_millis)
    }

    fn opt_time(&self, column: &'static str) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.opt_int(column)?.map(Timestamp::from_millis))
    }

    fn parsed<T: FromStr>(&self, column: &'static str) -> Result<T, StoreError> {
        self.text(column)?.parse().map_err(|_| StoreError::Malformed { column })
    }

    fn opt_parsed<T: FromStr>(&self, column: &'static str) -> Result<Option<T>, StoreError> {
        self.opt_text(column)?.map(|text| text.parse().map_err(|_| StoreError::Malformed { column })).transpose()
    }
}

impl Columns for AnyRow {
    fn opt_text(&self, column: &'static str) -> Result<Option<String>, StoreError> {
        Ok(self.try_get(column)?)
    }

    fn opt_int(&self, column: &'static str) -> Result<Option<i64>, StoreError> {
        Ok(self.try_get(column)?)
    }
}

/// The app that every row belongs to until an installation serves several.
pub(crate) fn app() -> String {
    AppId::default_app().to_string()
}

/// The address as it is kept.
pub(crate) fn ip(client: &domain::ClientInfo) -> Option<String> {
    client.ip.map(|ip| ip.to_string())
}

/// The time as it is kept, where there may be none.
pub(crate) fn millis(time: Option<Timestamp>) -> Option<i64> {
    time.map(Timestamp::as_millis)
}
