//! Log lines: JSON for programs, readable for people. Each reads alone and can be filtered by its fields; none ever
//! holds a token, a code, a secret or the body of a mail. Traces go elsewhere, and only when somebody asked for them.

use std::io::IsTerminal as _;

use opentelemetry_sdk::trace::SdkTracerProvider;
use telemetry::trace::TARGET;
use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, Registry, fmt};
use url::Url;

use crate::config::{Problems, Source};
use crate::log_lines::{Json, Lines};
use crate::traces;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Json,
    Pretty,
}

/// What is written about what happens, and where to.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    format: Format,
    /// Where traces are sent.
    traces: Option<Url>,
}

impl Settings {
    /// `LOG_FORMAT`, JSON unless it says otherwise, and `OTEL_EXPORTER_OTLP_ENDPOINT`.
    pub(crate) fn read(mut source: Source) -> Result<Self, Problems> {
        let format = source.read_or("LOG_FORMAT", Format::Json, |text| match text {
            "json" => Ok(Format::Json),
            "pretty" => Ok(Format::Pretty),
            _ => Err("must be json or pretty"),
        });
        let traces = source.read("OTEL_EXPORTER_OTLP_ENDPOINT", |text| {
            let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
            url.ok_or("must be a URL such as http://localhost:4318")
        });
        source.finish(Self { format, traces })
    }

    /// The same for people.
    pub(crate) fn pretty(self) -> Self {
        Self { format: Format::Pretty, ..self }
    }
}

/// Lines that may not have been written, and traces that may not have been sent yet.
#[must_use = "the last lines are written when it is dropped, the last spans sent when it is told to finish"]
pub(crate) struct Unsent {
    lines: Option<Lines>,
    traces: Option<SdkTracerProvider>,
}

impl Unsent {
    /// Sends and writes what is left.
    pub(crate) async fn finish(mut self) {
        let Some(provider) = self.traces.take() else { return };
        // It waits for its own thread.
        let finished = tokio::task::spawn_blocking(move || provider.shutdown()).await;
        if let Ok(Err(error)) = finished {
            tracing::warn!(%error, "the last traces could not be sent");
        }
    }
}

impl Drop for Unsent {
    fn drop(&mut self) {
        if let Some(lines) = &self.lines {
            lines.write_out();
        }
    }
}

/// Starts logging to standard output; `RUST_LOG` says how much, `info` by default. Traces of `service` are exported if
/// the settings say where to.
pub(crate) fn start(settings: &Settings, service: &'static str) -> anyhow::Result<Unsent> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    // Spans are not for the log; and where nobody else wants them either, they cost nothing.
    let filter = filter.add_directive(format!("{TARGET}=off").parse()?);
    let (lines, written) = match settings.format {
        Format::Json => {
            let lines = Lines::start(std::io::stdout())?;
            (fmt::layer().event_format(Json).with_ansi(false).with_writer(lines.clone()).boxed(), Some(lines))
        }
        Format::Pretty => (fmt::layer().compact().with_ansi(std::io::stdout().is_terminal()).boxed(), None),
    };
    let registry = Registry::default();
    let Some(endpoint) = &settings.traces else {
        registry.with(lines.with_filter(filter)).try_init()?;
        return Ok(Unsent { lines: written, traces: None });
    };
    let provider = traces::provider(endpoint, service)?;
    let ours = Targets::new().with_target(TARGET, Level::INFO);
    let statements = ours.clone().with_target(traces::STATEMENTS, Level::DEBUG);
    registry
        .with(lines.with_filter(filter))
        .with(traces::layer(&provider).with_filter(ours))
        .with(traces::Statements::new(&provider).with_filter(statements))
        .try_init()?;
    Ok(Unsent { lines: written, traces: Some(provider) })
}
