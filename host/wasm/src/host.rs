//! The plugin host: what loads plugins, attaches them, and keeps what they share.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Instant;

use fairlead_core::clock::Clock;
use fairlead_core::dial::Dialer;
use fairlead_core::kv::{KvScope, KvStore};
use fairlead_core::logs::LogSink;
use fairlead_core::middleware::Middleware;
use fairlead_core::registry::RegistrySource;
use fairlead_core::secret::SecretSource;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use wasmtime::Engine;
use wasmtime::component::{Component, Linker};

use crate::artifact::{Cache, CacheError, Digest};
use crate::attach::{self, AttachError, Attachment};
use crate::compile::{CompileError, Compiler};
use crate::engine::{EngineError, Engines};
use crate::limits::{COMPILES_AT_ONCE, INSTANCES_MAX, TENANT_INSTANCES_MAX};
use crate::metrics::Series;
use crate::owner::{CountsSnapshot, Services};
use crate::plugin::{self, Compiled, LoadError, Loaded, Origin, Plugin};
use crate::policy;
use crate::pool::Pool;
use crate::slots::Slots;
use crate::source::{self, SourceAttachment};
use crate::state::State;
use crate::v0_1;

/// What a host is made of.
pub struct PluginHostConfig {
    /// Where compiled components are kept; closed to everybody but this user.
    pub cache_dir: PathBuf,
    /// State of plugins.
    pub kv: Arc<dyn KvStore>,
    /// Where components are compiled.
    pub compiler: Compiler,
    /// Where granted secrets come from; without it every secret is unavailable.
    pub secrets: Option<Arc<dyn SecretSource>>,
    /// Where the words of plugins go besides the trace of the host.
    pub logs: Option<Arc<dyn LogSink>>,
    /// How granted hosts are reached; without it nobody is called.
    pub dialer: Option<Arc<dyn Dialer>>,
    /// What plugins see as the time of day.
    pub clock: Arc<dyn Clock>,
}

impl PluginHostConfig {
    /// Compiles in this process, has no secrets, calls nobody, and takes the time of this machine.
    #[must_use]
    pub fn new(cache_dir: PathBuf, kv: Arc<dyn KvStore>) -> Self {
        let clock = Arc::new(ClockOfMachine);
        Self { cache_dir, kv, compiler: Compiler::default(), secrets: None, logs: None, dialer: None, clock }
    }
}

impl fmt::Debug for PluginHostConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PluginHostConfig")
            .field("cache_dir", &self.cache_dir)
            .field("compiler", &self.compiler)
            .finish_non_exhaustive()
    }
}

struct ClockOfMachine;

impl Clock for ClockOfMachine {
    fn now(&self) -> jiff::Timestamp {
        jiff::Timestamp::now()
    }
}

/// Why there is no host.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The cache cannot be used.
    #[error("open the cache of compiled plugins")]
    Cache(#[source] CacheError),
    /// No engine.
    #[error("start the plugin engine")]
    Engine(#[source] EngineError),
    /// The contract cannot be linked: a fault of this program.
    #[error("link the contract: {0}")]
    Link(String),
}

/// Loads and runs plugins.
pub struct PluginHost {
    engines: Arc<Engines>,
    cache: Arc<Cache>,
    compiler: Compiler,
    compiling: Semaphore,
    linker: Linker<State>,
    loaded: Loaded,
    services: Services,
    slots: Arc<Slots>,
    pools: Mutex<Vec<Weak<Pool>>>,
}

impl PluginHost {
    /// Starts a host.
    ///
    /// # Errors
    /// The cache directory cannot be made private, or the engine does not start.
    pub fn new(config: PluginHostConfig) -> Result<Arc<Self>, HostError> {
        let PluginHostConfig { cache_dir, kv, compiler, secrets, logs, dialer, clock } = config;
        let cache = Cache::open(&cache_dir).map_err(HostError::Cache)?;
        let engines = Engines::new().map_err(HostError::Engine)?;
        let linker = v0_1::linker(&engines.plugins).map_err(|error| HostError::Link(format!("{error:#}")))?;
        Ok(Arc::new(Self {
            engines: Arc::new(engines),
            cache: Arc::new(cache),
            compiler,
            compiling: Semaphore::new(COMPILES_AT_ONCE),
            linker,
            loaded: Loaded::default(),
            services: Services { kv, secrets, logs, dialer, clock },
            slots: Arc::new(Slots::new(INSTANCES_MAX, TENANT_INSTANCES_MAX)),
            pools: Mutex::new(Vec::new()),
        }))
    }

    /// Loads a plugin. The same bytes give the same plugin as long as somebody holds it.
    ///
    /// # Errors
    /// The file cannot be read, is not a plugin for this host, does not compile, or says of itself what cannot be.
    pub async fn load(&self, path: &Path) -> Result<Arc<Plugin>, LoadError> {
        plugin::load(self, path).await.map_err(|reason| LoadError { path: path.to_path_buf(), reason })
    }

    /// Puts a plugin to use: checks configuration and grants, and configures a first instance.
    ///
    /// # Errors
    /// The plugin is no middleware, the configuration or a limit is wrong, a grant is missing, or the instance fails.
    pub async fn attach(
        &self,
        plugin: &Arc<Plugin>,
        attachment: Attachment,
    ) -> Result<Arc<dyn Middleware>, AttachError> {
        let (binding, pool) = attach::attach(self, plugin, attachment).await?;
        let mut pools = self.pools.lock();
        pools.retain(|known| known.strong_count() > 0);
        pools.push(Arc::downgrade(&pool));
        Ok(binding)
    }

    /// Makes an update policy of a plugin and a configuration. It decides on a fresh instance each time; whatever goes wrong
    /// then is a hold that says so.
    ///
    /// # Errors
    /// The plugin is of another kind, or its configuration is wrong.
    pub async fn policy(
        self: &Arc<Self>,
        plugin: &Arc<Plugin>,
        config: &serde_json::Value,
    ) -> Result<Arc<dyn fairlead_core::freshness::UpdatePolicy>, AttachError> {
        policy::policy(self, plugin, config).await
    }

    /// Makes a registry source of a plugin, a configuration and grants. Each synchronisation has an instance of its own.
    ///
    /// # Errors
    /// The plugin is of another kind, its configuration is wrong, or a grant is missing.
    pub async fn source(
        self: &Arc<Self>,
        plugin: &Arc<Plugin>,
        attachment: SourceAttachment,
    ) -> Result<Arc<dyn RegistrySource>, AttachError> {
        source::source(self, plugin, attachment).await
    }

    /// Checks a configuration without using it: warnings of the plugin.
    ///
    /// # Errors
    /// The configuration misses the schema, or the plugin refuses it.
    pub async fn check(&self, plugin: &Plugin, config: &serde_json::Value) -> Result<Vec<String>, AttachError> {
        attach::check_config(self, plugin, config).await.map(|(_, warnings)| warnings)
    }

    /// Gives back what instances hold that are due to be replaced and that nobody uses. To be called now and then.
    pub fn retire_aged(&self) {
        let pools: Vec<_> = self.pools.lock().iter().filter_map(Weak::upgrade).collect();
        pools.iter().for_each(|pool| pool.retire_aged());
    }

    /// What every attachment that is in use counted and reported.
    #[must_use]
    pub fn metrics(&self) -> Vec<AttachmentMetrics> {
        let pools: Vec<_> = self.pools.lock().iter().filter_map(Weak::upgrade).collect();
        pools.iter().map(|pool| AttachmentMetrics::of(pool)).collect()
    }

    pub(crate) fn engines(&self) -> &Arc<Engines> {
        &self.engines
    }

    pub(crate) fn linker(&self) -> &Linker<State> {
        &self.linker
    }

    pub(crate) fn loaded(&self) -> &Loaded {
        &self.loaded
    }

    pub(crate) fn services(&self) -> &Services {
        &self.services
    }

    pub(crate) fn slots(&self) -> &Arc<Slots> {
        &self.slots
    }

    /// The code of a component, from the cache or the compiler.
    pub(crate) async fn compiled(
        &self,
        engine: &Engine,
        digest: &Digest,
        component: Vec<u8>,
    ) -> Result<Compiled, CompileError> {
        let started = Instant::now();
        if let Some(component) = self.cached(engine, digest).await {
            return Ok(Compiled { component, origin: Origin::Cached(started.elapsed()) });
        }
        // Never closed, so there is always a turn.
        let _turn = self.compiling.acquire().await;
        // Somebody else may have compiled it while we waited.
        if let Some(component) = self.cached(engine, digest).await {
            return Ok(Compiled { component, origin: Origin::Cached(started.elapsed()) });
        }
        let code = self.compiler.compile(engine, component, self.cache.directory()).await?;
        let (cache, engine, key) = (Arc::clone(&self.cache), engine.clone(), *digest);
        let kept = spawn_blocking(move || cache.put(&engine, &key, &code)).await;
        let component = match kept {
            Ok(Ok(component)) => component,
            Ok(Err(error)) => return Err(CompileError::Component(format!("{error:#}"))),
            Err(error) => return Err(CompileError::Component(error.to_string())),
        };
        tracing::info!(component = %digest, elapsed = ?started.elapsed(), "compiled");
        Ok(Compiled { component, origin: Origin::Compiled(started.elapsed()) })
    }

    /// Code that was compiled earlier. Reading and checking that of a large guest takes tens of milliseconds.
    async fn cached(&self, engine: &Engine, digest: &Digest) -> Option<Component> {
        let (cache, engine, digest) = (Arc::clone(&self.cache), engine.clone(), *digest);
        spawn_blocking(move || cache.get(&engine, &digest)).await.ok().flatten()
    }
}

impl fmt::Debug for PluginHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PluginHost").field("compiler", &self.compiler).finish_non_exhaustive()
    }
}

/// What is known of one attachment.
#[derive(Debug, Clone)]
pub struct AttachmentMetrics {
    /// Tenant, place and name.
    pub scope: KvScope,
    /// Name of the plugin.
    pub plugin: String,
    /// What the host counted.
    pub counts: CountsSnapshot,
    /// Warm instances that wait now.
    pub instances_idle: usize,
    /// What the plugin reported.
    pub series: Vec<Series>,
    /// Reports that were over the limits.
    pub series_dropped: u64,
    /// Log records that were over the limits.
    pub records_dropped: u64,
}

impl AttachmentMetrics {
    fn of(pool: &Pool) -> Self {
        let owner = pool.owner();
        let (series, series_dropped) = owner.metrics.snapshot();
        Self {
            scope: owner.scope.clone(),
            plugin: owner.plugin.clone(),
            counts: owner.counts.snapshot(),
            instances_idle: pool.idle(),
            series,
            series_dropped,
            records_dropped: owner.gate.dropped(),
        }
    }
}
