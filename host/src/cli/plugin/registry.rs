//! `fairlead plugin push|pull|install|rm`: plugins in OCI registries, as artifacts of the Wasm working group.

use std::path::PathBuf;

use bytes::Bytes;
use fairlead_core::image::ImageReference;
use fairlead_core::name::{PluginName, TenantName};
use fairlead_core::plugin::PluginKind;
use fairlead_oci::{Descriptor, InsecureRegistries, Manifest, OciClient, digest_of, media_types};
use fairlead_wasm::Plugin;
use serde_json::json;

use super::local;
use crate::app::installed::{Installed, told};
use crate::app::registries;
use crate::cli::output::Format;
use crate::cli::{Context, Failure};

/// How a registry is reached.
#[derive(Debug, clap::Args)]
struct Registry {
    /// Talk to this registry without TLS (host:port); those of this machine are talked to so anyway
    #[arg(long, value_name = "REGISTRY")]
    plain_http: Vec<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct PushArgs {
    /// A component: a file, or the name of a plugin
    #[arg(value_name = "PLUGIN")]
    plugin: String,
    /// Where to: registry/repository:tag
    #[arg(value_name = "REFERENCE")]
    reference: ImageReference,
    #[command(flatten)]
    registry: Registry,
}

#[derive(Debug, clap::Args)]
pub(crate) struct PullArgs {
    /// What: registry/repository, with a tag or a digest
    #[arg(value_name = "REFERENCE")]
    reference: ImageReference,
    /// Write the component here
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    registry: Registry,
}

#[derive(Debug, clap::Args)]
pub(crate) struct InstallArgs {
    /// What: registry/repository, with a tag or a digest; it is pinned by its digest
    #[arg(value_name = "REFERENCE")]
    reference: ImageReference,
    /// What it is called in chains; by default what it calls itself
    #[arg(long, value_name = "NAME")]
    name: Option<PluginName>,
    #[command(flatten)]
    registry: Registry,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RmArgs {
    /// Names of installed plugins
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
}

impl Registry {
    fn client(&self) -> OciClient {
        registries(InsecureRegistries(self.plain_http.clone()))
    }
}

fn installed(context: &Context) -> Installed {
    Installed::below(context.settings.directories.plugins())
}

pub(super) async fn push(args: &PushArgs, context: &Context) -> Result<(), Failure> {
    let path = local::file(context, &args.plugin)?;
    let plugin = local::load(context, &path).await?.1;
    let content = Bytes::from(tokio::fs::read(&path).await?);
    let (client, tenant) = (args.registry.client(), TenantName::default());
    let failed = |error| Failure::from(told(&args.reference, &error));
    context.output.progress(&format!("pushing {} bytes", content.len()));
    let size = plugin.size();
    let digest = client.push_blob(&tenant, &args.reference, content).await.map_err(failed)?;
    let config = Bytes::from(config(&plugin, &digest).to_string());
    let config_size = u64::try_from(config.len()).unwrap_or_default();
    let config_digest = client.push_blob(&tenant, &args.reference, config).await.map_err(failed)?;
    let described = |media_type: &str, digest: String, size| Descriptor {
        media_type: media_type.to_owned(),
        digest,
        size,
        platform: None,
        annotations: Default::default(),
    };
    let manifest = Manifest {
        schema_version: 2,
        media_type: media_types::MANIFEST.to_owned(),
        artifact_type: None,
        config: Some(described(media_types::WASM_CONFIG, config_digest, config_size)),
        layers: vec![described(media_types::WASM, digest.clone(), size)],
        manifests: Vec::new(),
        annotations: annotations(&plugin),
    };
    let bytes = Bytes::from(serde_json::to_vec(&manifest).map_err(|error| Failure::chain(&error))?);
    let artifact = digest_of(&bytes);
    let pushed = client.push_manifest(&tenant, &args.reference, media_types::MANIFEST, bytes).await;
    context.output.progress_done();
    pushed.map_err(failed)?;
    let pinned = format!("{}@{artifact}", args.reference.repository());
    match context.output.format {
        Format::Json => context.output.json(&json!({
            "reference": args.reference.as_str(), "pinned": pinned, "artifact": artifact, "digest": digest,
        })),
        Format::Text => context.output.line(&pinned),
    }
}

/// What the Wasm working group has in a configuration. Nothing of it changes with the time, so that the same component is the
/// same artifact.
fn config(plugin: &Plugin, digest: &str) -> serde_json::Value {
    let exported = match plugin.manifest().kind {
        PluginKind::Middleware => "fairlead:middleware/hooks",
        PluginKind::RegistrySource => "fairlead:registry-source/source",
        PluginKind::UpdatePolicy => "fairlead:update-policy/policy",
    };
    let version = plugin.wit_version();
    json!({
        "architecture": "wasm",
        "os": "wasip2",
        "layerDigests": [digest],
        "component": {
            "exports": [format!("{exported}@{version}"), format!("fairlead:types/manifest@{version}")],
            "imports": plugin.imports(),
        },
    })
}

/// For people who look at the artifact. What counts is what the component says of itself.
fn annotations(plugin: &Plugin) -> std::collections::BTreeMap<String, String> {
    let manifest = plugin.manifest();
    let capabilities: Vec<_> = manifest.capabilities.iter().map(|wanted| wanted.name.as_str()).collect();
    let mut annotations = std::collections::BTreeMap::from([
        ("org.opencontainers.image.title".to_owned(), manifest.name.clone()),
        ("org.opencontainers.image.version".to_owned(), manifest.version.clone()),
        ("org.opencontainers.image.description".to_owned(), manifest.description.clone()),
        ("dev.fairlead.plugin.kind".to_owned(), super::kind(manifest.kind).replace(' ', "-")),
        ("dev.fairlead.plugin.contract".to_owned(), plugin.wit_version().to_owned()),
    ]);
    if !capabilities.is_empty() {
        annotations.insert("dev.fairlead.plugin.capabilities".to_owned(), capabilities.join(","));
    }
    annotations
}

pub(super) async fn pull(args: &PullArgs, context: &Context) -> Result<(), Failure> {
    let fetched = fetch(&args.reference, &args.registry, context).await?;
    if let Some(output) = &args.output {
        tokio::fs::copy(&fetched.file, output).await?;
    }
    match context.output.format {
        Format::Json => context.output.json(&json!({
            "pinned": fetched.pinned, "artifact": fetched.artifact, "digest": fetched.digest,
            "file": args.output.as_ref().unwrap_or(&fetched.file), "offline": fetched.offline,
        })),
        Format::Text => context.output.line(&fetched.pinned),
    }
}

async fn fetch(
    reference: &ImageReference,
    registry: &Registry,
    context: &Context,
) -> Result<crate::app::installed::Fetched, Failure> {
    let output = &context.output;
    let progress = |done: u64, of: u64| output.progress(&format!("{done} of {of} bytes"));
    let fetched = installed(context).fetch(&registry.client(), reference, &progress).await;
    output.progress_done();
    let fetched = fetched?;
    if fetched.offline {
        output.note("the registry was not asked: what was named is here already");
    }
    Ok(fetched)
}

pub(super) async fn install(args: &InstallArgs, context: &Context) -> Result<(), Failure> {
    let fetched = fetch(&args.reference, &args.registry, context).await?;
    let plugin = local::load(context, &fetched.file).await?.1;
    let (now, before) = installed(context).name(&args.reference, &fetched, &plugin, args.name.clone())?;
    if context.output.format == Format::Json {
        return context.output.json(&now);
    }
    let instead = match before {
        Some(before) if before.digest == now.digest => " (as it was)".to_owned(),
        Some(before) => format!(" (before: {} {})", before.version, before.digest),
        None => String::new(),
    };
    context.output.line(&format!("{} {} {}{instead}", now.name, now.version, now.digest))
}

pub(super) fn rm(args: &RmArgs, context: &Context) -> Result<(), Failure> {
    for name in &args.names {
        let removed = installed(context).remove(name)?;
        match context.output.format {
            Format::Json => context.output.json_line(&removed)?,
            Format::Text => context.output.line(removed.name.as_str())?,
        }
    }
    Ok(())
}
