//! What the daemon says about itself: lines (`log`), and, where somebody asked for them, traces and metrics.
//!
//! Names are those of OpenTelemetry's conventions for MCP, so that what is seen here means what it means elsewhere. Without
//! a collector and without a metrics address nothing of it is made: the data plane then tells the log of the server alone
//! (`passing`).

mod export;
mod log;
mod mcp;
mod passing;
mod scrape;
mod updates;

pub(crate) use export::{ExportError, Exporters};
pub(crate) use log::start;
pub(crate) use passing::{Passing, PassingLog};
pub(crate) use scrape::{router as metrics_router, serve as serve_metrics};
pub(crate) use updates::UpdateMetrics;
