//! What becomes of updates, counted: checks by their result, and updates by how they ended. Digests are in the history only:
//! each would be a series of its own.

use fairlead_core::freshness::{Outcome, Unseen};
use fairlead_core::name::ServerKey;
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Meter};

/// Outcomes that an update can have.
const OUTCOMES: [Outcome; 8] = [
    Outcome::Succeeded,
    Outcome::Cancelled,
    Outcome::PreflightFailed,
    Outcome::ApplyFailed,
    Outcome::RolloutFailed,
    Outcome::Superseded,
    Outcome::RolledBack,
    Outcome::RollbackFailed,
];

/// Counters of updates.
#[derive(Debug, Clone)]
pub(crate) struct UpdateMetrics {
    checks: Counter<u64>,
    updates: Counter<u64>,
}

impl UpdateMetrics {
    pub(super) fn new(meter: &Meter) -> Self {
        let counter = |name, description| meter.u64_counter(name).with_description(description).build();
        Self {
            checks: counter("fairlead.update.checks", "Checks of servers for updates"),
            updates: counter("fairlead.update.attempts", "Updates of servers that have ended"),
        }
    }

    /// A server was checked.
    pub(crate) fn checked<T>(&self, key: &ServerKey, seen: &Result<T, Unseen>) {
        let result = match seen {
            Ok(_) => "ok".to_owned(),
            Err(Unseen::Deferred(_)) => "deferred".to_owned(),
            Err(Unseen::Failed { error, .. }) => {
                let class = serde_json::to_value(error.class).ok();
                class.as_ref().and_then(serde_json::Value::as_str).unwrap_or("other").to_owned()
            }
        };
        self.checks.add(1, &[KeyValue::new("fairlead.update.result", result), tenant(key)]);
    }

    /// Something was announced; the end of an update is told by its topic.
    pub(crate) fn announced(&self, key: &ServerKey, topic: &str) {
        let word = topic.split_once(':').map_or(topic, |(word, _)| word);
        if let Some(outcome) = OUTCOMES.iter().find(|outcome| outcome.as_str() == word) {
            self.updates.add(1, &[KeyValue::new("fairlead.update.outcome", outcome.as_str()), tenant(key)]);
        }
    }
}

fn tenant(key: &ServerKey) -> KeyValue {
    KeyValue::new("fairlead.tenant", key.tenant.as_str().to_owned())
}
