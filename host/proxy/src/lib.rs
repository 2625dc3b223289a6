//! The data plane: listens for MCP over HTTP, passes each message through the chain of its route, and on to its server.
//!
//! Judged by being invisible. A message is read once, for its envelope; what no middleware asked for is neither parsed nor
//! copied; streams flow at the pace of whoever reads them. What the proxy decides itself is only what is no decision: sizes,
//! origins, framing, sessions. This crate knows middleware as a port and servers as a port; it never names an engine.
//!
//! ```text
//! listener → service → edge checks → (legacy →) stdio | http → chain → server
//! ```

mod body;
mod bridge;
mod chain;
mod config;
mod cors;
mod deadline;
mod edge;
mod elder;
mod era;
mod examine;
mod health;
mod http;
mod lane;
mod legacy;
pub mod limits;
mod listener;
mod modern;
mod moments;
mod outbox;
mod probe;
mod proxy;
mod remote;
mod reply;
mod route;
mod service;
mod session;
mod settled;
pub mod sse;
mod stall;
mod stdio;
mod succession;
mod translate;
mod watch;

pub use self::http::{Lookup, NameService};
pub use bridge::{BridgeError, bridge_stdio};
pub use chain::{Rehearsed, rehearse};
pub use config::ProxyConfig;
pub use examine::Examined;
pub use health::Vigil;
pub use probe::ProbeError;
pub use proxy::{LinkHealth, Proxy};
pub use remote::{EnvironmentProxies, Remote, RemoteError};
pub use route::{Replicas, Route, Wire};
pub use stall::StallGuard;
pub use succession::Retiring;
