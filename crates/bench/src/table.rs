//! Figures of several rounds, and the table that shows them as ratios.

use std::fmt::Write as _;

use crate::wrk::{Bodies, Figures, Load};

/// One row of the table.
pub(crate) struct Row {
    /// What was asked.
    pub(crate) name: &'static str,
    /// The least ratio that we want.
    pub(crate) target: Option<f64>,
    /// How it is asked.
    pub(crate) load: Load,
    /// What the bare server is sent for comparison.
    pub(crate) bare: Bodies,
    /// What was measured.
    pub(crate) rounds: Vec<Round>,
}

/// Two runs, one right after the other.
pub(crate) struct Round {
    /// Of the bare server.
    pub(crate) bare: Figures,
    /// Of what is compared to it.
    pub(crate) ours: Figures,
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
        "| what | replies/s | bare replies/s | ratio | least–most | target | p50 µs | p99 µs | p99 ratio |\n\
                     |---|--:|--:|--:|--:|--:|--:|--:|--:|\n"
            .to_owned();
    for row in rows {
        let of = |figure: fn(&Round) -> f64| Spread::of(row.rounds.iter().map(figure));
        let ratio = of(|round| round.ours.rate / round.bare.rate);
        let target = row.target.map_or(String::new(), |target| format!("{target:.2}"));
        let _ = writeln!(
            table,
            "| {} | {:.0} | {:.0} | **{:.2}** | {:.2}–{:.2} | {target} | {:.0} | {:.0} | {:.2} |",
            row.name,
            of(|round| round.ours.rate).median,
            of(|round| round.bare.rate).median,
            ratio.median,
            ratio.least,
            ratio.most,
            of(|round| round.ours.p50).median,
            of(|round| round.ours.p99).median,
            of(|round| round.ours.p99 / round.bare.p99).median,
        );
    }
    table
}
