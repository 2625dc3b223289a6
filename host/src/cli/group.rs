//! `fairlead group`: servers that belong together.

use fairlead_core::name::{GroupName, TenantName};
use http::Method;
use serde_json::json;

use super::list::form;
use super::output::{Cell, Format};
use super::{Context, Failure, lifecycle};
use crate::api::types::{CreateGroup, GroupInfo, GroupList};

/// The commands.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Create an empty group; naming one with `run --group` creates it as well
    Create(Target),
    /// List groups and their servers
    #[command(visible_alias = "ls")]
    List(Tenant),
    /// Remove a group; its servers are then in `default`
    #[command(visible_alias = "remove")]
    Rm(Remove),
}

/// Of which tenant.
#[derive(Debug, clap::Args)]
pub(crate) struct Tenant {
    /// Tenant of the groups
    #[arg(long, value_name = "TENANT", default_value_t)]
    tenant: TenantName,
}

/// Names a group.
#[derive(Debug, clap::Args)]
pub(crate) struct Target {
    /// Name of the group
    name: GroupName,
    #[command(flatten)]
    tenant: Tenant,
}

/// What is removed.
#[derive(Debug, clap::Args)]
pub(crate) struct Remove {
    #[command(flatten)]
    target: Target,
    /// Stop its servers and forget them
    #[arg(long)]
    with_servers: bool,
}

/// Runs one of them.
///
/// # Errors
/// There is no such group, or one already.
pub(crate) async fn run(command: Command, context: &Context) -> Result<(), Failure> {
    let client = context.daemon().await?;
    let path = |tenant: &TenantName| {
        format!("/api/v1beta/groups?{}", form(&[("tenant", tenant.as_str())]).trim_start_matches('&'))
    };
    match command {
        Command::Create(target) => {
            let request = CreateGroup { name: target.name, tenant: target.tenant.tenant };
            let group: GroupInfo = client.post("/api/v1beta/groups", Some(&request)).await?;
            match context.output.format {
                Format::Json => context.output.json(&group),
                Format::Text => context.output.line(&format!("{} is created", group.name)),
            }
        }
        Command::List(tenant) => {
            let list: GroupList = client.get(&path(&tenant.tenant)).await?;
            if context.output.format == Format::Json {
                return context.output.json(&list.groups);
            }
            let row = |group: &GroupInfo| -> Vec<Cell> {
                let servers: Vec<&str> = group.servers.iter().map(|name| name.as_str()).collect();
                vec![group.name.as_str().into(), servers.join(", ").into()]
            };
            let rows: Vec<_> = list.groups.iter().map(row).collect();
            context.output.table(&["GROUP", "SERVERS"], &rows)
        }
        Command::Rm(Remove { target: Target { name, tenant }, with_servers }) => {
            let mut removed_servers = Vec::new();
            if with_servers {
                let list: GroupList = client.get(&path(&tenant.tenant)).await?;
                let group = list.groups.into_iter().find(|group| group.name == name);
                let servers = group.map(|group| group.servers).unwrap_or_default();
                let remove = lifecycle::Action::Remove;
                let (done, failed) = lifecycle::act_on_all(remove, &tenant.tenant, &servers, &client, context).await?;
                failed.map_or(Ok(()), Err)?;
                removed_servers = done;
            }
            let one = format!("/api/v1beta/groups/{name}?tenant={}", tenant.tenant);
            let removed = client.finish(Method::DELETE, &one).await;
            match removed {
                // A group that was never created goes with its last server.
                Err(crate::client::ClientError::Problem(problem))
                    if with_servers && problem.kind == fairlead_core::problem::ProblemKind::NotFound => {}
                removed => removed?,
            }
            match context.output.format {
                Format::Json => {
                    context.output.json(&json!({"name": name, "tenant": tenant.tenant, "removed": removed_servers}))
                }
                Format::Text => context.output.line(&format!("{name} is removed")),
            }
        }
    }
}
