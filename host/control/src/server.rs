//! What the tasks of one server share: its gate, the status that others watch, and what a launch needs.
//!
//! The gate is behind a lock that is never held across an await; every change of it is published before the lock is given
//! back, so that watchers see the changes in their order.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use fairlead_core::logs::{LogLine, LogSource};
use fairlead_core::name::ServerKey;
use fairlead_core::server::{ServerSpec, Transport};
use fairlead_core::status::{ServerPhase, ServerProfile, ServerStatus};
use fairlead_core::workload::{Launch, LaunchError, Unavailable, Workload};
use jiff::SignedDuration;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::ending::Reason;
use crate::gate::{Effect, Event, Gate};
use crate::leftovers;
use crate::limits::{EXPLANATION_MAX, LAUNCH_MAX, NOT_READY_RETRY, OPEN_WAIT_MAX};
use crate::lines::{Lines, Tail};
use crate::spares::Spares;
use crate::supervisor::{Ports, SupervisorConfig};
use crate::workload::{self, Graces, Held};

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
    launched: AtomicU64,
    life: Mutex<Life>,
    pub(crate) tasks: TaskTracker,
    /// No start any more: the supervisor is going.
    pub(crate) closing: CancellationToken,
    pub(crate) status: watch::Sender<ServerStatus>,
    pub(crate) moves: watch::Sender<Move>,
    /// Workloads that are being launched, run or end.
    pub(crate) live: watch::Sender<usize>,
}

/// The part that changes together.
struct Life {
    gate: Gate,
    /// Asks everything of this life to end.
    end: CancellationToken,
    /// Kills it.
    kill: CancellationToken,
    profile: Option<ServerProfile>,
}

/// What the supervisor's own tasks watch of the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Move {
    pub(crate) phase: ServerPhase,
    pub(crate) generation: u64,
}

impl Move {
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

    fn ask(&self, life: &mut Life) -> Result<(), Unavailable> {
        let answer = life.gate.admit(Instant::now());
        self.publish(life);
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

    /// Launches one workload and begins to keep it.
    pub(crate) async fn launch(self: &Arc<Self>, pass: Pass) -> Result<Held, Unavailable> {
        let launch = Launch {
            server: (*self.key).clone(),
            source: self.spec.source.clone(),
            env: self.spec.env.clone(),
            port: self.port(),
        };
        let launched = tokio::select! {
            launched = timeout(LAUNCH_MAX, self.ports.runtime.launch(&launch)) => launched,
            () = pass.end.cancelled() => return Err(Unavailable::Stopped),
        };
        match launched {
            Ok(Ok(workload)) => Ok(self.take_in(workload, pass).await),
            Ok(Err(error)) => Err(self.not_launched(not_launched(&error), is_lasting(&error))),
            Err(_) => Err(self.not_launched(Reason::new(format!("did not start within {LAUNCH_MAX:?}")), false)),
        }
    }

    /// Launches in a task of its own: a caller that goes away half-way leaves nothing half done.
    pub(crate) async fn launch_detached(self: &Arc<Self>) -> Result<Held, Unavailable> {
        let pass = self.admit()?;
        let (give, get) = oneshot::channel();
        let server = Arc::clone(self);
        self.tasks.spawn(async move {
            // Whoever does not take it drops it, which ends it.
            let _ = give.send(server.launch(pass).await);
        });
        match timeout(OPEN_WAIT_MAX, get).await {
            Ok(launched) => launched.unwrap_or(Err(Unavailable::Stopped)),
            Err(_) => {
                let reason = "it takes long to fetch or to start".to_owned();
                Err(Unavailable::NotReady { reason, retry_after: NOT_READY_RETRY })
            }
        }
    }

    async fn take_in(self: &Arc<Self>, workload: Workload, pass: Pass) -> Held {
        let leftover =
            leftovers::record(&*self.ports.store, &self.key, &*self.ports.runtime, workload.id.as_deref()).await;
        let number = self.launched.fetch_add(1, Ordering::Relaxed) + 1;
        self.apply(Event::Launched);
        self.say(number, "started");
        workload::keep(self, workload, leftover, number, pass)
    }

    /// Counts a launch that failed, and gives what to tell whoever wanted it.
    pub(crate) fn not_launched(self: &Arc<Self>, reason: Reason, lasting: bool) -> Unavailable {
        self.say(0, &format!("not started: {}", reason.full));
        let told = Unavailable::Failed(reason.public.clone());
        self.apply(Event::NotLaunched { reason, lasting });
        self.check().err().unwrap_or(told)
    }

    /// Whether the workload is the server itself, reached over a port, rather than one session's share of it.
    pub(crate) fn is_resident(&self) -> bool {
        self.port().is_some()
    }

    fn port(&self) -> Option<u16> {
        match self.spec.transport {
            Transport::StreamableHttp { port, .. } => Some(port),
            Transport::Stdio => None,
        }
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

    fn publish(&self, life: &Life) {
        let gate = &life.gate;
        let (now, phase) = (self.ports.clock.now(), gate.phase());
        self.status.send_if_modified(|status| {
            let next = ServerStatus {
                phase,
                reason: self.reason(gate),
                since: if status.phase == phase { status.since } else { now },
                restarts: gate.failures(),
                retry_at: match phase {
                    // Computed once: a later look would differ by the time between two readings of two clocks.
                    ServerPhase::BackingOff if status.phase == phase => status.retry_at,
                    ServerPhase::BackingOff => gate.wakes_at().and_then(|at| {
                        let wait = SignedDuration::try_from(at.saturating_duration_since(Instant::now())).ok()?;
                        now.checked_add(wait).ok()
                    }),
                    _ => None,
                },
                profile: life.profile.clone(),
            };
            if status.phase != phase {
                self.tell(&next, gate);
            }
            let changed = *status != next;
            *status = next;
            changed
        });
        let next = Move { phase, generation: gate.generation() };
        self.moves.send_if_modified(|current| std::mem::replace(current, next) != next);
    }

    /// A change of phase, for the log of the server and for that of the daemon. The latter gets no word of the server's own.
    fn tell(&self, next: &ServerStatus, gate: &Gate) {
        let reason = gate.reason().map_or("", |reason| reason.public.as_str());
        let failures = next.restarts;
        match next.phase {
            ServerPhase::BackingOff => {
                let wait = gate.wakes_at().map_or(Duration::ZERO, |at| at.saturating_duration_since(Instant::now()));
                self.say(0, &format!("failure {failures}: {reason}; tried again in {:.1} s", wait.as_secs_f64()));
                tracing::warn!(fairlead.server.name = %self.key, reason, failures, "a server failed and is tried again");
            }
            ServerPhase::Failed => {
                self.say(0, &format!("failed: {reason}; not tried again"));
                tracing::error!(fairlead.server.name = %self.key, reason, failures, "a server failed and is given up");
            }
            phase => tracing::debug!(fairlead.server.name = %self.key, ?phase, "a server changed its phase"),
        }
    }

    fn reason(&self, gate: &Gate) -> Option<String> {
        let reason = &gate.reason()?.full;
        Some(match (gate.phase(), gate.failures()) {
            (ServerPhase::Failed, 0) => format!("{reason}; `fairlead start {}` tries again", self.key.name),
            (ServerPhase::Failed, failures) => {
                format!("{reason}; given up after {failures} failures, `fairlead start {}` tries again", self.key.name)
            }
            _ => reason.clone(),
        })
    }
}

fn not_launched(error: &LaunchError) -> Reason {
    let hint = match error {
        LaunchError::NotFound { hint, .. } => Some(hint.clone()),
        LaunchError::Start { source, .. } => Some(source.to_string()),
        LaunchError::Unsupported(_) => None,
    };
    // A client learns that it does not start, not what this machine has and has not.
    match hint {
        Some(hint) => Reason { public: "its program cannot be started".to_owned(), full: format!("{error}: {hint}") },
        None => Reason::new(error.to_string()),
    }
}

fn is_lasting(error: &LaunchError) -> bool {
    matches!(error, LaunchError::NotFound { .. } | LaunchError::Unsupported(_))
}
