//! How many of something in how long.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::parse_duration;

/// At most `count` in any `window`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// How many are admitted in any one window; at least 1.
    pub count: u32,
    /// The window's length; whole seconds, at least 1.
    pub window: Duration,
}

/// Text that is not a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a count and a window such as 60/1m; a limit cannot be switched off")]
pub struct LimitError;

impl Limit {
    /// `count` in any 60 seconds.
    #[must_use]
    pub const fn per_minute(count: u32) -> Self {
        Self { count, window: Duration::from_mins(1) }
    }

    /// `count` in any 24 hours.
    #[must_use]
    pub const fn per_day(count: u32) -> Self {
        Self { count, window: Duration::from_hours(24) }
    }
}

impl FromStr for Limit {
    type Err = LimitError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (count, window) = text.trim().split_once('/').ok_or(LimitError)?;
        let count = count.parse().map_err(|_| LimitError)?;
        let window = parse_duration(window).map_err(|_| LimitError)?;
        if count == 0 {
            return Err(LimitError);
        }
        Ok(Self { count, window })
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}s", self.count, self.window.as_secs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_configuration_table_shows() {
        assert_eq!("5/15m".parse(), Ok(Limit { count: 5, window: Duration::from_mins(15) }));
        assert_eq!("60/1m".parse(), Ok(Limit::per_minute(60)));
    }

    #[test]
    fn nothing_switches_a_limit_off() {
        for text in ["", "0/1m", "off", "none", "5", "5/0s", "-1/1m", "inf/1m", "5/15m/2"] {
            assert_eq!(text.parse::<Limit>(), Err(LimitError), "{text:?}");
        }
    }
}
