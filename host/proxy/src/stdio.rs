//! Servers that speak over a pipe: one JSON-RPC message per line.
//!
//! MCP keeps state in such a process (revision, capabilities, log level, subscriptions, whom it may ask for sampling), so
//! by default each session has a process of its own and bytes pass unchanged. A shared process costs less and is right only
//! for servers without such state; there, ids and progress tokens are renamed so that no two clients can collide, and what
//! cannot be attributed to one client is told to all (`list_changed`), to whom it concerns (`updated`), or refused
//! (questions while several clients have calls under way). Log messages that belong to no single client are dropped.

mod exchange;
pub(crate) mod framing;
mod open;
mod pipe;
mod post;
mod routing;
mod shared;
mod spare;
mod table;
mod writer;

pub(crate) use exchange::{changed, nonsense};
pub(crate) use open::{ServerAccess, connect, connect_sse, connect_to_ask};
pub(crate) use pipe::{Inbound, Pipe, Ticket};
pub(crate) use post::{delete, get, post};
pub(crate) use shared::SharedProcess;
pub(crate) use table::{NotEnlisted, SeatId, Sharing};
pub(crate) use writer::on_one_line;
