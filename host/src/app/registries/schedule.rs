//! Registries are read when they are due, a few at a time.

use std::sync::Arc;

use fairlead_registry::sync::How;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::Registries;
use crate::limits::{REGISTRIES_AT_ONCE, REGISTRY_LOOK};

impl Registries {
    /// Reads what is due until `stop`. What is being read then is given up: its last copy stays.
    pub(crate) async fn keep_fresh(self: Arc<Self>, stop: CancellationToken) {
        let mut reading = JoinSet::new();
        loop {
            while reading.len() < REGISTRIES_AT_ONCE {
                let Some((tenant, name)) = self.take_due() else { break };
                let registries = Arc::clone(&self);
                // How it went is written down where it can be seen.
                reading.spawn(async move { drop(registries.refresh(&tenant, &name, How::default()).await) });
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep_until(self.look_again(reading.len())) => {}
                Some(_) = reading.join_next() => {}
            }
        }
    }

    /// When there may be something to read. What is being read, or has to wait for that, is looked at when it has ended.
    fn look_again(&self, reading: usize) -> Instant {
        let latest = Instant::now() + REGISTRY_LOOK;
        if reading >= REGISTRIES_AT_ONCE {
            return latest;
        }
        let state = self.state.read();
        let idle = state.known.iter().filter(|known| known.turn.try_lock().is_ok());
        idle.map(|known| known.due).min().map_or(latest, |due| due.min(latest))
    }

    /// One that is due and that nobody reads now; it is not due again before it was tried.
    fn take_due(&self) -> Option<(fairlead_core::name::TenantName, fairlead_core::name::RegistryName)> {
        let now = Instant::now();
        let mut state = self.state.write();
        let known = state.known.iter_mut().find(|known| known.due <= now && known.turn.try_lock().is_ok())?;
        known.due = now + std::time::Duration::from_secs(known.record.spec.interval_secs);
        Some((known.record.tenant.clone(), known.record.name.clone()))
    }
}
