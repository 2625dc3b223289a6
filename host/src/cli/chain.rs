//! `fairlead chain`: the plugins of the platform, of a tenant and of a server.

mod explain;

use std::path::PathBuf;

use clap::ValueEnum as _;
use fairlead_core::chain::Level;
use fairlead_core::name::{AttachmentName, GroupName, ServerName, TenantName};
use fairlead_core::plugin::{AttachmentSpec, Capability, FailureMode, InstanceModel, PluginKind};
use fairlead_core::policy::{Position, Selector};
use http::Method;

use super::list::form;
use super::output::{Cell, Format};
use super::plugin::{absolute, capability, inspect};
use super::run::grants::{grant, parse_grant, parse_plugin};
use super::{Context, Failure};
use crate::api::types::policy::{ChainEdit, ChainEntry, ChainItem, ChainView, EditChain};
use crate::yaml;

const CHAINS: &str = "/api/v1beta/chains";

/// What to do.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Show a chain, outermost first; that of a server with all that reaches it
    Show {
        #[command(flatten)]
        of: Of,
    },
    /// Put a plugin into a chain while it serves; what it asks for is shown and granted first
    Add(Box<Add>),
    /// Take a plugin out of a chain while it serves
    #[command(visible_alias = "rm")]
    Remove {
        /// Name of the attachment
        name: AttachmentName,
        #[command(flatten)]
        of: Of,
    },
    /// Put a plugin elsewhere in its chain
    Move {
        /// Name of the attachment
        name: AttachmentName,
        #[command(flatten)]
        of: Of,
        #[command(flatten)]
        place: Place,
    },
    /// Make a chain consist of what a file says, in one step
    Set {
        /// A list of attachments, in YAML or JSON: `name`, `plugin`, `config`, `grants` …
        file: PathBuf,
        #[command(flatten)]
        of: Of,
    },
    /// Lead a request through the chain of a server, without the server and without effect: who sees it, what each says, how
    /// long it takes
    Explain(explain::Args),
}

/// Whose chain.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Of {
    /// The chain of the platform: outermost, for every server of every tenant
    #[arg(long, conflicts_with_all = ["tenant", "server"])]
    platform: bool,
    /// The chain of this tenant, or the tenant of the server
    #[arg(long, value_name = "TENANT", default_value_t)]
    tenant: TenantName,
    /// The chain of this server
    #[arg(long, value_name = "SERVER")]
    server: Option<ServerName>,
}

/// Where in the chain.
#[derive(Debug, Clone, clap::Args)]
#[group(multiple = false)]
pub(crate) struct Place {
    /// Outermost
    #[arg(long)]
    first: bool,
    /// Innermost
    #[arg(long)]
    last: bool,
    /// Just outside of this one
    #[arg(long, value_name = "NAME")]
    before: Option<AttachmentName>,
    /// Just inside of this one
    #[arg(long, value_name = "NAME")]
    after: Option<AttachmentName>,
}

/// What was typed after `chain add`.
#[derive(Debug, clap::Args)]
pub(crate) struct Add {
    /// A file or the name of an installed plugin, and its configuration, as a file or as JSON
    #[arg(value_name = "PLUGIN[=CONFIG]")]
    plugin: String,
    /// Name of the attachment; by default that of the plugin
    #[arg(long, value_name = "NAME")]
    name: Option<AttachmentName>,
    #[command(flatten)]
    of: Of,
    #[command(flatten)]
    place: Place,
    /// Capability that it gets (repeatable); what it asks for and is not here is asked for on a terminal
    #[arg(long, value_name = "CAPABILITY[=SCOPE,...]")]
    grant: Vec<String>,
    /// What happens to a message when the plugin is broken
    #[arg(long, value_enum, default_value_t)]
    failure_mode: FailureModeArg,
    /// How instances are kept
    #[arg(long, value_enum, default_value_t)]
    instances: InstancesArg,
    /// Reach only servers of these tenants; for the chain of the platform (commas or repeatable)
    #[arg(long, value_name = "TENANT", value_delimiter = ',')]
    only_tenant: Vec<TenantName>,
    /// Reach only servers with these names (commas or repeatable)
    #[arg(long, value_name = "SERVER", value_delimiter = ',')]
    only_server: Vec<ServerName>,
    /// Reach only servers of these groups (commas or repeatable)
    #[arg(long, value_name = "GROUP", value_delimiter = ',')]
    only_group: Vec<GroupName>,
    /// Reach only servers with this label (repeatable)
    #[arg(long, value_name = "KEY=VALUE", value_parser = super::run::pair)]
    only_label: Vec<(String, String)>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
enum FailureModeArg {
    /// It is refused
    #[default]
    Closed,
    /// It passes as if the plugin were not there
    Open,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
enum InstancesArg {
    /// Warm, one call after the other
    #[default]
    Warm,
    /// A fresh one for each call
    PerCall,
}

impl Of {
    fn level(&self) -> Level {
        match (self.platform, &self.server) {
            (true, _) => Level::Platform,
            (false, Some(_)) => Level::Server,
            (false, None) => Level::Tenant,
        }
    }

    fn path(&self) -> String {
        let mut query = form(&[("level", self.level().as_str()), ("tenant", self.tenant.as_str())]);
        if let Some(server) = &self.server {
            query += &form(&[("server", server.as_str())]);
        }
        format!("{CHAINS}?{}", query.trim_start_matches('&'))
    }

    fn edit(&self, edit: ChainEdit) -> EditChain {
        EditChain { level: self.level(), tenant: self.tenant.clone(), server: self.server.clone(), edit }
    }
}

impl Place {
    fn position(self) -> Option<Position> {
        match (self.first, self.last, self.before, self.after) {
            (true, ..) => Some(Position::First),
            (_, true, ..) => Some(Position::Last),
            (_, _, Some(other), _) => Some(Position::Before(other)),
            (_, _, _, Some(other)) => Some(Position::After(other)),
            _ => None,
        }
    }
}

/// Does it.
///
/// # Errors
/// The daemon says no.
pub(crate) async fn run(command: Command, context: &Context) -> Result<(), Failure> {
    let client = context.daemon().await?;
    let (of, edit) = match command {
        Command::Show { of } => {
            let chain: ChainView = client.get(&of.path()).await?;
            return print(&chain, context);
        }
        Command::Explain(args) => return explain::run(args, &client, context).await,
        Command::Remove { name, of } => (of, ChainEdit::Remove { name }),
        Command::Move { name, of, place } => {
            let position = place.position().ok_or_else(|| {
                Failure::usage("where to is not said").hint("`--first`, `--last`, `--before NAME` or `--after NAME`")
            })?;
            (of, ChainEdit::Move { name, position })
        }
        Command::Set { file, of } => (of, ChainEdit::Set { attachments: items(&file)? }),
        Command::Add(add) => {
            let Add {
                plugin,
                name,
                of,
                place,
                grant: given,
                failure_mode,
                instances,
                only_tenant,
                only_server,
                only_group,
                only_label,
            } = *add;
            let (reference, config) = parse_plugin(&plugin)?;
            let described = inspect(&client, &reference).await?;
            let given: Vec<_> = given.iter().map(|text| parse_grant(text)).collect();
            // What is not given is asked for or refused, each with its own words.
            let is_given = |wanted: &Capability| given.iter().any(|grant| grant.name == wanted.name);
            let asked = &described.capabilities;
            if !asked.is_empty() && asked.iter().all(is_given) {
                context.output.note(&format!("plugin `{}` asks for", described.name));
                for wanted in asked {
                    context.output.note(&format!("  {}", capability(wanted)));
                }
            }
            let grants = grant(&described.name, &described.capabilities, &given, &context.output)?;
            if let Some(unused) = given.iter().find(|given| !grants.iter().any(|grant| grant.name == given.name)) {
                return Err(Failure::usage(format!("plugin `{}` does not ask for `{}`", described.name, unused.name))
                    .hint("leave `--grant` out"));
            }
            let name = match name {
                Some(name) => name,
                None => AttachmentName::new(&described.name).map_err(|error| Failure::chain(&error))?,
            };
            let attachment = AttachmentSpec {
                kind: described.kind,
                config,
                grants,
                failure_mode: match failure_mode {
                    FailureModeArg::Closed => FailureMode::Closed,
                    FailureModeArg::Open => FailureMode::Open,
                },
                instances: match instances {
                    InstancesArg::Warm => InstanceModel::Warm,
                    InstancesArg::PerCall => InstanceModel::PerCall,
                },
                ..AttachmentSpec::new(name, absolute(&reference)?)
            };
            let selector = Selector {
                tenants: only_tenant,
                servers: only_server,
                groups: only_group,
                match_labels: only_label.into_iter().collect(),
            };
            (of, ChainEdit::Add { attachment: Box::new(attachment), position: place.position(), selector })
        }
    };
    let chain: ChainView = client.change(Method::PATCH, CHAINS, &of.edit(edit)).await?;
    print(&chain, context)
}

fn items(file: &std::path::Path) -> Result<Vec<ChainItem>, Failure> {
    let text =
        std::fs::read_to_string(file).map_err(|error| Failure::new(format!("read `{}`: {error}", file.display())))?;
    let wrong = |reason: String| Failure::new(format!("`{}` is no list of attachments: {reason}", file.display()));
    let list: Vec<serde_json::Value> = yaml::one(&text).map_err(wrong)?;
    list.into_iter()
        .map(|mut value| {
            let selector = value.as_object_mut().and_then(|fields| fields.remove("selector"));
            let selector = match selector {
                None => Selector::default(),
                Some(selector) => serde_json::from_value(selector).map_err(|error| wrong(error.to_string()))?,
            };
            let mut attachment: AttachmentSpec =
                serde_json::from_value(value).map_err(|error| wrong(error.to_string()))?;
            attachment.plugin = absolute(&attachment.plugin)?;
            Ok(ChainItem { attachment, selector })
        })
        .collect()
}

fn print(chain: &ChainView, context: &Context) -> Result<(), Failure> {
    if context.output.format == Format::Json {
        return context.output.json(chain);
    }
    if chain.links.is_empty() {
        context.output.note("no plugins; `fairlead chain add` puts one in");
        return Ok(());
    }
    let rows: Vec<Vec<Cell>> = chain.links.iter().map(row).collect();
    context.output.table(&["LEVEL", "NAME", "PLUGIN", "REACHES", "WHEN BROKEN", "GRANTED"], &rows)
}

fn row(entry: &ChainEntry) -> Vec<Cell> {
    let selector = &entry.selector;
    let mut reaches: Vec<String> = Vec::new();
    reaches.extend(selector.tenants.iter().map(|tenant| format!("tenant {tenant}")));
    reaches.extend(selector.servers.iter().map(ToString::to_string));
    reaches.extend(selector.groups.iter().map(|group| format!("group {group}")));
    reaches.extend(selector.match_labels.iter().map(|(name, value)| format!("{name}={value}")));
    let reaches = if reaches.is_empty() { "all".to_owned() } else { reaches.join(", ") };
    let kind = match entry.kind {
        PluginKind::Middleware => "",
        PluginKind::RegistrySource => " (registry source)",
        PluginKind::UpdatePolicy => " (update policy)",
    };
    let broken = match entry.failure_mode {
        FailureMode::Closed => FailureModeArg::Closed,
        FailureMode::Open => FailureModeArg::Open,
    };
    let broken = broken.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
    let grants: Vec<String> = entry.grants.iter().map(|grant| grant.name.clone()).collect();
    let grants = if grants.is_empty() { "nothing".to_owned() } else { grants.join(", ") };
    vec![
        entry.level.as_str().into(),
        entry.name.as_str().into(),
        format!("{}{kind}", entry.plugin).into(),
        reaches.into(),
        broken.into(),
        grants.into(),
    ]
}
