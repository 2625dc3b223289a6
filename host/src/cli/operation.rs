//! `fairlead operation`: what the daemon is doing, and how to give it up.

use jiff::Timestamp;

use super::operate::stage;
use super::output::{Cell, Format, age};
use super::{Context, Failure};
use crate::api::types::{OperationInfo, OperationKind, OperationList, OperationState};

/// The commands.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// List operations: those under way, and the last that ended
    #[command(visible_alias = "ls")]
    List,
    /// Show one operation
    Show(Target),
    /// Give up an operation; what it has begun is taken back
    Cancel(Target),
}

/// Names an operation.
#[derive(Debug, clap::Args)]
pub(crate) struct Target {
    /// Id of the operation
    #[arg(value_name = "ID")]
    id: String,
}

/// Runs one of them.
///
/// # Errors
/// There is no such operation, or no daemon.
pub(crate) async fn run(command: Command, context: &Context) -> Result<(), Failure> {
    let client = context.daemon_with_state().await?;
    let path = |id: &str, action: &str| format!("/api/v1beta/operations/{id}{action}");
    let none = |id: &str| Failure::new(format!("there is no operation `{id}`, and no other"));
    match (command, client) {
        (Command::List, client) => {
            let list = match client {
                Some(client) => client.get("/api/v1beta/operations").await?,
                None => OperationList { operations: Vec::new() },
            };
            print(&list.operations, context)
        }
        (Command::Show(target), Some(client)) => show(&client.get(&path(&target.id, "")).await?, context),
        (Command::Cancel(target), Some(client)) => {
            let info: OperationInfo = client.post(&path(&target.id, "/cancel"), None::<&()>).await?;
            show(&info, context)
        }
        (Command::Show(target) | Command::Cancel(target), None) => Err(none(&target.id)),
    }
}

fn print(operations: &[OperationInfo], context: &Context) -> Result<(), Failure> {
    if context.output.format == Format::Json {
        return context.output.json(&operations);
    }
    if operations.is_empty() {
        context.output.note("no operations");
        return Ok(());
    }
    let now = Timestamp::now();
    let row = |operation: &OperationInfo| -> Vec<Cell> {
        vec![
            operation.id.clone().into(),
            kind(operation.kind).into(),
            operation.server.as_ref().map_or("-", |name| name.as_str()).into(),
            state(operation.state).into(),
            age(operation.began, now).into(),
            told(operation).into(),
        ]
    };
    let rows: Vec<_> = operations.iter().map(row).collect();
    context.output.table(&["ID", "KIND", "SERVER", "STATE", "AGE", ""], &rows)
}

fn show(operation: &OperationInfo, context: &Context) -> Result<(), Failure> {
    match context.output.format {
        Format::Json => context.output.json(operation),
        Format::Text => {
            let line =
                format!("{} {} {} {}", operation.id, kind(operation.kind), state(operation.state), told(operation));
            context.output.line(line.trim_end())
        }
    }
}

fn told(operation: &OperationInfo) -> String {
    match &operation.problem {
        Some(problem) => problem.detail.lines().next().unwrap_or_default().to_owned(),
        None if operation.state == OperationState::Running => stage(operation),
        None => String::new(),
    }
}

fn kind(kind: OperationKind) -> &'static str {
    match kind {
        OperationKind::Create => "create",
        OperationKind::Start => "start",
        OperationKind::Stop => "stop",
        OperationKind::Restart => "restart",
        OperationKind::Remove => "remove",
        OperationKind::Apply => "apply",
        OperationKind::Build => "build",
    }
}

fn state(state: OperationState) -> &'static str {
    match state {
        OperationState::Running => "running",
        OperationState::Succeeded => "succeeded",
        OperationState::Failed => "failed",
        OperationState::Cancelled => "cancelled",
    }
}
