//! The nouns, the ports and the pure decisions of Fairlead.
//!
//! Everything else depends on this crate and on nothing beside it, so it stays free of sockets, engines, databases and
//! clocks: what is decided here is decided on values, and what touches the world does so behind a port (a trait that an
//! adapter crate implements and only the composition root names).

pub mod address;
pub mod backoff;
pub mod breaker;
pub mod chain;
mod checked;
pub mod clock;
pub mod cluster;
pub mod dial;
pub mod digest;
pub mod document;
pub mod era;
pub mod fault;
pub mod freshness;
pub mod grant;
pub mod header;
pub mod ignore;
pub mod image;
pub mod json;
pub mod jsonrpc;
pub mod kv;
pub mod limits;
pub mod logs;
pub mod middleware;
pub mod mirror;
pub mod name;
pub mod oci;
pub mod package;
pub mod permission;
pub mod plugin;
pub mod pod;
pub mod policy;
pub mod problem;
pub mod registry;
pub mod remote;
pub mod runconfig;
pub mod secret;
pub mod server;
pub mod session;
pub mod signature;
pub mod status;
pub mod store;
pub mod telemetry;
pub mod tenant;
pub mod workload;

/// A boxed future, as the object-safe ports return it.
pub type BoxFuture<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;
