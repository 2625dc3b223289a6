//! The plugin host: WebAssembly components, held at arm's length.
//!
//! Everything that knows wasmtime is in this crate, and nothing of it leaves: the data plane sees a
//! [`Middleware`](fairlead_core::middleware::Middleware), supervision a
//! [`WorkloadRuntime`](fairlead_core::workload::WorkloadRuntime). A guest is never trusted. Each file names one way in
//! which it could hurt (time, memory, words, numbers, files that only look compiled) and holds it there.

mod artifact;
mod attach;
mod audit;
mod bounds;
mod compile;
mod engine;
mod fault;
mod host;
pub mod limits;
mod log_gate;
mod metrics;
mod outgoing;
mod owner;
mod pipe;
mod placeholders;
mod plugin;
mod policy;
mod pool;
mod records;
mod slots;
mod source;
mod state;
mod text;
mod ticker;
mod v0_1;
mod wasi;
mod workloads;

pub use artifact::{CacheError, Digest};
pub use attach::{AttachError, Attachment, ConfigProblem};
pub use audit::{AuditError, ComponentKind, WIT_VERSION, kind_of};
pub use compile::{COMPILE_SUBCOMMAND, CompileError, Compiler, compile_child};
pub use engine::EngineError;
pub use host::{AttachmentMetrics, HostError, PluginHost, PluginHostConfig};
pub use metrics::{Labels, Series, Value};
pub use owner::CountsSnapshot;
pub use plugin::{LoadError, LoadErrorKind, Origin, Plugin};
pub use source::SourceAttachment;
pub use v0_1::ManifestError;
pub use workloads::WasmWorkloads;
