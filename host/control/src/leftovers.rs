//! What an earlier daemon started and nobody saw end: found in the store at the next start, and ended.
//!
//! A workload is written down before anybody gets it and struck out after its end. What stands there when the daemon starts
//! was running when the last one died; its pipes are gone, so it is of no use to anyone.

use std::sync::Arc;

use fairlead_core::name::ServerKey;
use fairlead_core::store::{Leftover, Store, StoreError};
use fairlead_core::workload::WorkloadRuntime;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::limits::STORE_MAX;

/// Stands between the name of the runtime and what that runtime calls its workload.
const SEPARATOR: char = ':';

/// Ends what is left of an earlier daemon and forgets it. To be called before anything is launched. Gives the number of
/// workloads that were there to be ended.
///
/// # Errors
/// The store cannot be read.
pub async fn sweep(store: &dyn Store, runtimes: &[Arc<dyn WorkloadRuntime>]) -> Result<usize, StoreError> {
    // All at once: each may take the seconds that it has to end, and the start of the daemon waits for the last.
    let mut sweeping = JoinSet::new();
    for leftover in store.leftovers().await? {
        let known = leftover.workload.split_once(SEPARATOR);
        let known = known.and_then(|(name, id)| Some((runtimes.iter().find(|runtime| runtime.name() == name)?, id)));
        let Some((runtime, id)) = known else {
            tracing::warn!(fairlead.server.name = %leftover.key, "a workload of an earlier daemon has an unknown runtime");
            continue;
        };
        let (runtime, id) = (Arc::clone(runtime), id.to_owned());
        sweeping.spawn(async move { (runtime.end_leftover(&id).await, leftover) });
    }
    let mut ended = 0;
    while let Some(swept) = sweeping.join_next().await {
        let (was_there, leftover) = match swept {
            Ok(swept) => swept,
            Err(error) => {
                tracing::error!(%error, "ending a workload of an earlier daemon failed");
                continue;
            }
        };
        if was_there {
            tracing::info!(fairlead.server.name = %leftover.key, "ended a workload of an earlier daemon");
            ended += 1;
        }
        forget(store, &leftover).await;
    }
    Ok(ended)
}

/// Writes a workload down. A store that does not take it costs the sweep after a crash, not the session now.
pub(crate) async fn record(
    store: &dyn Store,
    server: &ServerKey,
    runtime: &dyn WorkloadRuntime,
    id: Option<&str>,
) -> Option<Leftover> {
    let id = id?;
    let leftover = Leftover { key: server.clone(), workload: format!("{}{SEPARATOR}{id}", runtime.name()) };
    match timeout(STORE_MAX, store.put_leftover(&leftover)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(fairlead.server.name = %server, %error, "cannot write a workload down"),
        Err(_) => tracing::warn!(fairlead.server.name = %server, "cannot write a workload down: the store hangs"),
    }
    Some(leftover)
}

/// Strikes a workload out.
pub(crate) async fn forget(store: &dyn Store, leftover: &Leftover) {
    match timeout(STORE_MAX, store.remove_leftover(leftover)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::warn!(fairlead.server.name = %leftover.key, %error, "cannot forget a workload that has ended");
        }
        Err(_) => tracing::warn!(fairlead.server.name = %leftover.key, "cannot forget a workload: the store hangs"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{FakeRuntime, MemoryStore, key};

    #[tokio::test]
    async fn a_sweep_ends_what_is_known_and_keeps_what_is_not() {
        let store = MemoryStore::default();
        for workload in ["fake:12 34:56", "elsewhere:1", "nonsense"] {
            store.leftovers.lock().push(Leftover { key: key(), workload: workload.to_owned() });
        }
        let runtime = Arc::new(FakeRuntime::default());
        let runtimes: [Arc<dyn WorkloadRuntime>; 1] = [Arc::clone(&runtime) as _];
        assert_eq!(sweep(&store, &runtimes).await.unwrap(), 1);
        assert_eq!(*runtime.ended_leftovers.lock(), ["12 34:56"]);
        assert_eq!(store.names(), ["elsewhere:1", "nonsense"]);
    }
}
