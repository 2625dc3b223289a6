//! `fairlead proxy pod`: the data plane of one server and nothing else. What it serves stands in a file that the operator of a
//! cluster has written; it has no daemon beside it, no state that outlives it, and no rights but those of its pod.
//!
//! It is put together of what the daemon is put together of: the same proxy, routes, plugin host and chains. What is missing
//! is what a cluster does itself: starting servers, keeping records, restarting what broke. So whatever cannot be had at the
//! start ends the process with the reason, and the cluster tries again.
//!
//! Order of the end: it says that it is not ready and serves on until the cluster has told everybody; then requests under way
//! finish, in their time; the door for probes is shut last.

mod plane;
mod probes;
mod secrets;
#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fairlead_core::pod::PodConfig;
use fairlead_core::problem::Problem;
use fairlead_core::secret::SecretValue;
use fairlead_operator::controller::OperatorError;
use fairlead_proxy::RemoteError;
use fairlead_sessions::StorageError;
use fairlead_wasm::HostError;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::memory;
use crate::config::Settings;
use crate::limits::{API_DRAIN_MAX, OTLP_SEND_MAX};
use crate::store::ScratchError;
use crate::telemetry::{ExportError, Exporters};
use crate::yaml;
pub(super) use plane::Fixed;
use plane::{Given, Plane};
use probes::Readiness;

/// How a pod is set up.
pub(crate) struct Options {
    /// What is served.
    pub(crate) config: PodConfig,
    /// Where clients come.
    pub(crate) address: SocketAddr,
    /// Where the cluster asks how it is; nowhere without it.
    pub(crate) probe_address: Option<SocketAddr>,
    /// Secrets, each at `<secret>/<key>`.
    pub(crate) secrets: Option<PathBuf>,
    /// The password of the Redis that keeps sessions.
    pub(crate) password: Option<SecretValue>,
    /// The authorities by which that is known, in PEM.
    pub(crate) authorities: Option<Vec<u8>>,
    /// How long it serves on after it was told to end.
    pub(crate) leave: Duration,
    /// How long requests under way have after that.
    pub(crate) drain: Duration,
}

/// Where it is reached.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Reached {
    /// By clients, at `/mcp`.
    pub(crate) address: String,
    /// By the cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) probe_address: Option<String>,
}

/// Why there is no data plane.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PodError {
    /// There is nobody to be listened to.
    #[error("listen on {address}")]
    Address {
        /// Where.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// There are no plugins.
    #[error("start the plugin host")]
    Plugins(#[from] HostError),
    /// There is no state for plugins.
    #[error(transparent)]
    State(#[from] ScratchError),
    /// A guard is missing or cannot be put up.
    #[error("{0}")]
    Chain(Problem),
    /// The server elsewhere cannot be reached as it is described.
    #[error("the server cannot be reached as it is described")]
    Remote(#[from] RemoteError),
    /// Sessions cannot be kept as it is asked.
    #[error(transparent)]
    Sessions(#[from] StorageError),
    /// There is no cluster with a pod to attach to.
    #[error(transparent)]
    Cluster(#[from] OperatorError),
    /// What is told of the server contradicts itself.
    #[error("{0}")]
    Upstream(&'static str),
    /// Traces and metrics cannot be sent.
    #[error(transparent)]
    Export(#[from] ExportError),
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

/// Reads what is to be served, in JSON or YAML.
///
/// # Errors
/// The file cannot be read, or says something else.
pub(crate) fn read(path: &Path) -> Result<PodConfig, String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    yaml::one(&text)
}

/// Serves until `stop`; `announce` is called once clients are served.
///
/// # Errors
/// Something that it cannot do without is missing.
pub(crate) async fn serve(
    settings: Settings,
    options: Options,
    stop: CancellationToken,
    announce: impl FnOnce(&Reached) + Send,
) -> Result<(), PodError> {
    let Options { config, address, probe_address, secrets, password, authorities, leave, drain } = options;
    let (listener, address) = bind(address).await?;
    let (readiness, tasks, over) = (Readiness::default(), TaskTracker::new(), CancellationToken::new());
    let _over = over.clone().drop_guard();
    let mut observability = settings.observability.clone();
    observability.metrics_address = observability.metrics_address.or(probe_address);
    let exporters = Exporters::build(&observability)?;
    let mut probed_at = None;
    if let Some(wanted) = probe_address {
        let (listener, address) = bind(wanted).await?;
        let registry = exporters.as_ref().and_then(Exporters::registry).cloned();
        tasks.spawn(probes::serve(listener, readiness.clone(), registry, over.clone()));
        probed_at = Some(address.to_string());
    }
    let building = Plane::build(&settings, config, Given { secrets, password, authorities }, drain, exporters.as_ref());
    let plane = tokio::select! {
        () = stop.cancelled() => return Ok(()),
        built = building => built?,
    };
    let (proxy, leaving) = (plane.proxy(), CancellationToken::new());
    let serving = tasks.spawn({
        let leaving = leaving.clone();
        async move { proxy.serve(listener, leaving).await }
    });
    tasks.spawn(plane.get_acquainted(leaving.clone()));
    tasks.spawn(plane.tidy(leaving.clone()));
    tasks.spawn(memory::give_back(plane.proxy(), leaving.clone()));
    readiness.set(true);
    let reached = Reached { address: address.to_string(), probe_address: probed_at };
    tracing::info!(address = reached.address, probes = reached.probe_address, "ready");
    announce(&reached);

    stop.cancelled().await;
    tracing::info!("leaving");
    readiness.set(false);
    sleep(leave).await;
    leaving.cancel();
    let served = serving.await;
    over.cancel();
    tasks.close();
    if timeout(API_DRAIN_MAX, tasks.wait()).await.is_err() {
        tracing::warn!(tasks = tasks.len(), "some tasks did not end in time");
    }
    if let Some(exporters) = exporters {
        let _ = tokio::task::spawn_blocking(move || exporters.end(OTLP_SEND_MAX)).await;
    }
    tracing::info!("stopped");
    let broke = |source| PodError::Io { what: "serve", source };
    served.map_err(io::Error::other).and_then(|served| served).map_err(broke)
}

async fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), PodError> {
    let failed = |source| PodError::Address { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}
