//! Spans and W3C trace context (w3.org/TR/trace-context), so that a trace leads through both services.
//!
//! Spans have the target [`TARGET`]. Unless traces are exported nobody subscribes to it, and a span is then a look at a
//! flag that says so: no allocation, no clock, no header.

use http::HeaderMap;
use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::TraceContextExt as _;
use opentelemetry_http::{HeaderExtractor, HeaderInjector};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// The target of all spans; they are for traces and not for the log.
pub const TARGET: &str = "afd_trace";

/// Makes `span` a part of the caller's trace, if the caller named one. To be done before anything happens within it.
pub fn continue_trace(span: &Span, headers: &HeaderMap) {
    if span.is_disabled() {
        return;
    }
    let parent = TraceContextPropagator::new().extract(&HeaderExtractor(headers));
    if parent.span().span_context().is_valid() {
        // Fails only for a span that has begun already.
        let _ = span.set_parent(parent);
    }
}

/// Tells whoever gets these headers which trace the call belongs to.
pub fn pass_on(span: &Span, headers: &mut HeaderMap) {
    if !span.is_disabled() {
        TraceContextPropagator::new().inject_context(&span.context(), &mut HeaderInjector(headers));
    }
}
