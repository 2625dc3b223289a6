//! `fairlead registry serve`: the flags. What it does is in `main.rs` and `app/registry_server.rs`.

use std::net::SocketAddr;
use std::path::PathBuf;

/// What was typed.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    /// Address on which the catalogue is served; port 0 picks a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7421")]
    pub(crate) address: SocketAddr,
    /// File with the registries that are read (YAML or JSON: `registries`, by name); without it, those that were added here
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Serve nobody without a token
    #[arg(long)]
    pub(crate) tokens: bool,
}
