//! The parts of a data plane in a pod: plugins by their digest, the chain, the way to the server, the proxy.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use fairlead_core::BoxFuture;
use fairlead_core::chain::Chain;
use fairlead_core::clock::Clock;
use fairlead_core::cluster::{SessionProvider, SessionStorage};
use fairlead_core::era::Forgetful;
use fairlead_core::logs::{LogLine, LogSink};
use fairlead_core::name::{PluginName, ServerKey};
use fairlead_core::pod::{PodConfig, PodLink, PodUpstream};
use fairlead_core::problem::{Problem, ProblemKind};
use fairlead_core::secret::SecretValue;
use fairlead_core::server::Isolation;
use fairlead_core::session::SessionStore;
use fairlead_core::store::{PluginRecord, PluginSpec};
use fairlead_core::workload::{StdioConnection, Unavailable, Upstream};
use fairlead_dial::NetDialer;
use fairlead_oci::InsecureRegistries;
use fairlead_operator::attach::{Container, OneProcess};
use fairlead_proxy::{NameService, Proxy, ProxyConfig, Remote, Replicas, Route, Wire};
use fairlead_sessions::RedisSessions;
use fairlead_wasm::{Compiler, PluginHost, PluginHostConfig};
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use super::PodError;
use super::secrets::PodSecrets;
use crate::app::chain::{Bindings, Builder};
use crate::app::plugins::Plugins;
use crate::app::shelf::Shelf;
use crate::app::tenants::Rules;
use crate::app::wire::{wire_of, wire_of_remote};
use crate::app::{MachineClock, registries};
use crate::config::Settings;
use crate::limits::{KV_SWEEP, POD_ACQUAINTANCE_PAUSE, SERVER_START_MAX};
use crate::store::{MemoryKv, Scratch};
use crate::telemetry::{Exporters, PassingLog};
use crate::text;

/// A data plane of one server.
pub(super) struct Plane {
    key: ServerKey,
    proxy: Arc<Proxy>,
    /// The server can be asked who it is without anybody losing it by that.
    is_asked: bool,
    host: Arc<PluginHost>,
    scratch: Scratch,
}

/// What a pod was given beside its configuration.
pub(super) struct Given {
    /// Secrets, each at `<secret>/<key>`.
    pub(super) secrets: Option<PathBuf>,
    /// The password of the Redis that keeps sessions.
    pub(super) password: Option<SecretValue>,
    /// The authorities by which it is known, in PEM.
    pub(super) authorities: Option<Vec<u8>>,
}

/// Which server a route leads to, and how.
struct Way {
    wire: Wire,
    upstream: Arc<dyn Upstream>,
    remote: Option<Arc<Remote>>,
    replicas: Replicas,
}

impl Plane {
    /// Puts everything together, and publishes the server.
    pub(super) async fn build(
        settings: &Settings,
        config: PodConfig,
        Given { secrets, password, authorities }: Given,
        drain: Duration,
        exporters: Option<&Exporters>,
    ) -> Result<Self, PodError> {
        let PodConfig { server: key, upstream, isolation, bridge, chain, session_storage, .. } = config;
        let clock: Arc<dyn Clock> = Arc::new(MachineClock);
        let secrets = PodSecrets::below(secrets);
        let scratch = Scratch::open(Arc::clone(&clock))?;
        let program = std::env::current_exe();
        let program = program.map_err(|source| PodError::Io { what: "find this program", source })?;
        let host = PluginHost::new(PluginHostConfig {
            secrets: Some(Arc::new(secrets.clone())),
            compiler: Compiler::Child { program },
            dialer: Some(Arc::new(NetDialer::new())),
            clock: Arc::clone(&clock),
            ..PluginHostConfig::new(settings.directories.cache.join("components"), Arc::clone(scratch.kv()) as _)
        })?;
        let plugins = Plugins { host: Arc::clone(&host), shelf: Shelf::new(settings) };
        let chain = chained(&plugins, &key, chain, &*clock).await.map_err(PodError::Chain)?;
        let is_asked = !matches!(upstream, PodUpstream::Attach { .. });
        let way = way(settings, &key, upstream, isolation, secrets).await?;
        let sessions = shared(&key, session_storage.as_ref(), password, authorities)?;
        let collected = exporters.map(Exporters::telemetry);
        let proxy = Proxy::watched(
            ProxyConfig {
                allowed_origins: settings.allowed_origins.clone(),
                allowed_hosts: settings.allowed_hosts.clone(),
                drain_max: drain,
                sole: Some(key.clone()),
                ..ProxyConfig::default()
            },
            Some(Arc::new(PassingLog::new(settings.proxy_log, Arc::new(Traced), collected))),
        );
        proxy.publish(Route {
            key: key.clone(),
            wire: way.wire,
            upstream: way.upstream,
            chain,
            eras: Arc::new(Forgetful::default()),
            remote: way.remote,
            bridge,
            replicas: Replicas { sessions, ..way.replicas },
        });
        Ok(Self { key, proxy, is_asked, host, scratch })
    }

    pub(super) fn proxy(&self) -> Arc<Proxy> {
        Arc::clone(&self.proxy)
    }

    /// Asks the server who it is until it has said so once: which era it speaks, and over which transport where that was left
    /// open. Clients do not wait for it.
    pub(super) fn get_acquainted(&self, stop: CancellationToken) -> impl Future<Output = ()> + use<> {
        let (proxy, key, is_asked) = (self.proxy(), self.key.clone(), self.is_asked);
        let asking = async move {
            while is_asked && let Err(error) = proxy.probe(&key, SERVER_START_MAX).await {
                tracing::debug!(error = text::chain(&error), "the server does not answer yet");
                sleep(POD_ACQUAINTANCE_PAUSE).await;
            }
        };
        async move {
            stop.run_until_cancelled(asking).await;
        }
    }

    /// Frees state of plugins whose life has ended, and what plugins hold that nobody calls.
    pub(super) fn tidy(&self, stop: CancellationToken) -> impl Future<Output = ()> + use<> {
        tidy(Arc::clone(&self.host), Arc::clone(self.scratch.kv()), stop)
    }
}

async fn tidy(host: Arc<PluginHost>, kv: Arc<MemoryKv>, stop: CancellationToken) {
    let mut timer = interval(KV_SWEEP);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while stop.run_until_cancelled(timer.tick()).await.is_some() {
        kv.sweep();
        host.retire_aged();
        let kv = Arc::clone(&kv);
        // What changed is marked until it is written, although nobody will read it again.
        if let Ok(Err(error)) = tokio::task::spawn_blocking(move || kv.write_behind()).await {
            tracing::debug!(%error, "state of plugins was not written");
        }
    }
}

/// The chain as it was told, each plugin what its digest says.
async fn chained(
    plugins: &Plugins,
    key: &ServerKey,
    told: Vec<PodLink>,
    clock: &dyn Clock,
) -> Result<Arc<Chain>, Problem> {
    let client = registries(InsecureRegistries::default());
    let mut pinned = BTreeMap::new();
    for link in &told {
        let invalid = |error: String| Problem::new(ProblemKind::Invalid, error);
        let name = PluginName::new(&link.attachment.plugin).map_err(|error| invalid(error.to_string()))?;
        let spec = PluginSpec { source: link.source.clone(), digest: link.digest.clone() };
        let file = plugins.provide(&client, &spec).await?;
        let record = PluginRecord { name: name.clone(), labels: BTreeMap::new(), spec, file, created: clock.now() };
        pinned.insert(name, record);
    }
    let rules = Rules { plugins: pinned, ..Rules::default() };
    let told = told.into_iter().map(|link| (link.level, link.attachment));
    Builder::new(plugins, &Bindings::default(), &rules).build_as_told(key, told).await
}

/// How the server is reached.
async fn way(
    settings: &Settings,
    key: &ServerKey,
    upstream: PodUpstream,
    isolation: Isolation,
    secrets: PodSecrets,
) -> Result<Way, PodError> {
    match upstream {
        PodUpstream::Service { origin, transport } => {
            let path =
                transport.path().ok_or(PodError::Upstream("a server over stdio is attached to: it has no origin"))?;
            let upstream = Arc::new(Fixed { url: format!("{origin}{path}") });
            // The name stands for all pods of the server.
            let replicas = Replicas { members: Some(Arc::new(NameService)), ..Replicas::default() };
            Ok(Way { wire: wire_of(&transport, isolation), upstream, remote: None, replicas })
        }
        PodUpstream::Remote(source) => {
            let upstream = Arc::new(Fixed { url: source.url.clone() });
            let (wire, proxies, tenant) =
                (wire_of_remote(source.transport, isolation), settings.proxies.clone(), key.tenant.clone());
            // It reads files.
            let made = tokio::task::spawn_blocking(move || Remote::new(&source, &proxies, &tenant, Arc::new(secrets)));
            let broke_off =
                |error| PodError::Io { what: "make the server reachable", source: std::io::Error::other(error) };
            let remote = made.await.map_err(broke_off)??;
            Ok(Way { wire, upstream, remote: Some(Arc::new(remote)), replicas: Replicas::default() })
        }
        PodUpstream::Attach { namespace, pod, container } => {
            let container = Container::find(&namespace, pod, container).await?;
            let upstream = Arc::new(OneProcess::new(Arc::new(container)));
            // There is one process, whatever was asked for.
            let wire = Wire::Stdio { isolation: Isolation::Shared };
            Ok(Way { wire, upstream, remote: None, replicas: Replicas::default() })
        }
    }
}

/// Sessions that other replicas go on with, where that is asked for.
fn shared(
    key: &ServerKey,
    storage: Option<&SessionStorage>,
    password: Option<SecretValue>,
    authorities: Option<Vec<u8>>,
) -> Result<Option<Arc<dyn SessionStore>>, PodError> {
    let Some(storage) = storage.filter(|storage| storage.provider == SessionProvider::Redis) else { return Ok(None) };
    Ok(Some(Arc::new(RedisSessions::new(key, storage, password, authorities)?)))
}

/// A server at one URL, which somebody else keeps running.
pub(in crate::app) struct Fixed {
    pub(in crate::app) url: String,
}

impl Upstream for Fixed {
    fn open_stdio(&self) -> BoxFuture<'_, Result<StdioConnection, Unavailable>> {
        Box::pin(async { Err(Unavailable::Failed("it speaks HTTP".to_owned())) })
    }

    fn http_endpoint(&self) -> BoxFuture<'_, Result<String, Unavailable>> {
        Box::pin(async { Ok(self.url.clone()) })
    }
}

/// Lines about a server go where all lines of a pod go.
struct Traced;

impl LogSink for Traced {
    fn write(&self, line: LogLine<'_>) {
        tracing::info!(fairlead.server.name = %line.server, "{}", line.text);
    }
}
