//! `fairlead stop`, `start`, `restart` and `rm`: the same for one server or several.

use fairlead_core::name::{ServerKey, ServerName, TenantName};
use fairlead_core::status::ServerPhase;
use http::Method;
use serde_json::{Value, json};

use super::output::{Format, word};
use super::{Context, Failure, Target, operate, workload_path};
use crate::api::types::Workload;
use crate::client::Client;

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
    let (client, names) = args.target.servers(context).await?;
    let (done, failed) = act_on_all(action, &args.target.tenant, &names, &client, context).await?;
    if context.output.format == Format::Json {
        context.output.json(&done)?;
    }
    failed.map_or(Ok(()), Err)
}

/// Does it to each of the servers that are named. What came of those for which it was done, and the last failure.
///
/// # Errors
/// Nobody reads any more.
pub(super) async fn act_on_all(
    action: Action,
    tenant: &TenantName,
    names: &[ServerName],
    client: &Client,
    context: &Context,
) -> Result<(Vec<Value>, Option<Failure>), Failure> {
    let mut done = Vec::new();
    let mut failed: Option<Failure> = None;
    for name in names {
        let key = ServerKey { tenant: tenant.clone(), name: name.clone() };
        let outcome = act(action, &key, client, context).await;
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
                let interrupted = error.is_interrupt();
                if let Some(earlier) = failed.replace(error) {
                    context.output.failure(&earlier);
                }
                if interrupted {
                    break;
                }
            }
        }
    }
    Ok((done, failed))
}

async fn act(action: Action, key: &ServerKey, client: &Client, context: &Context) -> Result<Option<Workload>, Failure> {
    let (method, path, doing) = match action {
        Action::Remove => (Method::DELETE, "", "removing"),
        Action::Stop => (Method::POST, "/stop", "stopping"),
        Action::Start => (Method::POST, "/start", "starting"),
        Action::Restart => (Method::POST, "/restart", "restarting"),
    };
    let (place, shown) = ((method, &*workload_path(key, path)), format!("{doing} `{}`", key.name));
    operate::carry_out(client, place, None::<&()>, (&shown, context)).await
}

fn sentence(key: &ServerKey, workload: Option<&Workload>) -> String {
    match workload {
        None => format!("{} is removed", key.name),
        // What a stop has to add: that it is not kept, because it had not come up yet.
        Some(Workload { status: ServerPhase::Stopped, reason: Some(reason), .. }) => {
            format!("{} is stopped; {reason}", key.name)
        }
        Some(workload) => format!("{} is {}", key.name, word(workload.status)),
    }
}
