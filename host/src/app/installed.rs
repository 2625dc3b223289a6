//! Installed plugins: content by digest, and a list of what goes by which name.
//!
//! A plugin is installed as a digest. The tag it came by is remembered for people and never asked again, so a tag that moves
//! changes nothing here, and a registry that is down is not missed. Content is checked when it is fetched and whenever it is
//! loaded: its file is named by its digest, and the digest of what is read has to be that.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use fairlead_core::image::ImageReference;
use fairlead_core::name::{PluginName, TenantName};
use fairlead_core::oci::RegistryError;
use fairlead_core::plugin::PluginKind;
use fairlead_core::problem::{Problem, ProblemKind};
use fairlead_oci::{Descriptor, Manifest, OciClient, Progress, digest_of, media_types};
use fairlead_wasm::Plugin;
use jiff::Timestamp;
use rustix::fs::FlockOperation;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::limits::INSTALLED_BYTES_MAX;
use crate::text;

/// A plugin that goes by a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct InstalledPlugin {
    /// What it is called in chains.
    pub(crate) name: PluginName,
    /// Its version, as it says itself.
    pub(crate) version: String,
    /// What it decides about.
    pub(crate) kind: PluginKind,
    /// What it is: the digest of the component.
    pub(crate) digest: String,
    /// The digest of the artifact that it came in.
    pub(crate) artifact: String,
    /// Where it came from, pinned.
    pub(crate) source: String,
    /// Its size in bytes.
    pub(crate) size_bytes: u64,
    /// When that was.
    pub(crate) installed: Timestamp,
}

/// Content that was fetched, or was here already.
#[derive(Debug, Clone)]
pub(crate) struct Fetched {
    /// The component.
    pub(crate) file: PathBuf,
    /// Its digest.
    pub(crate) digest: String,
    /// The digest of the artifact.
    pub(crate) artifact: String,
    /// The reference, pinned.
    pub(crate) pinned: String,
    /// Whether the registry was not reached and all of it came from here.
    pub(crate) offline: bool,
}

/// What is installed below one directory.
#[derive(Debug, Clone)]
pub(crate) struct Installed {
    directory: PathBuf,
}

#[derive(Default, Serialize, Deserialize)]
struct List {
    plugins: Vec<InstalledPlugin>,
}

impl Installed {
    pub(crate) fn below(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// Everything, by name.
    pub(crate) fn all(&self) -> Result<Vec<InstalledPlugin>, Problem> {
        let path = self.list_file();
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(broken(&format!("read `{}`", path.display()), &error)),
        };
        serde_json::from_slice(&text).map(|list: List| list.plugins).map_err(|error| {
            Problem::new(ProblemKind::Internal, format!("`{}` is damaged: {error}", path.display()))
                .hint("remove it and install the plugins again; what was fetched is still there")
        })
    }

    /// What goes by `name`, `name@version` or `name@sha256:…`.
    pub(crate) fn find(&self, reference: &str) -> Result<Option<PathBuf>, Problem> {
        let (name, which) = reference.split_once('@').map_or((reference, None), |(name, which)| (name, Some(which)));
        let Some(found) = self.all()?.into_iter().find(|plugin| plugin.name.as_str() == name) else { return Ok(None) };
        if let Some(which) = which
            && which != found.version
            && which != found.digest
        {
            let detail = format!("`{name}` is installed as {} ({}), not as {which}", found.version, found.digest);
            return Err(Problem::new(ProblemKind::NotFound, detail)
                .hint("install the one that is meant under a name of its own"));
        }
        Ok(Some(self.component(&found.digest)))
    }

    /// The file of a component.
    pub(crate) fn component(&self, digest: &str) -> PathBuf {
        self.directory.join("content").join(format!("{}.wasm", digest.replace(':', "-")))
    }

    fn artifact(&self, digest: &str) -> PathBuf {
        self.directory.join("content").join(format!("{}.json", digest.replace(':', "-")))
    }

    fn list_file(&self) -> PathBuf {
        self.directory.join("installed.json")
    }

    /// Fetches an artifact and its component. What is here and was asked for by digest is not fetched again.
    pub(crate) async fn fetch(
        &self,
        client: &OciClient,
        reference: &ImageReference,
        progress: Progress<'_>,
    ) -> Result<Fetched, Problem> {
        let tenant = TenantName::default();
        fs::create_dir_all(self.directory.join("content")).map_err(|error| broken("make room for plugins", &error))?;
        let repository = reference.repository();
        let (artifact, manifest, offline) = match self.manifest_here(reference) {
            Some((digest, manifest)) => (digest, manifest, true),
            None => match client.pull_manifest(&tenant, reference).await {
                Ok(pulled) => {
                    write_whole(&self.artifact(&pulled.digest), &pulled.bytes)?;
                    (pulled.digest, pulled.manifest, false)
                }
                Err(error @ RegistryError::Unreachable { .. }) => match self.installed_from(reference)? {
                    Some((digest, manifest)) => (digest, manifest, true),
                    None => return Err(told(reference, &error)),
                },
                Err(error) => return Err(told(reference, &error)),
            },
        };
        let layer = component_of(reference, &manifest)?;
        let file = self.component(&layer.digest);
        let fetched = Fetched {
            file: file.clone(),
            digest: layer.digest.clone(),
            artifact: artifact.clone(),
            pinned: format!("{repository}@{artifact}"),
            offline,
        };
        if fs::read(&file).is_ok_and(|bytes| digest_of(&bytes) == layer.digest) {
            return Ok(fetched);
        }
        let scratch = tempfile::NamedTempFile::new_in(self.directory.join("content"));
        let scratch = scratch.map_err(|error| broken("make room for a plugin", &error))?;
        let mut to = tokio::fs::File::from_std(scratch.reopen().map_err(|error| broken("write a plugin", &error))?);
        client
            .pull_blob(&tenant, reference, layer, &mut to, progress)
            .await
            .map_err(|error| told(reference, &error))?;
        to.sync_all().await.map_err(|error| broken("write a plugin", &error))?;
        scratch.persist(&file).map_err(|error| broken("keep a plugin", &error.error))?;
        Ok(Fetched { offline: false, ..fetched })
    }

    /// The manifest of an artifact that is here and was asked for by its digest.
    fn manifest_here(&self, reference: &ImageReference) -> Option<(String, Manifest)> {
        self.kept(reference.digest()?)
    }

    /// The manifest of what was installed from this very reference.
    fn installed_from(&self, reference: &ImageReference) -> Result<Option<(String, Manifest)>, Problem> {
        let tag = reference.tag().unwrap_or("latest");
        let path = self.directory.join("tags").join(file_name(&format!("{}:{tag}", reference.repository())));
        Ok(fs::read_to_string(path).ok().and_then(|digest| self.kept(digest.trim())))
    }

    fn kept(&self, digest: &str) -> Option<(String, Manifest)> {
        let bytes = fs::read(self.artifact(digest)).ok()?;
        if digest_of(&bytes) != digest {
            tracing::warn!(digest, "what was kept of an artifact is not what it was, and is fetched again");
            return None;
        }
        Some((digest.to_owned(), serde_json::from_slice(&bytes).ok()?))
    }

    /// Gives a name to what was fetched; what went by it before.
    pub(crate) fn name(
        &self,
        reference: &ImageReference,
        fetched: &Fetched,
        plugin: &Plugin,
        name: Option<PluginName>,
    ) -> Result<(InstalledPlugin, Option<InstalledPlugin>), Problem> {
        genuine(&fetched.file, plugin)?;
        let manifest = plugin.manifest();
        let own =
            || PluginName::new(&manifest.name).map_err(|error| Problem::new(ProblemKind::Invalid, error.to_string()));
        let installed = InstalledPlugin {
            name: name.map_or_else(own, Ok)?,
            version: manifest.version.clone(),
            kind: manifest.kind,
            digest: fetched.digest.clone(),
            artifact: fetched.artifact.clone(),
            source: fetched.pinned.clone(),
            size_bytes: plugin.size(),
            installed: Timestamp::now(),
        };
        if reference.digest().is_none() {
            let tag = reference.tag().unwrap_or("latest");
            let tags = self.directory.join("tags");
            fs::create_dir_all(&tags).map_err(|error| broken("remember where a plugin came from", &error))?;
            let path = tags.join(file_name(&format!("{}:{tag}", reference.repository())));
            write_whole(&path, fetched.artifact.as_bytes())?;
        }
        let before = self.change(|plugins| {
            let before = plugins.iter().position(|plugin| plugin.name == installed.name).map(|at| plugins.remove(at));
            plugins.push(installed.clone());
            plugins.sort_by(|one, other| one.name.cmp(&other.name));
            before
        })?;
        Ok((installed, before))
    }

    /// Takes a name away; its content stays while another name leads to it.
    pub(crate) fn remove(&self, name: &str) -> Result<InstalledPlugin, Problem> {
        let removed = self.change(|plugins| {
            let at = plugins.iter().position(|plugin| plugin.name.as_str() == name)?;
            let removed = plugins.remove(at);
            let is_used = plugins.iter().any(|plugin| plugin.digest == removed.digest);
            Some((removed, is_used))
        })?;
        let Some((removed, is_used)) = removed else {
            return Err(Problem::new(ProblemKind::NotFound, format!("no plugin is installed as `{name}`"))
                .hint("`fairlead plugin list` shows what there is"));
        };
        if !is_used {
            let _ = fs::remove_file(self.component(&removed.digest));
            let _ = fs::remove_file(self.artifact(&removed.artifact));
        }
        Ok(removed)
    }

    /// Changes the list, one at a time, whoever else does: the daemon and the command line share it.
    fn change<T>(&self, change: impl FnOnce(&mut Vec<InstalledPlugin>) -> T) -> Result<T, Problem> {
        fs::create_dir_all(&self.directory).map_err(|error| broken("make room for plugins", &error))?;
        let lock = File::create(self.directory.join("installed.lock"))
            .map_err(|error| broken("lock the list of plugins", &error))?;
        rustix::fs::flock(&lock, FlockOperation::LockExclusive)
            .map_err(|error| broken("lock the list of plugins", &error.into()))?;
        let mut plugins = self.all()?;
        let changed = change(&mut plugins);
        let text = serde_json::to_vec_pretty(&List { plugins }).unwrap_or_default();
        write_whole(&self.list_file(), &text)?;
        Ok(changed)
    }
}

/// Whether a file that is named by a digest holds what has it.
pub(crate) fn genuine(file: &Path, plugin: &Plugin) -> Result<(), Problem> {
    let named = file.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.strip_prefix("sha256-"));
    let found = plugin.digest().to_string();
    match named {
        Some(hex) if hex.len() == 64 && found != format!("sha256:{hex}") => {
            let detail = format!("`{}` was changed: it is {found} now", file.display());
            Err(Problem::new(ProblemKind::Invalid, detail).hint("remove the plugin and install it again"))
        }
        _ => Ok(()),
    }
}

/// The layer with the component. The first, as other tools put it and look for it.
fn component_of<'a>(reference: &ImageReference, manifest: &'a Manifest) -> Result<&'a Descriptor, Problem> {
    let invalid = |detail: String, hint: &str| Problem::new(ProblemKind::Invalid, detail).hint(hint.to_owned());
    let layer = manifest.layers.first().filter(|layer| layer.media_type == media_types::WASM);
    let Some(layer) = layer.filter(|_| !manifest.is_index()) else {
        let is = manifest.config.as_ref().map_or("something else", |config| config.media_type.as_str());
        return Err(invalid(
            format!("`{reference}` is no Wasm artifact, but {is}"),
            "an image of a server is run with `fairlead run`; a plugin is pushed with `fairlead plugin push`",
        ));
    };
    if layer.size > INSTALLED_BYTES_MAX {
        return Err(invalid(
            format!("`{reference}` has {} bytes, at most {INSTALLED_BYTES_MAX} are taken", layer.size),
            "strip the component, or build it with optimisation for size",
        ));
    }
    Ok(layer)
}

/// A file name for any text.
fn file_name(text: &str) -> String {
    digest_of(text.as_bytes()).replace(':', "-")
}

/// All of it or nothing, whenever the machine stops.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), Problem> {
    let write = || {
        let mut scratch = tempfile::NamedTempFile::new_in(path.parent().unwrap_or(path))?;
        scratch.write_all(bytes)?;
        scratch.as_file().sync_all()?;
        scratch.persist(path).map_err(|error| error.error).map(drop)
    };
    write().map_err(|error: std::io::Error| broken(&format!("write `{}`", path.display()), &error))
}

fn broken(doing: &str, error: &std::io::Error) -> Problem {
    Problem::new(ProblemKind::Internal, format!("{doing}: {error}"))
}

/// An answer of a registry, for a person.
pub(crate) fn told(reference: &ImageReference, error: &RegistryError) -> Problem {
    let kind = match error {
        RegistryError::NotFound { .. } => ProblemKind::NotFound,
        RegistryError::Denied { .. } | RegistryError::Credentials(_) => ProblemKind::Forbidden,
        RegistryError::Unreachable { .. } | RegistryError::RateLimited { .. } => ProblemKind::Unavailable,
        _ => ProblemKind::Invalid,
    };
    Problem::new(kind, format!("plugin `{reference}`: {}", text::chain(error))).hint(error.hint())
}
