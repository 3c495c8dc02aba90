//! Log lines: JSON for programs, readable for people. Each reads alone and can be filtered by its fields; none ever
//! holds a token, a code, a secret or the body of a mail.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

use crate::config::{Problems, Source};

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Json,
    Pretty,
}

impl Format {
    /// `LOG_FORMAT`; JSON unless it says otherwise.
    pub(crate) fn from_environment() -> Result<Self, Problems> {
        let mut source = Source::of_process();
        let format = source.read_or("LOG_FORMAT", Self::Json, |text| match text {
            "json" => Ok(Self::Json),
            "pretty" => Ok(Self::Pretty),
            _ => Err("must be json or pretty"),
        });
        source.finish(format)
    }
}

/// Starts logging to standard output; `RUST_LOG` says how much, `info` by default.
pub(crate) fn start(format: Format) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt().with_env_filter(filter);
    match format {
        Format::Json => lines.json().flatten_event(true).with_current_span(false).with_span_list(false).init(),
        Format::Pretty => lines.compact().with_ansi(std::io::stdout().is_terminal()).init(),
    }
}
