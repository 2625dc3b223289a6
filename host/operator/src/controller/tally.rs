//! What an operator did and how it stands: for those who scrape, for probes, and for tests.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

use crate::limits::LEASE_DURATION;

/// What an operator did.
#[derive(Debug, Default)]
pub struct Tally {
    reconciles: AtomicU64,
    writes: AtomicU64,
    failures: AtomicU64,
    events: AtomicU64,
    leads: AtomicU64,
    is_leading: AtomicBool,
    /// Whether whoever leads has seen all that there is.
    is_filled: AtomicBool,
    /// When the API server last answered about the lease.
    answered: Mutex<Option<Instant>>,
}

impl Tally {
    /// Looks at an object, each counted when it ended.
    #[must_use]
    pub fn reconciles(&self) -> u64 {
        self.reconciles.load(Ordering::Relaxed)
    }

    /// Requests that can change something, those about the lease aside.
    #[must_use]
    pub fn writes(&self) -> u64 {
        self.writes.load(Ordering::Relaxed)
    }

    /// Looks that failed, to be repeated.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// How often it became the leader.
    #[must_use]
    pub fn leads(&self) -> u64 {
        self.leads.load(Ordering::Relaxed)
    }

    /// Whether it does, or could do at once, what it is there for: the API server answers it, and if it leads, it has seen all
    /// that there is.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let answered = *self.answered.lock().unwrap_or_else(PoisonError::into_inner);
        let is_heard = answered.is_some_and(|at| at.elapsed() < LEASE_DURATION);
        is_heard && (!self.is_leading.load(Ordering::Relaxed) || self.is_filled.load(Ordering::Relaxed))
    }

    /// In the text format of Prometheus.
    #[must_use]
    pub fn metrics(&self) -> String {
        let mut text = String::new();
        for (name, kind, help, value) in [
            ("reconciles_total", "counter", "Looks at an object that ended.", self.reconciles()),
            ("reconcile_failures_total", "counter", "Looks that failed, to be repeated.", self.failures()),
            ("writes_total", "counter", "Requests that can change something, but for the lease.", self.writes()),
            ("events_total", "counter", "Events that were written.", self.events.load(Ordering::Relaxed)),
            ("leads_total", "counter", "How often this operator became the leader.", self.leads()),
            ("leading", "gauge", "1 while this operator leads.", u64::from(self.is_leading.load(Ordering::Relaxed))),
            (
                "ready",
                "gauge",
                "1 while it does, or could do at once, what it is there for.",
                u64::from(self.is_ready()),
            ),
        ] {
            let name = format!("fairlead_operator_{name}");
            // A text never refuses what is written to it.
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
        }
        text
    }

    pub(super) fn looked(&self) {
        self.reconciles.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn wrote(&self) {
        self.writes.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn failed(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn told(&self) {
        self.events.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn answered(&self) {
        *self.answered.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    pub(super) fn leads_now(&self) {
        self.leads.fetch_add(1, Ordering::Relaxed);
        self.is_filled.store(false, Ordering::Relaxed);
        self.is_leading.store(true, Ordering::Relaxed);
    }

    pub(super) fn leads_no_more(&self) {
        self.is_leading.store(false, Ordering::Relaxed);
    }

    pub(super) fn filled(&self) {
        self.is_filled.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_ready_while_it_is_answered_and_once_a_leader_has_seen_all() {
        let tally = Tally::default();
        assert!(!tally.is_ready(), "nobody answered yet");
        tally.answered();
        assert!(tally.is_ready(), "it could take over");
        tally.leads_now();
        assert!(!tally.is_ready(), "it leads and has seen nothing");
        tally.filled();
        assert!(tally.is_ready());
        tokio::time::advance(LEASE_DURATION).await;
        assert!(!tally.is_ready(), "the API server is gone");
    }

    #[test]
    fn what_is_counted_is_shown_with_its_kind() {
        let tally = Tally::default();
        tally.looked();
        tally.leads_now();
        let text = tally.metrics();
        assert!(
            text.contains("# TYPE fairlead_operator_reconciles_total counter\nfairlead_operator_reconciles_total 1\n")
        );
        assert!(text.contains("fairlead_operator_leading 1\n") && text.contains("fairlead_operator_ready 0\n"));
    }
}
