//! The lease: who of several operators is the one that writes.
//!
//! As everywhere in Kubernetes, clocks are not compared: a waiter measures with its own how long the record has not changed,
//! and takes it over when that is longer than the record says. The holder measures from before its last renewal was sent, and
//! stops writing when that is longer than [`LEASE_RENEW_MAX`], which is shorter: so there are never two, only none for a while.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease as Record, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::Client;
use kube::api::{Api, PostParams};
use tokio::time::{Instant, sleep, timeout};

use super::Tally;
use crate::limits::{LEASE_CALL_MAX, LEASE_DURATION, LEASE_RENEW_MAX, LEASE_RETRY};

/// Which lease, and who asks for it.
#[derive(Debug, Clone)]
pub struct LeaseOptions {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Who asks: the name of the pod, and something that no other has.
    pub identity: String,
}

/// The lease, as one who asks for it sees it.
pub(super) struct Lease {
    api: Api<Record>,
    name: String,
    namespace: String,
    identity: String,
    tally: Arc<Tally>,
}

/// What to do about a record.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// It is nobody's, or ours already.
    Take,
    /// Look again.
    Wait,
}

/// `unchanged`: for how long the record has been seen as it is.
fn step(identity: &str, holder: Option<&str>, duration: Duration, unchanged: Duration) -> Step {
    match holder {
        None | Some("") => Step::Take,
        Some(holder) if holder == identity || unchanged >= duration => Step::Take,
        Some(_) => Step::Wait,
    }
}

impl Lease {
    pub(super) fn new(client: &Client, options: &LeaseOptions, tally: Arc<Tally>) -> Self {
        Self {
            api: Api::namespaced(client.clone(), &options.namespace),
            name: options.name.clone(),
            namespace: options.namespace.clone(),
            identity: options.identity.clone(),
            tally,
        }
    }

    /// Ready once it is ours: since when, at the least.
    pub(super) async fn acquire(&self) -> Instant {
        let mut seen: Option<(Option<String>, Instant)> = None;
        loop {
            let asked = Instant::now();
            match timeout(LEASE_CALL_MAX, self.api.get_opt(&self.name)).await {
                Ok(Ok(None)) => {
                    if self.create().await {
                        return asked;
                    }
                }
                Ok(Ok(Some(record))) => {
                    self.tally.answered();
                    let version = record.metadata.resource_version.clone();
                    let since = match &seen {
                        Some((known, since)) if *known == version => *since,
                        _ => Instant::now(),
                    };
                    seen = Some((version, since));
                    let spec = record.spec.clone().unwrap_or_default();
                    let duration = spec.lease_duration_seconds.and_then(|secs| u64::try_from(secs).ok());
                    let duration = duration.map_or(LEASE_DURATION, Duration::from_secs);
                    let next = step(&self.identity, spec.holder_identity.as_deref(), duration, since.elapsed());
                    if next == Step::Take && self.write(record, &self.identity).await {
                        return asked;
                    }
                }
                Ok(Err(error)) => tracing::warn!(%error, "the lease cannot be read"),
                Err(_) => tracing::warn!("the lease cannot be read in time"),
            }
            sleep(LEASE_RETRY).await;
        }
    }

    /// Renews what is ours since then; ready once it is lost, or could not be renewed in time.
    pub(super) async fn keep(&self, mut renewed: Instant) {
        loop {
            sleep(LEASE_RETRY).await;
            let asked = Instant::now();
            let renew = async {
                let record = self.api.get_opt(&self.name).await.ok().flatten()?;
                let holder = record.spec.as_ref().and_then(|spec| spec.holder_identity.clone());
                if holder.as_deref() != Some(self.identity.as_str()) {
                    return Some(false);
                }
                self.write(record, &self.identity).await.then_some(true)
            };
            let left = LEASE_RENEW_MAX.saturating_sub(renewed.elapsed());
            match timeout(left.min(LEASE_CALL_MAX), renew).await {
                Ok(Some(true)) => renewed = asked,
                Ok(Some(false)) => return,
                // Refused or not answered: as long as there is time, it is asked again.
                Ok(None) | Err(_) => {}
            }
            if renewed.elapsed() >= LEASE_RENEW_MAX {
                return;
            }
        }
    }

    /// Gives it back, so that the next one need not wait. That it fails is no harm.
    pub(super) async fn release(&self) {
        let release = async {
            let record = self.api.get_opt(&self.name).await.ok().flatten()?;
            let holder = record.spec.as_ref().and_then(|spec| spec.holder_identity.clone());
            (holder.as_deref() == Some(self.identity.as_str())).then_some(record)
        };
        if let Ok(Some(record)) = timeout(LEASE_RETRY, release).await {
            let _ = timeout(LEASE_RETRY, self.write(record, "")).await;
        }
    }

    async fn create(&self) -> bool {
        let metadata = ObjectMeta {
            name: Some(self.name.clone()),
            namespace: Some(self.namespace.clone()),
            ..ObjectMeta::default()
        };
        let record = Record { metadata, spec: Some(self.spec(&LeaseSpec::default(), &self.identity)) };
        let created = timeout(LEASE_CALL_MAX, self.api.create(&PostParams::default(), &record)).await;
        self.tell(created.map(|created| created.map(drop)))
    }

    /// Of two who write on the same record, the API server refuses the second.
    async fn write(&self, mut record: Record, holder: &str) -> bool {
        record.spec = Some(self.spec(&record.spec.unwrap_or_default(), holder));
        record.metadata.managed_fields = None;
        let written = timeout(LEASE_CALL_MAX, self.api.replace(&self.name, &PostParams::default(), &record)).await;
        self.tell(written.map(|written| written.map(drop)))
    }

    fn tell(&self, written: Result<Result<(), kube::Error>, tokio::time::error::Elapsed>) -> bool {
        match written {
            Ok(Ok(())) => {
                self.tally.answered();
                return true;
            }
            // Somebody was faster.
            Ok(Err(kube::Error::Api(status))) if status.code == 409 => {}
            Ok(Err(error)) => tracing::warn!(lease = self.name, %error, "the lease cannot be written"),
            Err(_) => tracing::warn!(lease = self.name, "the lease cannot be written in time"),
        }
        false
    }

    fn spec(&self, before: &LeaseSpec, holder: &str) -> LeaseSpec {
        let now = Some(MicroTime(Timestamp::now()));
        let is_new = before.holder_identity.as_deref() != Some(holder);
        LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            lease_duration_seconds: i32::try_from(LEASE_DURATION.as_secs()).ok(),
            acquire_time: if is_new { now.clone() } else { before.acquire_time.clone() },
            renew_time: now,
            lease_transitions: Some(before.lease_transitions.unwrap_or(0).saturating_add(i32::from(is_new))),
            ..LeaseSpec::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_taken_from_nobody_from_oneself_and_from_the_dead() {
        let (term, now) = (Duration::from_secs(15), Duration::ZERO);
        assert_eq!(step("a", None, term, now), Step::Take);
        assert_eq!(step("a", Some(""), term, now), Step::Take);
        assert_eq!(step("a", Some("a"), term, now), Step::Take);
        assert_eq!(step("a", Some("b"), term, Duration::from_secs(14)), Step::Wait);
        assert_eq!(step("a", Some("b"), term, term), Step::Take);
    }

    #[test]
    fn a_holder_stops_before_anyone_else_begins_and_a_failover_is_short() {
        assert!(LEASE_RENEW_MAX + LEASE_RETRY < LEASE_DURATION);
        assert!(2 * (LEASE_RETRY + LEASE_CALL_MAX) <= LEASE_RENEW_MAX, "one call may hang");
        assert!(LEASE_DURATION + LEASE_RETRY <= Duration::from_secs(20));
    }
}
