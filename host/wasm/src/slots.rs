//! Live instances of all plugins together: who may have one, and who has to give one back.
//!
//! The pool of the engine answers with an error when it is full. Here an attachment waits for its turn instead, and idle
//! instances of others are taken first: an instance that nobody uses is only a saving.

use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

/// The right to have one instance.
pub(crate) type Slot = OwnedSemaphorePermit;

/// Who keeps idle instances.
pub(crate) trait Keeper: Send + Sync {
    /// Throws one idle instance away; false when there is none.
    fn give_back(&self) -> bool;
}

/// All slots.
pub(crate) struct Slots {
    free: Arc<Semaphore>,
    keepers: Mutex<Vec<Weak<dyn Keeper>>>,
}

impl Slots {
    pub(crate) fn new(count: u32) -> Self {
        Self { free: Arc::new(Semaphore::new(count as usize)), keepers: Mutex::new(Vec::new()) }
    }

    /// Remembers somebody who keeps idle instances.
    pub(crate) fn register(&self, keeper: Weak<dyn Keeper>) {
        let mut keepers = self.keepers.lock();
        keepers.retain(|known| known.strong_count() > 0);
        keepers.push(keeper);
    }

    /// A slot; `None` when there was none until `deadline`.
    pub(crate) async fn take(&self, deadline: Instant) -> Option<Slot> {
        if let Ok(slot) = Arc::clone(&self.free).try_acquire_owned() {
            return Some(slot);
        }
        self.reclaim();
        timeout_at(deadline, Arc::clone(&self.free).acquire_owned()).await.ok()?.ok()
    }

    fn reclaim(&self) {
        let keepers: Vec<_> = self.keepers.lock().iter().filter_map(Weak::upgrade).collect();
        // Dropping an instance gives its slot free; the locks above are gone by then.
        let _ = keepers.iter().any(|keeper| keeper.give_back());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    struct Idle(Mutex<Option<Slot>>);

    impl Keeper for Idle {
        fn give_back(&self) -> bool {
            self.0.lock().take().is_some()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_instance_of_another_makes_room() {
        let slots = Slots::new(1);
        let soon = Instant::now() + Duration::from_millis(10);
        let idle = Arc::new(Idle(Mutex::new(slots.take(soon).await)));
        slots.register(Arc::downgrade(&(Arc::clone(&idle) as Arc<dyn Keeper>)));
        assert!(slots.take(soon).await.is_some());
        assert!(!idle.give_back());
    }

    #[tokio::test(start_paused = true)]
    async fn when_all_are_busy_one_waits_until_the_deadline() {
        let slots = Slots::new(1);
        let deadline = Instant::now() + Duration::from_millis(10);
        let busy = slots.take(deadline).await;
        assert!(slots.take(deadline).await.is_none());
        assert_eq!(Instant::now(), deadline);
        drop(busy);
        assert!(slots.take(deadline).await.is_some());
    }
}
