//! From what was asked for to a chain: plugins found, loaded, granted, configured, and put in their order.

use std::sync::Arc;

use fairlead_core::chain::{Chain, Level, Link};
use fairlead_core::middleware::Phase;
use fairlead_core::name::{AttachmentName, ServerKey, ServerName};
use fairlead_core::plugin::AttachmentSpec;
use fairlead_core::problem::{Problem, ProblemKind};
use fairlead_core::server::ServerSpec;
use fairlead_wasm::{AttachError, Attachment, Digest, LoadError, Plugin, PluginHost};
use serde_json::json;

use super::check::TOOLS_ATTACHMENT;
use super::servers::links_of;
use super::shelf::Shelf;
use crate::api::types::{ChainLink, InterestInfo, PluginInfo, PluginList, UnusablePlugin};
use crate::text;

/// The plugin that `tools` is a short form of.
const TOOLS_PLUGIN: &str = "tool-filter";

/// `sha256:` and twelve digits.
const DIGEST_CHARS_SHOWN: usize = 19;

/// Plugins: where they are found, and what runs them.
pub(super) struct Plugins {
    pub(super) host: Arc<PluginHost>,
    pub(super) shelf: Shelf,
}

/// Scope of the state of a server's plugins.
pub(super) fn place(server: &ServerName) -> String {
    format!("server/{server}")
}

/// Loads and attaches everything in a server's chain.
pub(super) async fn build(
    plugins: &Plugins,
    key: &ServerKey,
    spec: &ServerSpec,
) -> Result<(Arc<Chain>, Vec<ChainLink>), Problem> {
    let mut links = Vec::new();
    // Outermost: the names are those that clients see, whatever a plugin further in makes of them.
    if let Some(tools) = tools(spec)? {
        links.push(attach(plugins, key, &tools).await.map_err(|problem| problem.at("/spec/tools"))?);
    }
    for (at, attachment) in spec.plugins.iter().enumerate() {
        let link = attach(plugins, key, attachment).await.map_err(|problem| {
            let inside = problem.pointer.clone().unwrap_or_default();
            problem.at(format!("/spec/plugins/{at}{inside}"))
        })?;
        links.push(link);
    }
    let chain = Arc::new(Chain::new(links));
    let links = links_of(&chain);
    Ok((chain, links))
}

fn tools(spec: &ServerSpec) -> Result<Option<AttachmentSpec>, Problem> {
    if spec.tools.is_empty() {
        return Ok(None);
    }
    let name = AttachmentName::new(TOOLS_ATTACHMENT)
        .map_err(|error| Problem::new(ProblemKind::Internal, error.to_string()))?;
    Ok(Some(AttachmentSpec {
        name,
        plugin: TOOLS_PLUGIN.to_owned(),
        config: json!({ "allow": spec.tools }),
        failure_mode: Default::default(),
        instances: Default::default(),
        limits: Default::default(),
        grants: Vec::new(),
    }))
}

async fn attach(plugins: &Plugins, key: &ServerKey, spec: &AttachmentSpec) -> Result<Link, Problem> {
    let plugin = load(plugins, &spec.plugin).await.map_err(|problem| problem.at("/plugin"))?;
    let manifest = plugin.manifest();
    let revision = format!("{} {} {}", manifest.name, manifest.version, short(plugin.digest()));
    let attachment = Attachment { tenant: key.tenant.clone(), place: place(&key.name), spec: spec.clone() };
    let middleware = plugins.host.attach(&plugin, attachment).await.map_err(|error| not_attached(spec, &error))?;
    Ok(Link {
        name: spec.name.clone(),
        level: Level::Server,
        failure_mode: spec.failure_mode,
        revision: revision.into(),
        middleware,
    })
}

async fn load(plugins: &Plugins, reference: &str) -> Result<Arc<Plugin>, Problem> {
    let path = plugins.shelf.find(reference)?;
    plugins.host.load(&path).await.map_err(|error| not_loaded(&error))
}

impl Plugins {
    /// What a plugin says of itself.
    pub(super) async fn inspect(&self, reference: &str) -> Result<PluginInfo, Problem> {
        let path = self.shelf.find(reference)?;
        let plugin = self.host.load(&path).await.map_err(|error| not_loaded(&error))?;
        Ok(info(&plugin, &path))
    }

    /// What is found by name.
    pub(super) async fn list(&self) -> PluginList {
        let mut list = PluginList { plugins: Vec::new(), unusable: Vec::new() };
        for path in self.shelf.all() {
            match self.host.load(&path).await {
                Ok(plugin) => list.plugins.push(info(&plugin, &path)),
                Err(error) => {
                    list.unusable
                        .push(UnusablePlugin { path: path.display().to_string(), reason: text::chain(&error) });
                }
            }
        }
        list
    }
}

/// Enough of a digest to tell two revisions apart.
fn short(digest: &Digest) -> String {
    digest.to_string().chars().take(DIGEST_CHARS_SHOWN).collect()
}

fn info(plugin: &Plugin, path: &std::path::Path) -> PluginInfo {
    let manifest = plugin.manifest();
    let phases = [Phase::Request, Phase::Response, Phase::Error, Phase::Event];
    let words = ["request", "response", "error", "event"];
    let interest = |interest: &fairlead_core::middleware::Interest| InterestInfo {
        method: interest.method.clone(),
        target: interest.target.clone(),
        phases: phases
            .iter()
            .zip(words)
            .filter(|(phase, _)| interest.phases.contains(**phase))
            .map(|(_, word)| word.to_owned())
            .collect(),
    };
    PluginInfo {
        name: manifest.name.clone(),
        version: manifest.version.clone(),
        kind: manifest.kind,
        description: manifest.description.clone(),
        path: path.display().to_string(),
        digest: plugin.digest().to_string(),
        size_bytes: plugin.size(),
        wit_version: plugin.wit_version().to_string(),
        imports: plugin.imports().to_vec(),
        interests: manifest.interests.iter().map(interest).collect(),
        capabilities: manifest.capabilities.clone(),
        config_schema: manifest.config_schema.clone(),
    }
}

fn not_loaded(error: &LoadError) -> Problem {
    let problem = Problem::new(ProblemKind::Invalid, format!("plugin {}", text::chain(error)));
    match error.hint() {
        Some(hint) => problem.hint(hint),
        None => problem,
    }
}

fn not_attached(spec: &AttachmentSpec, error: &AttachError) -> Problem {
    let place = match error {
        AttachError::Config { problems, .. } => {
            format!("/config{}", problems.first().map(|problem| problem.pointer.as_str()).unwrap_or_default())
        }
        AttachError::Refused { .. } => "/config".to_owned(),
        AttachError::Grants { .. } => "/grants".to_owned(),
        AttachError::Limit { name, .. } => format!("/limits/{name}"),
        AttachError::Kind { .. } | AttachError::Interest { .. } | AttachError::Instance { .. } => "/plugin".to_owned(),
    };
    let kind = match error {
        AttachError::Grants { .. } => ProblemKind::Forbidden,
        _ => ProblemKind::Invalid,
    };
    let problem = Problem::new(kind, format!("plugin `{}`: {}", spec.name, text::chain(error))).at(place);
    match error.hint() {
        Some(hint) => problem.hint(hint),
        None => problem,
    }
}
