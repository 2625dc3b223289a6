//! Where traces and metrics go: to a collector over OTLP, and to whoever scrapes.

use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use fairlead_core::telemetry::Telemetry;
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{MetricExporter, Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use prometheus::Registry;

use super::mcp::McpTelemetry;
use super::updates::UpdateMetrics;
use crate::config::Observability;
use crate::limits::{OTLP_ANSWER_BYTES_MAX, OTLP_SEND_MAX};

/// Why nothing is exported.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExportError {
    /// The collector cannot be used.
    #[error("export to `{endpoint}`")]
    Exporter {
        /// The collector.
        endpoint: String,
        /// Why not.
        #[source]
        source: opentelemetry_otlp::ExporterBuildError,
    },
    /// There is nothing to scrape.
    #[error("collect metrics: {0}")]
    Metrics(String),
}

/// What is exported, and how; ends with what is left sent.
#[derive(Debug)]
pub(crate) struct Exporters {
    telemetry: Arc<McpTelemetry>,
    traces: Option<SdkTracerProvider>,
    metrics: SdkMeterProvider,
    registry: Option<Registry>,
}

impl Exporters {
    /// Exporters for these settings; none when there is nothing to export to.
    ///
    /// # Errors
    /// The collector cannot be used.
    pub(crate) fn build(settings: &Observability) -> Result<Option<Self>, ExportError> {
        if settings.otlp_endpoint.is_none() && settings.metrics_address.is_none() {
            return Ok(None);
        }
        let resource = Resource::builder_empty()
            .with_service_name("fairlead")
            .with_attribute(opentelemetry::KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build();
        let mut metrics = SdkMeterProvider::builder().with_resource(resource.clone());
        let mut traces = None;
        if let Some(endpoint) = settings.otlp_endpoint.as_deref().map(|endpoint| endpoint.trim_end_matches('/')) {
            let failed = |source| ExportError::Exporter { endpoint: endpoint.to_owned(), source };
            let spans = SpanExporter::builder()
                .with_http()
                .with_http_client(Collector::new())
                .with_protocol(Protocol::HttpBinary)
                .with_timeout(OTLP_SEND_MAX)
                .with_endpoint(format!("{endpoint}/v1/traces"))
                .build()
                .map_err(failed)?;
            let measures = MetricExporter::builder()
                .with_http()
                .with_http_client(Collector::new())
                .with_protocol(Protocol::HttpBinary)
                .with_timeout(OTLP_SEND_MAX)
                .with_endpoint(format!("{endpoint}/v1/metrics"))
                .build()
                .map_err(failed)?;
            metrics = metrics.with_periodic_exporter(measures);
            // Whoever began a trace decides about it; the ratio is for those that begin here.
            let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(settings.trace_ratio)));
            let provider = SdkTracerProvider::builder().with_resource(resource).with_sampler(sampler);
            traces = Some(provider.with_batch_exporter(spans).build());
        }
        let registry = settings.metrics_address.map(|_| Registry::new());
        if let Some(registry) = &registry {
            let reader = opentelemetry_prometheus::exporter().with_registry(registry.clone());
            metrics = metrics.with_reader(reader.build().map_err(|error| ExportError::Metrics(error.to_string()))?);
        }
        let metrics = metrics.build();
        let tracer = traces.as_ref().map(|traces| traces.tracer("fairlead"));
        Ok(Some(Self { telemetry: Arc::new(McpTelemetry::new(tracer, &metrics)), traces, metrics, registry }))
    }

    /// For the data plane.
    pub(crate) fn telemetry(&self) -> Arc<dyn Telemetry> {
        Arc::clone(&self.telemetry) as _
    }

    /// For updates of servers.
    pub(crate) fn updates(&self) -> UpdateMetrics {
        UpdateMetrics::new(&self.metrics.meter("fairlead"))
    }

    /// What can be scraped.
    pub(crate) fn registry(&self) -> Option<&Registry> {
        self.registry.as_ref()
    }

    /// Sends what is left. Blocks, for as long as one transmission may take.
    pub(crate) fn end(&self, time: Duration) {
        if let Some(Err(error)) = self.traces.as_ref().map(|traces| traces.shutdown_with_timeout(time)) {
            tracing::warn!(%error, "the last traces were not sent");
        }
        if let Err(error) = self.metrics.shutdown_with_timeout(time) {
            tracing::warn!(%error, "the last metrics were not sent");
        }
    }
}

/// Sends to a collector from the exporter's own thread, so it may block.
#[derive(Debug)]
struct Collector(ureq::Agent);

impl Collector {
    fn new() -> Self {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(OTLP_SEND_MAX))
            .http_status_as_error(false)
            .max_redirects(0)
            .build();
        Self(config.into())
    }
}

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: http::Request<Bytes>) -> Result<http::Response<Bytes>, HttpError> {
        let (head, body) = request.into_parts();
        let answer = self.0.run(http::Request::from_parts(head, body.to_vec()))?;
        let (head, body) = answer.into_parts();
        let mut text = Vec::new();
        body.into_reader().take(OTLP_ANSWER_BYTES_MAX).read_to_end(&mut text)?;
        Ok(http::Response::from_parts(head, Bytes::from(text)))
    }
}
