//! Registries are read when they are due, a few at a time.

use std::sync::Arc;

use fairlead_core::name::{RegistryName, TenantName};
use fairlead_core::problem::Problem;
use fairlead_registry::sync::How;
use parking_lot::RwLock;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{Registries, State};
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
    fn take_due(&self) -> Option<(TenantName, RegistryName)> {
        let now = Instant::now();
        let mut state = self.state.write();
        let known = state.known.iter_mut().find(|known| known.due <= now && known.turn.try_lock().is_ok())?;
        known.due = now + std::time::Duration::from_secs(known.record.spec.interval_secs);
        Some((known.record.tenant.clone(), known.record.name.clone()))
    }

    /// The turn of a registry that is to be changed or removed. Whoever reads it now gives up, and would keep us waiting otherwise
    /// for as long as its source likes.
    pub(super) fn give_up_reading(
        &self,
        tenant: &TenantName,
        name: &RegistryName,
    ) -> Result<(Arc<tokio::sync::Mutex<()>>, GivenUp<'_>), Problem> {
        let turn = self.with(tenant, name, |known| {
            known.gone.cancel();
            Arc::clone(&known.turn)
        })?;
        Ok((turn, GivenUp { state: &self.state, tenant: tenant.clone(), name: name.clone() }))
    }
}

/// While this is there a registry is not read. It is read again when this is dropped and it is still there: whoever wanted to change
/// it may have failed, or have hung up while it was waiting.
pub(super) struct GivenUp<'a> {
    state: &'a RwLock<State>,
    tenant: TenantName,
    name: RegistryName,
}

impl Drop for GivenUp<'_> {
    fn drop(&mut self) {
        let mut state = self.state.write();
        if let Some(known) = state.known.iter_mut().find(|known| known.is(&self.tenant, &self.name)) {
            known.gone = CancellationToken::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use serde_json::json;

    use super::super::scene;
    use super::*;
    use crate::api::types::registry::{CreateRegistry, RefreshRegistry};
    use crate::app::MachineClock;

    #[tokio::test]
    async fn a_registry_that_somebody_began_to_remove_and_hung_up_is_read_again() {
        let home = tempfile::tempdir().unwrap();
        let registries = scene::registries(home.path(), Arc::new(MachineClock));
        let file = home.path().join("servers.json");
        std::fs::write(&file, r#"{"servers": []}"#).unwrap();
        let request = json!({"name": "mine", "spec": {"source": {"kind": "file", "path": file}}});
        let request: CreateRegistry = serde_json::from_value(request).unwrap();
        let (tenant, name) = (request.tenant.clone(), request.name.clone());
        registries.add(request).await.unwrap();

        let turn = registries.with(&tenant, &name, |known| Arc::clone(&known.turn)).unwrap();
        let reading = turn.lock().await;
        assert!(registries.remove(&tenant, &name).now_or_never().is_none(), "somebody reads it");
        drop(reading);
        let read = registries.refresh_now(&name, RefreshRegistry::default()).await;
        assert!(read.is_ok(), "{read:?}");
        registries.remove(&tenant, &name).await.unwrap();
        assert!(registries.get(&tenant, &name).is_err());
    }
}
