//! `fairlead run`: from what was typed to a server that answers.

mod cluster;
mod document;
pub(super) mod grants;
mod image;
mod registry;
mod remote;
mod request;
mod secrets;

use std::path::PathBuf;

use fairlead_core::name::{GroupName, ServerName, TenantName};
use fairlead_core::server::Isolation;
use http::Method;

use super::list::form;
use super::output::Format;
use super::{Context, Failure, logs, operate, workload_path};
use crate::api::types::Workload;
use crate::client::Client;

pub(super) use request::pair;

/// What was typed.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "fairlead run [OPTIONS] SOURCE [-- ARGS...]\n       fairlead run [OPTIONS] -- COMMAND [ARGS...]"
)]
pub(crate) struct Args {
    /// A container image (`mcp/time`), a package (`npx://name`, `uvx://name@1.2`, `go://module`), a URL
    /// (`https://example.com/mcp`), an entry of a registry (`registry://name`), or a Wasm component that is an MCP server
    /// (`./toolbox.wasm`)
    #[arg(value_name = "SOURCE")]
    source: Option<String>,
    /// A command of this machine and its arguments, or the arguments of SOURCE
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
    /// A document with the server: Fairlead's own, or a RunConfig of ToolHive; `-` is standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["source", "command"])]
    from_config: Option<PathBuf>,
    /// Print the server that would be created, as a document, and do nothing
    #[arg(long, conflicts_with = "foreground")]
    dry_run: bool,
    /// Create it in a cluster, that of the kubeconfig, as an `MCPServer` of this namespace; what may run is what may run here
    #[arg(long, value_name = "NAMESPACE", conflicts_with = "foreground")]
    on_cluster: Option<TenantName>,
    /// Name of the server; by default made from its source
    #[arg(long, value_name = "NAME")]
    name: Option<ServerName>,
    /// Tenant of the server
    #[arg(long, value_name = "TENANT", default_value_t)]
    tenant: TenantName,
    /// Environment variable of the server; without a value, that of this shell (repeatable)
    #[arg(long, short, value_name = "KEY[=VALUE]")]
    env: Vec<String>,
    /// Secret of the server, in an environment variable; the variable is called like the secret unless it is named
    /// (repeatable)
    #[arg(long, value_name = "NAME[,target=VARIABLE]")]
    secret: Vec<String>,
    /// Tools that clients may see and call; all when not given (commas or repeatable)
    #[arg(long, value_name = "TOOL", value_delimiter = ',')]
    tools: Vec<String>,
    /// Plugin of the server's chain, with its configuration as a file or as JSON; the first is outermost (repeatable)
    #[arg(long, value_name = "PLUGIN[=CONFIG]")]
    plugin: Vec<String>,
    /// Capability that the plugins of this server get when they ask for it (repeatable)
    #[arg(long, value_name = "CAPABILITY[=SCOPE,...]")]
    grant: Vec<String>,
    /// Who shares a process of a stdio server
    #[arg(long, value_enum, default_value_t)]
    isolation: IsolationArg,
    /// Serve clients of the newest revision of MCP also where the server speaks older ones only
    #[arg(long)]
    bridge: bool,
    /// How the server speaks; `stdio` by default, and found out for a URL
    #[arg(long, value_enum)]
    transport: Option<TransportArg>,
    /// Port on which an HTTP server listens, on this machine or in its container
    #[arg(long, value_name = "PORT")]
    target_port: Option<u16>,
    /// Path of its endpoint; `/mcp`, or `/sse` where it speaks HTTP+SSE, by default
    #[arg(long, value_name = "PATH")]
    target_path: Option<String>,
    /// Group of the server
    #[arg(long, value_name = "GROUP", default_value_t)]
    group: GroupName,
    /// Label (repeatable)
    #[arg(long, short, value_name = "KEY=VALUE", value_parser = pair)]
    label: Vec<(String, String)>,
    /// Stay, print the log of the server, and remove it on Ctrl-C
    #[arg(long, short)]
    foreground: bool,
    #[command(flatten)]
    image: image::ImageArgs,
    #[command(flatten)]
    remote: remote::RemoteArgs,
    #[command(flatten)]
    entry: registry::EntryArgs,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
enum IsolationArg {
    /// One process for each session
    #[default]
    Session,
    /// One process for all sessions that begin alike
    Shared,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum TransportArg {
    /// Standard input and output
    Stdio,
    /// Streamable HTTP on a port of this machine, or of the server's container
    StreamableHttp,
    /// HTTP+SSE, the transport of 2024-11-05, on such a port
    Sse,
}

impl From<IsolationArg> for Isolation {
    fn from(argument: IsolationArg) -> Self {
        match argument {
            IsolationArg::Session => Self::Session,
            IsolationArg::Shared => Self::Shared,
        }
    }
}

/// Creates the server and prints where it is.
///
/// # Errors
/// It makes no sense, or the server does not come up.
pub(crate) async fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let typed = match &args.from_config {
        Some(file) => Some(document::read(&args, file, &context.output)?),
        None if args.source.as_deref().is_some_and(registry::is_meant) => None,
        None => Some(request::create(&args, &|name| std::env::var_os(name))?),
    };
    let client = context.daemon().await?;
    let mut create = match typed {
        Some(create) => create,
        None => registry::create(&args, &client, context).await?,
    };
    create.spec.plugins.extend(grants::attachments(&args, &client, &context.output).await?);
    if let Some(namespace) = args.on_cluster {
        return cluster::create(create, namespace, args.dry_run, &client, context).await;
    }
    if args.dry_run {
        return document::print(create, context);
    }
    let shown = create.name.as_ref().map_or_else(|| "the server".to_owned(), |name| format!("`{name}`"));
    let (place, shown) = ((Method::POST, "/api/v1beta/workloads"), format!("starting {shown}"));
    let created: Workload = operate::carry_out(&client, place, Some(&create), (&shown, context)).await?;
    match context.output.format {
        Format::Json if args.foreground => context.output.json_line(&created)?,
        Format::Json => context.output.json(&created)?,
        Format::Text => {
            if let Some(profile) = &created.profile {
                context.output.note(&format!("`{}` runs: {} {}", created.name, profile.name, profile.version));
            }
            context.output.line(&created.url)?;
        }
    }
    if args.foreground {
        return stay(&client, &created, context).await;
    }
    Ok(())
}

/// Prints what the server says until Ctrl-C, then removes it.
async fn stay(client: &Client, created: &Workload, context: &Context) -> Result<(), Failure> {
    let key = created.key();
    let path = workload_path(&key, "/logs") + &form(&[("follow", "true"), ("tail", "0")]);
    let printed = logs::print(client, &path, context).await;
    let removed = client.finish(Method::DELETE, &workload_path(&key, "")).await;
    printed?;
    Ok(removed?)
}

#[cfg(test)]
pub(super) fn try_create_for_tests(args: &Args) -> Result<crate::api::types::CreateWorkload, Failure> {
    request::create(args, &|name| Some(format!("from {name}").into()))
}

#[cfg(test)]
pub(super) fn create_for_tests(args: &Args) -> crate::api::types::CreateWorkload {
    try_create_for_tests(args).unwrap()
}
