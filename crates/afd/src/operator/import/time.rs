//! Times as older systems write them.

use domain::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// Milliseconds before 1973 are more likely seconds of today.
const LEAST_MILLIS: i64 = 100_000_000_000;
/// The end of the year 9999, after which no time can be written.
const MOST_MILLIS: i64 = 253_402_300_799_999;

/// Nothing, milliseconds since 1970, ISO 8601, or PostgreSQL's form of it (`2025-11-08 12:00:00.5+00`); without an
/// offset it is UTC.
pub(super) fn read(text: &str) -> Result<Option<Timestamp>, &'static str> {
    let text = text.trim();
    if text.is_empty() || text.eq_ignore_ascii_case("null") || text == "\\N" {
        return Ok(None);
    }
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return match text.parse::<i64>() {
            Ok(millis @ LEAST_MILLIS..=MOST_MILLIS) => Ok(Some(Timestamp::from_millis(millis))),
            Ok(0..LEAST_MILLIS) => Err("looks like seconds, and has to be milliseconds since 1970"),
            _ => Err("is not a time"),
        };
    }
    let with_offset = text.parse::<jiff::Timestamp>();
    let in_utc = || text.parse::<DateTime>().and_then(|time| TimeZone::UTC.to_timestamp(time));
    let moment = with_offset.or_else(|_| in_utc());
    let millis = moment.map_err(|_| "is not a time such as 2025-11-08T12:00:00.000Z")?.as_millisecond();
    if (0..=MOST_MILLIS).contains(&millis) { Ok(Some(Timestamp::from_millis(millis))) } else { Err("is not a time") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_forms_are_read() {
        for text in [
            "1762603200000",
            "2025-11-08T12:00:00.000Z",
            "2025-11-08T13:00:00+01:00",
            "2025-11-08 12:00:00",
            "2025-11-08 12:00:00.000",
            "2025-11-08 12:00:00+00",
            "2025-11-08 14:00:00.000+02",
            " 2025-11-08T12:00:00 ",
        ] {
            assert_eq!(read(text), Ok(Some(Timestamp::from_millis(1_762_603_200_000))), "{text}");
        }
        for text in ["", "  ", "null", "NULL", "\\N"] {
            assert_eq!(read(text), Ok(None), "{text:?}");
        }
    }

    #[test]
    fn others_are_refused_with_the_reason() {
        assert!(read("1762603200").unwrap_err().contains("seconds"));
        for text in
            ["soon", "-1", "99999999999999999999", "253402300800000", "2025-13-01", "08.11.2025", "-000100-01-01"]
        {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
