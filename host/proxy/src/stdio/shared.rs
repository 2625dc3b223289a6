//! One process for all clients that initialise alike; or for all of them, where there is only one.
//!
//! The first one's `initialize` reaches the server; its answer is given to the others as well. Clients that speak another
//! revision or have other capabilities get another process, because the answer, and what the server may do with them, would
//! be another. A server that cannot have another process gives them the answer that it gave to the first, which names the
//! revision that it speaks; and that process is kept when the last of them goes, because it has been initialised.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use fairlead_core::json::find;
use fairlead_core::jsonrpc::{Envelope, Kind};
use fairlead_core::workload::Unavailable;
use parking_lot::Mutex;
use tokio::sync::OnceCell;
use tokio::time::timeout;

use super::pipe::{Inbound, Pipe};
use crate::limits::{OPEN_MAX, SHARED_PROCESSES_MAX};

/// How a client initialises: the JSON texts of `protocolVersion` and `capabilities`.
type Likeness = (String, String);

/// Why a client could not be given an answer to `initialize`.
pub(super) enum NotInitialized {
    /// The server answered with an error.
    Refused(Envelope),
    /// It did not answer.
    Lost(Arc<str>),
}

/// A process that sessions share. It ends with the last of them.
pub(crate) struct SharedProcess {
    pub(crate) pipe: Arc<Pipe>,
    answer: OnceCell<Envelope>,
    initialized: AtomicBool,
}

impl Drop for SharedProcess {
    fn drop(&mut self) {
        self.pipe.close();
    }
}

impl SharedProcess {
    /// The server's answer to `initialize`: asked for once, by whoever comes first. A refusal is not kept.
    pub(super) async fn initialize(&self, message: &Envelope) -> Result<Envelope, NotInitialized> {
        let asked = self.answer.get_or_try_init(|| async {
            let (seat, _standing) = self.pipe.sit();
            let answer = timeout(OPEN_MAX, self.ask(seat, message)).await;
            self.pipe.leave(seat).await;
            match answer {
                Ok(Ok(answer)) if answer.kind() == Kind::Error => Err(NotInitialized::Refused(answer)),
                Ok(answer) => answer.map_err(NotInitialized::Lost),
                Err(_) => Err(NotInitialized::Lost("the server did not answer `initialize` in time".into())),
            }
        });
        asked.await.cloned()
    }

    async fn ask(&self, seat: super::SeatId, message: &Envelope) -> Result<Envelope, Arc<str>> {
        let ticket = self.pipe.enlist(seat, message).map_err(|error| Arc::<str>::from(error.to_string()))?;
        if !self.pipe.send(ticket.text.clone()).await {
            return Err("the server has ended".into());
        }
        while let Some(inbound) = ticket.inlet.recv().await {
            match inbound {
                Inbound::Reply(answer) => return Ok(answer),
                Inbound::Lost(reason) => return Err(reason),
                // What a server says while it initialises belongs to no client in particular.
                Inbound::Event(_) | Inbound::Cancelled => {}
            }
        }
        Err("the server has ended".into())
    }

    /// Whether `notifications/initialized` must still reach the server; true once.
    pub(crate) fn first_initialized(&self) -> bool {
        !self.initialized.swap(true, Ordering::AcqRel)
    }
}

/// The shared processes of one route.
#[derive(Default)]
pub(super) struct Pool {
    processes: Mutex<HashMap<Likeness, Weak<SharedProcess>>>,
    /// The only one that there is.
    sole: Mutex<Option<Arc<SharedProcess>>>,
    /// Held while one is being opened, so that two alike clients do not open two.
    opening: tokio::sync::Mutex<()>,
}

impl Pool {
    /// The process for clients like this one; opened when there is none.
    pub(super) async fn get<F>(
        &self,
        initialize: &Envelope,
        is_sole: bool,
        open: F,
    ) -> Result<Arc<SharedProcess>, Unavailable>
    where
        F: AsyncFnOnce() -> Result<Arc<Pipe>, Unavailable>,
    {
        let likeness = if is_sole { Likeness::default() } else { likeness(&initialize.params().unwrap_or_default()) };
        // Whoever finds one does not wait for others who do not.
        if let Some(process) = self.find(&likeness) {
            return Ok(process);
        }
        let _opening = self.opening.lock().await;
        if let Some(process) = self.find(&likeness) {
            return Ok(process);
        }
        if self.processes.lock().len() >= SHARED_PROCESSES_MAX {
            return Err(Unavailable::SessionLimit(SHARED_PROCESSES_MAX));
        }
        // What has ended makes room for what comes after it.
        self.close();
        let pipe = open().await?;
        let process = Arc::new(SharedProcess { pipe, answer: OnceCell::new(), initialized: AtomicBool::new(false) });
        self.processes.lock().insert(likeness, Arc::downgrade(&process));
        if is_sole {
            *self.sole.lock() = Some(Arc::clone(&process));
        }
        Ok(process)
    }

    /// The process for clients like this one, if it lives. Those that do not are forgotten.
    fn find(&self, likeness: &Likeness) -> Option<Arc<SharedProcess>> {
        let mut processes = self.processes.lock();
        processes.retain(|_, process| process.upgrade().is_some_and(|process| !process.pipe.has_ended()));
        processes.get(likeness).and_then(Weak::upgrade)
    }

    /// Lets go of the process that is kept.
    pub(super) fn close(&self) {
        self.sole.lock().take();
    }
}

fn likeness(params: &Bytes) -> Likeness {
    let params = std::str::from_utf8(params).unwrap_or_default();
    let part = |pointer| find(params, pointer).ok().flatten().unwrap_or_default().to_owned();
    (part("/protocolVersion"), part("/capabilities"))
}

/// The answer to another client's `initialize`, with this client's id.
pub(super) fn answer_for(answer: &Envelope, id: &str) -> Option<Envelope> {
    Envelope::parse(answer.rewrite().id(id).finish()).ok()
}
