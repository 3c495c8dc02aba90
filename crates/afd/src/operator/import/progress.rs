//! How far an import is.

use std::collections::VecDeque;
use std::io::{IsTerminal as _, stderr};
use std::time::Duration;

use domain::{Clock as _, SystemClock, Timestamp};

use crate::{complain, complain_in_place};

/// The rate is that of the last so much time: rows that are there already go by much faster than new ones.
const WINDOW: Duration = Duration::from_secs(20);
/// How often it is told where the line cannot be overwritten.
const EVERY: Duration = Duration::from_secs(10);

/// Tells on standard error: on a terminal in one line that is overwritten, elsewhere in a line now and then.
pub(super) struct Progress {
    total: usize,
    done: usize,
    recent: VecDeque<(Timestamp, usize)>,
    told_at: Timestamp,
    in_place: bool,
}

impl Progress {
    pub(super) fn new(total: usize) -> Self {
        let now = SystemClock.now();
        let recent = VecDeque::from([(now, 0)]);
        Self { total, done: 0, recent, told_at: now, in_place: stderr().is_terminal() }
    }

    /// So many rows more have been dealt with.
    pub(super) fn advance(&mut self, rows: usize) {
        let now = SystemClock.now();
        self.done += rows;
        self.recent.push_back((now, self.done));
        while self.recent.len() > 2 && now.since(self.recent[1].0) > WINDOW {
            self.recent.pop_front();
        }
        let (since, before) = self.recent[0];
        let text = line(self.done, self.total, self.done - before, now.since(since));
        if self.in_place {
            complain_in_place(&text);
        } else if now.since(self.told_at) >= EVERY {
            self.told_at = now;
            complain(&text);
        }
    }

    /// Makes room for a line that stays.
    pub(super) fn clear(&self) {
        if self.in_place {
            complain_in_place("");
        }
    }

    /// The rest is told by others.
    pub(super) fn end(&self) {
        self.clear();
    }
}

/// `1200 of 100000 rows, 44 a second, 38 min left`
fn line(done: usize, total: usize, recently: usize, took: Duration) -> String {
    let took = took.as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "shown without decimals")]
    let (rate, left) = (recently as f64 / took.max(0.001), total.saturating_sub(done) as f64);
    if took > 0.0 && rate > 0.0 {
        let seconds = Duration::try_from_secs_f64(left / rate).unwrap_or_default().as_secs();
        let left = match seconds {
            0..=99 => format!("{seconds} s"),
            100..=5_999 => format!("{} min", seconds.div_ceil(60)),
            _ => format!("{} h", seconds.div_ceil(3_600)),
        };
        return format!("{done} of {total} rows, {rate:.0} a second, {left} left");
    }
    format!("{done} of {total} rows")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_how_much_how_fast_and_how_long() {
        let second = Duration::from_secs(1);
        assert_eq!(line(1_200, 100_000, 440, 10 * second), "1200 of 100000 rows, 44 a second, 38 min left");
        assert_eq!(line(50, 100, 50, second), "50 of 100 rows, 50 a second, 1 s left");
        assert_eq!(line(100, 1_000_000, 100, 2 * second), "100 of 1000000 rows, 50 a second, 6 h left");
        assert_eq!(line(0, 10, 0, Duration::ZERO), "0 of 10 rows");
    }
}
