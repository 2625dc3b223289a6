//! `fairlead shutdown`. Works with a daemon of any version: it is the way from one version to the next.

use std::time::Instant;

use http::Method;

use super::{Context, Failure};
use crate::client::{Client, ClientError};
use crate::limits::{DAEMON_STOP_MAX, POLL_INTERVAL};

/// Asks the daemon to end and waits until it has.
///
/// # Errors
/// It does not end.
pub(crate) async fn run(context: &Context) -> Result<(), Failure> {
    let client = Client::new(&context.settings.directories.socket());
    let info = match client.info().await {
        Ok(info) => info,
        Err(ClientError::NoDaemon { .. }) => {
            context.output.note("no daemon runs");
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    };
    client.finish(Method::POST, "/api/v1beta/shutdown").await?;
    let deadline = Instant::now() + DAEMON_STOP_MAX;
    // The description goes last, when everything has ended.
    while context.settings.directories.daemon_json().exists() {
        if Instant::now() > deadline {
            return Err(Failure::new(format!("the daemon (process {}) still runs", info.pid))
                .hint(format!("look at its log, `{}`", context.settings.directories.daemon_log().display())));
        }
        context.output.progress("stopping the daemon …");
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    context.output.progress_done();
    context.output.note("the daemon has stopped");
    Ok(())
}
