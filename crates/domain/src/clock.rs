//! Time as a value and as a parameter.

use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A moment, in whole milliseconds since 1970-01-01T00:00:00Z.
///
/// On the wire it is ISO 8601 in UTC with milliseconds, `2025-11-08T12:00:00.000Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The moment `millis` milliseconds after the epoch.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// The moment `seconds` seconds after the epoch, as JWTs count (RFC 7519 `NumericDate`).
    #[must_use]
    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1000))
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since the epoch, rounded down, as JWTs count.
    #[must_use]
    pub const fn as_seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// This moment `by` later.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        Self(self.0.saturating_add(millis(by)))
    }

    /// This moment `by` earlier.
    #[must_use]
    pub fn minus(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(millis(by)))
    }

    /// How long after `earlier` this is; zero when it is not after it.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// The first moment of the year 10000, which four digits cannot write.
const YEAR_10000: i64 = 253_402_300_800_000;

impl Timestamp {
    /// The moment in ISO 8601, if it is in the years 1970 to 9999: every validation writes it twice, and this takes a
    /// twentieth of what a general formatter does.
    #[must_use]
    pub fn iso_8601(self) -> Option<[u8; 24]> {
        if !(0..YEAR_10000).contains(&self.0) {
            return None;
        }
        let days = u32::try_from(self.0 / 86_400_000).ok()?;
        let millis = u32::try_from(self.0 % 86_400_000).ok()?;
        // Days to a date as H. Hinnant does it (chrono-compatible low-level date algorithms), in years that begin in
        // March, so that the leap day is the last.
        let days = days + 719_468;
        let (era, day_of_era) = (days / 146_097, days % 146_097);
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
        let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
        let year = year_of_era + era * 400 + u32::from(month <= 2);

        let mut text = *b"0000-00-00T00:00:00.000Z";
        let mut write_two = |at: usize, value: u32| {
            text[at] = digit(value / 10);
            text[at + 1] = digit(value);
        };
        write_two(0, year / 100);
        write_two(2, year % 100);
        write_two(5, month);
        write_two(8, day);
        write_two(11, millis / 3_600_000);
        write_two(14, millis / 60_000 % 60);
        write_two(17, millis / 1_000 % 60);
        write_two(20, millis % 1_000 / 10);
        text[22] = digit(millis);
        Some(text)
    }
}

/// The last digit of a number.
const fn digit(number: u32) -> u8 {
    b'0' + (number % 10) as u8
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(text) = self.iso_8601() {
            return f.write_str(str::from_utf8(&text).unwrap_or_default());
        }
        // Only moments outside the years -9999 to 9999 cannot be written; nothing in the product reaches them.
        let moment = jiff::Timestamp::from_millisecond(self.0).unwrap_or(jiff::Timestamp::MAX);
        write!(f, "{moment:.3}")
    }
}

/// Text that is not an ISO 8601 moment with an offset.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be an ISO 8601 time such as 2025-11-08T12:00:00.000Z")]
pub struct TimestampError;

impl FromStr for Timestamp {
    type Err = TimestampError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let moment: jiff::Timestamp = text.parse().map_err(|_| TimestampError)?;
        Ok(Self(moment.as_millisecond()))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Tells the time. A test's clock stands still until it is moved.
pub trait Clock: Send + Sync + 'static {
    /// The present moment, as the world counts it. An administrator or NTP may set it, also back.
    fn now(&self) -> Timestamp;

    /// The present moment by a clock that nobody sets: it only ever moves on, as fast as time does. Ages and spans
    /// within this process are differences of these, never of [`now`](Self::now): what was cached must not grow
    /// younger, and no window may empty, because the clock was set. At the start of the process it agrees with `now`;
    /// outside the process, and after a restart, it means nothing.
    fn steady(&self) -> Timestamp;

    /// The present moment by both.
    fn moment(&self) -> Moment {
        Moment { wall: self.now(), steady: self.steady() }
    }
}

/// One moment by both clocks, read once for whatever is decided at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// As the world counts it: for what is written down, shown, or agreed with others.
    pub wall: Timestamp,
    /// By the clock that nobody sets: for ages and spans within this process.
    pub steady: Timestamp,
}

impl Moment {
    /// When the world will say, or said, what the steady clock says at `steady`.
    #[must_use]
    pub const fn on_the_wall(self, steady: Timestamp) -> Timestamp {
        Timestamp(self.wall.0.saturating_add(steady.0.saturating_sub(self.steady.0)))
    }
}

/// The machine's own clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

/// When the steady clock began, by both clocks.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's monotonic clock")]
static STARTED: LazyLock<(Instant, Timestamp)> = LazyLock::new(|| (Instant::now(), SystemClock.now()));

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
    fn now(&self) -> Timestamp {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(millis(since_epoch))
    }

    fn steady(&self) -> Timestamp {
        let (instant, moment) = *STARTED;
        moment.plus(instant.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_written_in_utc_with_milliseconds() {
        assert_eq!(Timestamp::from_millis(1_762_603_200_000).to_string(), "2025-11-08T12:00:00.000Z");
        assert_eq!(Timestamp::from_millis(1).to_string(), "1970-01-01T00:00:00.001Z");
        assert_eq!(serde_json::to_string(&Timestamp::from_millis(0)).unwrap(), r#""1970-01-01T00:00:00.000Z""#);
    }

    #[test]
    fn every_moment_is_written_as_a_general_formatter_writes_it() {
        // Leap days, centuries, ends of years, and strides that no calendar repeats. (jiff ends a day before the year does.)
        let days = (0..2_932_895).step_by(97).chain([58, 59, 60, 10_956, 10_957, 11_016, 2_932_894]);
        for millis in days.flat_map(|day| [0, 1, 86_399_999, 45_296_789].map(|part| day * 86_400_000 + part)) {
            let expected = format!("{:.3}", jiff::Timestamp::from_millisecond(millis).unwrap());
            assert_eq!(Timestamp::from_millis(millis).to_string(), expected);
        }
        assert_eq!(Timestamp::from_millis(-1).to_string(), "1969-12-31T23:59:59.999Z");
        assert_eq!(Timestamp::from_millis(YEAR_10000 - 1).to_string(), "9999-12-31T23:59:59.999Z");
        assert_eq!(Timestamp::from_millis(YEAR_10000).iso_8601(), None);
    }

    #[test]
    fn reads_any_offset_and_refuses_local_time() {
        assert_eq!("2025-11-08T13:00:00+01:00".parse(), Ok(Timestamp::from_millis(1_762_603_200_000)));
        assert_eq!("2025-11-08T12:00:00".parse::<Timestamp>(), Err(TimestampError));
        assert_eq!("soon".parse::<Timestamp>(), Err(TimestampError));
    }

    #[test]
    fn seconds_round_down_also_before_the_epoch() {
        assert_eq!(Timestamp::from_millis(1_999).as_seconds(), 1);
        assert_eq!(Timestamp::from_millis(-1).as_seconds(), -1);
    }

    #[test]
    fn the_steady_clock_begins_with_the_machines_and_never_moves_back() {
        let (before, first) = (SystemClock.now(), SystemClock.steady());
        assert!(first.since(before) < Duration::from_mins(1) && before.since(first) < Duration::from_mins(1));
        let moments: Vec<_> = (0..10_000).map(|_| SystemClock.steady()).collect();
        assert!(moments.is_sorted());
    }

    #[test]
    fn a_steady_moment_is_as_far_away_on_the_wall() {
        let moment = Moment { wall: Timestamp::from_millis(1_000), steady: Timestamp::from_millis(9_000) };
        assert_eq!(moment.on_the_wall(Timestamp::from_millis(9_500)), Timestamp::from_millis(1_500));
        assert_eq!(moment.on_the_wall(Timestamp::from_millis(8_500)), Timestamp::from_millis(500));
    }

    #[test]
    fn arithmetic_saturates() {
        let end = Timestamp::from_millis(i64::MAX);
        assert_eq!(end.plus(Duration::MAX), end);
        assert_eq!(Timestamp::from_millis(5).since(Timestamp::from_millis(9)), Duration::ZERO);
    }
}
