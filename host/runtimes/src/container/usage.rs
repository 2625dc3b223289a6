//! What a container uses, as its engine counts it.

use std::collections::HashMap;

use bollard::models::ContainerStatsResponse;
use bollard::query_parameters::StatsOptions;
use fairlead_core::BoxFuture;
use fairlead_core::workload::Usage;
use futures_util::StreamExt;

use super::engine::Engine;

/// What a container uses now; `None` when it has ended or the engine does not say.
pub(super) fn of<'a>(engine: &'a Engine, container: &'a str) -> BoxFuture<'a, Option<Usage>> {
    Box::pin(async move {
        // One look: an engine that is asked for two of them waits a second in between.
        let options = StatsOptions { stream: false, one_shot: true };
        let mut said = std::pin::pin!(engine.docker().stats(container, Some(options)));
        let asked = engine.ask("ask for usage", async { said.next().await.transpose() });
        usage(asked.await.ok()??)
    })
}

fn usage(said: ContainerStatsResponse) -> Option<Usage> {
    let memory = said.memory_stats?;
    let details = memory.stats.unwrap_or_default();
    Some(Usage {
        cpu_nanos: said.cpu_stats?.cpu_usage?.total_usage?,
        memory_bytes: memory.usage?.saturating_sub(cached(&details)),
        processes: said.pids_stats.and_then(|processes| processes.current).unwrap_or_default(),
    })
}

/// Copies of files that the kernel drops when somebody needs the memory: not what the server holds. `inactive_file` where
/// control groups are of version 2, `total_inactive_file` where they are of version 1.
fn cached(details: &HashMap<String, u64>) -> u64 {
    let said = ["total_inactive_file", "inactive_file"].into_iter().find_map(|name| details.get(name));
    said.copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_the_kernel_only_caches_does_not_count() {
        let said = json!({
            "cpu_stats": {"cpu_usage": {"total_usage": 7_000_000}},
            "memory_stats": {"usage": 5000, "stats": {"inactive_file": 1000, "active_file": 30}},
            "pids_stats": {"current": 3},
        });
        let expected = Usage { cpu_nanos: 7_000_000, memory_bytes: 4000, processes: 3 };
        assert_eq!(usage(serde_json::from_value(said).unwrap()), Some(expected));
    }

    #[test]
    fn a_container_that_has_ended_uses_nothing_that_could_be_told() {
        let said = json!({"cpu_stats": {"cpu_usage": {"total_usage": 0}}, "memory_stats": {}, "pids_stats": {}});
        assert_eq!(usage(serde_json::from_value(said).unwrap()), None);
    }
}
