//! `fairlead registry export|import`: registries and layers as a file, and back; and the catalogue as a file for others.
//!
//! What is exported is what was declared, not what was read: whoever imports it reads the sources themselves. An import makes things
//! what the file says and leaves what it does not name.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use fairlead_core::name::RegistryName;
use fairlead_registry::spec::{LayerPolicy, RegistrySpec};
use http::Method;
use serde::{Deserialize, Serialize};

use super::file::To;
use super::{Of, path};
use crate::api::types::registry::{CreateRegistry, ExportedCatalogue, RegistryInfo, RegistryList};
use crate::cli::output::Format;
use crate::cli::{Context, Failure};
use crate::yaml;

const ALL: &str = "/api/v1beta/registries";
const LAYERS: &str = "/api/v1beta/registry/layers";

/// What is exported.
#[derive(Debug, clap::Args)]
pub(crate) struct Export {
    /// Where to write it; standard output by default
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// The entries instead, as a file in this format
    #[arg(long, value_enum, value_name = "FORMAT")]
    entries: Option<To>,
    #[command(flatten)]
    of: Of,
}

/// What is imported.
#[derive(Debug, clap::Args)]
pub(crate) struct Import {
    /// A file that `registry export` wrote, or one by hand (YAML or JSON)
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    of: Of,
}

/// A file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Backup {
    registries: BTreeMap<RegistryName, RegistrySpec>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    layers: Option<LayerPolicy>,
}

pub(super) async fn export(args: Export, context: &Context) -> Result<(), Failure> {
    let client = context.daemon().await?;
    let tenant = &args.of.tenant;
    let text = match args.entries {
        Some(to) => {
            let format = fairlead_server_json::Format::from(to).name();
            let place = format!("/api/v1beta/registry/export?tenant={tenant}&format={format}");
            let exported: ExportedCatalogue = client.get(&place).await?;
            for lost in &exported.lost {
                context.output.note(&format!("lost: {lost}"));
            }
            exported.text
        }
        None => {
            let list: RegistryList = client.get(&format!("{ALL}?tenant={tenant}")).await?;
            let layers: LayerPolicy = client.get(&format!("{LAYERS}?tenant={tenant}")).await?;
            let registries = list.registries.into_iter().map(|registry| (registry.name, registry.spec)).collect();
            let layers = Some(layers).filter(|layers| *layers != LayerPolicy::default());
            serde_json::to_string_pretty(&Backup { registries, layers })
                .map_err(|error| Failure::new(error.to_string()))?
        }
    };
    match &args.file {
        Some(file) => std::fs::write(file, format!("{text}\n")).map_err(|error| failed("write", file, &error)),
        None => context.output.verbatim(&text),
    }
}

pub(super) async fn import(args: Import, context: &Context) -> Result<(), Failure> {
    let text = std::fs::read_to_string(&args.file).map_err(|error| failed("read", &args.file, &error))?;
    let Backup { registries, layers } =
        yaml::one(&text).map_err(|error| Failure::new(format!("`{}`: {error}", args.file.display())))?;
    let client = context.daemon().await?;
    let tenant = &args.of.tenant;
    let list: RegistryList = client.get(&format!("{ALL}?tenant={tenant}")).await?;
    let mut read = Vec::new();
    for (name, spec) in registries {
        let known = list.registries.iter().find(|known| known.name == name);
        if known.is_some_and(|known| known.spec == spec) {
            continue;
        }
        context.output.progress(&format!("reading {name} …"));
        let place = path(&name, tenant);
        let request = CreateRegistry { tenant: tenant.clone(), name, spec };
        // What is there is not taken away first: what takes its place may not be usable.
        let added: Result<RegistryInfo, _> = match known {
            Some(_) => client.change(Method::PUT, &place, &request).await,
            None => client.post(ALL, Some(&request)).await,
        };
        context.output.progress_done();
        let added = added?;
        if context.output.format == Format::Text {
            super::told(&added, context)?;
        }
        read.push(added);
    }
    if let Some(layers) = layers {
        let _: LayerPolicy = client.put(&format!("{LAYERS}?tenant={tenant}"), &layers).await?;
    }
    match context.output.format {
        Format::Json => context.output.json(&read),
        Format::Text => Ok(()),
    }
}

fn failed(what: &str, file: &Path, error: &std::io::Error) -> Failure {
    Failure::new(format!("{what} `{}`: {error}", file.display()))
}
