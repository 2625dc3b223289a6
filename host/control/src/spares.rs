//! Stdio workloads that are started before anybody asks, so that a session need not wait for one.
//!
//! Only for a server that has answered once and runs: a spare of one that does not come up would fail in its stead. A spare
//! is a session like any other to the cap and to the count of failures; it just has no client yet.

use std::sync::Arc;

use fairlead_core::status::ServerPhase;
use fairlead_core::workload::Unavailable;
use parking_lot::Mutex;

use crate::server::Server;
use crate::workload::Held;

/// The spares of one server.
pub(crate) struct Spares {
    max: usize,
    shelf: Mutex<Shelf>,
}

#[derive(Default)]
struct Shelf {
    held: Vec<Held>,
    /// Being launched.
    coming: usize,
}

impl Spares {
    pub(crate) fn new(max: usize) -> Self {
        Self { max, shelf: Mutex::default() }
    }

    /// Gives them up; their workloads end.
    pub(crate) fn clear(&self) {
        // Dropped after the lock is given back.
        let _held = std::mem::take(&mut self.shelf.lock().held);
    }

    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.shelf.lock().held.len()
    }

    fn take(&self) -> Option<Held> {
        let mut shelf = self.shelf.lock();
        shelf.held.retain(|spare| !spare.over.is_cancelled());
        shelf.held.pop()
    }

    /// Whether one is missing, which is then taken for coming.
    fn order(&self) -> bool {
        let mut shelf = self.shelf.lock();
        let missing = shelf.held.len() + shelf.coming < self.max;
        shelf.coming += usize::from(missing);
        missing
    }

    fn deliver(&self, spare: Option<Held>) {
        let mut shelf = self.shelf.lock();
        shelf.coming = shelf.coming.saturating_sub(1);
        shelf.held.extend(spare);
    }
}

impl Server {
    /// A spare, if there is one and a launch would be let through.
    pub(crate) fn take_spare(&self) -> Result<Option<Held>, Unavailable> {
        self.check()?;
        Ok(self.spares.take())
    }

    /// Launches the spares that are missing, while the server runs.
    pub(crate) fn refill(self: &Arc<Self>) {
        while !self.is_resident() && self.moves.borrow().phase == ServerPhase::Running && self.spares.order() {
            let server = Arc::clone(self);
            self.tasks.spawn(async move {
                let spare = server.launch_detached().await.ok();
                server.spares.deliver(spare);
            });
        }
    }
}
