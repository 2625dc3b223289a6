//! One server under management: its record, and what runs for it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use fairlead_control::Supervisor;
use fairlead_core::digest::Digest;
use fairlead_core::name::{ServerKey, TenantName};
use fairlead_core::server::Source;
use fairlead_core::status::{Desired, ServerPhase, ServerStatus};
use fairlead_core::store::ServerRecord;
use fairlead_proxy::{Proxy, Vigil};
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::AbortOnDropHandle;

use super::{naming, secrets};
use crate::api::types::{ChainLink, Workload};
use crate::limits::{HEALTH_ANSWER_MAX, HEALTH_MISSES_MAX, SERVER_START_MAX};
use crate::text;

/// What is known of one server now.
pub(super) struct Managed {
    pub(super) record: ServerRecord,
    pub(super) body: Body,
    pub(super) links: Vec<ChainLink>,
}

/// What runs for it.
pub(super) enum Body {
    /// The daemon has just started and has not come to it yet.
    Waiting,
    /// It is being created: its image is fetched or built. Not stored yet, and gone if that fails.
    Preparing,
    /// It could not be put together: a plugin is missing, say. Nothing is published, for it would be without its guards.
    Broken { reason: String, since: Timestamp },
    /// Supervised and published.
    Live(Live),
}

/// Supervised and published.
pub(super) struct Live {
    pub(super) supervisor: Arc<Supervisor>,
    /// Answers the question of the supervisor whether the server has come up.
    pub(super) prober: Arc<AbortOnDropHandle<()>>,
    /// What exactly runs, where that was said when it was put together.
    pub(super) digest: Option<Digest>,
}

impl Clone for Live {
    fn clone(&self) -> Self {
        Self { supervisor: Arc::clone(&self.supervisor), prober: Arc::clone(&self.prober), digest: self.digest.clone() }
    }
}

impl Managed {
    pub(super) fn live(&self) -> Option<Live> {
        match &self.body {
            Body::Live(live) => Some(live.clone()),
            Body::Waiting | Body::Preparing | Body::Broken { .. } => None,
        }
    }

    pub(super) fn status(&self) -> ServerStatus {
        let still =
            |phase, reason, since| ServerStatus { phase, reason, since, restarts: 0, retry_at: None, profile: None };
        match &self.body {
            Body::Live(live) => live.supervisor.status().borrow().clone(),
            Body::Waiting | Body::Preparing => still(ServerPhase::Starting, None, self.record.created),
            Body::Broken { reason, since } if self.record.desired == Desired::Running => {
                still(ServerPhase::Failed, Some(reason.clone()), *since)
            }
            Body::Broken { since, .. } => still(ServerPhase::Stopped, None, *since),
        }
    }

    /// As the API shows it.
    pub(super) fn view(&self, address: SocketAddr, with_spec: bool) -> Workload {
        let record = &self.record;
        let status = self.status();
        Workload {
            name: record.key.name.clone(),
            tenant: record.key.tenant.clone(),
            url: url(address, &record.key),
            status: status.phase,
            reason: status.reason,
            since: status.since,
            restarts: status.restarts,
            retry_at: status.retry_at,
            profile: status.profile,
            desired: record.desired,
            source: in_one_line(&record.spec.source),
            image: None,
            updates: None,
            transport: match &record.spec.source {
                Source::Remote(remote) => remote.transport.name().to_owned(),
                _ => record.spec.transport.name().to_owned(),
            },
            chain: self.links.clone(),
            group: record.spec.group.clone(),
            labels: record.spec.labels.clone(),
            created: record.created,
            spec: with_spec.then(|| secrets::redacted(record.spec.clone())),
        }
    }
}

/// Where MCP clients reach a server. A listener on all addresses is reached on this machine by the loopback one.
pub(super) fn url(address: SocketAddr, key: &ServerKey) -> String {
    let mut address = address;
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    if key.tenant == TenantName::default() {
        format!("http://{address}/s/{}/mcp", key.name)
    } else {
        format!("http://{address}/t/{}/s/{}/mcp", key.tenant, key.name)
    }
}

fn in_one_line(source: &Source) -> String {
    match source {
        // Arguments may hold secrets, and this is printed in lists; the first says what a launcher launches.
        Source::Command { program, args, .. } => match naming::launched(args) {
            Some(launched) => format!("{program} {launched}"),
            None => program.clone(),
        },
        Source::Wasm { path, .. } => path.display().to_string(),
        Source::Image(image) => image.reference.to_string(),
        Source::Package(source) => source.package.to_string(),
        Source::Remote(remote) => remote.shown().to_owned(),
    }
}

/// Answers "is it up?" with a real `initialize`, each time that the supervisor has begun to start the server, and looks after one
/// that listens every `interval` from then on.
pub(super) async fn probe(supervisor: Arc<Supervisor>, proxy: Arc<Proxy>, key: ServerKey, interval: Option<Duration>) {
    let mut status = supervisor.status();
    loop {
        let began = match status.wait_for(|status| status.phase == ServerPhase::Starting).await {
            Ok(status) => status.since,
            Err(_) => return,
        };
        let mut over = supervisor.status();
        let is_over = over.wait_for(|status| status.phase != ServerPhase::Starting || status.since != began);
        tokio::select! {
            biased;
            _ = is_over => {}
            outcome = proxy.probe(&key, SERVER_START_MAX) => match outcome {
                Ok(profile) => supervisor.mark_ready(profile),
                Err(error) => supervisor.mark_not_ready(text::chain(&error)),
            },
        }
        // Whatever was said has taken effect, or came too late; either way the next start asks again.
        let moved = status.wait_for(|status| status.phase != ServerPhase::Starting || status.since != began);
        let is_gone = moved.await.is_err();
        if is_gone {
            return;
        }
        let mut running = supervisor.status();
        tokio::select! {
            biased;
            _ = running.wait_for(|status| status.phase != ServerPhase::Running) => {}
            () = look_after(&supervisor, &proxy, &key, interval) => {}
        }
    }
}

/// Asks a server that runs now and then; ready when it was silent too often, which was told.
async fn look_after(supervisor: &Supervisor, proxy: &Arc<Proxy>, key: &ServerKey, interval: Option<Duration>) {
    let Some(interval) = interval else { return std::future::pending().await };
    let (mut vigil, mut missed) = (Vigil::default(), 0);
    loop {
        tokio::time::sleep(interval).await;
        let Err(error) = vigil.ask(proxy, key, interval.min(HEALTH_ANSWER_MAX)).await else {
            missed = 0;
            continue;
        };
        missed += 1;
        tracing::debug!(fairlead.server.name = %key, missed, error = text::chain(&error), "a server did not answer");
        if missed >= HEALTH_MISSES_MAX {
            let asked = format!("{missed} questions in a row, {} s apart", interval.as_secs());
            return supervisor.mark_silent(format!("it does not answer any more: {asked}"));
        }
    }
}

/// A place for a server of one name. Operations on it come one after the other.
pub(super) struct Slot {
    turn: Arc<Semaphore>,
    pub(super) managed: Mutex<Option<Managed>>,
}

impl Default for Slot {
    fn default() -> Self {
        Self { turn: Arc::new(Semaphore::new(1)), managed: Mutex::default() }
    }
}

/// All places.
#[derive(Default)]
pub(super) struct Slots {
    map: Mutex<BTreeMap<ServerKey, Arc<Slot>>>,
}

/// The right to change one server, held for the whole of an operation.
pub(super) struct Turn {
    pub(super) slot: Arc<Slot>,
    key: ServerKey,
    slots: Arc<Slots>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Turn {
    /// Whose turn it is.
    pub(super) fn key(&self) -> &ServerKey {
        &self.key
    }
}

impl Drop for Turn {
    /// A place without a server is given up, while nobody else can be in it.
    fn drop(&mut self) {
        if self.slot.managed.lock().is_none() {
            self.slots.map.lock().remove(&self.key);
        }
    }
}

impl Slots {
    /// Waits for the right to change a server, whether there is one or not.
    pub(super) async fn turn(self: &Arc<Self>, key: &ServerKey) -> Turn {
        loop {
            let slot = Arc::clone(self.map.lock().entry(key.clone()).or_default());
            let permit = Arc::clone(&slot.turn).acquire_owned().await.ok();
            // While we waited the place may have been given up, and a new one made.
            let is_current = self.map.lock().get(key).is_some_and(|current| Arc::ptr_eq(current, &slot));
            if is_current {
                return Turn { slot, key: key.clone(), slots: Arc::clone(self), _permit: permit };
            }
        }
    }

    /// Looks at one server.
    pub(super) fn look<T>(&self, key: &ServerKey, look: impl FnOnce(&Managed) -> T) -> Option<T> {
        let slot = self.map.lock().get(key).map(Arc::clone)?;
        let managed = slot.managed.lock();
        managed.as_ref().map(look)
    }

    /// Changes what is known of one server.
    pub(super) fn change(&self, key: &ServerKey, change: impl FnOnce(&mut Managed)) {
        let slot = self.map.lock().get(key).map(Arc::clone);
        if let Some(slot) = slot
            && let Some(managed) = slot.managed.lock().as_mut()
        {
            change(managed);
        }
    }

    /// Looks at all servers, by key.
    pub(super) fn look_at_all<T>(&self, mut look: impl FnMut(&Managed) -> T) -> Vec<T> {
        let slots: Vec<_> = self.map.lock().values().map(Arc::clone).collect();
        slots.iter().filter_map(|slot| slot.managed.lock().as_ref().map(&mut look)).collect()
    }

    /// Keys that are taken, by a server or by an operation that may make one.
    pub(super) fn is_taken(&self, key: &ServerKey) -> bool {
        self.map.lock().contains_key(key)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.map.lock().len()
    }
}
