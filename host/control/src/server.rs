//! What the tasks of one server share: its gate, the status that others watch, and what a launch needs.
//!
//! The gate is behind a lock that is never held across an await; every change of it is published before the lock is given
//! back, so that watchers see the changes in their order.

use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Arc, Weak};
use std::time::Duration;

use fairlead_core::logs::{LogLine, LogSource};
use fairlead_core::name::ServerKey;
use fairlead_core::server::{ServerSpec, Source};
use fairlead_core::status::{ServerPhase, ServerProfile, ServerStatus};
use fairlead_core::workload::{Unavailable, WorkloadHandle};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::ending::Reason;
use crate::gate::{Effect, Event, Gate};
use crate::limits::EXPLANATION_MAX;
use crate::lines::{Lines, Tail};
use crate::spares::Spares;
use crate::supervisor::{Ports, SupervisorConfig};
use crate::workload::Graces;

/// One server, as its tasks share it.
pub(crate) struct Server {
    pub(crate) key: Arc<ServerKey>,
    pub(crate) spec: ServerSpec,
    pub(crate) ports: Ports,
    pub(crate) graces: Graces,
    pub(crate) spares: Spares,
    sessions: Arc<Semaphore>,
    sessions_max: usize,
    /// Workloads that have spoken and not ended.
    pub(crate) served: Arc<AtomicUsize>,
    /// Workloads that have ended by themselves, and whose end was not counted yet.
    pub(crate) ending: watch::Sender<usize>,
    pub(crate) launched: AtomicU64,
    life: Mutex<Life>,
    pub(crate) tasks: TaskTracker,
    /// No start any more: the supervisor is going.
    pub(crate) closing: CancellationToken,
    pub(crate) status: watch::Sender<ServerStatus>,
    pub(crate) moves: watch::Sender<Move>,
    /// Workloads that are being launched, run or end.
    pub(crate) live: watch::Sender<usize>,
    /// Those that run, for whoever asks what they use. Weak: to drop a handle is to kill, and that is for its keeper alone.
    pub(crate) running: Mutex<Vec<Weak<dyn WorkloadHandle>>>,
}

/// The part that changes together.
pub(crate) struct Life {
    pub(crate) gate: Gate,
    /// Asks everything of this life to end.
    end: CancellationToken,
    /// Kills it.
    kill: CancellationToken,
    pub(crate) profile: Option<ServerProfile>,
}

/// What the supervisor's own tasks watch of the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Move {
    pub(crate) phase: ServerPhase,
    pub(crate) generation: u64,
}

impl Move {
    pub(crate) fn of(gate: &Gate) -> Self {
        Self { phase: gate.phase(), generation: gate.generation() }
    }

    pub(crate) fn is_open(self) -> bool {
        matches!(self.phase, ServerPhase::Starting | ServerPhase::Running)
    }
}

/// Leave to launch one workload, held until that has ended.
pub(crate) struct Pass {
    pub(crate) end: CancellationToken,
    pub(crate) kill: CancellationToken,
    _live: Live,
    _session: Option<OwnedSemaphorePermit>,
}

/// Counts among the live ones.
struct Live(Arc<Server>);

impl Drop for Live {
    fn drop(&mut self) {
        self.0.live.send_modify(|live| *live -= 1);
    }
}

impl Server {
    pub(crate) fn new(config: SupervisorConfig) -> Self {
        let status = ServerStatus {
            phase: ServerPhase::Stopped,
            reason: None,
            since: config.ports.clock.now(),
            restarts: 0,
            retry_at: None,
            profile: None,
        };
        let (end, kill) = (CancellationToken::new(), CancellationToken::new());
        Self {
            key: Arc::new(config.key),
            spec: config.spec,
            ports: config.ports,
            graces: Graces { stdin: config.stdin_grace, stop: config.stop_grace },
            spares: Spares::new(config.spares),
            sessions: Arc::new(Semaphore::new(config.sessions_max)),
            sessions_max: config.sessions_max,
            served: Arc::default(),
            ending: watch::channel(0).0,
            launched: AtomicU64::new(0),
            life: Mutex::new(Life { gate: Gate::new(config.backoff), end, kill, profile: None }),
            tasks: TaskTracker::new(),
            closing: CancellationToken::new(),
            status: watch::channel(status).0,
            moves: watch::channel(Move { phase: ServerPhase::Stopped, generation: 0 }).0,
            live: watch::channel(0).0,
            running: Mutex::default(),
        }
    }

    /// Takes an event: steps the gate, does what follows, publishes.
    pub(crate) fn apply(&self, event: Event) {
        let mut life = self.life.lock();
        // Asked under the lock that a launch has to take, so that none can slip in between.
        if matches!(event, Event::Drained) && *self.live.borrow() > 0 {
            return;
        }
        let effect = life.gate.step(Instant::now(), event);
        self.after_step(&mut life, effect);
    }

    /// The server has answered: it is shown as running, if it is still meant to be.
    pub(crate) fn ready(&self, profile: ServerProfile) {
        let mut life = self.life.lock();
        let effect = life.gate.step(Instant::now(), Event::Ready);
        if life.gate.phase() == ServerPhase::Running {
            life.profile = Some(profile);
        }
        self.after_step(&mut life, effect);
    }

    /// The server did not answer as it should. Where a workload has just ended, that is why, and its exit and last words
    /// say more than whoever waited for the answer: they are waited for.
    pub(crate) async fn not_ready(&self, generation: u64, reason: Reason) {
        let mut ending = self.ending.subscribe();
        // Running out of time, or of senders, leaves what we were told.
        let _ = timeout(EXPLANATION_MAX, ending.wait_for(|ending| *ending == 0)).await;
        let mut life = self.life.lock();
        if life.gate.generation() != generation {
            return;
        }
        let effect = life.gate.step(Instant::now(), Event::NotReady { reason });
        self.after_step(&mut life, effect);
    }

    /// Everything that runs is asked to end, and killed when `within` has passed.
    pub(crate) fn stop(&self, within: Duration) {
        self.apply(Event::Stop { kill_at: Instant::now() + within });
        self.spares.clear();
    }

    /// When time alone changes something.
    pub(crate) fn wakes_at(&self) -> Option<Instant> {
        self.life.lock().gate.wakes_at()
    }

    /// Whether leave to launch would be given now.
    pub(crate) fn check(&self) -> Result<(), Unavailable> {
        self.ask(&mut self.life.lock())
    }

    /// Every request to an HTTP server comes by here, so nothing is published unless something has moved.
    fn ask(&self, life: &mut Life) -> Result<(), Unavailable> {
        let before = Move::of(&life.gate);
        let answer = life.gate.admit(Instant::now());
        if Move::of(&life.gate) != before {
            self.publish(life);
        }
        answer
    }

    /// Leave to launch, or why not.
    pub(crate) fn admit(self: &Arc<Self>) -> Result<Pass, Unavailable> {
        let mut life = self.life.lock();
        self.ask(&mut life)?;
        let session = if self.is_resident() {
            None
        } else {
            let permit = Arc::clone(&self.sessions).try_acquire_owned();
            Some(permit.map_err(|_| Unavailable::SessionLimit(self.sessions_max))?)
        };
        self.live.send_modify(|live| *live += 1);
        let live = Live(Arc::clone(self));
        Ok(Pass { end: life.end.clone(), kill: life.kill.clone(), _live: live, _session: session })
    }

    /// Whether the workload is the server itself, reached over a port, rather than one session's share of it; or whether
    /// there is no workload, because the server runs elsewhere.
    pub(crate) fn is_resident(&self) -> bool {
        self.port().is_some() || matches!(self.spec.source, Source::Remote(_))
    }

    pub(crate) fn port(&self) -> Option<u16> {
        self.spec.transport.port()
    }

    /// Where the lines of a workload go.
    pub(crate) fn lines(&self, workload: u64, tail: Tail) -> Lines {
        Lines { server: Arc::clone(&self.key), sink: Arc::clone(&self.ports.logs), workload, tail }
    }

    /// A word of supervision in the log of the server.
    pub(crate) fn say(&self, workload: u64, text: &str) {
        self.ports.logs.write(LogLine { server: &self.key, source: &LogSource::Supervision, workload, text });
    }

    fn after_step(&self, life: &mut Life, effect: Option<Effect>) {
        match effect {
            Some(Effect::Begin) => {
                life.end = CancellationToken::new();
                life.kill = CancellationToken::new();
            }
            Some(Effect::End) => life.end.cancel(),
            Some(Effect::Kill) => life.kill.cancel(),
            None => {}
        }
        self.publish(life);
    }
}
