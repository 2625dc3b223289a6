//! One launched workload and the task that keeps it: until it ends, or until nobody wants it, and then until it has ended.
//!
//! The task owns the end, not whoever held the connection: a session is over for its client at once, while its process may
//! take seconds to put its things away. Nobody waits for that, and nothing is left behind.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use fairlead_core::logs::LogSource;
use fairlead_core::store::Leftover;
use fairlead_core::workload::{Exit, StdioConnection, Stdout, Workload, WorkloadHandle};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::ending::Ending;
use crate::gate::Event;
use crate::leftovers;
use crate::limits::LAST_WORDS_MAX;
use crate::lines::Tail;
use crate::pipes::{Traffic, WatchedStdin, WatchedStdout};
use crate::server::{Pass, Server};

/// A workload as its user holds it. Dropping it ends the workload.
pub(crate) struct Held {
    pub(crate) stdin: WatchedStdin,
    pub(crate) stdout: WatchedStdout,
    pub(crate) lease: Lease,
    /// Where its port is reached, if not at that port of this machine.
    pub(crate) address: Option<SocketAddr>,
    /// Its end was seen and counted.
    pub(crate) over: CancellationToken,
    /// Counted from 1.
    pub(crate) number: u64,
}

impl From<Held> for StdioConnection {
    fn from(held: Held) -> Self {
        Self { stdin: Box::new(held.stdin), stdout: Box::new(held.stdout), lease: Box::new(held.lease) }
    }
}

/// Somebody wants the workload.
pub(crate) struct Lease {
    traffic: Arc<Traffic>,
    returned: CancellationToken,
}

impl Lease {
    /// Its holder asks the workload something that it may not survive.
    pub(crate) fn excuse(&self) {
        self.traffic.excuse();
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // At once, not when the task comes round to it: an end after this moment is one that was wanted.
        self.traffic.close();
        self.returned.cancel();
    }
}

/// The times that a workload has to end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Graces {
    /// After its stdin was closed.
    pub(crate) stdin: Duration,
    /// After it was asked.
    pub(crate) stop: Duration,
}

/// Begins to keep a workload.
pub(crate) fn keep(
    server: &Arc<Server>,
    workload: Workload,
    leftover: Option<Leftover>,
    number: u64,
    pass: Pass,
) -> Held {
    let Workload { id: _, stdin, stdout, stderr, handle } = workload;
    let traffic = Traffic::new(stdin, Arc::clone(&server.served), server.ending.clone());
    let address = handle.address();
    let (returned, over) = (CancellationToken::new(), CancellationToken::new());
    let handle: Arc<dyn WorkloadHandle> = handle.into();
    server.running.lock().push(Arc::downgrade(&handle));
    let keeper = Keeper {
        server: Arc::clone(server),
        handle,
        leftover,
        number,
        since: Instant::now(),
        traffic: Arc::clone(&traffic),
        returned: returned.clone(),
        over: over.clone(),
        pass,
    };
    server.tasks.spawn(keeper.run(stderr));
    Held {
        stdin: WatchedStdin(Arc::clone(&traffic)),
        stdout: WatchedStdout { pipe: stdout, traffic: Arc::clone(&traffic) },
        lease: Lease { traffic, returned },
        address,
        over,
        number,
    }
}

struct Keeper {
    server: Arc<Server>,
    handle: Arc<dyn WorkloadHandle>,
    leftover: Option<Leftover>,
    number: u64,
    since: Instant,
    traffic: Arc<Traffic>,
    returned: CancellationToken,
    over: CancellationToken,
    pass: Pass,
}

impl Keeper {
    async fn run(self, stderr: Stdout) {
        let tail = Tail::default();
        let lines = self.server.lines(self.number, tail.clone());
        let words = AbortOnDropHandle::new(self.server.tasks.spawn(lines.drain(stderr, LogSource::Stderr)));
        tokio::select! {
            _ = self.handle.wait() => self.traffic.ended(),
            () = self.returned.cancelled() => {}
            () = self.pass.end.cancelled() => {}
            () = self.pass.kill.cancelled() => {}
        }
        self.traffic.close();
        let exit = tokio::select! {
            biased;
            () = self.pass.kill.cancelled() => None,
            exit = self.end() => Some(exit),
        };
        match exit {
            Some(exit) => self.ended(exit, words, &tail).await,
            // Dropping the handle kills it. Its entry in the store stays: nobody saw it end.
            None => {
                self.traffic.leave();
                self.server.say(self.number, "did not end in time and was killed");
            }
        }
        self.traffic.settle();
        self.over.cancel();
    }

    /// Stdin is closed: waits, asks, insists.
    async fn end(&self) -> Exit {
        let graces = self.server.graces;
        match timeout(graces.stdin, self.handle.wait()).await {
            Ok(exit) => exit,
            Err(_) => self.handle.stop(graces.stop).await,
        }
    }

    async fn ended(&self, exit: Exit, words: AbortOnDropHandle<()>, tail: &Tail) {
        let lived = self.since.elapsed();
        // What it wrote before it ended is in the pipes still, and says whether and why.
        let _ = timeout(LAST_WORDS_MAX, async { tokio::join!(self.traffic.output_over(), words) }).await;
        if let Some(leftover) = &self.leftover {
            leftovers::forget(&*self.server.ports.store, leftover).await;
        }
        let ending = Ending {
            exit,
            lived,
            by_itself: self.traffic.ended_by_itself() && !self.traffic.is_excused(),
            spoke: self.traffic.has_spoken(),
            resident: self.server.is_resident(),
        };
        let weight = ending.weight(self.traffic.leave());
        let reason = ending.reason(tail.telling().as_deref());
        self.server.say(self.number, &reason.public);
        self.server.apply(Event::Ended { weight, reason });
    }
}
