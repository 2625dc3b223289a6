//! The command line: one file for each command. Parsing does no work; a command turns what was typed into what it means
//! and hands it to the daemon.

pub(crate) mod build;
pub(crate) mod chain;
pub(crate) mod client;
pub(crate) mod compile_component;
pub(crate) mod completion;
pub(crate) mod convert;
pub(crate) mod crd;
pub(crate) mod doctor;
pub(crate) mod documents;
pub(crate) mod export;
mod failure;
pub(crate) mod group;
pub(crate) mod import;
pub(crate) mod inspect;
pub(crate) mod lifecycle;
pub(crate) mod list;
pub(crate) mod logs;
pub(crate) mod man;
mod operate;
pub(crate) mod operation;
pub(crate) mod operator;
pub(crate) mod output;
pub(crate) mod plugin;
pub(crate) mod proxy;
pub(crate) mod reference;
pub(crate) mod registry;
pub(crate) mod run;
pub(crate) mod search;
pub(crate) mod secret;
pub(crate) mod serve;
pub(crate) mod service;
pub(crate) mod shutdown;
pub(crate) mod status;
pub(crate) mod tenant;
pub(crate) mod token;
pub(crate) mod top;
pub(crate) mod update;
pub(crate) mod version;
mod workload;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgGroup, Parser, Subcommand};
use fairlead_core::name::{GroupName, ServerKey, ServerName, TenantName};

pub(crate) use failure::Failure;
use output::{Format, Output};

use crate::api::types::WorkloadList;
use crate::client::{Client, ClientError, daemon};
use crate::config::{Overrides, Settings};

/// Runs, guards and keeps fresh MCP servers.
#[derive(Debug, Parser)]
#[command(name = "fairlead", version, propagate_version = true, max_term_width = 100)]
pub(crate) struct Cli {
    /// Directory for everything: state, data, configuration, cache, logs, socket [env: FAIRLEAD_HOME]
    #[arg(long, global = true, value_name = "DIR", help_heading = "Global options")]
    home: Option<PathBuf>,
    /// Configuration file [env: FAIRLEAD_CONFIG]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Global options")]
    config: Option<PathBuf>,
    /// How results are printed
    #[arg(long, global = true, value_enum, default_value_t, help_heading = "Global options")]
    format: Format,
    /// Print results and errors only
    #[arg(long, short, global = true, help_heading = "Global options")]
    quiet: bool,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a server and print its URL
    Run(Box<run::Args>),
    /// Build an image of a package, without running it
    Build(build::Args),
    /// List servers
    #[command(visible_alias = "ls")]
    List(list::Args),
    /// Show one server
    Status(status::Args),
    /// Show what servers use of the machine
    Top(top::Args),
    /// Show the log of a server
    Logs(logs::Args),
    /// Stop servers; they stay stopped until they are started
    Stop(lifecycle::Args),
    /// Start servers that were stopped or have failed
    Start(lifecycle::Args),
    /// Stop and start servers
    Restart(lifecycle::Args),
    /// Stop servers and forget them, with their logs and the state of their plugins
    #[command(visible_alias = "remove")]
    Rm(lifecycle::Args),
    /// Keep servers fresh: what is newest, what is done about it, the way back
    #[command(subcommand)]
    Update(update::Command),
    /// Servers that belong together
    #[command(subcommand)]
    Group(group::Command),
    /// Show everything about servers, as JSON
    Inspect(inspect::Args),
    /// Write a server as a document
    Export(export::Args),
    /// Take over what another program manages
    #[command(subcommand)]
    Import(import::Command),
    /// What the daemon is doing, and how to give it up
    #[command(subcommand)]
    Operation(operation::Command),
    /// Set up client applications, so that they know the servers
    #[command(subcommand)]
    Client(client::Command),
    /// Keep secrets for servers, encrypted
    #[command(subcommand)]
    Secret(secret::Command),
    /// Make things as documents say: all of them, or none
    Apply(documents::ApplyArgs),
    /// Tell what `apply` would change
    Diff(documents::DiffArgs),
    /// Print what is, as documents that can be applied
    Get(documents::GetArgs),
    /// The plugins of the platform, of a tenant and of a server
    #[command(subcommand)]
    Chain(chain::Command),
    /// Tenants: servers, chain, tokens and plugin state of their own
    #[command(subcommand)]
    Tenant(tenant::Command),
    /// Tokens for the API over TCP
    #[command(subcommand)]
    Token(token::Command),
    /// Where servers come from: registries, their entries, files of them
    #[command(subcommand)]
    Registry(registry::Command),
    /// Look for servers in all registries
    Search(search::Args),
    /// Make plugins and look at them
    #[command(subcommand)]
    Plugin(plugin::Command),
    /// The data plane by itself
    #[command(subcommand)]
    Proxy(proxy::Command),
    /// Run the daemon; other commands do that by themselves when it is needed
    Serve(serve::Args),
    /// Run the operator of a Kubernetes cluster
    Operator(operator::Args),
    /// Stop the daemon and the servers it runs; the next daemon starts them again
    Shutdown,
    /// Look at what this machine offers: container engines, directories, the address of the data plane
    Doctor,
    /// Print the version of this program and of the daemon
    Version,
    /// Run the daemon as a service of this user, which survives a reboot
    #[command(subcommand)]
    Service(service::Command),
    /// Print a completion script for a shell
    #[command(visible_alias = "completions")]
    Completion(completion::Args),
    /// Print or write the manual pages
    Man(man::Args),
    /// Convert servers between our documents and those of ToolHive's operator
    Convert(convert::Args),
    /// Print the custom resources for Kubernetes
    Crd(crd::Args),
    /// Print a reference page
    #[command(hide = true)]
    Reference(reference::Args),
    /// Compile a component in a process of its own
    #[command(hide = true)]
    CompileComponent(compile_component::Args),
}

impl Cli {
    /// What the flags say about settings.
    #[must_use]
    pub(crate) fn overrides(&self) -> Overrides {
        let mut overrides = Overrides { home: self.home.clone(), config: self.config.clone(), ..Overrides::default() };
        if let Command::Serve(serve) = &self.command {
            overrides.address = serve.address;
            overrides.api_address = serve.api_address;
            overrides.registry_address = serve.registry_address;
            overrides.registry_tokens = serve.registry_tokens;
            overrides.log.clone_from(&serve.log);
            overrides.log_format = serve.log_format;
        }
        if let Command::Registry(registry::Command::Serve(serve)) = &self.command {
            overrides.registry_address = Some(serve.address);
            overrides.registry_tokens = serve.tokens;
        }
        overrides
    }

    /// How to print.
    #[must_use]
    pub(crate) fn output(&self) -> Output {
        Output::new(self.format, self.quiet)
    }
}

/// What a command works with.
#[derive(Debug)]
pub(crate) struct Context {
    /// The settings.
    pub(crate) settings: Settings,
    /// Where results go.
    pub(crate) output: Output,
}

impl Context {
    /// The daemon, started if need be.
    ///
    /// # Errors
    /// It does not come up or is of another version.
    pub(crate) async fn daemon(&self) -> Result<Client, Failure> {
        let client = daemon::connect_or_start(&self.settings, || self.output.progress("starting the daemon …")).await;
        self.output.progress_done();
        Ok(client?)
    }

    /// The daemon, if it has something to say: where no state is, none is started to say that there is nothing. Where there
    /// is some, it comes up with its servers, as after a restart of the machine.
    ///
    /// # Errors
    /// It does not come up or is of another version.
    pub(crate) async fn daemon_with_state(&self) -> Result<Option<Client>, Failure> {
        let client = Client::new(&self.settings.directories.socket());
        match client.hello().await {
            Ok(_) => Ok(Some(client)),
            Err(ClientError::NoDaemon { .. }) if !self.settings.directories.store().exists() => Ok(None),
            Err(_) => self.daemon().await.map(Some),
        }
    }

    /// The same for a command about secrets, which are there without any server.
    ///
    /// # Errors
    /// It does not come up or is of another version.
    pub(crate) async fn daemon_with_secrets(&self) -> Result<Option<Client>, Failure> {
        if self.settings.directories.secrets().exists() {
            return self.daemon().await.map(Some);
        }
        self.daemon_with_state().await
    }

    /// The same for a command about one server: without state there is none.
    ///
    /// # Errors
    /// There is no state, or the daemon does not come up.
    pub(crate) async fn daemon_of(&self, name: &ServerName) -> Result<Client, Failure> {
        let client = self.daemon_with_state().await?;
        client.ok_or_else(|| {
            Failure::new(format!("there is no server `{name}`, and no other")).hint("`fairlead run` starts one")
        })
    }
}

/// What was typed is no command, or a question about commands.
pub(crate) fn not_understood(error: clap::Error, typed: impl Iterator<Item = OsString>) -> ExitCode {
    if !error.use_stderr() || !output::wants_json(typed) {
        error.exit();
    }
    let failure = Failure::of_usage(&error);
    Output::new(Format::Json, false).failure(&failure);
    ExitCode::from(failure.code)
}

/// Runs the commands that need neither settings nor a daemon; `None` for all others.
pub(crate) fn without_settings(command: &Command, output: &Output) -> Option<Result<(), Failure>> {
    match command {
        Command::Completion(args) => Some(completion::run(args, output)),
        Command::Man(args) => Some(man::run(args, output)),
        Command::Convert(args) => Some(convert::run(args, output)),
        Command::Crd(args) => Some(crd::run(args, output)),
        Command::Reference(args) => Some(reference::run(args, output)),
        Command::CompileComponent(args) => Some(compile_component::run(args)),
        _ => None,
    }
}

/// Runs a command that talks to the daemon.
///
/// # Errors
/// It failed.
pub(crate) async fn run(command: Command, context: &Context) -> Result<(), Failure> {
    use lifecycle::Action;
    match command {
        Command::Run(args) => run::run(*args, context).await,
        Command::Build(args) => build::run(args, context).await,
        Command::Update(command) => update::run(command, context).await,
        Command::Group(command) => group::run(command, context).await,
        Command::Inspect(args) => inspect::run(args, context).await,
        Command::Export(args) => export::run(args, context).await,
        Command::Import(command) => import::run(command, context).await,
        Command::Operation(command) => operation::run(command, context).await,
        Command::List(args) => list::run(args, context).await,
        Command::Status(args) => status::run(args, context).await,
        Command::Proxy(command) => proxy::run(command, context).await,
        Command::Logs(args) => logs::run(args, context).await,
        Command::Top(args) => top::run(args, context).await,
        Command::Stop(args) => lifecycle::run(Action::Stop, args, context).await,
        Command::Start(args) => lifecycle::run(Action::Start, args, context).await,
        Command::Restart(args) => lifecycle::run(Action::Restart, args, context).await,
        Command::Rm(args) => lifecycle::run(Action::Remove, args, context).await,
        Command::Client(command) => client::run(command, context).await,
        Command::Secret(command) => secret::run(command, context).await,
        Command::Apply(args) => documents::apply(args, context).await,
        Command::Diff(args) => documents::diff(args, context).await,
        Command::Get(args) => documents::get(args, context).await,
        Command::Chain(command) => chain::run(command, context).await,
        Command::Tenant(command) => tenant::run(command, context).await,
        Command::Token(command) => token::run(command, context).await,
        Command::Registry(command) => registry::run(command, context).await,
        Command::Search(args) => search::run(args, context).await,
        Command::Plugin(command) => plugin::run(command, context).await,
        Command::Service(command) => service::run(command, context).await,
        Command::Shutdown => shutdown::run(context).await,
        Command::Doctor => doctor::run(context).await,
        Command::Version => version::run(context).await,
        Command::Serve(_)
        | Command::Operator(_)
        | Command::Completion(_)
        | Command::Convert(_)
        | Command::Crd(_)
        | Command::Man(_)
        | Command::Reference(_)
        | Command::CompileComponent(_) => Err(Failure::new("this command does not talk to the daemon")),
    }
}

/// Names servers, as many commands do.
#[derive(Debug, Clone, clap::Args)]
#[command(group = ArgGroup::new("which").required(true).multiple(true).args(["names", "group", "label", "all"]))]
pub(crate) struct Target {
    /// Names of servers
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<ServerName>,
    /// All servers of a group
    #[arg(long, short, value_name = "GROUP", conflicts_with = "names")]
    pub(crate) group: Option<GroupName>,
    /// All servers with this label (repeatable)
    #[arg(long, short, value_name = "KEY=VALUE", value_parser = run::pair, conflicts_with = "names")]
    pub(crate) label: Vec<(String, String)>,
    /// All servers of the tenant
    #[arg(long, short, conflicts_with_all = ["names", "group", "label"])]
    pub(crate) all: bool,
    /// Tenant of the servers
    #[arg(long, value_name = "TENANT", default_value_t)]
    pub(crate) tenant: TenantName,
}

impl Target {
    /// The servers that are meant, and the daemon that has them.
    ///
    /// # Errors
    /// There is no daemon.
    pub(crate) async fn servers(&self, context: &Context) -> Result<(Client, Vec<ServerName>), Failure> {
        if let Some(first) = self.names.first() {
            return Ok((context.daemon_of(first).await?, self.names.clone()));
        }
        let client = context.daemon().await?;
        let wanted =
            list::Wanted { all: true, tenant: Some(&self.tenant), group: self.group.as_ref(), labels: &self.label };
        let found: WorkloadList = client.get(&wanted.path()).await?;
        Ok((client, found.workloads.into_iter().map(|workload| workload.name).collect()))
    }
}

/// Names one server.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct OneTarget {
    /// Name of the server
    pub(crate) name: ServerName,
    /// Tenant of the server
    #[arg(long, value_name = "TENANT", default_value_t)]
    pub(crate) tenant: TenantName,
}

impl OneTarget {
    fn key(&self) -> ServerKey {
        ServerKey { tenant: self.tenant.clone(), name: self.name.clone() }
    }
}

/// Path of a server in the API. Names need no escaping: they are DNS labels.
fn workload_path(key: &ServerKey, action: &str) -> String {
    format!("/api/v1beta/workloads/{}{action}?tenant={}", key.name, key.tenant)
}

#[cfg(test)]
mod tests;
