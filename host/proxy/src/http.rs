//! Servers that speak streamable HTTP, on a port of this machine or elsewhere.
//!
//! Here the proxy keeps no state: status, headers, sessions, event ids and the choice between JSON and a stream are the
//! server's, and a connection that the client drops is dropped on the other side as well, where it means what the era of the
//! request says. A reply that no middleware asked for is passed through chunk by chunk and never looked at.

mod ask;
pub(crate) mod client;
pub(crate) mod connect;
mod headers;
mod held;
mod members;
mod missed;
mod post;
mod pump;
mod restate;

pub(crate) use ask::{Unanswered, ask, ask_with, headers_of, send, send_with};
pub(crate) use client::{Endpoint, Place, Unreachable, UpstreamBody};
pub use members::{Lookup, NameService};
pub(crate) use post::{Client, SessionKeys, chain_of, delete, get, has_face, post};
