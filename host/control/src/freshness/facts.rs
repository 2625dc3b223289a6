//! What a policy is told of one server, collected from its record and its neighbours.

use std::collections::BTreeMap;
use std::time::Duration;

use fairlead_core::freshness::{Facts, Freshness, Peer, Running, Subject, Trigger, WorkloadFacts};
use fairlead_core::limits::{ATTEMPTS_MAX, CANDIDATES_MAX};
use jiff::Timestamp;

/// A number that is the same for the same server and digest, for ever and everywhere: chance without chance.
#[must_use]
pub fn seed(subject: &str, pin: &str) -> u64 {
    // FNV-1a (64 bits), which will be the same in ten years; the standard library's hasher promises nothing of the kind.
    let bytes = subject.bytes().chain([0]).chain(pin.bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Collects the facts.
pub(super) fn collect(
    subject: &Subject,
    record: &Freshness,
    peers: Vec<Peer>,
    interval: Duration,
    trigger: Trigger,
    now: Timestamp,
) -> Facts {
    let newest = record.check.newest.as_ref().map(ToString::to_string).unwrap_or_default();
    Facts {
        now,
        seed: seed(&subject.key.to_string(), &newest),
        interval_ms: u64::try_from(interval.as_millis()).unwrap_or(u64::MAX),
        trigger,
        workload: WorkloadFacts {
            key: subject.key.to_string(),
            tenant: subject.key.tenant.to_string(),
            server: subject.key.name.to_string(),
            group: subject.group.clone(),
            labels: subject.labels.clone(),
            created: subject.created,
            sessions: subject.sessions,
        },
        running: Running {
            reference: subject.reference.clone(),
            pinned: subject.pinned,
            health: subject.health,
            ..record.check.running.clone()
        },
        candidates: record.candidates.iter().take(CANDIDATES_MAX).cloned().collect(),
        truncated: record.candidates.len() > CANDIDATES_MAX,
        history: record.attempts.iter().take(ATTEMPTS_MAX).cloned().collect(),
        approvals: record.approvals.iter().filter(|approval| approval.expires > now).cloned().collect(),
        peers,
        auto_reinstall: subject.toggles.auto_reinstall,
        zone_offsets: Vec::new(),
        attributes: BTreeMap::new(),
    }
}
