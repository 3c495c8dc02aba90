//! Figures of several rounds, and the table that shows them as ratios.

use std::fmt::Write as _;

use crate::wrk::Figures;

/// What one row measured, a figure a round.
pub(crate) struct Row {
    /// What was asked.
    pub(crate) name: &'static str,
    /// The row whose figures of the same round it is divided by; `None` for those that are a measure themselves.
    pub(crate) over: Option<usize>,
    /// The least ratio that we want.
    pub(crate) target: Option<f64>,
    /// Round by round.
    pub(crate) rounds: Vec<Figures>,
}

/// Median, least and greatest.
struct Spread {
    median: f64,
    least: f64,
    most: f64,
}

impl Spread {
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let nothing = f64::NAN;
        Self {
            median: values.get(values.len() / 2).copied().unwrap_or(nothing),
            least: values.first().copied().unwrap_or(nothing),
            most: values.last().copied().unwrap_or(nothing),
        }
    }
}

/// The table in Markdown.
pub(crate) fn render(rows: &[Row]) -> String {
    let mut table =
        "| what | replies/s | p50 µs | p99 µs | ratio to its bare server | least–most | target | p99 ratio |\n\
                     |---|--:|--:|--:|--:|--:|--:|--:|\n"
            .to_owned();
    for row in rows {
        let rate = Spread::of(row.rounds.iter().map(|round| round.rate));
        let p50 = Spread::of(row.rounds.iter().map(|round| round.p50));
        let p99 = Spread::of(row.rounds.iter().map(|round| round.p99));
        let _ = write!(table, "| {} | {:.0} | {:.0} | {:.0} |", row.name, rate.median, p50.median, p99.median);
        if let Some(over) = row.over {
            let pairs = || row.rounds.iter().zip(&rows[over].rounds);
            let ratio = Spread::of(pairs().map(|(ours, bare)| ours.rate / bare.rate));
            let p99 = Spread::of(pairs().map(|(ours, bare)| ours.p99 / bare.p99));
            let target = row.target.map_or(String::new(), |target| format!("{target:.2}"));
            let _ = writeln!(
                table,
                " **{:.2}** | {:.2}–{:.2} | {target} | {:.2} |",
                ratio.median, ratio.least, ratio.most, p99.median
            );
        } else {
            table.push_str(" 1 | | | 1 |\n");
        }
    }
    table
}
