//! The attachment as its instances see it: who they are, what they were granted, where their words and numbers go.
//!
//! One value for all instances of one attachment, so that a rate, a quota or a count holds for the attachment however many
//! instances it has at the moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use fairlead_core::clock::Clock;
use fairlead_core::dial::Dialer;
use fairlead_core::grant::Grants;
use fairlead_core::kv::{KvScope, KvStore};
use fairlead_core::logs::LogSink;
use fairlead_core::middleware::Fault;
use fairlead_core::secret::{SecretSource, SecretValue};
use tokio::sync::Semaphore;

use crate::log_gate::LogGate;
use crate::metrics::Metrics;
use crate::placeholders::{FillError, Placeholders};

/// What the host lends to all attachments.
#[derive(Clone)]
pub(crate) struct Services {
    pub(crate) kv: Arc<dyn KvStore>,
    pub(crate) secrets: Option<Arc<dyn SecretSource>>,
    pub(crate) logs: Option<Arc<dyn LogSink>>,
    pub(crate) dialer: Option<Arc<dyn Dialer>>,
    pub(crate) clock: Arc<dyn Clock>,
}

/// One attachment.
pub(crate) struct Owner {
    /// Tenant, place and name: the scope of its state too.
    pub(crate) scope: KvScope,
    /// Name of the plugin.
    pub(crate) plugin: String,
    pub(crate) grants: Grants,
    pub(crate) services: Services,
    /// Turns of outgoing requests.
    pub(crate) requests: Arc<Semaphore>,
    pub(crate) gate: LogGate,
    pub(crate) metrics: Metrics,
    pub(crate) counts: Counts,
    pub(crate) placeholders: Placeholders,
    /// Origin of the monotonic clock.
    pub(crate) born: Instant,
}

impl Owner {
    /// A text of the guest with the secrets in it that its placeholders stand for, to be sent to `host`; without one, to the
    /// server behind the chain. Never given back to the guest.
    pub(crate) fn fill(&self, text: &str, host: Option<&str>) -> Result<SecretValue, FillError> {
        let may_go = |name: &str| self.grants.may_send(name, host);
        self.placeholders.fill(text, &self.scope.tenant, self.services.secrets.as_deref(), &may_go)
    }
}

/// What the host counts of an attachment. Read by [`crate::PluginHost::metrics`].
#[derive(Default)]
pub(crate) struct Counts {
    calls: AtomicU64,
    faults: [AtomicU64; FAULT_KINDS.len()],
    created: AtomicU64,
    retired: AtomicU64,
    memory_bytes: AtomicU64,
    attributes_dropped: AtomicU64,
    requests: AtomicU64,
    requests_refused: AtomicU64,
}

/// Kinds of faults that a host can see; the breaker is the data plane's.
pub(crate) const FAULT_KINDS: [&str; 7] =
    ["trap", "deadline", "memory", "failure", "nonsense", "overload", "instantiate"];

impl Counts {
    pub(crate) fn call(&self) {
        self.calls.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn fault(&self, fault: &Fault) {
        let position = FAULT_KINDS.iter().position(|kind| *kind == fault.kind());
        if let Some(count) = position.and_then(|position| self.faults.get(position)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn created(&self) {
        self.created.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn retired(&self) {
        self.retired.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn memory(&self, bytes: usize) {
        self.memory_bytes.fetch_max(u64::try_from(bytes).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(crate) fn attribute_dropped(&self) {
        self.attributes_dropped.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn request_refused(&self) {
        self.requests_refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn snapshot(&self) -> CountsSnapshot {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        CountsSnapshot {
            calls: read(&self.calls),
            faults: FAULT_KINDS
                .iter()
                .zip(&self.faults)
                .map(|(kind, count)| (*kind, read(count)))
                .filter(|(_, count)| *count > 0)
                .collect(),
            instances_created: read(&self.created),
            instances_retired: read(&self.retired),
            memory_bytes_high_water: read(&self.memory_bytes),
            attributes_dropped: read(&self.attributes_dropped),
            requests: read(&self.requests),
            requests_refused: read(&self.requests_refused),
        }
    }
}

/// What the host counted of an attachment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CountsSnapshot {
    /// Hooks that were called.
    pub calls: u64,
    /// Faults by kind, those that happened.
    pub faults: Vec<(&'static str, u64)>,
    /// Instances made.
    pub instances_created: u64,
    /// Instances thrown away.
    pub instances_retired: u64,
    /// The most linear memory that one instance had.
    pub memory_bytes_high_water: u64,
    /// Attributes that were over the limit.
    pub attributes_dropped: u64,
    /// Requests that it sent over HTTP.
    pub requests: u64,
    /// Requests that it wanted to send and that were not granted.
    pub requests_refused: u64,
}
