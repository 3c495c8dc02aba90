//! A collector of traces: takes OTLP over HTTP and keeps every span.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use prost::Message as _;
use tokio::net::TcpListener;

/// A span as it arrived; ids in lower-case hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// The `service.name` of its process.
    pub service: String,
    /// The trace.
    pub trace: String,
    /// The span itself.
    pub id: String,
    /// The span it is part of; empty at the root of a trace.
    pub parent: String,
    /// Its name.
    pub name: String,
    /// The textual ones of its attributes.
    pub attributes: Vec<(String, String)>,
}

/// A collector; it ends with the test's runtime.
#[derive(Debug, Clone)]
pub struct TraceSink {
    port: u16,
    spans: Arc<Mutex<Vec<Span>>>,
}

impl TraceSink {
    /// Listens on a free port.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let sink = Self { port, spans: Arc::default() };
        let router = Router::new().route("/v1/traces", post(receive)).with_state(sink.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        sink
    }

    /// What `OTEL_EXPORTER_OTLP_ENDPOINT` has to be.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Every span so far.
    #[must_use]
    pub fn spans(&self) -> Vec<Span> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn receive(State(sink): State<TraceSink>, body: Bytes) {
    let request = ExportTraceServiceRequest::decode(body).expect("an export request");
    let mut spans = sink.spans.lock().unwrap_or_else(PoisonError::into_inner);
    for of_process in request.resource_spans {
        let attributes = of_process.resource.unwrap_or_default().attributes;
        let service = texts(attributes).into_iter().find(|(name, _)| name == "service.name").unwrap_or_default().1;
        for span in of_process.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            spans.push(Span {
                service: service.clone(),
                trace: hex(&span.trace_id),
                id: hex(&span.span_id),
                parent: hex(&span.parent_span_id),
                name: span.name,
                attributes: texts(span.attributes),
            });
        }
    }
}

fn texts(attributes: Vec<opentelemetry_proto::tonic::common::v1::KeyValue>) -> Vec<(String, String)> {
    let text = |attribute: opentelemetry_proto::tonic::common::v1::KeyValue| match attribute.value?.value? {
        Value::StringValue(text) => Some((attribute.key, text)),
        _ => None,
    };
    attributes.into_iter().filter_map(text).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
