//! From what was asked for to a chain: plugins found, loaded, granted, configured, and put in their order.

use std::sync::Arc;

use fairlead_core::chain::{Chain, Level, Link};
use fairlead_core::name::{AttachmentName, ServerKey, ServerName};
use fairlead_core::plugin::AttachmentSpec;
use fairlead_core::problem::{Problem, ProblemKind};
use fairlead_core::server::ServerSpec;
use fairlead_wasm::{AttachError, Attachment, Digest};
use serde_json::json;

use super::check::TOOLS_ATTACHMENT;
use super::plugins::Plugins;
use super::servers::links_of;
use crate::api::types::ChainLink;
use crate::text;

/// The plugin that `tools` is a short form of.
const TOOLS_PLUGIN: &str = "tool-filter";

/// `sha256:` and twelve digits.
const DIGEST_CHARS_SHOWN: usize = 19;

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
    let config = json!({ "allow": spec.tools });
    Ok(Some(AttachmentSpec { config, ..AttachmentSpec::new(name, TOOLS_PLUGIN) }))
}

async fn attach(plugins: &Plugins, key: &ServerKey, spec: &AttachmentSpec) -> Result<Link, Problem> {
    let plugin = plugins.load(&spec.plugin).await.map_err(|problem| problem.at("/plugin"))?;
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

/// Enough of a digest to tell two revisions apart.
fn short(digest: &Digest) -> String {
    digest.to_string().chars().take(DIGEST_CHARS_SHOWN).collect()
}

fn not_attached(spec: &AttachmentSpec, error: &AttachError) -> Problem {
    let place = match error {
        AttachError::Config { problems, .. } => {
            format!("/config{}", problems.first().map(|problem| problem.pointer.as_str()).unwrap_or_default())
        }
        AttachError::Refused { .. } => "/config".to_owned(),
        AttachError::Grants { .. } | AttachError::Grant { .. } => "/grants".to_owned(),
        AttachError::Limit { name, .. } => format!("/limits/{name}"),
        AttachError::Kind { .. } | AttachError::Interest { .. } | AttachError::Instance { .. } => "/plugin".to_owned(),
    };
    let kind = match error {
        AttachError::Grants { .. } => ProblemKind::Forbidden,
        _ => ProblemKind::Invalid,
    };
    let detail = match text::chain(error) {
        // Most errors name the plugin; the attachment is worth naming when it is called otherwise.
        text if text.contains(&format!("`{}`", spec.name)) => text,
        text => format!("plugin `{}`: {text}", spec.name),
    };
    let problem = Problem::new(kind, detail).at(place);
    match error.hint() {
        Some(hint) => problem.hint(hint),
        None => problem,
    }
}
