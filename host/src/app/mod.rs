//! The composition root: the only place that names concrete adapters. [`daemon`] is its life from the first request to the
//! last write.
//!
//! Order is everything here. The state is locked before it is opened, swept before anything is launched, and listened for
//! before anybody is told; and it ends from the outside in: no new requests, then no servers, then no state.

mod chain;
mod check;
mod clients;
pub(crate) mod cluster;
pub(crate) mod containers;
mod daemon;
mod eras;
mod freshness;
mod groups;
pub(crate) mod installed;
mod instance;
mod managed;
mod memory;
mod naming;
pub(crate) mod operations;
pub(crate) mod plugins;
pub(crate) mod pod;
pub(crate) mod registries;
mod registry_server;
mod remote;
mod secrets;
mod servers;
pub(crate) mod shelf;
mod state;
mod tenants;
mod usage;
mod wire;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use fairlead_control::Swept;
use fairlead_core::address::{AddressClass, classify};
use fairlead_core::clock::Clock;
use fairlead_core::dial::{Admission, Dialer};
use fairlead_core::name::ServerKey;
use fairlead_core::problem::{Problem, ProblemKind};
use fairlead_core::status::Desired;
use fairlead_core::store::{Store as _, StoreError};
use fairlead_core::workload::WorkloadRuntime;
use fairlead_dial::{NetDialer, Roots};
use fairlead_git::GitClient;
use fairlead_oci::{DockerCredentials, InsecureRegistries, OciClient, OciClientConfig};
use fairlead_operator::controller::OperatorError;
use fairlead_proxy::{EnvironmentProxies, Proxy, ProxyConfig};
use fairlead_runtimes::{Elsewhere, ProcessRuntime};
use fairlead_wasm::{Compiler, HostError, PluginHost, PluginHostConfig, WasmWorkloads};
use futures_util::StreamExt as _;
use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::api::types::{DaemonInfo, InstallPlugin, PluginInfo, PluginList};
use crate::api::{self, ListenError};
use crate::clients::Clients;
use crate::config::{Settings, variables};
use crate::hooks::Hooks;
use crate::limits::{LOG_TAIL_LINES_DEFAULT, LOG_TAIL_LINES_MAX, SERVER_STOP_MAX, STARTS_AT_ONCE_MAX};
use crate::logs::{self, FileSink, Tail};
use crate::secrets::Providers;
use crate::store::{MemoryKv, OpenError, SledStore};
use crate::telemetry::{ExportError, Exporters, PassingLog};
use containers::Containers;
use daemon::Daemon;
use freshness::Freshness;
use installed::InstalledPlugin;
use instance::{Lock, LockError};
use managed::{Body, Managed, Slots};
pub(crate) use naming::name_of;
use operations::Operations;
use plugins::Plugins;
use registries::{Outside, Registries};
pub(crate) use registry_server::{Declared, Given, serve_registries};
use shelf::Shelf;
use state::open_when_free;
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
    /// There is no cluster to ask who clients are.
    #[error(transparent)]
    Cluster(#[from] OperatorError),
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
    /// The catalogue cannot be served.
    #[error("listen on {address} for the catalogue")]
    RegistryAddress {
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
            Self::Cluster(error) => error.hint().map(str::to_owned),
            Self::Address { source, .. } if source.kind() == io::ErrorKind::AddrInUse => Some(format!(
                "another program has it; choose another with `fairlead serve --address` or `{}`",
                variables::ADDRESS.name
            )),
            Self::Address { .. } => {
                Some(format!("choose another with `fairlead serve --address` or `{}`", variables::ADDRESS.name))
            }
            Self::Metrics { .. } => Some(format!("choose another `{}`", variables::METRICS_ADDRESS.name)),
            Self::RegistryAddress { .. } => Some(format!(
                "choose another with `fairlead serve --registry-address` or `{}`",
                variables::REGISTRY_ADDRESS.name
            )),
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
    catalogue: Arc<Registries>,
    /// Where components are kept that documents pin.
    pinned: PathBuf,
    freshness: Freshness,
    /// Between two questions whether a server that listens still answers.
    health_interval: Option<Duration>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App").field("info", &self.info).finish_non_exhaustive()
    }
}

/// Takes the state and puts everything together. Nothing is served yet.
///
/// # Errors
/// Something that the daemon cannot do without is missing; nothing is left behind.
pub(crate) async fn build(settings: Settings, recover: bool) -> Result<Daemon, BuildError> {
    let directories = &settings.directories;
    let clock: Arc<dyn Clock> = Arc::new(MachineClock);
    let lock = Lock::take(&directories.lock()).await?;
    let store = open_when_free(&directories.store(), recover, &clock).await?;
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
    let oci = Arc::new(registries(InsecureRegistries::default()));
    let outside = Outside {
        plugins: Plugins { host: Arc::clone(&host), shelf: Shelf::of_daemon(&settings) },
        oci: Arc::clone(&oci),
        git: Arc::new(GitClient::new(Arc::new(NetDialer::new()), directories.cache.join("git"))),
        secrets: Arc::clone(&secrets) as _,
    };
    let catalogue = Registries::load(directories.registries(), outside, Arc::clone(&clock))
        .map_err(|source| BuildError::Io { what: "read the list of registries", source })?;
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
    let freshness = Freshness::new(
        &settings,
        Arc::clone(&oci),
        indexes(&settings)?,
        Arc::clone(&clock),
        exporters.as_ref().map(Exporters::updates),
        Hooks::new(settings.hooks.clone(), Arc::new(NetDialer::new()), Arc::clone(&secrets) as _, Arc::clone(&clock)),
    );
    let collected = exporters.as_ref().map(Exporters::telemetry);
    let passing = Arc::new(PassingLog::new(settings.proxy_log, Arc::clone(&logs) as _, collected));
    let catalogue_listener = match settings.registry_address {
        None => None,
        Some(wanted) => Some(listen_for_catalogue(wanted).await?),
    };
    let app = Arc::new(App {
        address,
        info: DaemonInfo {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            address: address.to_string(),
            socket: directories.socket().display().to_string(),
            api_address: api_listener.as_ref().map(|(_, address)| address.to_string()),
            registry_address: catalogue_listener.as_ref().map(|(_, address)| address.to_string()),
        },
        clock,
        store,
        kv,
        logs,
        secrets,
        clients: Clients::new(directories),
        plugins: Plugins { host, shelf: Shelf::of_daemon(&settings) },
        registries: oci,
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
        catalogue: Arc::new(catalogue),
        pinned: directories.data.join("components"),
        freshness,
        health_interval: settings.health_interval,
        tasks: TaskTracker::new(),
        stop: CancellationToken::new(),
    });
    let api_listener = api_listener.map(|(listener, _)| listener);
    let catalogue_listener = catalogue_listener.map(|(listener, _)| listener);
    Ok(Daemon { app, listener, socket, api_listener, catalogue_listener, exporters, settings, lock })
}

/// The way to indexes of packages, which may have an authority of their own.
fn indexes(settings: &Settings) -> Result<Arc<dyn Dialer>, BuildError> {
    let Some(path) = &settings.build.ca_file else { return Ok(Arc::new(NetDialer::new())) };
    let unusable = |source| BuildError::Io { what: "read the certificates of `build.ca_file`", source };
    let pem = std::fs::read(path).map_err(unusable)?;
    let roots = Roots::with_pem(&pem).map_err(|error| unusable(io::Error::other(error)))?;
    Ok(Arc::new(NetDialer::new().with_roots(roots)))
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

    /// Registries, and what they offer.
    #[must_use]
    pub(crate) fn catalogue(&self) -> &Arc<Registries> {
        &self.catalogue
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

    /// In the order of their names, which is that of the records; each is prepared for as long as it takes.
    async fn bring_all_back(&self, starting: Vec<(managed::Turn, fairlead_core::store::ServerRecord)>) {
        for (_, record) in starting.iter().filter(|(_, record)| record.desired == Desired::Running) {
            // One that nothing runs is told of when it is brought back.
            if let Ok(runtime) = self.runtime(&record.spec) {
                runtime.announce(&record.key);
            }
        }
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

async fn listen_for_catalogue(wanted: SocketAddr) -> Result<(TcpListener, SocketAddr), BuildError> {
    let failed = |source| BuildError::RegistryAddress { address: wanted, source };
    let listener = TcpListener::bind(wanted).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
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

/// The way to OCI registries, with what the user of this machine may show to them.
pub(crate) fn registries(insecure: InsecureRegistries) -> OciClient {
    OciClient::new(OciClientConfig {
        dialer: Arc::new(NetDialer::new()),
        admission: Arc::new(Places),
        credentials: Arc::new(DockerCredentials::of_machine(|name| std::env::var(name).ok())),
        insecure,
        clock: Arc::new(MachineClock),
    })
}

/// Where OCI registries may be. Whoever names one may reach it, in the private network too, where companies have theirs; whereto
/// that one leads is another question, and the client's. What belongs to the link is none: clouds keep there what a machine may
/// know and a tenant may not.
struct Places;

impl Admission for Places {
    fn admits(&self, address: std::net::IpAddr) -> bool {
        matches!(classify(address), AddressClass::Public | AddressClass::Private | AddressClass::Loopback)
    }
}

/// The time of this machine.
#[derive(Debug)]
pub(crate) struct MachineClock;

impl Clock for MachineClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_registry_is_where_clouds_keep_what_a_machine_may_know() {
        let admits = |address: &str| Places.admits(address.parse().unwrap());
        for registry in ["127.0.0.1", "10.1.2.3", "192.168.1.1", "93.184.216.34", "fd00::1", "::1"] {
            assert!(admits(registry), "{registry}");
        }
        for other in
            ["169.254.169.254", "::ffff:169.254.169.254", "fd00:ec2::254", "fe80::1", "100.100.100.200", "0.0.0.0"]
        {
            assert!(!admits(other), "{other}");
        }
    }
}
