//! Entries of MCP registries.
//!
//! An entry is a `server.json`, kept as the text that its author wrote; everything here reads it and nothing rewrites it. Beside
//! it stand the formats in which many entries travel: the list of the official API, the file of the upstream project, and the
//! two files of ToolHive. A format that cannot say something says so ([`Loss`]) instead of dropping it.
//!
//! The crate is pure and small, because both sides need it: the host, which imports and converts, and registry sources, which
//! are guests.

mod check;
mod document;
mod format;
mod limits;
pub mod time;

pub use check::{Finding, Severity, check, is_server_name, is_version};
pub use document::{Argument, Document, Input, Package, Remote, Repository, Transport, Variable};
pub use format::{
    CATALOGUE, Format, FormatError, Item, Listing, Loss, OFFICIAL, PUBLISHER, Standing, TEMPLATE, TOOLHIVE, VIA,
    detect, read, toolhive_fields, write,
};
pub use limits::*;

/// The schema that entries made here name.
pub const SCHEMA: &str = "https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json";
