//! Settings of traces and metrics. Without them there are none.

use std::net::SocketAddr;

use serde::Deserialize;

use super::variables::{self, Variable};
use super::{ConfigError, Lookup, parse_address, text};

/// The table `[observability]` of the configuration file.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ObservabilityFile {
    otlp_endpoint: Option<String>,
    metrics_address: Option<String>,
    trace_ratio: Option<f64>,
}

/// Where traces and metrics go.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Observability {
    /// Base URL of a collector that takes OTLP over HTTP.
    pub(crate) otlp_endpoint: Option<String>,
    /// Where Prometheus finds `/metrics`.
    pub(crate) metrics_address: Option<SocketAddr>,
    /// Which part of the traces that begin here is kept.
    pub(crate) trace_ratio: f64,
}

impl Observability {
    /// The file, with what the environment says over it.
    pub(super) fn resolve(file: ObservabilityFile, lookup: Lookup<'_>) -> Result<Self, ConfigError> {
        let endpoint = text(lookup, variables::OTLP_ENDPOINT)?.or(file.otlp_endpoint);
        let wrong = |variable: Variable, value: &str, reason: &str| ConfigError::Value {
            name: variable.name.to_owned(),
            value: value.to_owned(),
            reason: reason.to_owned(),
        };
        if let Some(endpoint) = endpoint.as_deref().filter(|endpoint| !endpoint.starts_with("http://")) {
            let reason = "expected the address of a collector on this network, like `http://127.0.0.1:4318`";
            return Err(wrong(variables::OTLP_ENDPOINT, endpoint, reason));
        }
        let address = text(lookup, variables::METRICS_ADDRESS)?.or(file.metrics_address);
        let metrics_address = address.map(|address| parse_address(variables::METRICS_ADDRESS.name, &address));
        let given = text(lookup, variables::TRACE_RATIO)?;
        let ratio = match &given {
            Some(text) => text.parse().ok(),
            None => file.trace_ratio.or(Some(1.0)),
        };
        let trace_ratio = ratio.filter(|ratio| (0.0..=1.0).contains(ratio)).ok_or_else(|| {
            let value = given.unwrap_or_else(|| file.trace_ratio.unwrap_or_default().to_string());
            wrong(variables::TRACE_RATIO, &value, "expected a number from 0 to 1")
        })?;
        Ok(Self { otlp_endpoint: endpoint, metrics_address: metrics_address.transpose()?, trace_ratio })
    }
}
