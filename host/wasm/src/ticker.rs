//! The clock that takes the thread away from a guest that computes for too long.
//!
//! A guest compares a counter of its engine with a deadline at every loop and call; this thread counts it up. Fuel would
//! count instructions instead, and costs twice as much. The thread sleeps while no guest computes: it must not keep a
//! processor of an idle laptop awake. It is a thread and not a task, because a task would wait behind the very guests
//! that it is to interrupt.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle, Thread};

use wasmtime::EngineWeak;

use crate::limits::{TICK, TICKS_BEFORE_REST};

/// Owns the thread; dropping it ends the thread.
pub(crate) struct Ticker {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    wake: Thread,
}

/// What the thread and those who compute share.
struct Shared {
    /// Polls of guests that are under way.
    computing: AtomicUsize,
    /// The thread sleeps until it is woken.
    resting: AtomicBool,
    stopped: AtomicBool,
}

impl Ticker {
    /// Starts the thread.
    pub(crate) fn start(engines: Vec<EngineWeak>) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            computing: AtomicUsize::new(0),
            resting: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
        });
        let of_thread = Arc::clone(&shared);
        let thread =
            thread::Builder::new().name("fairlead-epoch".to_owned()).spawn(move || run(&of_thread, &engines))?;
        let wake = thread.thread().clone();
        Ok(Self { shared, thread: Some(thread), wake })
    }

    /// Polls `future` with the clock running whenever it computes.
    pub(crate) async fn during<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        poll_fn(|context| {
            let _computing = self.enter();
            future.as_mut().poll(context)
        })
        .await
    }

    fn enter(&self) -> Computing<'_> {
        self.shared.computing.fetch_add(1, Ordering::SeqCst);
        // The thread sets `resting` before it looks at `computing` a last time, so one of the two sees the other.
        if self.shared.resting.load(Ordering::SeqCst) {
            self.wake.unpark();
        }
        Computing(&self.shared)
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        self.wake.unpark();
        if let Some(thread) = self.thread.take() {
            // The thread holds no lock and does not panic; there is nothing to learn from how it ended.
            let _ = thread.join();
        }
    }
}

struct Computing<'a>(&'a Shared);

impl Drop for Computing<'_> {
    fn drop(&mut self) {
        self.0.computing.fetch_sub(1, Ordering::SeqCst);
    }
}

fn run(shared: &Shared, engines: &[EngineWeak]) {
    let mut idle = 0;
    while !shared.stopped.load(Ordering::SeqCst) {
        thread::park_timeout(TICK);
        for engine in engines {
            if let Some(engine) = engine.upgrade() {
                engine.increment_epoch();
            }
        }
        if shared.computing.load(Ordering::SeqCst) > 0 {
            idle = 0;
            continue;
        }
        idle += 1;
        if idle < TICKS_BEFORE_REST {
            continue;
        }
        shared.resting.store(true, Ordering::SeqCst);
        while shared.computing.load(Ordering::SeqCst) == 0 && !shared.stopped.load(Ordering::SeqCst) {
            thread::park();
        }
        shared.resting.store(false, Ordering::SeqCst);
        idle = 0;
    }
}
