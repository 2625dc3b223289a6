//! Plugins: where they are found, what runs them, and what they say of themselves.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fairlead_core::image::ImageReference;
use fairlead_core::middleware::{Interest, Phase};
use fairlead_core::name::PluginName;
use fairlead_core::problem::{Problem, ProblemKind};
use fairlead_core::store::{PluginRecord, PluginSpec};
use fairlead_oci::OciClient;
use fairlead_wasm::{AuditError, LoadError, LoadErrorKind, Plugin, PluginHost};

use super::installed::{InstalledPlugin, genuine};
use super::shelf::Shelf;
use crate::api::types::{InstallPlugin, InterestInfo, PluginInfo, PluginList, UnusablePlugin};
use crate::text;

/// Finds and loads plugins.
pub(super) struct Plugins {
    pub(super) host: Arc<PluginHost>,
    pub(super) shelf: Shelf,
}

impl Plugins {
    /// What a plugin says of itself.
    pub(super) async fn inspect(&self, reference: &str) -> Result<PluginInfo, Problem> {
        let path = self.shelf.find(reference)?;
        let plugin = self.host.load(&path).await.map_err(|error| not_loaded(&error))?;
        genuine(&path, &plugin)?;
        Ok(info(&plugin, &path))
    }

    /// A plugin, ready to be attached. A name that stands for one digest stands for nothing else.
    pub(super) async fn load(
        &self,
        pinned: &BTreeMap<PluginName, PluginRecord>,
        reference: &str,
    ) -> Result<Arc<Plugin>, Problem> {
        let Some(pin) = pinned.get(reference) else {
            let path = self.shelf.find(reference)?;
            let plugin = self.host.load(&path).await.map_err(|error| not_loaded(&error))?;
            genuine(&path, &plugin)?;
            return Ok(plugin);
        };
        let plugin = self.host.load(&pin.file).await.map_err(|error| not_loaded(&error))?;
        let found = plugin.digest().to_string();
        if found == pin.spec.digest {
            return Ok(plugin);
        }
        let detail = format!("plugin `{reference}` is pinned to {}, and its file is {found}", pin.spec.digest);
        Err(Problem::new(ProblemKind::Invalid, detail)
            .hint(format!("`{}` was changed by somebody; remove it and apply the Plugin again", pin.file.display())))
    }

    /// The file of a plugin as a cluster names it: a path in this image, what was fetched before, or what is fetched now.
    pub(super) async fn provide(&self, client: &OciClient, spec: &PluginSpec) -> Result<PathBuf, Problem> {
        let known = self.shelf.component(&spec.digest);
        if Path::new(&spec.source).is_absolute() {
            return Ok(PathBuf::from(&spec.source));
        }
        if known.is_file() {
            return Ok(known);
        }
        let reference = ImageReference::new(&spec.source);
        let reference = reference.map_err(|error| Problem::new(ProblemKind::Invalid, error.to_string()))?;
        Ok(self.shelf.installed().fetch(client, &reference, &|_, _| {}).await?.file)
    }

    /// Fetches a plugin and gives it a name.
    pub(super) async fn install(&self, client: &OciClient, request: InstallPlugin) -> Result<InstalledPlugin, Problem> {
        let InstallPlugin { reference, name } = request;
        let installed = self.shelf.installed();
        let fetched = installed.fetch(client, &reference, &|_, _| {}).await?;
        let plugin = self.host.load(&fetched.file).await.map_err(|error| not_loaded(&error))?;
        let (now, before) = installed.name(&reference, &fetched, &plugin, name)?;
        tracing::info!(
            fairlead.plugin.name = %now.name, digest = now.digest, source = now.source,
            before = before.map(|before| before.digest), "a plugin was installed"
        );
        Ok(now)
    }

    /// What is found by name.
    pub(super) async fn list(&self) -> PluginList {
        let mut list = PluginList { plugins: Vec::new(), unusable: Vec::new(), searched: Vec::new() };
        for path in self.shelf.all() {
            match self.host.load(&path).await {
                Ok(plugin) => list.plugins.push(info(&plugin, &path)),
                // Servers may lie beside plugins.
                Err(LoadError { reason: LoadErrorKind::Audit(AuditError::Purpose { .. }), .. }) => {}
                Err(error) => {
                    let reason = text::chain(&error.reason);
                    list.unusable.push(UnusablePlugin { path: path.display().to_string(), reason });
                }
            }
        }
        if list.plugins.is_empty() {
            list.searched = self.shelf.searched().iter().map(|path| path.display().to_string()).collect();
        }
        list
    }
}

/// What a plugin says of itself, as the API tells it.
pub(crate) fn info(plugin: &Plugin, path: &Path) -> PluginInfo {
    let manifest = plugin.manifest();
    let phases = [Phase::Request, Phase::Response, Phase::Error, Phase::Event];
    let words = ["request", "response", "error", "event"];
    let interest = |interest: &Interest| InterestInfo {
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
        attributes: manifest.attributes.iter().cloned().collect(),
    }
}

/// Why a file is no plugin, with the remedy.
pub(crate) fn not_loaded(error: &LoadError) -> Problem {
    let problem = Problem::new(ProblemKind::Invalid, format!("plugin {}", text::chain(error)));
    match error.hint() {
        Some(hint) => problem.hint(hint),
        None => problem,
    }
}
