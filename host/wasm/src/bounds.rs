//! What holds a guest within its time and memory.
//!
//! Time is counted in ticks of the epoch: at each one the guest hands the thread back, so that it takes turns with
//! everything else, and after its share it is interrupted. Memory is refused, as the specification of WebAssembly has it:
//! `memory.grow` fails, and most guests then abort. A refusal is remembered, so that the abort is told apart from a bug.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;
use wasmtime::component::ResourceTable;
use wasmtime::{ResourceLimiter, Store, StoreContextMut, UpdateDeadline};

use crate::limits::{
    COPIED_BYTES_MAX, CORE_INSTANCES_PER_COMPONENT_MAX, MEMORIES_PER_COMPONENT_MAX, TABLE_ELEMENTS_MAX,
    TABLES_PER_COMPONENT_MAX,
};

/// Time and memory of one store.
pub(crate) struct Bounds {
    pub(crate) time: Time,
    pub(crate) memory: Memory,
}

/// Why a guest was interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Interrupted {
    #[error("computed for longer than {0:?}")]
    Computing(Duration),
    #[error("took longer than {0:?}")]
    Waiting(Duration),
}

/// Time that is left in the call under way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Time {
    cpu: Duration,
    wall: Duration,
    ticks: u32,
    until: Instant,
}

/// Linear memory of all memories of a store.
#[derive(Debug, Clone)]
pub(crate) struct Memory {
    bytes_max: usize,
    bytes: usize,
    refused: bool,
    /// Where somebody reads `bytes` while the store is at work.
    shown: Option<Arc<AtomicUsize>>,
}

impl Bounds {
    pub(crate) fn new(cpu: Duration, wall: Duration, memory_bytes_max: u64) -> Self {
        let bytes_max = usize::try_from(memory_bytes_max).unwrap_or(usize::MAX);
        Self { time: Time::new(cpu, wall), memory: Memory { bytes_max, bytes: 0, refused: false, shown: None } }
    }

    /// Puts `store` under the bounds that `of` finds in its data.
    pub(crate) fn enforce<T: Send + 'static>(store: &mut Store<T>, of: fn(&mut T) -> &mut Self) {
        store.limiter(move |data| &mut of(data).memory);
        store.epoch_deadline_callback(move |mut context: StoreContextMut<'_, T>| {
            of(context.data_mut()).time.tick()?;
            // tokio's own yield: the guest goes to the end of the queue, behind what the network has for us.
            Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now())))
        });
        store.set_epoch_deadline(1);
        store.set_hostcall_fuel(COPIED_BYTES_MAX);
    }
}

/// A table of handles that does not grow without end.
pub(crate) fn handles(most: usize) -> ResourceTable {
    let mut table = ResourceTable::new();
    table.set_max_capacity(most);
    table
}

impl Time {
    pub(crate) fn new(cpu: Duration, wall: Duration) -> Self {
        Self::until_then(cpu, wall, Instant::now() + wall)
    }

    /// Time of a call that has waited for a part of its wall time already.
    pub(crate) fn until_then(cpu: Duration, wall: Duration, until: Instant) -> Self {
        let ticks = u32::try_from(cpu.as_millis()).unwrap_or(u32::MAX);
        Self { cpu, wall, ticks, until }
    }

    /// For what may run as long as it likes.
    pub(crate) fn unlimited() -> Self {
        const LONG: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
        Self::new(LONG, LONG)
    }

    pub(crate) fn until(&self) -> Instant {
        self.until
    }

    /// What to say when the whole call is over time.
    pub(crate) fn over(&self) -> Interrupted {
        Interrupted::Waiting(self.wall)
    }

    fn tick(&mut self) -> wasmtime::Result<()> {
        if Instant::now() >= self.until {
            return Err(wasmtime::Error::new(self.over()));
        }
        match self.ticks {
            u32::MAX => Ok(()),
            0 => Err(wasmtime::Error::new(Interrupted::Computing(self.cpu))),
            _ => {
                self.ticks -= 1;
                Ok(())
            }
        }
    }
}

impl Memory {
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// From now on `bytes` can be read there too.
    pub(crate) fn show(&mut self, shown: Arc<AtomicUsize>) {
        self.shown = Some(shown);
    }

    pub(crate) fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// Whether growth was refused since this was asked last.
    pub(crate) fn take_refused(&mut self) -> bool {
        std::mem::take(&mut self.refused)
    }
}

impl ResourceLimiter for Memory {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let bytes = self.bytes.saturating_add(desired.saturating_sub(current));
        if bytes > self.bytes_max {
            self.refused = true;
            return Ok(false);
        }
        self.bytes = bytes;
        if let Some(shown) = &self.shown {
            shown.store(bytes, Ordering::Relaxed);
        }
        Ok(true)
    }

    fn memory_grow_failed(&mut self, _: wasmtime::Error) -> wasmtime::Result<()> {
        // Counted as if it had grown: the operating system or the slot is at its end, and so is the guest.
        self.refused = true;
        Ok(())
    }

    fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= TABLE_ELEMENTS_MAX)
    }

    fn instances(&self) -> usize {
        CORE_INSTANCES_PER_COMPONENT_MAX as usize
    }

    fn tables(&self) -> usize {
        TABLES_PER_COMPONENT_MAX as usize
    }

    fn memories(&self) -> usize {
        MEMORIES_PER_COMPONENT_MAX as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_over_the_bound_is_refused_and_remembered_once() {
        let mut memory = Bounds::new(Duration::ZERO, Duration::ZERO, 128 * 1024).memory;
        assert!(memory.memory_growing(0, 65_536, None).unwrap());
        assert!(memory.memory_growing(65_536, 131_072, None).unwrap());
        assert!(!memory.take_refused());
        assert!(!memory.memory_growing(131_072, 196_608, None).unwrap());
        assert!(memory.take_refused());
        assert!(!memory.take_refused());
        assert_eq!(memory.bytes(), 131_072);
    }

    #[test]
    fn a_second_memory_counts_with_the_first() {
        let mut memory = Bounds::new(Duration::ZERO, Duration::ZERO, 128 * 1024).memory;
        assert!(memory.memory_growing(0, 131_072, None).unwrap());
        assert!(!memory.memory_growing(0, 65_536, None).unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn a_guest_is_interrupted_after_its_share_of_ticks() {
        let mut time = Time::new(Duration::from_millis(3), Duration::from_secs(1));
        for _ in 0..3 {
            time.tick().unwrap();
        }
        let error = time.tick().unwrap_err();
        assert_eq!(error.downcast_ref(), Some(&Interrupted::Computing(Duration::from_millis(3))));
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_for_turns_counts_as_wall_time() {
        let mut time = Time::new(Duration::from_millis(100), Duration::from_millis(5));
        time.tick().unwrap();
        tokio::time::advance(Duration::from_millis(5)).await;
        let error = time.tick().unwrap_err();
        assert_eq!(error.downcast_ref(), Some(&Interrupted::Waiting(Duration::from_millis(5))));
    }
}
