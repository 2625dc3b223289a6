//! `fairlead stop`, `start`, `restart` and `rm`: the same for one server or several.

use fairlead_core::name::ServerKey;
use http::Method;
use serde_json::json;

use super::output::{Format, word};
use super::{Context, Failure, Target, workload_path};
use crate::api::types::Workload;
use crate::client::{Client, ClientError};

/// What was typed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    target: Target,
}

/// What is done to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Stop.
    Stop,
    /// Start.
    Start,
    /// Stop and start.
    Restart,
    /// Stop and forget.
    Remove,
}

/// Does it to each of the servers; one that fails does not keep the others.
///
/// # Errors
/// It failed for at least one.
pub(crate) async fn run(action: Action, args: Args, context: &Context) -> Result<(), Failure> {
    let Some(first) = args.target.names.first() else { return Ok(()) };
    let client = context.daemon_of(first).await?;
    let mut done = Vec::new();
    let mut failed: Option<Failure> = None;
    for name in &args.target.names {
        let key = ServerKey { tenant: args.target.tenant.clone(), name: name.clone() };
        context.output.progress(&format!("{name} …"));
        let outcome = act(action, &key, &client).await;
        context.output.progress_done();
        match outcome {
            Ok(workload) => {
                if context.output.format == Format::Text {
                    context.output.line(&sentence(&key, workload.as_ref()))?;
                }
                done.push(
                    workload
                        .map_or_else(|| json!({"name": key.name, "tenant": key.tenant}), |workload| json!(workload)),
                );
            }
            Err(error) => {
                if let Some(earlier) = failed.replace(error.into()) {
                    context.output.failure(&earlier);
                }
            }
        }
    }
    if context.output.format == Format::Json {
        context.output.json(&done)?;
    }
    failed.map_or(Ok(()), Err)
}

async fn act(action: Action, key: &ServerKey, client: &Client) -> Result<Option<Workload>, ClientError> {
    let path = match action {
        Action::Remove => return client.finish(Method::DELETE, &workload_path(key, "")).await.map(|()| None),
        Action::Stop => "/stop",
        Action::Start => "/start",
        Action::Restart => "/restart",
    };
    client.post(&workload_path(key, path), None::<&()>).await.map(Some)
}

fn sentence(key: &ServerKey, workload: Option<&Workload>) -> String {
    match workload {
        None => format!("{} is removed", key.name),
        Some(workload) => format!("{} is {}", key.name, word(workload.status)),
    }
}
