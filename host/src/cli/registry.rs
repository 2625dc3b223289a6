//! `fairlead registry`: where servers come from.

mod add;
mod backup;
pub(crate) mod cluster;
mod file;
mod review;
pub(crate) mod serve;

use std::path::PathBuf;

use fairlead_core::name::{LayerName, RegistryName, TenantName};
use fairlead_registry::review::Standing;
use fairlead_registry::spec::LayerPolicy;
use http::Method;
use jiff::Timestamp;

use super::list::form;
use super::output::{Cell, Format, age};
use super::{Context, Failure};
use crate::api::types::registry::{EntryInfo, RefreshRegistry, RegistryInfo, RegistryList};
use crate::yaml;

/// The commands.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Add a registry and read it
    Add(Box<add::Args>),
    /// List registries
    #[command(visible_alias = "ls")]
    List(Of),
    /// Show one registry: what it has, when it was read, what was refused
    Info(Named),
    /// Read registries now
    Refresh(Refresh),
    /// Forget registries and their copies
    #[command(visible_alias = "rm")]
    Remove(Several),
    /// Show one entry of the catalogue with everything that is known of it
    Entry(Entry),
    /// Show or set the layers of trust, and which of them may run
    Layers(Layers),
    /// Ask for an entry to be trusted
    Submit(review::Submit),
    /// Show what was requested and decided, or one review with what it would change
    Review(review::Review),
    /// Take an entry into the trusted layer, as it was requested, its images pinned
    Approve(review::Decide),
    /// Refuse a request
    Deny(review::Decide),
    /// Take an approval back
    Revoke(review::Decide),
    /// Show every step of every review: who, when, why
    Audit(Of),
    /// Write registries and layers, not reviews, as a file that `import` takes, or the entries as a file for others
    Export(backup::Export),
    /// Make registries and layers what a file says
    Import(backup::Import),
    /// Serve the catalogue by the official registry API, and do nothing else
    Serve(serve::Args),
    /// Check a file of entries, or one `server.json`
    Validate(file::Validate),
    /// Write a file of entries in another format, and list what that cannot say
    Convert(file::Convert),
}

/// Of which tenant.
#[derive(Debug, clap::Args)]
pub(crate) struct Of {
    /// Tenant of the registries
    #[arg(long, value_name = "TENANT", default_value_t)]
    pub(super) tenant: TenantName,
}

/// Names one.
#[derive(Debug, clap::Args)]
pub(crate) struct Named {
    /// Name of the registry
    name: RegistryName,
    #[command(flatten)]
    of: Of,
}

/// Names several.
#[derive(Debug, clap::Args)]
pub(crate) struct Several {
    /// Names of registries
    #[arg(required = true, value_name = "NAME")]
    names: Vec<RegistryName>,
    #[command(flatten)]
    of: Of,
}

/// Which are read, and how.
#[derive(Debug, clap::Args)]
pub(crate) struct Refresh {
    /// Names of registries; all of the tenant by default
    #[arg(value_name = "NAME")]
    names: Vec<RegistryName>,
    /// Read them from the beginning, whatever is known
    #[arg(long)]
    whole: bool,
    /// Also take it when a registry is suddenly empty
    #[arg(long)]
    accept_empty: bool,
    #[command(flatten)]
    of: Of,
}

/// Names an entry.
#[derive(Debug, clap::Args)]
pub(crate) struct Entry {
    /// `namespace/name[@version]`, or the end of a name where it is unique
    #[arg(value_name = "ENTRY")]
    entry: String,
    #[command(flatten)]
    of: Of,
}

/// What to set.
#[derive(Debug, clap::Args)]
pub(crate) struct Layers {
    /// The order of trust, the most trusted first (commas)
    #[arg(long, value_name = "LAYER", value_delimiter = ',')]
    order: Vec<LayerName>,
    /// Only entries of these layers may run in the tenant, and nothing else (commas)
    #[arg(long, value_name = "LAYER", value_delimiter = ',', conflicts_with = "run_anything")]
    run: Vec<LayerName>,
    /// Everything may run, also what comes from no registry
    #[arg(long)]
    run_anything: bool,
    /// File with the rules that approve without a person: a list (JSON or YAML); an empty one takes them away
    #[arg(long, value_name = "FILE")]
    approvals: Option<PathBuf>,
    #[command(flatten)]
    of: Of,
}

/// Does it.
///
/// # Errors
/// The daemon does not come up, or says no.
pub(crate) async fn run(command: Command, context: &Context) -> Result<(), Failure> {
    match command {
        Command::Add(args) => add::run(*args, context).await,
        Command::List(args) => list(args, context).await,
        Command::Info(args) => info(args, context).await,
        Command::Refresh(args) => refresh(args, context).await,
        Command::Remove(args) => remove(args, context).await,
        Command::Entry(args) => entry(args, context).await,
        Command::Layers(args) => layers(args, context).await,
        Command::Submit(args) => review::submit(args, context).await,
        Command::Review(args) => review::review(args, context).await,
        Command::Approve(args) => review::decide(args, Standing::Approved, context).await,
        Command::Deny(args) => review::decide(args, Standing::Denied, context).await,
        Command::Revoke(args) => review::decide(args, Standing::Revoked, context).await,
        Command::Audit(args) => review::audit(args, context).await,
        Command::Export(args) => backup::export(args, context).await,
        Command::Import(args) => backup::import(args, context).await,
        // Told apart before a command begins: it is a server, with a runtime of its own.
        Command::Serve(_) => Ok(()),
        Command::Validate(args) => file::validate(&args, context),
        Command::Convert(args) => file::convert(&args, context),
    }
}

async fn list(args: Of, context: &Context) -> Result<(), Failure> {
    let client = context.daemon().await?;
    let list: RegistryList = client.get(&format!("/api/v1beta/registries?tenant={}", args.tenant)).await?;
    if context.output.format == Format::Json {
        return context.output.json(&list.registries);
    }
    if list.registries.is_empty() {
        context.output.note("no registries; `fairlead registry add official` adds the official one");
        return Ok(());
    }
    let now = Timestamp::now();
    let row = |registry: &RegistryInfo| -> Vec<Cell> {
        let state = match &registry.error {
            None if registry.refused_count == 0 => "ok".to_owned(),
            None => format!("{} refused", registry.refused_count),
            Some(_) => format!("failed {}x", registry.failures),
        };
        let read = registry.checked.map_or_else(|| "never".to_owned(), |read| age(read, now));
        vec![
            registry.name.as_str().into(),
            registry.spec.layer.as_str().into(),
            registry.entries.to_string().into(),
            read.into(),
            state.into(),
            registry.source.clone().into(),
        ]
    };
    let rows: Vec<_> = list.registries.iter().map(row).collect();
    context.output.table(&["NAME", "LAYER", "ENTRIES", "READ", "STATE", "SOURCE"], &rows)
}

async fn info(args: Named, context: &Context) -> Result<(), Failure> {
    let client = context.daemon().await?;
    let info: RegistryInfo = client.get(&path(&args.name, &args.of.tenant)).await?;
    context.output.json(&info)
}

async fn refresh(args: Refresh, context: &Context) -> Result<(), Failure> {
    let client = context.daemon().await?;
    let names = if args.names.is_empty() {
        let list: RegistryList = client.get(&format!("/api/v1beta/registries?tenant={}", args.of.tenant)).await?;
        list.registries.into_iter().map(|registry| registry.name).collect()
    } else {
        args.names
    };
    let mut read = Vec::new();
    let mut failed = None;
    for name in names {
        context.output.progress(&format!("reading {name} …"));
        let request =
            RefreshRegistry { tenant: args.of.tenant.clone(), whole: args.whole, accept_empty: args.accept_empty };
        let one = format!("/api/v1beta/registries/{name}/refresh");
        let answer: Result<RegistryInfo, _> = client.post(&one, Some(&request)).await;
        context.output.progress_done();
        match answer {
            Ok(info) => {
                if context.output.format == Format::Text {
                    told(&info, context)?;
                }
                read.push(info);
            }
            // The others are read all the same.
            Err(error) => failed = failed.or(Some(Failure::from(error))),
        }
    }
    if context.output.format == Format::Json {
        context.output.json(&read)?;
    }
    failed.map_or(Ok(()), Err)
}

/// What came of reading a registry, in a line.
pub(super) fn told(info: &RegistryInfo, context: &Context) -> Result<(), Failure> {
    if let Some(error) = &info.error {
        context.output.note(&format!("{error}; it is tried again"));
    }
    for refused in &info.refused {
        context.output.note(&format!("refused: {refused}"));
    }
    context.output.line(&format!("{}: {} entries", info.name, info.entries))
}

async fn remove(args: Several, context: &Context) -> Result<(), Failure> {
    let client = context.daemon().await?;
    for name in &args.names {
        client.finish(Method::DELETE, &path(name, &args.of.tenant)).await?;
        if context.output.format == Format::Text {
            context.output.line(&format!("{name} is removed"))?;
        }
    }
    if context.output.format == Format::Json {
        return context.output.json(&args.names);
    }
    Ok(())
}

async fn entry(args: Entry, context: &Context) -> Result<(), Failure> {
    let client = context.daemon().await?;
    let escaped = form(&[("", &args.entry)]);
    let named = escaped.trim_start_matches("&=");
    let entry: EntryInfo =
        client.get(&format!("/api/v1beta/registry/servers/{named}?tenant={}", args.of.tenant)).await?;
    context.output.json(&entry)
}

async fn layers(args: Layers, context: &Context) -> Result<(), Failure> {
    let client = context.daemon().await?;
    let place = format!("/api/v1beta/registry/layers?tenant={}", args.of.tenant);
    let mut policy: LayerPolicy = client.get(&place).await?;
    if !args.order.is_empty() || !args.run.is_empty() || args.run_anything || args.approvals.is_some() {
        if let Some(file) = &args.approvals {
            let text = std::fs::read_to_string(file)
                .map_err(|error| Failure::new(format!("read `{}`: {error}", file.display())))?;
            let rules = yaml::one(&text);
            policy.approvals = rules.map_err(|error| Failure::new(format!("`{}`: {error}", file.display())))?;
        }
        if !args.order.is_empty() {
            policy.layers = args.order;
        }
        if args.run_anything {
            policy.run = None;
        } else if !args.run.is_empty() {
            policy.run = Some(args.run);
        }
        policy = client.put(&place, &policy).await?;
    }
    if context.output.format == Format::Json {
        return context.output.json(&policy);
    }
    let row = |layer: &LayerName| -> Vec<Cell> {
        vec![layer.as_str().into(), if policy.may_run(layer) { "yes" } else { "no" }.into()]
    };
    let rows: Vec<_> = policy.layers.iter().map(row).collect();
    context.output.table(&["LAYER", "MAY RUN"], &rows)?;
    if policy.run.is_none() {
        context.output.note("what comes from no registry may run as well");
    }
    Ok(())
}

fn path(name: &RegistryName, tenant: &TenantName) -> String {
    format!("/api/v1beta/registries/{name}?tenant={tenant}")
}
