//! The port through which the data plane tells what passes through it.
//!
//! Nobody listens by default, and then nothing is measured, made or copied. What is told is who, what and how it ended:
//! names and codes. Arguments, results, headers and ids that open something never cross this port.

use std::time::Duration;

use crate::middleware::Phase;
use crate::name::ServerKey;

/// W3C trace context, as somebody else wrote it.
#[derive(Debug, Clone, Copy, Default)]
pub struct TraceParent<'a> {
    /// `traceparent`.
    pub parent: Option<&'a str>,
    /// `tracestate`.
    pub state: Option<&'a str>,
}

/// W3C trace context, to be carried on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceContext {
    /// `traceparent`: hexadecimal digits and dashes.
    pub parent: String,
    /// `tracestate`.
    pub state: Option<String>,
}

/// An exchange that begins.
#[derive(Debug, Clone, Copy)]
pub struct Began<'a> {
    /// The server that it is for.
    pub server: &'a ServerKey,
    /// Its method.
    pub method: &'a str,
    /// Name of the tool or prompt.
    pub target: Option<&'a str>,
    /// JSON text of its id.
    pub request_id: Option<&'a str>,
    /// Revision of MCP, where it is known.
    pub protocol_version: Option<&'a str>,
    /// How the server is reached, in OpenTelemetry's words: `pipe` or `tcp`.
    pub network_transport: &'static str,
    /// What it is part of.
    pub trace: TraceParent<'a>,
}

/// Somebody who wants to know.
pub trait Telemetry: std::fmt::Debug + Send + Sync {
    /// Told of each request of a client.
    fn begin(&self, began: Began<'_>) -> Box<dyn Observation>;
}

/// One exchange under way. It ends when this is dropped.
pub trait Observation: Send + Sync {
    /// The context for whoever serves the exchange; none when it is not traced.
    fn context(&self) -> Option<TraceContext>;

    /// A middleware was asked, and gave a decision or, with the kind of its fault, none.
    fn asked(&mut self, attachment: &str, phase: Phase, took: Duration, fault: Option<&'static str>);

    /// It did not end well: a JSON-RPC code, or a word for what happened.
    fn failed(&mut self, error_type: &str);
}
