//! Engines that start workloads: local processes and containers today, pods later; and the one that starts nothing.
//!
//! Each is an adapter behind core's `WorkloadRuntime` port and knows nothing of MCP: it starts something, gives its pipes
//! away, watches it and ends it, whole. What to start, when and how often is supervision's business. Wasm components are
//! started elsewhere, because wasmtime stays behind one crate.

pub mod container;
mod elsewhere;
pub mod limits;
mod orders;
pub mod process;

pub use container::ContainerRuntime;
pub use elsewhere::Elsewhere;
pub use process::ProcessRuntime;
