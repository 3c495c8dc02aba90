//! Durations as people write them in configuration.

use std::time::Duration;

/// Text that is not a duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a whole number with a unit, such as 30s, 15m, 12h or 7d")]
pub struct DurationError;

/// Reads `30s`, `15m`, `12h`, `7d`; a number without a unit is seconds. Zero is not a duration.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    let text = text.trim();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let seconds_per_unit = match &text[digits.len()..] {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(DurationError),
    };
    let count: u32 = digits.parse().map_err(|_| DurationError)?;
    match u64::from(count) * seconds_per_unit {
        0 => Err(DurationError),
        seconds => Ok(Duration::from_secs(seconds)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_usual_units() {
        assert_eq!(parse_duration("15m"), Ok(Duration::from_mins(15)));
        assert_eq!(parse_duration(" 7d "), Ok(Duration::from_hours(168)));
        assert_eq!(parse_duration("2h"), Ok(Duration::from_hours(2)));
        assert_eq!(parse_duration("45"), Ok(Duration::from_secs(45)));
    }

    #[test]
    fn refuses_the_rest() {
        for text in ["", "m", "0", "0s", "-1m", "1.5h", "5 m", "1w", "99999999999d", "15M"] {
            assert_eq!(parse_duration(text), Err(DurationError), "{text:?}");
        }
    }
}
