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
    /// Serve whom the cluster lets `get` `mcpregistries/entries` of this `MCPRegistry`, by tokens of the cluster
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = named, conflicts_with = "tokens")]
    pub(crate) reviewed_for: Option<(String, String)>,
}

fn named(text: &str) -> Result<(String, String), String> {
    let named = text.split_once('/').filter(|(namespace, name)| !namespace.is_empty() && !name.is_empty());
    named.map(|(namespace, name)| (namespace.to_owned(), name.to_owned())).ok_or("write `NAMESPACE/NAME`".to_owned())
}
