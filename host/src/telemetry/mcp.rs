//! What passes through the data plane, in the words of OpenTelemetry's conventions for MCP.
//!
//! A span for each request, a histogram of how long they took, and one of how long each middleware took. Names of tools are
//! in spans only: a client can invent them, and each would be a series of its own. So can it invent methods; those that MCP
//! does not have are counted as one.

use std::fmt;
use std::time::{Duration, Instant};

use fairlead_core::middleware::Phase;
use fairlead_core::telemetry::{Began, Observation, Telemetry, TraceContext, TraceParent};
use opentelemetry::metrics::{Histogram, MeterProvider as _};
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator as _};
use opentelemetry::trace::{SpanKind, Status, TraceContextExt as _, Tracer as _};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracer;

/// Bounds of the histograms in seconds, as the conventions advise, with finer ones below: a hop takes microseconds.
const SECONDS: [f64; 16] =
    [0.000_1, 0.000_5, 0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0];

/// Methods of a client, of all revisions.
const METHODS: [&str; 21] = [
    "completion/complete",
    "initialize",
    "logging/setLevel",
    "ping",
    "prompts/get",
    "prompts/list",
    "resources/list",
    "resources/read",
    "resources/subscribe",
    "resources/templates/list",
    "resources/unsubscribe",
    "server/discover",
    "subscriptions/listen",
    "tasks/cancel",
    "tasks/get",
    "tasks/list",
    "tasks/result",
    "tasks/update",
    "tools/call",
    "tools/list",
    "roots/list",
];

/// What a method is called that MCP does not have.
const OTHER: &str = "_OTHER";

/// Spans and metrics of the data plane.
pub(super) struct McpTelemetry {
    tracer: Option<SdkTracer>,
    operations: Histogram<f64>,
    middleware: Histogram<f64>,
}

impl fmt::Debug for McpTelemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("McpTelemetry").field("traces", &self.tracer.is_some()).finish_non_exhaustive()
    }
}

impl McpTelemetry {
    pub(super) fn new(tracer: Option<SdkTracer>, metrics: &SdkMeterProvider) -> Self {
        let meter = metrics.meter("fairlead");
        let seconds = |name, description| {
            meter.f64_histogram(name).with_unit("s").with_description(description).with_boundaries(SECONDS.into())
        };
        Self {
            tracer,
            operations: seconds(
                "mcp.server.operation.duration",
                "Duration of a request from its arrival to the end of its answer",
            )
            .build(),
            middleware: seconds("fairlead.middleware.duration", "Duration of one call of one middleware").build(),
        }
    }
}

impl Telemetry for McpTelemetry {
    fn begin(&self, began: Began<'_>) -> Box<dyn Observation> {
        let span = self.tracer.as_ref().map(|tracer| span(tracer, &began));
        let method = METHODS.iter().find(|known| **known == began.method).copied().unwrap_or(OTHER);
        Box::new(Operation {
            began_at: Instant::now(),
            operations: self.operations.clone(),
            middleware: self.middleware.clone(),
            attributes: vec![
                KeyValue::new("mcp.method.name", method),
                KeyValue::new("network.transport", began.network_transport),
                KeyValue::new("fairlead.server.name", began.server.name.as_str().to_owned()),
                KeyValue::new("fairlead.tenant", began.server.tenant.as_str().to_owned()),
            ],
            error: None,
            span,
        })
    }
}

/// The span of a request, part of the trace that its client named.
fn span(tracer: &SdkTracer, began: &Began<'_>) -> Context {
    let parent = TraceContextPropagator::new().extract_with_context(&Context::new(), &Given(began.trace));
    let name = match began.target {
        Some(target) => format!("{} {target}", began.method),
        None => began.method.to_owned(),
    };
    let mut attributes = vec![
        KeyValue::new("mcp.method.name", began.method.to_owned()),
        KeyValue::new("network.transport", began.network_transport),
        KeyValue::new("fairlead.server.name", began.server.name.as_str().to_owned()),
        KeyValue::new("fairlead.tenant", began.server.tenant.as_str().to_owned()),
    ];
    let mut add = |name: &'static str, value: Option<&str>| {
        attributes.extend(value.map(|value| KeyValue::new(name, value.to_owned())));
    };
    add("jsonrpc.request.id", began.request_id.map(|id| id.trim_matches('"')));
    add("mcp.protocol.version", began.protocol_version);
    match began.method {
        "tools/call" => add("gen_ai.tool.name", began.target),
        "prompts/get" => add("gen_ai.prompt.name", began.target),
        _ => {}
    }
    let builder = tracer.span_builder(name).with_kind(SpanKind::Server).with_attributes(attributes);
    parent.with_span(tracer.build_with_context(builder, &parent))
}

/// A request under way.
struct Operation {
    began_at: Instant,
    operations: Histogram<f64>,
    middleware: Histogram<f64>,
    attributes: Vec<KeyValue>,
    error: Option<String>,
    span: Option<Context>,
}

impl Observation for Operation {
    fn context(&self) -> Option<TraceContext> {
        let span = self.span.as_ref()?;
        let mut carried = Carried::default();
        TraceContextPropagator::new().inject_context(span, &mut carried);
        Some(TraceContext { parent: carried.parent?, state: carried.state.filter(|state| !state.is_empty()) })
    }

    fn asked(&mut self, attachment: &str, phase: Phase, took: Duration, fault: Option<&'static str>) {
        let phase = match phase {
            Phase::Request => "request",
            Phase::Response => "response",
            Phase::Error => "error",
            Phase::Event => "event",
        };
        let mut attributes = vec![
            KeyValue::new("fairlead.plugin.name", attachment.to_owned()),
            KeyValue::new("fairlead.plugin.phase", phase),
        ];
        attributes.extend(self.attributes.iter().filter(|pair| pair.key.as_str().starts_with("fairlead.")).cloned());
        attributes.extend(fault.map(|fault| KeyValue::new("error.type", fault)));
        self.middleware.record(took.as_secs_f64(), &attributes);
    }

    fn failed(&mut self, error_type: &str) {
        self.error.get_or_insert_with(|| error_type.to_owned());
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        let error = self.error.take().map(|error| KeyValue::new("error.type", error));
        if let Some(span) = &self.span {
            let span = span.span();
            if let Some(error) = &error {
                span.set_attribute(error.clone());
                span.set_status(Status::error(""));
            }
            span.end();
        }
        self.attributes.extend(error);
        self.operations.record(self.began_at.elapsed().as_secs_f64(), &self.attributes);
    }
}

/// What a client said of its trace.
struct Given<'a>(TraceParent<'a>);

impl Extractor for Given<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        match key {
            "traceparent" => self.0.parent,
            "tracestate" => self.0.state,
            _ => None,
        }
    }

    fn keys(&self) -> Vec<&str> {
        vec!["traceparent", "tracestate"]
    }
}

/// What the server is told.
#[derive(Default)]
struct Carried {
    parent: Option<String>,
    state: Option<String>,
}

impl Injector for Carried {
    fn set(&mut self, key: &str, value: String) {
        match key {
            "traceparent" => self.parent = Some(value),
            "tracestate" => self.state = Some(value),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use fairlead_core::name::ServerKey;
    use opentelemetry::trace::TracerProvider as _;
    use opentelemetry_sdk::trace::SdkTracerProvider;

    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn began<'a>(server: &'a ServerKey, parent: Option<&'a str>) -> Began<'a> {
        Began {
            server,
            method: "tools/call",
            target: Some("echo"),
            request_id: Some("1"),
            protocol_version: None,
            network_transport: "tcp",
            trace: TraceParent { parent, state: Some("a=b") },
        }
    }

    fn server() -> ServerKey {
        ServerKey {
            tenant: fairlead_core::name::TenantName::default(),
            name: fairlead_core::name::ServerName::new("one").unwrap(),
        }
    }

    #[test]
    fn a_server_is_told_a_span_of_the_clients_trace() {
        let traces = SdkTracerProvider::builder().build();
        let metrics = SdkMeterProvider::builder().build();
        let telemetry = McpTelemetry::new(Some(traces.tracer("test")), &metrics);
        let server = server();
        let context = telemetry.begin(began(&server, Some(PARENT))).context().unwrap();
        let parts: Vec<&str> = context.parent.split('-').collect();
        assert_eq!((parts[1], parts[3]), ("0af7651916cd43dd8448eb211c80319c", "01"));
        assert_ne!(parts[2], "b7ad6b7169203331");
        assert_eq!(context.state.as_deref(), Some("a=b"));
        // What makes no sense begins a trace of its own.
        assert!(telemetry.begin(began(&server, Some("nonsense"))).context().is_some());
    }

    #[test]
    fn without_traces_nothing_is_carried() {
        let telemetry = McpTelemetry::new(None, &SdkMeterProvider::builder().build());
        assert_eq!(telemetry.begin(began(&server(), Some(PARENT))).context(), None);
    }
}
