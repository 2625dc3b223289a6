//! `fairlead client`: sets up client applications, once; the daemon keeps their files in step from then on.

use std::io::{BufRead as _, IsTerminal as _};

use fairlead_core::name::GroupName;
use http::Method;
use serde_json::json;

use super::output::{Cell, Format};
use super::{Context, Failure};
use crate::api::types::{ClientInfo, ClientList, RegisterClient};
use crate::client::Client;

/// What is done with client applications.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Register every client application that is installed
    Setup(Setup),
    /// Show client applications: those that are installed or registered
    Status(Status),
    /// Register client applications: their files get an entry for each server, and follow
    Register(Register),
    /// Take our entries out of the files of client applications
    Remove(Named),
    /// Put back what the file of a client application was before its last change, and let it be
    Undo(One),
}

/// Which of them.
#[derive(Debug, clap::Args)]
pub(crate) struct Setup {
    /// Only servers of this group
    #[arg(long, value_name = "GROUP")]
    group: Option<GroupName>,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

/// How many of them.
#[derive(Debug, clap::Args)]
pub(crate) struct Status {
    /// Also client applications that are not installed
    #[arg(long, short)]
    all: bool,
}

/// Which of them, for which servers.
#[derive(Debug, clap::Args)]
pub(crate) struct Register {
    #[command(flatten)]
    named: Named,
    /// Only servers of this group
    #[arg(long, value_name = "GROUP")]
    group: Option<GroupName>,
}

/// Names clients.
#[derive(Debug, clap::Args)]
pub(crate) struct Named {
    /// Client applications (`cursor`, `vscode`, …; `client status --all` lists them)
    #[arg(required = true, value_name = "CLIENT")]
    clients: Vec<String>,
}

/// Names a client.
#[derive(Debug, clap::Args)]
pub(crate) struct One {
    /// Client application
    client: String,
}

/// Does it.
///
/// # Errors
/// The daemon does not come up, or says no.
pub(crate) async fn run(command: Command, context: &Context) -> Result<(), Failure> {
    let client = context.daemon().await?;
    match command {
        Command::Setup(args) => setup(&args, &client, context).await,
        Command::Status(args) => status(&args, &client, context).await,
        Command::Register(args) => register(&args.named.clients, args.group.as_ref(), &client, context).await,
        Command::Remove(args) => remove(&args.clients, &client, context).await,
        Command::Undo(args) => undo(&args.client, &client, context).await,
    }
}

async fn setup(args: &Setup, client: &Client, context: &Context) -> Result<(), Failure> {
    let ClientList { clients } = client.get("/api/v1beta/clients").await?;
    let found: Vec<_> = clients.into_iter().filter(|found| found.installed && !found.registered).collect();
    if found.is_empty() {
        context.output.note("no client application is installed that is not registered");
        return if context.output.format == Format::Json { context.output.json(&found) } else { Ok(()) };
    }
    if !args.yes {
        for found in &found {
            context.output.note(&format!("{} ({}): {}", found.name, found.id, found.path));
        }
        if !std::io::stdin().is_terminal() {
            return Err(Failure::usage("nobody is there to be asked").hint("`--yes` registers all of these"));
        }
        context.output.note("Register these? [y/N]");
        let mut answer = String::new();
        std::io::stdin().lock().read_line(&mut answer)?;
        if !matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes") {
            return Err(Failure::new("nothing was changed"));
        }
    }
    let ids: Vec<String> = found.into_iter().map(|found| found.id).collect();
    register(&ids, args.group.as_ref(), client, context).await
}

async fn register(
    ids: &[String],
    group: Option<&GroupName>,
    client: &Client,
    context: &Context,
) -> Result<(), Failure> {
    let mut done = Vec::new();
    let mut failed: Option<Failure> = None;
    for id in ids {
        let request = RegisterClient { group: group.cloned() };
        match client.put::<ClientInfo>(&path(id)?, &request).await {
            Ok(info) => {
                if context.output.format == Format::Text {
                    context.output.line(&format!("{} has {}", info.id, servers(&info.entries)))?;
                }
                done.push(info);
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

async fn status(args: &Status, client: &Client, context: &Context) -> Result<(), Failure> {
    let ClientList { clients } = client.get("/api/v1beta/clients").await?;
    let shown: Vec<_> = clients.into_iter().filter(|found| args.all || found.installed || found.registered).collect();
    if context.output.format == Format::Json {
        return context.output.json(&shown);
    }
    if shown.is_empty() {
        context.output.note("no client application is installed; `--all` shows those that are known");
        return Ok(());
    }
    let row = |found: &ClientInfo| -> Vec<Cell> {
        let state = match (found.registered, found.installed, &found.problem) {
            (true, _, Some(problem)) => format!("not in step: {problem}"),
            (true, _, None) => servers(&found.entries),
            (false, true, _) => "not registered".to_owned(),
            (false, false, _) => "not installed".to_owned(),
        };
        vec![found.id.as_str().into(), state.into(), found.path.as_str().into()]
    };
    let rows: Vec<_> = shown.iter().map(row).collect();
    context.output.table(&["CLIENT", "STATE", "FILE"], &rows)
}

async fn remove(ids: &[String], client: &Client, context: &Context) -> Result<(), Failure> {
    for id in ids {
        client.finish(Method::DELETE, &path(id)?).await?;
        if context.output.format == Format::Text {
            context.output.line(&format!("{id} is removed"))?;
        }
    }
    if context.output.format == Format::Json {
        let removed: Vec<_> = ids.iter().map(|id| json!({"id": id})).collect();
        return context.output.json(&removed);
    }
    Ok(())
}

async fn undo(id: &str, client: &Client, context: &Context) -> Result<(), Failure> {
    let info: ClientInfo = client.post(&format!("{}/undo", path(id)?), None::<&()>).await?;
    match context.output.format {
        Format::Json => context.output.json(&info),
        Format::Text => context.output.line(&format!("`{}` is as it was, and {id} is not registered", info.path)),
    }
}

fn servers(entries: &[String]) -> String {
    match entries {
        [] => "no server yet".to_owned(),
        entries => entries.join(", "),
    }
}

pub(super) fn path(id: &str) -> Result<String, Failure> {
    // What has other characters is no client, and would be no path.
    let is_id = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    if !is_id {
        return Err(Failure::usage(format!("`{id}` is no client application"))
            .hint("`fairlead client status --all` shows those that are known"));
    }
    Ok(format!("/api/v1beta/clients/{id}"))
}
