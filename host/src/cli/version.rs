//! `fairlead version`.

use serde_json::json;

use super::output::Format;
use super::{Context, Failure};
use crate::client::{Client, ClientError};

/// Prints the version of this program and of the daemon, if one runs.
///
/// # Errors
/// The daemon does not answer.
pub(crate) async fn run(context: &Context) -> Result<(), Failure> {
    let program = env!("CARGO_PKG_VERSION");
    let daemon = match Client::new(&context.settings.directories.socket()).info().await {
        Ok(info) => Some(info),
        Err(ClientError::NoDaemon { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    if context.output.format == Format::Json {
        return context.output.json(&json!({ "version": program, "daemon": daemon }));
    }
    context.output.line(&format!("fairlead {program}"))?;
    match daemon {
        Some(daemon) => {
            context.output.line(&format!("daemon   {} (process {}, {})", daemon.version, daemon.pid, daemon.address))
        }
        None => context.output.line("daemon   does not run"),
    }
}
