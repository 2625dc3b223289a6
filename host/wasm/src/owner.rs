//! The attachment as its instances see it: who they are, what they were granted, where their words and numbers go.
//!
//! One value for all instances of one attachment, so that a rate, a quota or a count holds for the attachment however many
//! instances it has at the moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use fairlead_core::clock::Clock;
use fairlead_core::kv::{KvScope, KvStore};
use fairlead_core::logs::LogSink;
use fairlead_core::middleware::Fault;
use fairlead_core::plugin::{AttachmentSpec, Capability};
use fairlead_core::secret::{SecretSource, SecretValue};

use crate::log_gate::LogGate;
use crate::metrics::Metrics;
use crate::placeholders::{FillError, Placeholders};

/// What the host lends to all attachments.
#[derive(Clone)]
pub(crate) struct Services {
    pub(crate) kv: Arc<dyn KvStore>,
    pub(crate) secrets: Option<Arc<dyn SecretSource>>,
    pub(crate) logs: Option<Arc<dyn LogSink>>,
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
    pub(crate) gate: LogGate,
    pub(crate) metrics: Metrics,
    pub(crate) counts: Counts,
    pub(crate) placeholders: Placeholders,
    /// Origin of the monotonic clock.
    pub(crate) born: Instant,
}

impl Owner {
    /// A text of the guest with the secrets in it that its placeholders stand for. Never given back to the guest.
    pub(crate) fn fill(&self, text: &str) -> Result<SecretValue, FillError> {
        self.placeholders.fill(text, &self.scope.tenant, self.services.secrets.as_deref())
    }
}

/// What an operator gave.
#[derive(Debug, Clone, Default)]
pub(crate) struct Grants {
    pub(crate) kv: bool,
    secrets: Option<Vec<String>>,
    reveal: Option<Vec<String>>,
}

impl Grants {
    pub(crate) fn of(spec: &AttachmentSpec) -> Self {
        let scope = |name: &str| {
            let mut given = spec.grants.iter().filter(|grant: &&Capability| grant.name == name).peekable();
            given.peek()?;
            Some(given.flat_map(|grant| grant.scope.iter().cloned()).collect())
        };
        Self { kv: scope("kv").is_some(), secrets: scope("secrets"), reveal: scope("secrets-reveal") }
    }

    /// Whether this secret may be used. Secrets are granted by name: an empty list gives none.
    pub(crate) fn may_open(&self, name: &str) -> bool {
        self.secrets.as_ref().is_some_and(|names| names.iter().any(|granted| granted == name))
    }

    /// Whether the value of this secret may be seen.
    pub(crate) fn may_reveal(&self, name: &str) -> bool {
        self.reveal.as_ref().is_some_and(|names| names.iter().any(|granted| granted == name))
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
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(grants: &str) -> AttachmentSpec {
        serde_json::from_str(&format!(r#"{{"name": "a", "plugin": "p", "grants": {grants}}}"#)).unwrap()
    }

    #[test]
    fn nothing_is_granted_that_was_not_given() {
        let grants = Grants::of(&spec("[]"));
        assert!(!grants.kv && !grants.may_open("key") && !grants.may_reveal("key"));
    }

    #[test]
    fn using_a_secret_does_not_grant_seeing_it() {
        let grants = Grants::of(&spec(r#"[{"name": "secrets", "scope": ["key"]}]"#));
        assert!(grants.may_open("key"));
        assert!(!grants.may_open("other"));
        assert!(!grants.may_reveal("key"));
    }

    #[test]
    fn a_grant_without_names_opens_no_secret() {
        assert!(!Grants::of(&spec(r#"[{"name": "secrets"}]"#)).may_open("key"));
    }
}
