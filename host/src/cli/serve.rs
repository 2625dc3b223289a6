//! `fairlead serve`: the flags of the daemon. What it does is in `main.rs` and `app/`.

use std::net::SocketAddr;

use crate::config::LogFormat;

/// What was typed.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    /// Address on which MCP clients reach the servers; port 0 picks a free one [env: FAIRLEAD_ADDRESS]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) address: Option<SocketAddr>,
    /// Address on which the API is reached over TCP, with a token; by default only over the socket
    /// [env: FAIRLEAD_API_ADDRESS]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) api_address: Option<SocketAddr>,
    /// Address on which the catalogue of all registries is served, by the official registry API; by default nowhere
    /// [env: FAIRLEAD_REGISTRY_ADDRESS]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) registry_address: Option<SocketAddr>,
    /// Serve the catalogue to nobody without a token [env: FAIRLEAD_REGISTRY_TOKENS]
    #[arg(long)]
    pub(crate) registry_tokens: bool,
    /// What is logged: a level, or `target=level` directives with commas [env: FAIRLEAD_LOG]
    #[arg(long, value_name = "FILTER")]
    pub(crate) log: Option<String>,
    /// How it is logged [env: FAIRLEAD_LOG_FORMAT]
    #[arg(long, value_enum)]
    pub(crate) log_format: Option<LogFormat>,
    /// Put a damaged state store aside and start with an empty one
    #[arg(long)]
    pub(crate) recover: bool,
    /// Leave the terminal and log to a file
    #[arg(long, hide = true)]
    pub(crate) background: bool,
}
