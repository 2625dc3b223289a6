//! What servers use of the machine.

use fairlead_core::workload::Usage;
use futures_util::StreamExt as _;
use futures_util::stream;

use super::App;
use crate::api::types::{ListQuery, ServerUsage, UsageList};
use crate::limits::USAGES_AT_ONCE_MAX;

impl App {
    /// What the servers that match use now, by tenant and name.
    pub(crate) async fn usage(&self, query: &ListQuery) -> UsageList {
        let servers = self.list(query).into_iter().map(|workload| async move {
            let key = workload.key();
            let live = self.slots.look(&key, super::managed::Managed::live).flatten();
            let (usage, workloads) = match live {
                Some(live) => live.supervisor.usage().await,
                None => (Usage::default(), 0),
            };
            ServerUsage {
                sessions: self.proxy.sessions(&key).unwrap_or_default(),
                name: workload.name,
                tenant: workload.tenant,
                status: workload.status,
                workloads,
                cpu_nanos: usage.cpu_nanos,
                memory_bytes: usage.memory_bytes,
                processes: usage.processes,
            }
        });
        let servers = stream::iter(servers).buffered(USAGES_AT_ONCE_MAX).collect().await;
        UsageList { at: self.clock.now(), servers }
    }
}
