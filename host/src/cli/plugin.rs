//! `fairlead plugin`: the author's loop, one file for each command, and a look at what is installed.

mod bench;
mod build;
mod call;
mod local;
mod new;
mod registry;
mod test;
mod validate;

use std::path::Path;

use fairlead_core::plugin::PluginKind;

use super::list::form;
use super::output::{Cell, Format};
use super::{Context, Failure};
use crate::api::types::{PluginInfo, PluginList};
use crate::app::plugins::info;
use crate::client::Client;

/// What to do.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Begin a plugin in Rust, JavaScript or Python: it builds, and its tests pass
    New(new::Args),
    /// Build the component of a plugin, in whatever language it is
    Build(build::Args),
    /// Run a table of cases in the real host
    Test(test::Args),
    /// Load a plugin in the real host, check its configuration, and tell what is odd
    Validate(validate::Args),
    /// Ask a plugin about one message, and print its verdict
    Run(call::Args),
    /// Measure what a plugin costs: calls, instances, memory, compilation
    Bench(bench::Args),
    /// Push a component to an OCI registry
    Push(registry::PushArgs),
    /// Fetch a plugin from an OCI registry, checked against its digest
    Pull(registry::PullArgs),
    /// Fetch a plugin and give it a name for chains, pinned by its digest
    Install(registry::InstallArgs),
    /// Remove installed plugins
    Rm(registry::RmArgs),
    /// List the plugins that are found by name
    #[command(visible_alias = "ls")]
    List,
    /// Show what a plugin is, what it wants and how it is configured
    Inspect {
        /// A file or the name of an installed plugin
        #[arg(value_name = "PLUGIN")]
        reference: String,
    },
}

/// Makes plugins and looks at them.
///
/// # Errors
/// What was asked for cannot be done.
pub(crate) async fn run(command: Command, context: &Context) -> Result<(), Failure> {
    match command {
        Command::New(args) => new::run(&args, context),
        Command::Build(args) => build::run(&args, context).await,
        Command::Test(args) => test::run(&args, context).await,
        Command::Validate(args) => validate::run(&args, context).await,
        Command::Run(args) => call::run(&args, context).await,
        Command::Bench(args) => bench::run(&args, context).await,
        Command::Push(args) => registry::push(&args, context).await,
        Command::Pull(args) => registry::pull(&args, context).await,
        Command::Install(args) => registry::install(&args, context).await,
        Command::Rm(args) => registry::rm(&args, context),
        Command::List => list(&context.daemon().await?, context).await,
        Command::Inspect { reference } => {
            let path = local::file(context, &reference)?;
            let plugin = info(&local::load(context, &path).await?.1, &path);
            match context.output.format {
                Format::Json => context.output.json(&plugin),
                Format::Text => context.output.text(&describe(&plugin)),
            }
        }
    }
}

/// Asks the daemon about one plugin.
pub(super) async fn inspect(client: &Client, reference: &str) -> Result<PluginInfo, Failure> {
    let path = format!("/api/v1beta/plugins?{}", form(&[("ref", &absolute(reference)?)]).trim_start_matches('&'));
    let list: PluginList = client.get_plugins(&path).await?;
    list.plugins.into_iter().next().ok_or_else(|| Failure::new(format!("there is no plugin `{reference}`")))
}

/// The daemon stands in another directory. A name stays a name.
pub(super) fn absolute(reference: &str) -> Result<String, Failure> {
    let is_path =
        reference.contains('/') || Path::new(reference).extension().is_some_and(|extension| extension == "wasm");
    if !is_path {
        return Ok(reference.to_owned());
    }
    let path = std::path::absolute(reference)?;
    Ok(path.to_string_lossy().into_owned())
}

async fn list(client: &Client, context: &Context) -> Result<(), Failure> {
    let list: PluginList = client.get_plugins("/api/v1beta/plugins").await?;
    if context.output.format == Format::Json {
        return context.output.json(&list.plugins);
    }
    let rows: Vec<Vec<Cell>> = list
        .plugins
        .iter()
        .map(|plugin| {
            vec![
                plugin.name.clone().into(),
                plugin.version.clone().into(),
                kind(plugin.kind).into(),
                plugin.description.clone().into(),
            ]
        })
        .collect();
    if list.plugins.is_empty() {
        let searched: Vec<_> = list.searched.iter().map(|directory| format!("`{directory}`")).collect();
        context.output.note(&format!("no plugins in {}; `fairlead plugin install` fetches one", searched.join(", ")));
    } else {
        context.output.table(&["NAME", "VERSION", "KIND", "DESCRIPTION"], &rows)?;
    }
    for file in &list.unusable {
        context.output.note(&format!("{}: {}", file.path, file.reason));
    }
    Ok(())
}

fn kind(kind: PluginKind) -> &'static str {
    match kind {
        PluginKind::Middleware => "middleware",
        PluginKind::RegistrySource => "registry source",
        PluginKind::UpdatePolicy => "update policy",
    }
}

fn describe(plugin: &PluginInfo) -> String {
    let mut text = format!(
        "{} {} ({})\n{}\n\nfile      {}\ndigest    {}\nsize      {} bytes\ncontract  {}\n",
        plugin.name,
        plugin.version,
        kind(plugin.kind),
        plugin.description,
        plugin.path,
        plugin.digest,
        plugin.size_bytes,
        plugin.wit_version,
    );
    for (label, lines) in [
        ("is called for", plugin.interests.iter().map(interest).collect::<Vec<_>>()),
        ("asks for", plugin.capabilities.iter().map(capability).collect()),
        ("imports", plugin.imports.clone()),
        ("says of itself", plugin.attributes.iter().map(|(name, value)| format!("{name}={value}")).collect()),
    ] {
        text += &format!("\n{label}\n");
        if lines.is_empty() {
            text += "  nothing\n";
        }
        for line in lines {
            text += &format!("  {line}\n");
        }
    }
    let schema = serde_json::to_string_pretty(&plugin.config_schema).unwrap_or_default();
    text + "\nconfiguration (JSON Schema)\n" + &schema.lines().map(|line| format!("  {line}\n")).collect::<String>()
}

fn interest(interest: &crate::api::types::InterestInfo) -> String {
    let target = interest.target.as_ref().map(|target| format!(" of `{target}`")).unwrap_or_default();
    format!("{}{target} ({})", interest.method, interest.phases.join(", "))
}

/// A capability in one line.
pub(super) fn capability(capability: &fairlead_core::plugin::Capability) -> String {
    let mut text = capability.name.clone();
    if !capability.scope.is_empty() {
        text += &format!("={}", capability.scope.join(","));
    }
    if !capability.reason.is_empty() {
        text += &format!(": {}", capability.reason);
    }
    text
}
