//! `fairlead search`: entries of all registries, the best first.

use fairlead_core::name::{LayerName, RegistryName, TenantName};
use jiff::Timestamp;

use super::list::form;
use super::output::{Cell, Format, age};
use super::{Context, Failure};
use crate::api::types::registry::{EntryInfo, EntryList};

/// What was typed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Words to look for: in names, titles, tags, tools and descriptions; all entries when none is given
    #[arg(value_name = "WORD")]
    words: Vec<String>,
    /// Only of this registry
    #[arg(long, value_name = "NAME")]
    registry: Option<RegistryName>,
    /// Only of this layer of trust
    #[arg(long, value_name = "LAYER")]
    layer: Option<LayerName>,
    /// Only with this tag
    #[arg(long, value_name = "TAG")]
    tag: Option<String>,
    /// Only what speaks `stdio`, `streamable-http` or `sse`
    #[arg(long, value_name = "TRANSPORT")]
    transport: Option<String>,
    /// Only what has a package of this type (`oci`, `npm`, `pypi`), or `remote`
    #[arg(long = "type", value_name = "TYPE")]
    package_type: Option<String>,
    /// Only with this label (repeatable)
    #[arg(long, short, value_name = "KEY=VALUE", value_parser = super::run::pair)]
    label: Vec<(String, String)>,
    /// At most so many
    #[arg(long, value_name = "COUNT", default_value_t = 20)]
    limit: usize,
    /// Tenant whose catalogue is searched
    #[arg(long, value_name = "TENANT", default_value_t)]
    tenant: TenantName,
}

/// Searches.
///
/// # Errors
/// The daemon does not come up.
pub(crate) async fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let client = context.daemon().await?;
    let list: EntryList = client.get(&args.path()).await?;
    if context.output.format == Format::Json {
        return context.output.json(&list.entries);
    }
    if list.total == 0 {
        context.output.note("the catalogue is empty; `fairlead registry add official` adds the official registry");
        return Ok(());
    }
    if list.entries.is_empty() {
        context.output.note(&format!("nothing fits among {} entries", list.total));
        return Ok(());
    }
    let row = |entry: &EntryInfo| -> Vec<Cell> {
        vec![
            entry.name.as_str().into(),
            entry.version.as_str().into(),
            entry.layer.as_str().into(),
            entry.package_types.join(",").into(),
            shortened(&entry.description).into(),
        ]
    };
    let rows: Vec<_> = list.entries.iter().map(row).collect();
    context.output.table(&["NAME", "VERSION", "LAYER", "TYPE", "DESCRIPTION"], &rows)?;
    if let Some(oldest) = list.oldest {
        context.output.note(&format!("as of {} ago", age(oldest, Timestamp::now())));
    }
    Ok(())
}

/// A description in a table: its first line, its beginning.
fn shortened(text: &str) -> String {
    const LENGTH_MAX: usize = 60;
    let line = text.lines().next().unwrap_or_default();
    if line.chars().count() <= LENGTH_MAX {
        return line.to_owned();
    }
    line.chars().take(LENGTH_MAX - 1).chain(['…']).collect()
}

impl Args {
    fn path(&self) -> String {
        let mut query = form(&[("tenant", self.tenant.as_str()), ("limit", &self.limit.to_string())]);
        if !self.words.is_empty() {
            query += &form(&[("search", &self.words.join(" "))]);
        }
        let options = [
            ("registry", self.registry.as_ref().map(RegistryName::as_str)),
            ("layer", self.layer.as_ref().map(LayerName::as_str)),
            ("tag", self.tag.as_deref()),
            ("transport", self.transport.as_deref()),
            ("packageType", self.package_type.as_deref()),
        ];
        for (name, value) in options {
            if let Some(value) = value {
                query += &form(&[(name, value)]);
            }
        }
        if !self.label.is_empty() {
            let labels: Vec<String> = self.label.iter().map(|(key, value)| format!("{key}={value}")).collect();
            query += &form(&[("labels", &labels.join(","))]);
        }
        format!("/api/v1beta/registry/servers?{}", query.trim_start_matches('&'))
    }
}
