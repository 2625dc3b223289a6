//! The composition root: the only place that names concrete adapters, and the life of the daemon from its first lock to its
//! last write.
//!
//! Order is everything here. The state is locked before it is opened, swept before anything is launched, and listened for
//! before anybody is told; and it ends from the outside in: no new requests, then no servers, then no state.

mod chain;
mod check;
mod clients;
pub(crate) mod containers;
mod eras;
mod freshness;
mod groups;
pub(crate) mod installed;
mod instance;
mod managed;
mod naming;
pub(crate) mod operations;
pub(crate) mod plugins;
mod remote;
mod secrets;
mod servers;
pub(crate) mod shelf;
mod tenants;
mod usage;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fairlead_control::Swept;
use fairlead_core::clock::Clock;
use fairlead_core::dial::Anywhere;
use fairlead_core::name::ServerKey;
use fairlead_core::problem::{Problem, ProblemKind};
use fairlead_core::status::Desired;
use fairlead_core::store::{Store as _, StoreError};
use fairlead_core::workload::WorkloadRuntime;
use fairlead_dial::NetDialer;
use fairlead_oci::{DockerCredentials, InsecureRegistries, OciClient, OciClientConfig};
use fairlead_proxy::{EnvironmentProxies, Proxy, ProxyConfig};
use fairlead_runtimes::{Elsewhere, ProcessRuntime};
use fairlead_wasm::{Compiler, HostError, PluginHost, PluginHostConfig, WasmWorkloads};
use futures_util::StreamExt as _;
use jiff::Timestamp;
use tokio::net::{TcpListener, UnixListener};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::api::types::{DaemonInfo, InstallPlugin, PluginInfo, PluginList};
use crate::api::{self, ListenError};
use crate::clients::Clients;
use crate::config::{Settings, variables};
use crate::hooks::Hooks;
use crate::limits::{
    API_DRAIN_MAX, CONTAINERS_SETTLE_MAX, DRAIN_MAX, KV_SWEEP, KV_WRITE_BEHIND, LOG_TAIL_LINES_DEFAULT,
    LOG_TAIL_LINES_MAX, OTLP_SEND_MAX, SERVE_AGAIN_PAUSE, SERVER_STOP_MAX, STARTS_AT_ONCE_MAX,
};
use crate::logs::{self, FileSink, Tail};
use crate::secrets::Providers;
use crate::store::{MemoryKv, OpenError, SledStore};
use crate::telemetry::{ExportError, Exporters, PassingLog, serve_metrics};
use containers::Containers;
use freshness::Freshness;
use installed::InstalledPlugin;
use instance::{Description, Lock, LockError};
use managed::{Body, Managed, Slots};
pub(crate) use naming::name_of;
use operations::Operations;
use plugins::Plugins;
use shelf::Shelf;
use tenants::Tenancy;

/// Why there is no daemon.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BuildError {
    /// Another daemon owns this state, or it cannot be locked.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The store does not open.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// A damaged store cannot be put aside.
    #[error("put the state store aside")]
    PutAside(#[source] io::Error),
    /// Records cannot be read.
    #[error("read the records of servers")]
    Records(#[from] StoreError),
    /// The API cannot be reached.
    #[error(transparent)]
    Api(#[from] ListenError),
    /// The data plane cannot be reached.
    #[error("listen on {address}")]
    Address {
        /// Where.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Metrics cannot be scraped.
    #[error("show metrics on {address}")]
    Metrics {
        /// Where.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The API cannot be reached over TCP.
    #[error("listen on {address} for the API")]
    ApiAddress {
        /// Where.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Traces and metrics cannot be sent.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// There are no plugins.
    #[error("start the plugin host")]
    Plugins(#[from] HostError),
    /// Something of the machine is missing.
    #[error("{what}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

impl BuildError {
    /// What to do about it.
    #[must_use]
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::Lock(LockError::Held { .. }) => {
                Some(format!("stop it with `fairlead shutdown`, or use another `{}`", variables::HOME.name))
            }
            Self::Store(error) => Some(error.hint()),
            Self::Api(error) => Some(error.hint().to_owned()),
            Self::Address { source, .. } if source.kind() == io::ErrorKind::AddrInUse => Some(format!(
                "another program has it; choose another with `fairlead serve --address` or `{}`",
                variables::ADDRESS.name
            )),
            Self::Address { .. } => {
                Some(format!("choose another with `fairlead serve --address` or `{}`", variables::ADDRESS.name))
            }
            Self::Metrics { .. } => Some(format!("choose another `{}`", variables::METRICS_ADDRESS.name)),
            Self::ApiAddress { .. } => {
                Some(format!("choose another with `fairlead serve --api-address` or `{}`", variables::API_ADDRESS.name))
            }
            _ => None,
        }
    }

    /// Whether another daemon is there already.
    #[must_use]
    pub(crate) fn is_already_running(&self) -> bool {
        matches!(self, Self::Lock(LockError::Held { .. }) | Self::Api(ListenError::Taken { .. }))
    }
}

/// The running daemon, as the API and the command line see it.
pub(crate) struct App {
    address: SocketAddr,
    info: DaemonInfo,
    clock: Arc<dyn Clock>,
    store: Arc<SledStore>,
    kv: Arc<MemoryKv>,
    logs: Arc<FileSink>,
    secrets: Arc<Providers>,
    clients: Clients,
    plugins: Plugins,
    registries: Arc<OciClient>,
    runtimes: Vec<Arc<dyn WorkloadRuntime>>,
    containers: Containers,
    operations: Arc<Operations>,
    proxy: Arc<Proxy>,
    /// Where is remembered which eras servers speak.
    eras: PathBuf,
    proxies: EnvironmentProxies,
    slots: Arc<Slots>,
    tenancy: Tenancy,
    /// Where components are kept that documents pin.
    pinned: PathBuf,
    freshness: Freshness,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App").field("info", &self.info).finish_non_exhaustive()
    }
}

/// A daemon that is ready to run: [`Daemon::run`] it.
#[derive(Debug)]
pub(crate) struct Daemon {
    app: Arc<App>,
    listener: TcpListener,
    socket: UnixListener,
    exporters: Option<Exporters>,
    /// For the API over TCP, when that was asked for.
    api_listener: Option<TcpListener>,
    settings: Settings,
    // Released last, by the operating system if need be.
    _lock: Lock,
}

/// Takes the state and puts everything together. Nothing is served yet.
///
/// # Errors
/// Something that the daemon cannot do without is missing; nothing is left behind.
pub(crate) async fn build(settings: Settings, recover: bool) -> Result<Daemon, BuildError> {
    let directories = &settings.directories;
    let clock: Arc<dyn Clock> = Arc::new(MachineClock);
    let lock = Lock::take(&directories.lock()).await?;
    let store = open_store(&directories.store(), recover, &clock)?;
    let tenancy = Tenancy::load(&*store).await?;
    let kv = store.kv();
    let sink = FileSink::new(directories.logs(), Arc::clone(&clock));
    let logs = Arc::new(sink.map_err(|source| BuildError::Io { what: "start the thread that writes logs", source })?);
    let program = std::env::current_exe().map_err(|source| BuildError::Io { what: "find this program", source })?;
    let secrets = Arc::new(Providers::new(&settings, Arc::clone(&clock)));
    let host = PluginHost::new(PluginHostConfig {
        secrets: Some(Arc::clone(&secrets) as _),
        compiler: Compiler::Child { program },
        logs: Some(Arc::clone(&logs) as _),
        dialer: Some(Arc::new(NetDialer::new())),
        clock: Arc::clone(&clock),
        ..PluginHostConfig::new(directories.cache.join("components"), Arc::clone(&kv) as _)
    })?;
    let operations = Operations::new(Arc::clone(&clock));
    let containers = Containers::new(&settings, Arc::clone(&operations))
        .map_err(|source| BuildError::Io { what: "mark the containers of this home", source })?;
    let runtimes: Vec<Arc<dyn WorkloadRuntime>> = vec![
        Arc::new(ProcessRuntime::new()),
        Arc::new(WasmWorkloads::new(Arc::clone(&host))),
        Arc::clone(containers.runtime()) as _,
        Arc::new(Elsewhere),
    ];
    let Swept { ended, kept } = fairlead_control::sweep(&*store, &runtimes).await?;
    if ended + kept > 0 {
        tracing::info!(ended, kept, "workloads of an earlier daemon were found");
    }
    let socket = api::listen(&directories.socket()).await?;
    let bind = TcpListener::bind(settings.address).await;
    let listener = bind.map_err(|source| BuildError::Address { address: settings.address, source })?;
    let address = listener.local_addr().map_err(|source| BuildError::Address { address: settings.address, source })?;
    let exporters = Exporters::build(&settings.observability)?;
    let api_listener = match settings.api_address {
        None => None,
        Some(wanted) => Some(listen_for_tokens(wanted).await?),
    };
    let registries = Arc::new(registries(InsecureRegistries::default()));
    let freshness = Freshness::new(
        settings.update_interval,
        directories.data.join("server-components"),
        Arc::clone(&registries),
        Arc::clone(&clock),
        exporters.as_ref().map(Exporters::updates),
        Hooks::new(settings.hooks.clone(), Arc::new(NetDialer::new()), Arc::clone(&secrets) as _, Arc::clone(&clock)),
    );
    let collected = exporters.as_ref().map(Exporters::telemetry);
    let passing = Arc::new(PassingLog::new(settings.proxy_log, Arc::clone(&logs) as _, collected));
    let app = Arc::new(App {
        address,
        info: DaemonInfo {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            address: address.to_string(),
            socket: directories.socket().display().to_string(),
            api_address: api_listener.as_ref().map(|(_, address)| address.to_string()),
        },
        clock,
        store,
        kv,
        logs,
        secrets,
        clients: Clients::new(directories),
        plugins: Plugins { host, shelf: Shelf::new(&settings) },
        registries,
        runtimes,
        containers,
        operations,
        eras: directories.cache.join("eras"),
        proxy: Proxy::watched(
            ProxyConfig {
                allowed_origins: settings.allowed_origins.clone(),
                allowed_hosts: settings.allowed_hosts.clone(),
                ..ProxyConfig::default()
            },
            Some(passing),
        ),
        proxies: settings.proxies.clone(),
        slots: Arc::default(),
        tenancy,
        pinned: directories.data.join("components"),
        freshness,
        tasks: TaskTracker::new(),
        stop: CancellationToken::new(),
    });
    let api_listener = api_listener.map(|(listener, _)| listener);
    Ok(Daemon { app, listener, socket, api_listener, exporters, settings, _lock: lock })
}

impl Daemon {
    /// Serves until `stop` or until somebody asks the API to end. `announce` is called once everything is published.
    ///
    /// # Errors
    /// A record cannot be read, or a listener breaks.
    pub(crate) async fn run(
        self,
        stop: CancellationToken,
        announce: impl FnOnce(&DaemonInfo) + Send,
    ) -> Result<(), BuildError> {
        let Self { app, listener, socket, api_listener, exporters, settings, _lock } = self;
        let forward = app.tasks.spawn(cancel_after(stop, app.stop.clone()));
        let starting = app.load_records().await?;
        let io = |what| move |source| BuildError::Io { what, source };
        let description = Description::write(&settings.directories.daemon_json(), &app.info)
            .map_err(io("write the description of the daemon"))?;
        let api_stop = CancellationToken::new();
        let api = app.tasks.spawn(api::serve(socket, Arc::clone(&app), api_stop.clone()));
        let by_token = api_listener
            .map(|listener| app.tasks.spawn(api::serve_tokens(listener, Arc::clone(&app), api_stop.clone())));
        let proxy = app.tasks.spawn(keep_serving(Arc::clone(&app), listener));
        let writer = app.tasks.spawn(write_behind(Arc::clone(&app)));
        app.tasks.spawn(remove_strays(Arc::clone(&app)));
        scraped(&app, exporters.as_ref(), settings.observability.metrics_address).await?;
        app.bring_all_back(starting).await;
        app.tasks.spawn({
            let app = Arc::clone(&app);
            async move { app.sync_clients().await }
        });
        tracing::info!(address = %app.address, socket = app.info.socket, "ready");
        announce(&app.info);
        let fresh = app.tasks.spawn(freshness::keep_fresh(Arc::clone(&app)));

        app.stop.cancelled().await;
        tracing::info!("stopping");
        ended("the data plane", timeout(DRAIN_MAX, proxy).await);
        let _ = timeout(API_DRAIN_MAX, fresh).await;
        app.stop_all().await;
        if timeout(CONTAINERS_SETTLE_MAX, app.containers.runtime().settled()).await.is_err() {
            tracing::warn!("some containers are still there; the next daemon removes them");
        }
        api_stop.cancel();
        ended("the API", timeout(API_DRAIN_MAX, api).await);
        if let Some(by_token) = by_token {
            ended("the API over TCP", timeout(API_DRAIN_MAX, by_token).await);
        }
        let _ = timeout(API_DRAIN_MAX, writer).await;
        forward.abort();
        app.tasks.close();
        if timeout(API_DRAIN_MAX, app.tasks.wait()).await.is_err() {
            tracing::warn!(tasks = app.tasks.len(), "some tasks did not end in time");
        }
        let _ = std::fs::remove_file(settings.directories.socket());
        app.logs.close();
        if let Err(error) = app.store.write_behind() {
            tracing::warn!(%error, "plugin state of the last moments is lost");
        }
        if let Some(exporters) = exporters {
            let _ = tokio::task::spawn_blocking(move || exporters.end(OTLP_SEND_MAX)).await;
        }
        drop(description);
        tracing::info!("stopped");
        Ok(())
    }
}

impl App {
    /// Who this is.
    #[must_use]
    pub(crate) fn info(&self) -> DaemonInfo {
        self.info.clone()
    }

    /// Cancelled when the daemon begins to stop; cancelling it begins that.
    #[must_use]
    pub(crate) fn stopping(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Tasks that the daemon waits for before it ends.
    #[must_use]
    pub(crate) fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    /// What is being done now.
    #[must_use]
    pub(crate) fn operations(&self) -> &Arc<Operations> {
        &self.operations
    }

    /// What a plugin says of itself.
    ///
    /// # Errors
    /// There is none, or it is not one.
    pub(crate) async fn inspect_plugin(&self, reference: &str) -> Result<PluginInfo, Problem> {
        self.plugins.inspect(reference).await
    }

    /// Fetches a plugin from an OCI registry and gives it a name.
    ///
    /// # Errors
    /// The registry does not give it, it is not what its digest says, or it is no plugin.
    pub(crate) async fn install_plugin(&self, request: InstallPlugin) -> Result<InstalledPlugin, Problem> {
        self.plugins.install(&self.registries, request).await
    }

    /// Takes the name of an installed plugin away.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn remove_plugin(&self, name: &str) -> Result<InstalledPlugin, Problem> {
        self.plugins.shelf.installed().remove(name)
    }

    /// Plugins that are found by name.
    pub(crate) async fn list_plugins(&self) -> PluginList {
        self.plugins.list().await
    }

    /// The log of a server, or what the data plane and its plugins said about it.
    ///
    /// # Errors
    /// There is no such server, or its log cannot be read.
    pub(crate) async fn open_log(
        &self,
        key: &ServerKey,
        proxy: bool,
        lines: Option<usize>,
        follow: bool,
    ) -> Result<Tail, Problem> {
        self.get(key)?;
        let lines = lines.unwrap_or(LOG_TAIL_LINES_DEFAULT).min(LOG_TAIL_LINES_MAX);
        logs::open(&if proxy { self.logs.path_of_proxy(key) } else { self.logs.path(key) }, lines, follow)
            .await
            .map_err(|error| Problem::new(ProblemKind::Internal, format!("the log cannot be read: {error}")))
    }

    /// Every stored server has its place before anybody can ask, so that none ever looks as if it were lost.
    async fn load_records(&self) -> Result<Vec<(managed::Turn, fairlead_core::store::ServerRecord)>, StoreError> {
        let mut starting = Vec::new();
        for record in self.store.servers().await? {
            let turn = self.slots.turn(&record.key).await;
            turn.slot.managed.lock().replace(Managed {
                record: record.clone(),
                body: Body::Waiting,
                links: Vec::new(),
            });
            starting.push((turn, record));
        }
        Ok(starting)
    }

    async fn bring_all_back(&self, starting: Vec<(managed::Turn, fairlead_core::store::ServerRecord)>) {
        futures_util::stream::iter(starting)
            .for_each_concurrent(STARTS_AT_ONCE_MAX, |(turn, record)| self.bring_back(turn, record))
            .await;
    }

    async fn stop_all(&self) {
        let lives = self.slots.look_at_all(Managed::live);
        let stops = lives.into_iter().flatten().map(|live| async move {
            live.supervisor.shutdown(SERVER_STOP_MAX).await;
            // It would wait for a server that comes back.
            live.prober.abort();
        });
        futures_util::future::join_all(stops).await;
    }
}

async fn listen_for_tokens(wanted: SocketAddr) -> Result<(TcpListener, SocketAddr), BuildError> {
    let failed = |source| BuildError::ApiAddress { address: wanted, source };
    let listener = TcpListener::bind(wanted).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    if !address.ip().is_loopback() {
        tracing::warn!(%address, "the API is reachable from other machines, without TLS; put a proxy with TLS before it");
    }
    Ok((listener, address))
}

fn open_store(path: &Path, recover: bool, clock: &Arc<dyn Clock>) -> Result<Arc<SledStore>, BuildError> {
    match SledStore::open(path, Arc::clone(clock)) {
        Err(OpenError::Damaged { reason, .. }) if recover => {
            let aside = SledStore::put_aside(path, &**clock).map_err(BuildError::PutAside)?;
            tracing::warn!(reason, aside = ?aside, "the damaged state store was put aside; this one is empty");
            Ok(SledStore::open(path, Arc::clone(clock))?)
        }
        opened => Ok(opened?),
    }
}

/// Writes plugin state and frees what has expired, until the daemon stops.
async fn write_behind(app: Arc<App>) {
    let mut write = interval(KV_WRITE_BEHIND);
    let mut sweep = interval(KV_SWEEP);
    for timer in [&mut write, &mut sweep] {
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    }
    loop {
        tokio::select! {
            () = app.stop.cancelled() => return,
            _ = sweep.tick() => app.kv.sweep(),
            _ = write.tick() => {
                let store = Arc::clone(&app.store);
                match tokio::task::spawn_blocking(move || store.write_behind()).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => tracing::warn!(%error, "plugin state is not written; it is tried again"),
                    Err(error) => tracing::error!(%error, "writing plugin state broke off"),
                }
            }
        }
    }
}

/// Removes what an earlier daemon left on the engines, but for what a server that should run may take over. Beside everything else: an engine that does
/// not answer must not hold up the start of servers that need none.
async fn remove_strays(app: Arc<App>) {
    let keep =
        |key: &ServerKey| app.slots.look(key, |managed| managed.record.desired == Desired::Running).unwrap_or_default();
    tokio::select! {
        () = app.stop.cancelled() => {}
        strays = app.containers.runtime().remove_strays(&keep) => if !strays.is_empty() {
            tracing::info!(containers = strays.len(), "containers of an earlier daemon were removed");
        }
    }
}

/// Shows metrics where somebody wants to scrape them.
async fn scraped(app: &Arc<App>, exporters: Option<&Exporters>, address: Option<SocketAddr>) -> Result<(), BuildError> {
    let (Some(registry), Some(address)) = (exporters.and_then(Exporters::registry), address) else { return Ok(()) };
    let listener = TcpListener::bind(address).await.map_err(|source| BuildError::Metrics { address, source })?;
    if let Ok(address) = listener.local_addr() {
        tracing::info!(%address, "metrics at /metrics");
    }
    let (registry, stop) = (registry.clone(), app.stop.clone());
    app.tasks.spawn(async move {
        if let Err(error) = serve_metrics(listener, registry, stop).await {
            tracing::error!(%error, "metrics can no longer be scraped");
        }
    });
    Ok(())
}

/// Serves the data plane until the daemon stops. Should its task break off, it is begun again on the same socket: clients
/// wait for a moment instead of being refused, and sessions go on, for they belong to tasks of their own.
async fn keep_serving(app: Arc<App>, listener: TcpListener) -> io::Result<()> {
    let kept = listener.into_std()?;
    loop {
        let listener = TcpListener::from_std(kept.try_clone()?)?;
        let (proxy, stop) = (Arc::clone(&app.proxy), app.stop.clone());
        let serving = app.tasks.spawn(async move { proxy.serve(listener, stop).await });
        tokio::pin!(serving);
        let broken = tokio::select! {
            biased;
            served = &mut serving => match served {
                Ok(served) => return served,
                Err(broken) => broken,
            },
            // From here on nobody is let in, by neither handle of the socket.
            () = app.stop.cancelled() => {
                drop(kept);
                return serving.await.map_err(io::Error::other)?;
            }
        };
        tracing::error!(error = %broken, "the data plane broke off; it is begun again");
        sleep(SERVE_AGAIN_PAUSE).await;
    }
}

async fn cancel_after(first: CancellationToken, second: CancellationToken) {
    first.cancelled().await;
    second.cancel();
}

fn ended<T>(what: &str, outcome: Result<Result<io::Result<T>, tokio::task::JoinError>, tokio::time::error::Elapsed>) {
    match outcome {
        Ok(Ok(Ok(_))) => {}
        Ok(Ok(Err(error))) => tracing::error!(%error, "{what} broke"),
        Ok(Err(error)) => tracing::error!(%error, "{what} broke off"),
        Err(_) => tracing::warn!("{what} did not end in time"),
    }
}

/// The way to OCI registries, with what the user of this machine may show to them.
pub(crate) fn registries(insecure: InsecureRegistries) -> OciClient {
    OciClient::new(OciClientConfig {
        dialer: Arc::new(NetDialer::new()),
        // Whoever names a registry may reach it; whereto that one leads is another question, and the client's.
        admission: Arc::new(Anywhere),
        credentials: Arc::new(DockerCredentials::of_machine(|name| std::env::var(name).ok())),
        insecure,
        clock: Arc::new(MachineClock),
    })
}

/// The time of this machine.
#[derive(Debug)]
pub(crate) struct MachineClock;

impl Clock for MachineClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}
