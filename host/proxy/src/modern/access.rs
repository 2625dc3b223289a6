//! The one process of a server that modern requests go to.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fairlead_core::era::Eras;
use fairlead_core::jsonrpc::Envelope;
use fairlead_core::workload::Unavailable;
use parking_lot::Mutex;
use tokio::time::{Duration, Instant};

use super::learn::{Found, learn};
use super::mirrors::Mirrors;
use crate::Proxy;
use crate::limits::OPEN_MAX;
use crate::route::Published;
use crate::stdio::{Pipe, connect_to_ask};

/// Why there is no such process.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum NotReached {
    #[error("the server speaks the legacy era only")]
    Legacy(Option<Envelope>),
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    #[error("{0}")]
    Ended(Arc<str>),
    #[error("the server does not answer")]
    Silent,
}

/// See the module.
#[derive(Default)]
pub(crate) struct ModernAccess {
    process: Mutex<Option<Process>>,
    /// Held while one is being opened, so that many requests open one.
    opening: tokio::sync::Mutex<()>,
    /// A process ended when it was asked which era it speaks.
    shy: AtomicBool,
    pub(crate) mirrors: Mirrors,
}

struct Process {
    pipe: Arc<Pipe>,
    discovered: Envelope,
    last_used: Instant,
}

impl ModernAccess {
    /// The process, and what it said of itself; opened and asked which era it speaks when there is none.
    pub(crate) async fn get(&self, proxy: &Proxy, route: &Published) -> Result<(Arc<Pipe>, Envelope), NotReached> {
        if let Some(running) = self.running() {
            return Ok(running);
        }
        let _opening = self.opening.lock().await;
        if let Some(running) = self.running() {
            return Ok(running);
        }
        if route.eras.recall().modern == Some(false) || self.shy.load(Ordering::Acquire) {
            return Err(NotReached::Legacy(None));
        }
        self.mirrors.forget();
        let pipe = connect_to_ask(route, proxy).await?;
        let ending = Ending(Some(Arc::clone(&pipe)));
        let found = learn(&pipe, Instant::now() + OPEN_MAX).await;
        if matches!(found, Err(NotReached::Ended(_))) {
            // Some servers end when the first thing they hear is not `initialize`: the next start hears nothing else.
            self.shy.store(true, Ordering::Release);
        }
        let found = found?;
        let (pipe, discovered) = match found {
            Found::Modern(pipe, discovered) => (pipe, discovered),
            Found::Legacy(answer) => {
                route.eras.remember(&Eras { modern: Some(false), legacy: Some(true) });
                return Err(NotReached::Legacy(Some(answer)));
            }
        };
        route.eras.remember(&Eras { modern: Some(true), legacy: None });
        ending.keep();
        let process = Process { pipe: Arc::clone(&pipe), discovered: discovered.clone(), last_used: Instant::now() };
        *self.process.lock() = Some(process);
        Ok((pipe, discovered))
    }

    fn running(&self) -> Option<(Arc<Pipe>, Envelope)> {
        let mut process = self.process.lock();
        let running = process.as_mut().filter(|process| !process.pipe.has_ended())?;
        running.last_used = Instant::now();
        Some((Arc::clone(&running.pipe), running.discovered.clone()))
    }

    /// The next request asks again which era the server speaks.
    pub(crate) fn dare(&self) {
        self.shy.store(false, Ordering::Release);
    }

    /// Ends the process if nobody has used it for so long.
    pub(crate) fn expire(&self, idle_max: Duration) {
        let mut process = self.process.lock();
        if process.as_ref().is_some_and(|idle| idle.last_used.elapsed() >= idle_max && !idle.pipe.has_requests()) {
            process.take().inspect(|idle| idle.pipe.close());
        }
    }

    /// Ends the process.
    pub(crate) fn close(&self) {
        self.process.lock().take().inspect(|process| process.pipe.close());
    }
}

impl Drop for ModernAccess {
    fn drop(&mut self) {
        self.close();
    }
}

/// Closes a pipe that nobody keeps.
struct Ending(Option<Arc<Pipe>>);

impl Ending {
    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.take().inspect(|pipe| pipe.close());
    }
}
