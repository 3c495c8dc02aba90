//! Exporting traces by OTLP, database statements among them.

use std::borrow::Cow;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use opentelemetry::KeyValue;
use opentelemetry::trace::{Span as _, SpanKind, Tracer as _, TracerProvider as _};
use opentelemetry_otlp::{Protocol, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use tracing::dispatcher::WeakDispatch;
use tracing::field::{Field, Visit};
use tracing::{Dispatch, Event, Subscriber};
use tracing_opentelemetry::{OpenTelemetryLayer, get_otel_context};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;
use url::Url;

/// The target of the event that sqlx emits after each statement.
pub(crate) const STATEMENTS: &str = "sqlx::query";

/// Sends spans in batches to `ENDPOINT/v1/traces`, from a thread of its own.
pub(crate) fn provider(endpoint: &Url, service: &'static str) -> anyhow::Result<SdkTracerProvider> {
    let endpoint = format!("{}/v1/traces", endpoint.as_str().trim_end_matches('/'));
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_endpoint(endpoint)
        .with_protocol(Protocol::HttpBinary)
        .build()
        .context("OTEL_EXPORTER_OTLP_ENDPOINT")?;
    let resource = Resource::builder()
        .with_service_name(service)
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build())
}

/// Makes spans of the program's own spans.
pub(crate) fn layer<S>(provider: &SdkTracerProvider) -> OpenTelemetryLayer<S, SdkTracer>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    tracing_opentelemetry::layer().with_tracer(provider.tracer("afd")).with_location(false).with_threads(false)
}

/// Makes a span of each statement, within the span in which it ran.
///
/// sqlx tells about a statement when it is over, by an event: its text, which holds no values, since all are bound, and
/// how long it took. So nothing has to be said in the store for it, and both databases are covered.
pub(crate) struct Statements {
    tracer: SdkTracer,
    dispatch: OnceLock<WeakDispatch>,
}

impl Statements {
    pub(crate) fn new(provider: &SdkTracerProvider) -> Self {
        Self { tracer: provider.tracer("afd"), dispatch: OnceLock::new() }
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Statements {
    fn on_register_dispatch(&self, dispatch: &Dispatch) {
        let _ = self.dispatch.set(dispatch.downgrade());
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        // What runs beside requests belongs to no trace.
        let Some(within) = context.event_span(event) else { return };
        let Some(dispatch) = self.dispatch.get().and_then(WeakDispatch::upgrade) else { return };
        let Some(parent) = get_otel_context(&within.id(), &dispatch) else { return };
        let mut statement = Statement::default();
        event.record(&mut statement);
        #[expect(clippy::disallowed_methods, reason = "traces are of real time")]
        let end = SystemTime::now();
        let start = end.checked_sub(statement.took).unwrap_or(end);
        let mut span = self
            .tracer
            .span_builder(Cow::Owned(statement.summary))
            .with_kind(SpanKind::Client)
            .with_start_time(start)
            .with_attributes([KeyValue::new("db.query.text", statement.text)])
            .start_with_context(&self.tracer, &parent);
        span.end_with_timestamp(end);
    }
}

/// What sqlx tells about a statement.
#[derive(Default)]
struct Statement {
    summary: String,
    text: String,
    took: Duration,
}

impl Visit for Statement {
    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}

    fn record_f64(&mut self, field: &Field, value: f64) {
        if field.name() == "elapsed_secs" {
            self.took = Duration::try_from_secs_f64(value).unwrap_or_default();
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "summary" => value.clone_into(&mut self.summary),
            "db.statement" => value.trim().clone_into(&mut self.text),
            _ => {}
        }
    }
}
