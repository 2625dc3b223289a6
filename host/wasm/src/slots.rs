//! Live instances of all plugins together: who may have one, and who has to give one back.
//!
//! The pool of the engine answers with an error when it is full. Here an attachment waits for its turn instead, and idle
//! instances of others are taken first: an instance that nobody uses is only a saving. A tenant has a share that it cannot
//! exceed, so that whatever it does the others find room.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use fairlead_core::name::TenantName;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

/// The right to have one instance: of the tenant, and of all.
#[derive(Debug)]
pub(crate) struct Slot {
    _share: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
}

/// Who keeps idle instances.
pub(crate) trait Keeper: Send + Sync {
    /// Whose they are.
    fn tenant(&self) -> &TenantName;
    /// Throws one idle instance away; false when there is none.
    fn give_back(&self) -> bool;
}

/// All slots.
pub(crate) struct Slots {
    free: Arc<Semaphore>,
    /// What is free of the share of each tenant.
    shares: Mutex<HashMap<TenantName, Arc<Semaphore>>>,
    share: usize,
    keepers: Mutex<Vec<Weak<dyn Keeper>>>,
}

impl Slots {
    /// So many in all, and so many of them for one tenant at most.
    pub(crate) fn new(count: u32, share: u32) -> Self {
        Self {
            free: Arc::new(Semaphore::new(count as usize)),
            shares: Mutex::default(),
            share: share as usize,
            keepers: Mutex::new(Vec::new()),
        }
    }

    /// Remembers somebody who keeps idle instances.
    pub(crate) fn register(&self, keeper: Weak<dyn Keeper>) {
        let mut keepers = self.keepers.lock();
        keepers.retain(|known| known.strong_count() > 0);
        keepers.push(keeper);
    }

    /// A slot; `None` when there was none until `deadline`.
    pub(crate) async fn take(&self, tenant: &TenantName, deadline: Instant) -> Option<Slot> {
        let share = self.share_of(tenant);
        let share = match Arc::clone(&share).try_acquire_owned() {
            Ok(share) => share,
            Err(_) => {
                self.reclaim(|keeper| keeper.tenant() == tenant);
                timeout_at(deadline, share.acquire_owned()).await.ok()?.ok()?
            }
        };
        let all = match Arc::clone(&self.free).try_acquire_owned() {
            Ok(all) => all,
            Err(_) => {
                // One's own first: what a tenant does shall cost itself before it costs others.
                if !self.reclaim(|keeper| keeper.tenant() == tenant) {
                    self.reclaim(|_| true);
                }
                timeout_at(deadline, Arc::clone(&self.free).acquire_owned()).await.ok()?.ok()?
            }
        };
        Some(Slot { _share: share, _all: all })
    }

    fn share_of(&self, tenant: &TenantName) -> Arc<Semaphore> {
        let mut shares = self.shares.lock();
        // A share that nobody has anything of is only a memory.
        if !shares.contains_key(tenant) {
            shares.retain(|_, share| Arc::strong_count(share) > 1);
        }
        Arc::clone(shares.entry(tenant.clone()).or_insert_with(|| Arc::new(Semaphore::new(self.share))))
    }

    fn reclaim(&self, of: impl Fn(&dyn Keeper) -> bool) -> bool {
        let keepers: Vec<_> = self.keepers.lock().iter().filter_map(Weak::upgrade).collect();
        // Dropping an instance gives its slot free; the locks above are gone by then.
        keepers.iter().any(|keeper| of(&**keeper) && keeper.give_back())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    struct Idle(TenantName, Mutex<Option<Slot>>);

    impl Keeper for Idle {
        fn tenant(&self) -> &TenantName {
            &self.0
        }

        fn give_back(&self) -> bool {
            self.1.lock().take().is_some()
        }
    }

    fn tenant(name: &str) -> TenantName {
        TenantName::new(name).unwrap()
    }

    async fn idle(slots: &Slots, name: &str, deadline: Instant) -> Arc<Idle> {
        let idle = Arc::new(Idle(tenant(name), Mutex::new(slots.take(&tenant(name), deadline).await)));
        slots.register(Arc::downgrade(&(Arc::clone(&idle) as Arc<dyn Keeper>)));
        idle
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_instance_of_another_makes_room() {
        let slots = Slots::new(1, 1);
        let soon = Instant::now() + Duration::from_millis(10);
        let idle = idle(&slots, "a", soon).await;
        assert!(slots.take(&tenant("b"), soon).await.is_some());
        assert!(!idle.give_back());
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_tenant_wants_costs_its_own_idle_instances_first() {
        let slots = Slots::new(2, 2);
        let soon = Instant::now() + Duration::from_millis(10);
        let (other, own) = (idle(&slots, "b", soon).await, idle(&slots, "a", soon).await);
        assert!(slots.take(&tenant("a"), soon).await.is_some());
        assert!(!own.give_back() && other.give_back());
    }

    #[tokio::test(start_paused = true)]
    async fn when_all_are_busy_one_waits_until_the_deadline() {
        let slots = Slots::new(1, 1);
        let deadline = Instant::now() + Duration::from_millis(10);
        let busy = slots.take(&tenant("a"), deadline).await;
        assert!(slots.take(&tenant("a"), deadline).await.is_none());
        assert_eq!(Instant::now(), deadline);
        drop(busy);
        assert!(slots.take(&tenant("a"), deadline).await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn no_tenant_takes_more_than_its_share() {
        let slots = Slots::new(4, 2);
        let deadline = Instant::now() + Duration::from_millis(10);
        let mut greedy = Vec::new();
        for _ in 0..2 {
            greedy.push(slots.take(&tenant("greedy"), deadline).await.unwrap());
        }
        assert!(slots.take(&tenant("greedy"), deadline).await.is_none(), "it has its share");
        assert!(slots.take(&tenant("other"), deadline).await.is_some(), "and others find room");
        greedy.pop();
        assert!(slots.take(&tenant("greedy"), deadline).await.is_some());
    }
}
