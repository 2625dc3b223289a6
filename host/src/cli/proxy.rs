//! `fairlead proxy`: the data plane by itself.

use fairlead_proxy::bridge_stdio;
use tokio_util::sync::CancellationToken;

use super::{Context, Failure, OneTarget, workload_path};
use crate::api::types::Workload;

/// What was typed.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Speak stdio for a client application that cannot speak HTTP, and pass it on to a server
    Stdio(StdioArgs),
}

/// What was typed.
#[derive(Debug, clap::Args)]
pub(crate) struct StdioArgs {
    #[command(flatten)]
    target: OneTarget,
}

/// Runs the command.
///
/// # Errors
/// There is no such server, or the client application cannot be read.
pub(crate) async fn run(command: Command, context: &Context) -> Result<(), Failure> {
    let Command::Stdio(args) = command;
    let client = context.daemon_of(&args.target.name).await?;
    let server: Workload = client.get(&workload_path(&args.target.key(), "")).await?;
    // The answers of the server have standard output for themselves.
    bridge_stdio(&server.url, tokio::io::stdin(), tokio::io::stdout(), CancellationToken::new())
        .await
        .map_err(|error| Failure::chain(&error))
}
