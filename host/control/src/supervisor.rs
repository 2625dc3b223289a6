//! The supervisor of one server: the only thing that launches it.
//!
//! Callers get a handle; the work is done by tasks that the supervisor owns, counts and ends. Starting and stopping are
//! wishes that the gate puts in order, so they may come from anywhere, twice, and on top of each other.

use std::sync::Arc;
use std::time::Duration;

use fairlead_core::BoxFuture;
use fairlead_core::backoff::Backoff;
use fairlead_core::clock::Clock;
use fairlead_core::logs::LogSink;
use fairlead_core::name::ServerKey;
use fairlead_core::secret::Secrets;
use fairlead_core::server::{ServerSpec, Source};
use fairlead_core::status::{ServerPhase, ServerProfile, ServerStatus};
use fairlead_core::store::Store;
use fairlead_core::workload::{StdioConnection, Unavailable, Upstream, Usage, WorkloadRuntime};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use crate::ending::Reason;
use crate::gate::Event;
use crate::limits::{DROP_DEADLINE, LAST_WORDS_MAX, SESSIONS_MAX, SPARES, STDIN_GRACE, STOP_GRACE, USAGE_MAX};
use crate::resident::{self, Endpoint};
use crate::server::Server;
use crate::workload::Held;

/// What every supervisor works with.
#[derive(Clone)]
pub struct Ports {
    /// Starts the server's workloads.
    pub runtime: Arc<dyn WorkloadRuntime>,
    /// Where they are written down.
    pub store: Arc<dyn Store>,
    /// For points in time that are shown.
    pub clock: Arc<dyn Clock>,
    /// Takes what they write.
    pub logs: Arc<dyn LogSink>,
    /// Finds what their environment names and does not hold.
    pub secrets: Arc<dyn Secrets>,
}

/// What a supervisor needs. [`SupervisorConfig::new`] fills in what seldom differs.
pub struct SupervisorConfig {
    /// The server.
    pub key: ServerKey,
    /// As somebody wants it to be.
    pub spec: ServerSpec,
    /// What it works with.
    pub ports: Ports,
    /// When it is tried again.
    pub backoff: Backoff,
    /// Processes at once.
    pub sessions_max: usize,
    /// Processes of a stdio server that are started before anybody asks, once it has answered.
    pub spares: usize,
    /// Time that a workload has to end after its stdin was closed.
    pub stdin_grace: Duration,
    /// Time that it has after it was asked to, before it is killed.
    pub stop_grace: Duration,
}

impl SupervisorConfig {
    /// With the bounds of [`crate::limits`] and the default back-off.
    #[must_use]
    pub fn new(key: ServerKey, spec: ServerSpec, ports: Ports) -> Self {
        Self {
            key,
            spec,
            ports,
            backoff: Backoff::default(),
            sessions_max: SESSIONS_MAX,
            spares: SPARES,
            stdin_grace: STDIN_GRACE,
            stop_grace: STOP_GRACE,
        }
    }
}

/// Supervises one server. Dropping it stops the server in the background.
pub struct Supervisor {
    server: Arc<Server>,
    endpoint: Arc<Endpoint>,
}

impl Supervisor {
    /// Begins to supervise a stopped server: [`start`](Self::start) it.
    #[must_use]
    pub fn spawn(config: SupervisorConfig) -> Arc<Self> {
        let server = Arc::new(Server::new(config));
        let endpoint = Arc::new(watch::channel(None).0);
        server.tasks.spawn(tend(Arc::clone(&server)));
        if let Some(port) = server.port() {
            server.tasks.spawn(resident::keep_running(Arc::clone(&server), port, Arc::clone(&endpoint)));
        }
        Arc::new(Self { server, endpoint })
    }

    /// The state of the server, now and from now on. `Starting` asks for a probe: whoever composes the daemon then makes a
    /// real `initialize` and calls [`mark_ready`](Self::mark_ready) or [`mark_not_ready`](Self::mark_not_ready).
    #[must_use]
    pub fn status(&self) -> watch::Receiver<ServerStatus> {
        self.server.status.subscribe()
    }

    /// Whether its workload is the server itself, which listens on a port.
    #[must_use]
    pub fn listens(&self) -> bool {
        self.server.port().is_some()
    }

    /// Wants it to run, now: forgets failures and a back-off. Does nothing when it runs.
    pub fn start(&self) {
        if !self.server.closing.is_cancelled() {
            self.server.apply(Event::Start);
        }
    }

    /// Wants it to stop. Everything that runs is asked to end and, when `within` has passed, killed. Ready when it is
    /// stopped, or when somebody has started it again meanwhile; dropping the future takes nothing back.
    pub async fn stop(&self, within: Duration) {
        self.server.stop(within);
        // An error would mean that the sender is gone, which lives as long as this.
        let _ = self.status().wait_for(|status| status.phase != ServerPhase::Stopping).await;
    }

    /// The server has answered `initialize`. Ignored unless it is starting or running.
    pub fn mark_ready(&self, profile: ServerProfile) {
        self.server.ready(profile);
        self.server.refill();
    }

    /// The server runs and does not answer as it should: counts as a failure, soon. `reason` is shown to whoever runs the
    /// server, unless a workload has just ended: then that is the reason. Clients are told that it did not answer.
    pub fn mark_not_ready(&self, reason: impl Into<String>) {
        self.not_ready(Reason { public: "it did not answer `initialize`".to_owned(), full: reason.into() });
    }

    /// The server has answered once and does not any more: the same.
    pub fn mark_silent(&self, reason: impl Into<String>) {
        self.not_ready(Reason { public: "it does not answer any more".to_owned(), full: reason.into() });
    }

    fn not_ready(&self, reason: Reason) {
        let generation = self.server.moves.borrow().generation;
        let server = Arc::clone(&self.server);
        self.server.tasks.spawn(async move { server.not_ready(generation, reason).await });
    }

    /// What its workloads use together, and how many said so.
    pub async fn usage(&self) -> (Usage, usize) {
        let running: Vec<_> = {
            let mut running = self.server.running.lock();
            running.retain(|workload| workload.strong_count() > 0);
            running.clone()
        };
        let mut all = (Usage::default(), 0);
        for workload in running {
            let Some(workload) = workload.upgrade() else { continue };
            if let Ok(Some(usage)) = timeout(USAGE_MAX, workload.usage()).await {
                all = (all.0 + usage, all.1 + 1);
            }
        }
        all
    }

    async fn open(&self) -> Result<Held, Unavailable> {
        if self.server.is_resident() {
            return Err(Unavailable::Failed("it speaks HTTP, not stdio".to_owned()));
        }
        let held = match self.server.take_spare()? {
            Some(spare) => spare,
            None => self.server.launch_detached().await?,
        };
        self.server.refill();
        Ok(held)
    }

    /// Stops the server for good and waits for all of its tasks, as long as `deadline` allows. True if all have ended.
    pub async fn shutdown(&self, deadline: Duration) -> bool {
        self.server.closing.cancel();
        self.server.tasks.close();
        let tasks = async {
            self.stop(deadline).await;
            self.server.tasks.wait().await;
        };
        // What is killed at the deadline needs a moment to be gone.
        timeout(deadline + LAST_WORDS_MAX, tasks).await.is_ok()
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.server.closing.cancel();
        self.server.stop(DROP_DEADLINE);
    }
}

impl Upstream for Supervisor {
    fn open_stdio(&self) -> BoxFuture<'_, Result<StdioConnection, Unavailable>> {
        Box::pin(async { Ok(self.open().await?.into()) })
    }

    fn open_stdio_to_ask(&self) -> BoxFuture<'_, Result<StdioConnection, Unavailable>> {
        Box::pin(async {
            let held = self.open().await?;
            held.lease.excuse();
            Ok(held.into())
        })
    }

    fn http_endpoint(&self) -> BoxFuture<'_, Result<String, Unavailable>> {
        Box::pin(async {
            if let Source::Remote(remote) = &self.server.spec.source {
                self.server.check()?;
                return Ok(remote.url.clone());
            }
            let transport = &self.server.spec.transport;
            let (Some(port), Some(path)) = (transport.port(), transport.path()) else {
                return Err(Unavailable::Failed("it speaks stdio, not HTTP".to_owned()));
            };
            let address = resident::endpoint(&self.server, port, &self.endpoint).await?;
            Ok(format!("http://{address}/{}", path.trim_start_matches('/')))
        })
    }
}

/// Turns the passing of time and the end of workloads into events, until the supervisor has gone and all is at rest.
async fn tend(server: Arc<Server>) {
    let mut moves = server.moves.subscribe();
    let mut live = server.live.subscribe();
    loop {
        let now = *moves.borrow_and_update();
        let idle = *live.borrow_and_update() == 0;
        if now.phase == ServerPhase::Stopping && idle {
            server.apply(Event::Drained);
            continue;
        }
        if now.phase == ServerPhase::Stopped && idle && server.closing.is_cancelled() {
            return;
        }
        // The senders live as long as the server that is held here.
        tokio::select! {
            _ = moves.changed() => {}
            _ = live.changed() => {}
            () = server.closing.cancelled(), if !server.closing.is_cancelled() => {}
            () = due(server.wakes_at()) => server.apply(Event::Due),
        }
    }
}

async fn due(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
