//! The proxy as the rest of the host sees it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use fairlead_core::chain::Chain;
use fairlead_core::name::ServerKey;
use fairlead_core::status::ServerProfile;
use fairlead_core::telemetry::Telemetry;
use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::body::BODY_PERMIT_BYTES;
use crate::examine::{Examined, examine};
use crate::http::SessionKeys;
use crate::probe::{ProbeError, probe};
use crate::route::{Published, Route, Routes};
use crate::{ProxyConfig, listener};

/// How one attachment of a route fares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkHealth {
    /// Name of the attachment.
    pub attachment: String,
    /// Calls that gave no decision since the chain was published.
    pub faults: u64,
    /// Of those, the ones whose message passed all the same, because the attachment fails open.
    pub passed: u64,
}

/// The data plane. Lives as long as the daemon; routes come and go.
pub struct Proxy {
    pub(crate) config: ProxyConfig,
    pub(crate) routes: Routes,
    /// Sessions, their pipes and requests.
    pub(crate) tasks: TaskTracker,
    /// Room for bodies that are being read, in units of [`BODY_PERMIT_BYTES`].
    pub(crate) bodies: Arc<Semaphore>,
    pub(crate) session_keys: SessionKeys,
    /// Who wants to know what passes.
    pub(crate) telemetry: Option<Arc<dyn Telemetry>>,
    /// New sessions are refused, requests under way finish.
    pub(crate) draining: CancellationToken,
    /// Told when a session or a connection has ended.
    pub(crate) released: Arc<Notify>,
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proxy").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Proxy {
    /// A proxy without routes.
    #[must_use]
    pub fn new(config: ProxyConfig) -> Arc<Self> {
        Self::watched(config, None)
    }

    /// A proxy without routes that tells `telemetry` what passes.
    #[must_use]
    pub fn watched(config: ProxyConfig, telemetry: Option<Arc<dyn Telemetry>>) -> Arc<Self> {
        Arc::new(Self {
            bodies: Arc::new(Semaphore::new(config.bodies_bytes_max / BODY_PERMIT_BYTES)),
            config,
            telemetry,
            routes: Routes::default(),
            tasks: TaskTracker::new(),
            session_keys: SessionKeys::default(),
            draining: CancellationToken::new(),
            released: Arc::default(),
        })
    }

    /// Makes a server reachable. One that had the same name is withdrawn: its sessions end, and clients initialise anew.
    pub fn publish(&self, route: Route) {
        let old = self.routes.insert(Arc::new(Published::new(route)));
        if let Some(old) = old {
            self.end_sessions(&old);
        }
    }

    /// Gives a server another chain. Exchanges under way finish on the one that they began with. False when there is no
    /// such server.
    pub fn swap_chain(&self, key: &ServerKey, chain: Arc<Chain>) -> bool {
        self.routes.swap_chain(key, chain)
    }

    /// Makes a server unreachable and ends its sessions. False when there is no such server.
    pub fn withdraw(&self, key: &ServerKey) -> bool {
        let old = self.routes.remove(key);
        if let Some(old) = &old {
            self.end_sessions(old);
        }
        old.is_some()
    }

    pub(crate) fn end_sessions(&self, route: &Published) {
        if let Some(before) = route.before.swap(None) {
            self.end_sessions(&before);
        }
        route.modern.close();
        route.elder.close();
        route.access.close();
        route.listeners.close();
        for session in route.sessions.close() {
            self.tasks.spawn(async move { session.close().await });
        }
    }

    /// Number of sessions that this proxy keeps for a server; `None` when there is no such server. An HTTP server keeps its
    /// own.
    pub fn sessions(&self, key: &ServerKey) -> Option<usize> {
        self.routes.get(key).map(|route| route.sessions_in_all())
    }

    /// Ready when a session or a connection has ended since the last time that somebody waited here; what it held is free.
    pub async fn released(&self) {
        self.released.notified().await;
    }

    /// How the attachments of a server fare, outermost first.
    pub fn health(&self, key: &ServerKey) -> Option<Vec<LinkHealth>> {
        let faults = self.routes.get(key)?.chain().faults();
        Some(faults.into_iter().map(|(attachment, faults, passed)| LinkHealth { attachment, faults, passed }).collect())
    }

    /// Asks a server who it is: a real `initialize`, on a connection of its own that is closed afterwards.
    ///
    /// # Errors
    /// There is no such server, or it did not answer as a server does within the deadline.
    pub async fn probe(self: &Arc<Self>, key: &ServerKey, deadline: Duration) -> Result<ServerProfile, ProbeError> {
        let route = self.routes.get(key).ok_or(ProbeError::Unknown)?;
        tokio::time::timeout(deadline, probe(self, &route)).await.unwrap_or(Err(ProbeError::Deadline(deadline)))
    }

    /// Comes to a server that is not published as a client does: asks who it is and which tools it has, and goes. Nobody else
    /// reaches it by that.
    ///
    /// # Errors
    /// It did not answer as a server does within the deadline.
    pub async fn examine(self: &Arc<Self>, route: Route, deadline: Duration) -> Result<Examined, ProbeError> {
        tokio::time::timeout(deadline, examine(self, route)).await.unwrap_or(Err(ProbeError::Deadline(deadline)))
    }

    /// Serves until `stop` is cancelled; then takes no new connections, lets requests under way finish within the
    /// configured time, ends all sessions and returns. Stopping one listener stops the proxy: none of its sessions lives on.
    ///
    /// # Errors
    /// The listener has no address.
    pub async fn serve(self: &Arc<Self>, listener: TcpListener, stop: CancellationToken) -> io::Result<()> {
        listener::serve(Arc::clone(self), listener, stop).await
    }
}
