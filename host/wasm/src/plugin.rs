//! Plugins that are loaded: read, audited, compiled or found compiled, linked, and asked who they are.
//!
//! Everything that can be wrong with a file comes out here, in a sentence with a remedy, and not at the first request. A
//! plugin is known by the digest of its bytes: loading the same bytes twice, from wherever, gives the same plugin, and two
//! who load it at once wait for one compilation.

use std::collections::HashMap;
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use fairlead_core::plugin::{Manifest, PluginKind};
use jsonschema::Validator;
use parking_lot::Mutex;
use tokio::sync::Mutex as AsyncMutex;
use wasmtime::component::Component;

use crate::artifact::Digest;
use crate::audit::{self, Audit, AuditError, ComponentKind, WIT_VERSION};
use crate::compile::CompileError;
use crate::host::PluginHost;
use crate::limits::{COMPONENT_BYTES_MAX, PLUGINS_REMEMBERED};
use crate::v0_1::{Described, ManifestError, Prepared, PreparedPolicy, PreparedSource};

/// A plugin, ready to be attached.
pub struct Plugin {
    manifest: Manifest,
    validator: Validator,
    digest: Digest,
    size: u64,
    imports: Vec<String>,
    origin: Origin,
    described: Described,
    /// Middleware only.
    prepared: Option<Arc<Prepared>>,
    /// Update policies only.
    policy: Option<Arc<PreparedPolicy>>,
    /// Registry sources only.
    source: Option<Arc<PreparedSource>>,
}

/// Where the code of a plugin came from, and how long that took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Compiled now.
    Compiled(Duration),
    /// Compiled by an earlier start.
    Cached(Duration),
}

/// Why a file is no plugin.
#[derive(Debug, thiserror::Error)]
#[error("`{}`", path.display())]
pub struct LoadError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong.
    #[source]
    pub reason: LoadErrorKind,
}

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
pub enum LoadErrorKind {
    /// It cannot be read.
    #[error("cannot be read")]
    Read(#[source] std::io::Error),
    /// It is too large.
    #[error("has {bytes} bytes, at most {COMPONENT_BYTES_MAX} are read")]
    TooLarge {
        /// Its size.
        bytes: u64,
    },
    /// It is not what it should be.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// It does not compile.
    #[error("cannot be compiled")]
    Compile(#[from] CompileError),
    /// Its imports or exports have other types than the contract.
    #[error("does not fit the contract {WIT_VERSION}: {0}")]
    Link(String),
    /// Its manifest is missing or wrong.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
}

impl LoadError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match &self.reason {
            LoadErrorKind::Audit(error) => Some(error.hint()),
            LoadErrorKind::TooLarge { .. } => Some("strip the component, or build it with optimisation for size"),
            LoadErrorKind::Compile(_) | LoadErrorKind::Link(_) => Some(
                "build the plugin anew against the WIT of this host; components have no threads, no 64-bit memory and no async here",
            ),
            LoadErrorKind::Manifest(ManifestError::Field { .. }) => Some("correct the manifest of the plugin"),
            LoadErrorKind::Manifest(ManifestError::Asked(_)) => {
                Some("`describe` must return without calling anything that it imports")
            }
            LoadErrorKind::Read(_) => None,
        }
    }
}

// === impl Plugin ===

impl Plugin {
    /// What it says of itself.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// What it is: the digest of its bytes.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Its size in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Names of the interfaces that it imports, sorted.
    #[must_use]
    pub fn imports(&self) -> &[String] {
        &self.imports
    }

    /// The version of the contract by which it is served.
    #[must_use]
    pub fn wit_version(&self) -> &'static str {
        WIT_VERSION
    }

    /// Where its code came from.
    #[must_use]
    pub fn origin(&self) -> Origin {
        self.origin
    }

    pub(crate) fn validator(&self) -> &Validator {
        &self.validator
    }

    pub(crate) fn described(&self) -> &Described {
        &self.described
    }

    pub(crate) fn policy(&self) -> Option<&Arc<PreparedPolicy>> {
        self.policy.as_ref()
    }

    pub(crate) fn source(&self) -> Option<&Arc<PreparedSource>> {
        self.source.as_ref()
    }

    pub(crate) fn prepared(&self) -> Option<&Arc<Prepared>> {
        self.prepared.as_ref()
    }
}

impl fmt::Debug for Plugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plugin")
            .field("name", &self.manifest.name)
            .field("version", &self.manifest.version)
            .field("digest", &self.digest)
            .finish_non_exhaustive()
    }
}

/// A component with its code.
pub(crate) struct Compiled {
    pub(crate) component: Component,
    pub(crate) origin: Origin,
}

/// Plugins that are loaded or being loaded.
#[derive(Default)]
pub(crate) struct Loaded(Mutex<HashMap<Digest, Arc<AsyncMutex<Weak<Plugin>>>>>);

impl Loaded {
    fn place(&self, digest: Digest) -> Arc<AsyncMutex<Weak<Plugin>>> {
        let mut known = self.0.lock();
        if known.len() >= PLUGINS_REMEMBERED {
            // A place that is held by nobody else and leads to nothing is only a memory.
            known.retain(|_, place| {
                Arc::strong_count(place) > 1 || place.try_lock().is_ok_and(|plugin| plugin.strong_count() > 0)
            });
        }
        Arc::clone(known.entry(digest).or_default())
    }
}

pub(crate) async fn load(host: &PluginHost, path: &Path) -> Result<Arc<Plugin>, LoadErrorKind> {
    let (bytes, digest) = read(path).await?;
    let place = host.loaded().place(digest);
    let mut place = place.lock().await;
    if let Some(plugin) = place.upgrade() {
        return Ok(plugin);
    }
    let plugin = Arc::new(make(host, bytes, digest).await?);
    *place = Arc::downgrade(&plugin);
    Ok(plugin)
}

/// Reads a file and what it is. Both take their time for large files, so not on a thread that serves.
pub(crate) async fn read(path: &Path) -> Result<(Vec<u8>, Digest), LoadErrorKind> {
    let path = path.to_path_buf();
    let reading = tokio::task::spawn_blocking(move || {
        let file = std::fs::File::open(path).map_err(LoadErrorKind::Read)?;
        let mut bytes = Vec::new();
        file.take(COMPONENT_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(LoadErrorKind::Read)?;
        let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if size > COMPONENT_BYTES_MAX {
            return Err(LoadErrorKind::TooLarge { bytes: size });
        }
        let digest = Digest::of(&bytes);
        Ok((bytes, digest))
    });
    reading.await.map_err(|error| LoadErrorKind::Read(std::io::Error::other(error)))?
}

async fn make(host: &PluginHost, bytes: Vec<u8>, digest: Digest) -> Result<Plugin, LoadErrorKind> {
    let Audit { kind, imports } = audit::plugin(&bytes)?;
    let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    let engine = &host.engines().plugins;
    let Compiled { component, origin } = host.compiled(engine, &digest, bytes).await?;
    let link = |error: wasmtime::Error| LoadErrorKind::Link(format!("{error:#}"));
    let described = Described::new(engine, &component, audit::wants_wasi(&imports)).map_err(link)?;
    let prepared = match kind {
        ComponentKind::Plugin(PluginKind::Middleware) => {
            Some(Arc::new(Prepared::new(host.linker(), &component).map_err(link)?))
        }
        _ => None,
    };
    let policy = match kind {
        ComponentKind::Plugin(PluginKind::UpdatePolicy) => {
            Some(Arc::new(PreparedPolicy::new(engine, &component, audit::wants_wasi(&imports)).map_err(link)?))
        }
        _ => None,
    };
    let source = match kind {
        ComponentKind::Plugin(PluginKind::RegistrySource) => {
            Some(Arc::new(PreparedSource::new(host.linker(), &component).map_err(link)?))
        }
        _ => None,
    };
    let manifest = described.describe(&host.engines().ticker).await?;
    if ComponentKind::Plugin(manifest.kind) != kind {
        let reason = format!("says {}, but the component is {kind}", ComponentKind::Plugin(manifest.kind));
        return Err(ManifestError::Field { field: "kind", reason }.into());
    }
    let validator = validator(&manifest.config_schema)?;
    Ok(Plugin { manifest, validator, digest, size, imports, origin, described, prepared, policy, source })
}

/// References to anywhere else are not followed: a schema must not make the host read a file or call out.
fn validator(schema: &serde_json::Value) -> Result<Validator, ManifestError> {
    jsonschema::draft202012::new(schema)
        .map_err(|error| ManifestError::Field { field: "config-schema", reason: format!("is no JSON Schema: {error}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_that_leads_elsewhere_is_refused() {
        for elsewhere in ["https://example.test/schema.json", "file:///etc/passwd"] {
            let schema = serde_json::json!({ "$ref": elsewhere });
            assert!(validator(&schema).is_err(), "{elsewhere}");
        }
        assert!(validator(&serde_json::json!({ "type": "object" })).is_ok());
    }
}
