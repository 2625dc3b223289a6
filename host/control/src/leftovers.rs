//! What an earlier daemon started and nobody saw end: found in the store at the next start, and ended.
//!
//! A workload is written down before anybody gets it and struck out after its end. What stands there when the daemon starts
//! was running when the last one died. Its pipes are gone, so it is of no use to anyone, unless it is reached over a port: then
//! it has gone on serving, and the next launch of its server takes it over.

use std::collections::BTreeSet;
use std::sync::Arc;

use fairlead_core::name::ServerKey;
use fairlead_core::status::Desired;
use fairlead_core::store::{Leftover, ServerRecord, Store, StoreError};
use fairlead_core::workload::WorkloadRuntime;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::limits::STORE_MAX;

/// Stands between the name of the runtime and what that runtime calls its workload.
const SEPARATOR: char = ':';

/// What became of the workloads of an earlier daemon.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// They were there to be ended.
    pub ended: usize,
    /// They go on, for their servers to take over.
    pub kept: usize,
}

/// Ends what is left of an earlier daemon and forgets it, but for what its server can take over. To be called before anything
/// is launched.
///
/// # Errors
/// The store cannot be read.
pub async fn sweep(store: &dyn Store, runtimes: &[Arc<dyn WorkloadRuntime>]) -> Result<Swept, StoreError> {
    let wanted: BTreeSet<ServerKey> = store.servers().await?.into_iter().filter(is_wanted).map(|it| it.key).collect();
    // All at once: each may take the seconds that it has to end, and the start of the daemon waits for the last.
    let mut sweeping = JoinSet::new();
    for leftover in store.leftovers().await? {
        let known = leftover.workload.split_once(SEPARATOR);
        let known = known.and_then(|(name, id)| Some((runtimes.iter().find(|runtime| runtime.name() == name)?, id)));
        let Some((runtime, id)) = known else {
            tracing::warn!(fairlead.server.name = %leftover.key, "a workload of an earlier daemon has an unknown runtime");
            continue;
        };
        let (runtime, id, wanted) = (Arc::clone(runtime), id.to_owned(), wanted.contains(&leftover.key));
        sweeping.spawn(async move {
            if wanted && runtime.can_be_taken_over(&id).await {
                return (None, leftover);
            }
            (Some(runtime.end_leftover(&id).await), leftover)
        });
    }
    let mut swept = Swept::default();
    while let Some(done) = sweeping.join_next().await {
        let (was_there, leftover) = match done {
            Ok(swept) => swept,
            Err(error) => {
                tracing::error!(%error, "ending a workload of an earlier daemon failed");
                continue;
            }
        };
        // Its entry stays until the launch that takes it over has seen it end.
        let Some(was_there) = was_there else {
            swept.kept += 1;
            continue;
        };
        if was_there {
            tracing::info!(fairlead.server.name = %leftover.key, "ended a workload of an earlier daemon");
            swept.ended += 1;
        }
        forget(store, &leftover).await;
    }
    Ok(swept)
}

fn is_wanted(record: &ServerRecord) -> bool {
    record.desired == Desired::Running && record.spec.transport.port().is_some()
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
        assert_eq!(sweep(&store, &runtimes).await.unwrap(), Swept { ended: 1, kept: 0 });
        assert_eq!(*runtime.ended_leftovers.lock(), ["12 34:56"]);
        assert_eq!(store.names(), ["elsewhere:1", "nonsense"]);
    }

    #[tokio::test]
    async fn what_goes_on_serving_is_kept_for_a_server_that_should_run_and_for_no_other() {
        let runtime = Arc::new(FakeRuntime::default());
        let runtimes: [Arc<dyn WorkloadRuntime>; 1] = [Arc::clone(&runtime) as _];
        let http = serde_json::json!({
            "source": {"kind": "image", "reference": "a"},
            "transport": {"kind": "streamable-http", "port": 8000},
        });
        let record = |spec: &serde_json::Value, desired| ServerRecord {
            key: key(),
            spec: serde_json::from_value(spec.clone()).unwrap(),
            desired,
            created: jiff::Timestamp::UNIX_EPOCH,
        };
        let stdio = serde_json::json!({"source": {"kind": "image", "reference": "a"}});
        let cases = [
            (Some(record(&http, Desired::Running)), "fake:port 1", Swept { ended: 0, kept: 1 }),
            (Some(record(&http, Desired::Running)), "fake:stdio 1", Swept { ended: 1, kept: 0 }),
            (Some(record(&http, Desired::Stopped)), "fake:port 1", Swept { ended: 1, kept: 0 }),
            (Some(record(&stdio, Desired::Running)), "fake:port 1", Swept { ended: 1, kept: 0 }),
            (None, "fake:port 1", Swept { ended: 1, kept: 0 }),
        ];
        for (server, workload, expected) in cases {
            let store = MemoryStore::default();
            store.servers.lock().extend(server);
            store.leftovers.lock().push(Leftover { key: key(), workload: workload.to_owned() });
            assert_eq!(sweep(&store, &runtimes).await.unwrap(), expected);
            assert_eq!(store.names().len(), expected.kept, "an entry stays as long as what it names");
        }
    }
}
