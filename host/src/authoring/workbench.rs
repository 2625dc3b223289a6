//! The real host, for one command: the engine, the state and the checks of the daemon, with a clock that can be set and
//! nothing that outlives the command but compiled code.
//!
//! Everything that a plugin asks for is granted here: its state is thrown away, and nothing leaves this process.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use fairlead_core::clock::Clock;
use fairlead_core::freshness::UpdatePolicy;
use fairlead_core::kv::{KvScope, KvStore as _};
use fairlead_core::logs::{LogLine, LogSink};
use fairlead_core::middleware::Middleware;
use fairlead_core::name::{AttachmentName, NameError, TenantName};
use fairlead_core::plugin::{AttachmentSpec, InstanceModel, PluginLimits};
use fairlead_core::registry::RegistrySource;
use fairlead_wasm::{
    AttachError, Attachment, AttachmentMetrics, Compiler, HostError, LoadError, Plugin, PluginHost, PluginHostConfig,
    SourceAttachment,
};
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::Value;

use crate::store::{MemoryKv, Scratch, ScratchError};

/// Name of every attachment here; they differ by their places.
const ATTACHMENT: &str = "workbench";

/// Why there is no host.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WorkbenchError {
    /// No place for what is thrown away.
    #[error(transparent)]
    Scratch(#[from] ScratchError),
    /// A fault of this program.
    #[error("name the attachment")]
    Name(#[source] NameError),
    /// No host.
    #[error(transparent)]
    Host(#[from] HostError),
}

/// A host for one command.
pub(crate) struct Workbench {
    host: Arc<PluginHost>,
    clock: Arc<SetClock>,
    heard: Arc<Heard>,
    name: AttachmentName,
    scratch: Scratch,
}

/// How a plugin is put to use.
#[derive(Debug, Clone)]
pub(crate) struct Setting {
    /// The tenant whose messages it sees.
    pub(crate) tenant: TenantName,
    /// What keeps its state apart from that of other attachments here.
    pub(crate) place: String,
    /// Its configuration.
    pub(crate) config: Value,
    /// How instances are kept.
    pub(crate) instances: InstanceModel,
    /// Bounds.
    pub(crate) limits: PluginLimits,
}

impl Workbench {
    /// A host that keeps compiled code in `cache`; without it, nothing is kept.
    ///
    /// # Errors
    /// A directory cannot be made, or the engine does not start.
    pub(crate) fn open(cache: Option<&Path>, compiler: Compiler) -> Result<Self, WorkbenchError> {
        let clock = Arc::new(SetClock::default());
        let scratch = Scratch::open(Arc::clone(&clock) as _)?;
        let heard = Arc::new(Heard::default());
        let cache: PathBuf = cache.map_or_else(|| scratch.directory().join("compiled"), Path::to_owned);
        let host = PluginHost::new(PluginHostConfig {
            compiler,
            logs: Some(Arc::clone(&heard) as _),
            clock: Arc::clone(&clock) as _,
            ..PluginHostConfig::new(cache, Arc::clone(scratch.kv()) as _)
        })?;
        let name = AttachmentName::new(ATTACHMENT).map_err(WorkbenchError::Name)?;
        Ok(Self { host, clock, heard, name, scratch })
    }

    /// Loads a plugin.
    ///
    /// # Errors
    /// It is none for this host.
    pub(crate) async fn load(&self, path: &Path) -> Result<Arc<Plugin>, LoadError> {
        self.host.load(path).await
    }

    /// Checks a configuration: warnings of the plugin.
    ///
    /// # Errors
    /// The configuration misses the schema, or the plugin refuses it.
    pub(crate) async fn check(&self, plugin: &Plugin, config: &Value) -> Result<Vec<String>, AttachError> {
        self.host.check(plugin, config).await
    }

    /// Puts a middleware to use, with all that it asks for.
    ///
    /// # Errors
    /// It is no middleware, or the configuration is wrong.
    pub(crate) async fn attach(
        &self,
        plugin: &Arc<Plugin>,
        setting: Setting,
    ) -> Result<Arc<dyn Middleware>, AttachError> {
        let spec = AttachmentSpec {
            config: setting.config,
            instances: setting.instances,
            limits: setting.limits,
            grants: plugin.manifest().capabilities.clone(),
            ..AttachmentSpec::new(self.name.clone(), plugin.manifest().name.clone())
        };
        self.host.attach(plugin, Attachment { tenant: setting.tenant, place: setting.place, spec }).await
    }

    /// Puts an update policy to use.
    ///
    /// # Errors
    /// It is none, or the configuration is wrong.
    pub(crate) async fn policy(
        &self,
        plugin: &Arc<Plugin>,
        config: &Value,
    ) -> Result<Arc<dyn UpdatePolicy>, AttachError> {
        self.host.policy(plugin, config).await
    }

    /// Puts a registry source to use, with all that it asks for; but it reaches nobody.
    ///
    /// # Errors
    /// It is none, or the configuration is wrong.
    pub(crate) async fn source(
        &self,
        plugin: &Arc<Plugin>,
        config: &Value,
    ) -> Result<Arc<dyn RegistrySource>, AttachError> {
        let attachment = SourceAttachment {
            tenant: TenantName::default(),
            name: self.name.clone(),
            config: config.clone(),
            grants: plugin.manifest().capabilities.clone(),
        };
        self.host.source(plugin, attachment).await
    }

    /// Sets the time that plugins see, or lets it be that of the machine again.
    pub(crate) fn set_time(&self, now: Option<Timestamp>) {
        *self.clock.0.lock() = now;
    }

    /// The state of one attachment.
    pub(crate) fn state(&self, tenant: &TenantName, place: &str) -> State<'_> {
        let scope = KvScope { tenant: tenant.clone(), place: place.to_owned(), attachment: self.name.clone() };
        State { kv: self.scratch.kv(), scope }
    }

    /// What plugins logged since this was asked last.
    pub(crate) fn heard(&self) -> Vec<String> {
        std::mem::take(&mut *self.heard.0.lock())
    }

    /// What the host counted of every attachment that is in use.
    pub(crate) fn metrics(&self) -> Vec<AttachmentMetrics> {
        self.host.metrics()
    }
}

/// The state of one attachment.
pub(crate) struct State<'a> {
    kv: &'a MemoryKv,
    scope: KvScope,
}

impl State<'_> {
    /// A value, as text.
    pub(crate) fn get(&self, key: &str) -> Option<String> {
        let entry = self.kv.get(&self.scope, key).ok().flatten()?;
        Some(String::from_utf8_lossy(&entry.value).into_owned())
    }

    /// Puts a value there.
    ///
    /// # Errors
    /// It is too large.
    pub(crate) fn set(&self, key: &str, value: &str) -> Result<(), String> {
        self.kv.set(&self.scope, key, value.as_bytes(), None).map(|_| ()).map_err(|error| error.to_string())
    }
}

/// The time of this machine, unless it was set.
#[derive(Default)]
struct SetClock(Mutex<Option<Timestamp>>);

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        self.0.lock().unwrap_or_else(Timestamp::now)
    }
}

/// Keeps what plugins log.
#[derive(Default)]
struct Heard(Mutex<Vec<String>>);

impl LogSink for Heard {
    fn write(&self, line: LogLine<'_>) {
        self.0.lock().push(line.text.to_owned());
    }
}
