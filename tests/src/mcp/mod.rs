//! A small MCP client over streamable HTTP that shows every status, header, event and byte.

mod client;
mod legacy;
mod reply;
mod sse;

pub use client::Client;
pub use legacy::LegacyClient;
pub use reply::Reply;
pub use sse::{Event, Parser};
