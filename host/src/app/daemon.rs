//! A daemon from ready to gone: what it does while it serves, and in which order it ends.
//!
//! Whatever runs here beside requests is a task that somebody waits for; each wait has its bound, so that a daemon that was told
//! to end does.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use fairlead_core::name::ServerKey;
use fairlead_core::status::Desired;
use tokio::net::{TcpListener, UnixListener};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::instance::{Description, Lock};
use super::{App, BuildError, freshness, memory};
use crate::api;
use crate::api::types::DaemonInfo;
use crate::api::{Admission, Visitors};
use crate::config::Settings;
use crate::limits::{
    API_DRAIN_MAX, CONTAINERS_SETTLE_MAX, DRAIN_MAX, KV_SWEEP, KV_WRITE_BEHIND, OTLP_SEND_MAX, SERVE_AGAIN_PAUSE,
};
use crate::telemetry::{Exporters, serve_metrics};

/// A daemon that is ready to run: [`Daemon::run`] it.
#[derive(Debug)]
pub(crate) struct Daemon {
    pub(super) app: Arc<App>,
    pub(super) listener: TcpListener,
    pub(super) socket: UnixListener,
    pub(super) exporters: Option<Exporters>,
    /// For the API over TCP, when that was asked for.
    pub(super) api_listener: Option<TcpListener>,
    /// For the catalogue, when that was asked for.
    pub(super) catalogue_listener: Option<TcpListener>,
    pub(super) settings: Settings,
    // Released last, by the operating system if need be.
    pub(super) lock: Lock,
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
        let Self { app, listener, socket, api_listener, catalogue_listener, exporters, settings, lock } = self;
        let forward = app.tasks.spawn(cancel_after(stop, app.stop.clone()));
        let starting = app.load_records().await?;
        let io = |what| move |source| BuildError::Io { what, source };
        let description = Description::write(&settings.directories.daemon_json(), &app.info)
            .map_err(io("write the description of the daemon"))?;
        let api_stop = CancellationToken::new();
        let api = app.tasks.spawn(api::serve(socket, Arc::clone(&app), api_stop.clone()));
        let by_token = api_listener
            .map(|listener| app.tasks.spawn(api::serve_tokens(listener, Arc::clone(&app), api_stop.clone())));
        let catalogue = catalogue_listener.map(|listener| {
            let (registries, of) = (Arc::clone(&app.catalogue), Arc::clone(&app));
            let callers = Arc::new(move |token: &str| of.caller(token));
            let visitors = Visitors::new(Admission::Callers { callers, tokens_only: settings.registry_tokens });
            app.tasks.spawn(api::serve_catalogue(listener, registries, visitors, api_stop.clone()))
        });
        let proxy = app.tasks.spawn(keep_serving(Arc::clone(&app), listener));
        let writer = app.tasks.spawn(write_behind(Arc::clone(&app)));
        app.tasks.spawn(remove_strays(Arc::clone(&app)));
        app.tasks.spawn(memory::give_back(Arc::clone(&app.proxy), app.stop.clone()));
        app.tasks.spawn(Arc::clone(&app.catalogue).keep_fresh(app.stop.clone()));
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
        if let Some(catalogue) = catalogue {
            ended("the catalogue", timeout(API_DRAIN_MAX, catalogue).await);
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
        // The store is closed before anybody is told, who may take its directory away or start the next daemon.
        drop(app);
        drop(description);
        drop(lock);
        tracing::info!("stopped");
        Ok(())
    }
}

/// Writes plugin state, and frees what of it has expired and what plugins hold that nobody calls, until the daemon stops.
async fn write_behind(app: Arc<App>) {
    let mut write = interval(KV_WRITE_BEHIND);
    let mut sweep = interval(KV_SWEEP);
    for timer in [&mut write, &mut sweep] {
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    }
    loop {
        tokio::select! {
            () = app.stop.cancelled() => return,
            _ = sweep.tick() => {
                app.kv.sweep();
                app.plugins.host.retire_aged();
            }
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

/// Removes what an earlier daemon left on the engines, but for what a server that should run may take over. Beside everything
/// else: an engine that does not answer must not hold up the start of servers that need none.
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
