//! Support of the integration tests: a daemon of its own for each test, a command line, and an MCP client that hides
//! nothing.
//!
//! Why not an SDK's client: an SDK parses and re-writes what it reads, and what is to be seen here is exactly what
//! Fairlead put on the wire. The official clients take part as programs of their own ([`packages`]).
//!
//! Laws of this crate: every wait has a deadline from [`limits`] and is level-triggered; no port and no path is fixed;
//! whatever was started is ended when its guard is dropped. A test that breaks one of them fails on a busy machine and
//! nowhere else.

pub mod api;
pub mod binary;
pub mod cli;
pub mod cluster;
pub mod daemon;
pub mod engine;
pub mod home;
pub mod image;
pub mod limits;
pub mod mcp;
pub mod packages;
pub mod pod;
pub mod process;
pub mod wait;

pub use api::{ApiReply, api, api_by_token, api_ok};
pub use cli::{Cli, Output};
pub use daemon::{Daemon, Setup};
pub use home::Home;
pub use mcp::{Client, LegacyClient, Reply};
pub use wait::eventually;
