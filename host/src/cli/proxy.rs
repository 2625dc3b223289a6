//! `fairlead proxy`: the data plane by itself.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use fairlead_core::secret::SecretValue;
use fairlead_proxy::bridge_stdio;
use tokio_util::sync::CancellationToken;

use super::{Context, Failure, OneTarget, workload_path};
use crate::api::types::Workload;
use crate::app::pod;
use crate::config::variables::SESSION_STORAGE_PASSWORD;

/// What was typed.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Speak stdio for a client application that cannot speak HTTP, and pass it on to a server
    Stdio(StdioArgs),
    /// Serve one server as a file says: what the operator of a cluster starts in a pod
    Pod(PodArgs),
}

/// What was typed. What it does is in `main.rs` and `app/pod.rs`.
#[derive(Debug, clap::Args)]
pub(crate) struct PodArgs {
    /// What is served: the file that the operator writes
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
    /// Address on which clients reach the server, at `/mcp`; port 0 picks a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    address: SocketAddr,
    /// Address of `/health`, `/ready` and `/metrics`; without it there are none
    #[arg(long, value_name = "ADDRESS")]
    probe_address: Option<SocketAddr>,
    /// Directory with the secrets that the file names, each at `SECRET/KEY`
    #[arg(long, value_name = "DIR")]
    secrets: Option<PathBuf>,
    /// File with the certificate authority of the Redis that keeps sessions, in PEM
    #[arg(long, value_name = "FILE")]
    session_storage_ca: Option<PathBuf>,
    /// Seconds to serve on after it was told to end, so that nobody is sent here any more
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    leave_secs: u32,
    /// Seconds that requests under way have after that
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    drain_secs: u32,
}

impl PodArgs {
    /// What was typed means.
    ///
    /// # Errors
    /// The file cannot be read, or says something else.
    pub(crate) fn options(self) -> Result<pod::Options, Failure> {
        let config = pod::read(&self.file).map_err(|error| {
            Failure::new(format!("`{}`: {error}", self.file.display()))
                .hint("the operator writes it as `server.json` into the ConfigMap of a server")
        })?;
        let authorities = self
            .session_storage_ca
            .map(|file| std::fs::read(&file).map_err(|error| Failure::new(format!("`{}`: {error}", file.display()))));
        let password = std::env::var_os(SESSION_STORAGE_PASSWORD.name).filter(|password| !password.is_empty());
        Ok(pod::Options {
            config,
            address: self.address,
            probe_address: self.probe_address,
            secrets: self.secrets,
            password: password.map(|password| SecretValue::new(password.as_encoded_bytes())),
            authorities: authorities.transpose()?,
            leave: Duration::from_secs(self.leave_secs.into()),
            drain: Duration::from_secs(self.drain_secs.into()),
        })
    }
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
    let Command::Stdio(args) = command else {
        return Err(Failure::new("this command does not talk to the daemon"));
    };
    let client = context.daemon_of(&args.target.name).await?;
    let server: Workload = client.get(&workload_path(&args.target.key(), "")).await?;
    // The answers of the server have standard output for themselves.
    bridge_stdio(&server.url, tokio::io::stdin(), tokio::io::stdout(), CancellationToken::new())
        .await
        .map_err(|error| Failure::chain(&error))
}
