//! A closed loop: each worker has one keep-alive connection, one session and one request in flight, and checks every reply.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::task::JoinSet;

use crate::message::{self, Reply};
use crate::session::Session;

/// Failures that are kept in words; all are counted.
const FAILURES_TOLD: usize = 3;

/// What to ask, and how hard.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    /// `127.0.0.1:port`.
    pub(crate) address: String,
    /// Path of the endpoint.
    pub(crate) path: String,
    /// The tool that echoes, by the name that it has there.
    pub(crate) tool: &'static str,
    pub(crate) workers: usize,
    pub(crate) payload_bytes: usize,
}

/// What the workers share: they run on one thread, so nothing needs a lock.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    is_over: Cell<bool>,
    is_measured: Cell<bool>,
    requests: Cell<u64>,
    failures: Cell<u64>,
    told: RefCell<Vec<String>>,
    nanoseconds: RefCell<Vec<u64>>,
}

impl Tally {
    /// Good replies so far.
    pub(crate) fn requests(&self) -> u64 {
        self.requests.get()
    }

    /// Bad replies so far.
    pub(crate) fn failures(&self) -> u64 {
        self.failures.get()
    }

    /// The first failures in words.
    pub(crate) fn told(&self) -> Vec<String> {
        self.told.borrow().clone()
    }

    /// Latencies are kept from now on.
    pub(crate) fn measure(&self) {
        self.is_measured.set(true);
    }

    /// Every worker ends after the request that it is in.
    pub(crate) fn end(&self) {
        self.is_measured.set(false);
        self.is_over.set(true);
    }

    /// Latencies in ascending order, in nanoseconds.
    pub(crate) fn latencies(&self) -> Vec<u64> {
        let mut latencies = self.nanoseconds.borrow().clone();
        latencies.sort_unstable();
        latencies
    }

    pub(crate) fn fail(&self, why: String) {
        self.failures.set(self.failures.get() + 1);
        let mut told = self.told.borrow_mut();
        if told.len() < FAILURES_TOLD {
            told.push(why);
        }
    }

    pub(crate) fn succeed(&self, took: Duration) {
        self.requests.set(self.requests.get() + 1);
        if self.is_measured.get() {
            self.nanoseconds.borrow_mut().push(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
        }
    }
}

/// Further examination of a good reply.
pub(crate) type Examine = fn(&Reply<'_>) -> Result<(), String>;

/// The workers of one load. They are local to the thread that begins them.
pub(crate) struct Workers(JoinSet<anyhow::Result<()>>);

impl Workers {
    /// Opens all sessions, then begins. Must be called inside a `LocalSet`.
    pub(crate) async fn begin(load: &Load, tally: &Rc<Tally>, examine: Examine) -> anyhow::Result<Self> {
        let mut workers = JoinSet::new();
        let mut sessions = Vec::with_capacity(load.workers);
        for _ in 0..load.workers {
            sessions.push(Session::open(load).await?);
        }
        for (number, session) in sessions.into_iter().enumerate() {
            workers.spawn_local(work(session, number, load.payload_bytes, Rc::clone(tally), examine));
        }
        Ok(Self(workers))
    }

    /// Waits until all have ended, and ends their sessions.
    pub(crate) async fn join(mut self) -> anyhow::Result<()> {
        while let Some(ended) = self.0.join_next().await {
            ended.context("a worker")??;
        }
        Ok(())
    }
}

async fn work(
    mut session: Session,
    number: usize,
    payload_bytes: usize,
    tally: Rc<Tally>,
    examine: Examine,
) -> anyhow::Result<()> {
    let mut id = 0;
    while !tally.is_over.get() {
        id += 1;
        let payload = message::payload(number, id, payload_bytes);
        let call = message::call(session.tool(), id, &payload);
        let begin = Instant::now();
        let reply = session.post(call).await;
        let took = begin.elapsed();
        let good = reply.map_err(|error| format!("{error:#}")).and_then(|(_, body)| {
            let reply = Reply::check(&body, id, &payload)?;
            examine(&reply)
        });
        match good {
            Ok(()) => tally.succeed(took),
            Err(why) => {
                tally.fail(why);
                // A broken connection would fail for ever; a new session shows whether the server lives.
                session = session.again().await?;
            }
        }
    }
    session.close().await
}
