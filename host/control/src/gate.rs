//! The state of one server, and which change is possible: events in, effects out, nothing done.
//!
//! A gate, because what it decides is whether a launch is let through. Time is an argument and timers are data
//! ([`Gate::wakes_at`]), so every path can be walked in a test, and a timer that fires late or not at all changes nothing:
//! whoever asks with a later time sees the later state.

mod diagram;

use fairlead_core::backoff::Backoff;
use fairlead_core::status::ServerPhase;
use fairlead_core::workload::Unavailable;
use tokio::time::Instant;

use crate::ending::{Reason, Weight};
use crate::limits::{AWAY_RETRY, CRASHES_PER_FAILURE};

pub use self::diagram::lifecycle_diagram;

/// What is, with what only matters there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing runs and nothing is let through.
    Stopped,
    /// What runs was asked to end.
    Stopping {
        /// When it is made to; `None` once that was done.
        kill_at: Option<Instant>,
        /// Somebody wants it back already.
        then_start: bool,
    },
    /// Let through; has not answered yet.
    Starting,
    /// Has answered.
    Running {
        /// When the count of failures is forgotten; `None` once it was.
        healthy_at: Option<Instant>,
    },
    /// Failed; nothing is let through until then.
    BackingOff {
        /// When it is tried again.
        until: Instant,
    },
    /// Given up.
    Failed,
}

/// What another try may expect after a launch that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Prospect {
    /// It may do better.
    Open,
    /// It will not, unless somebody changes something.
    Lasting,
    /// It will, once whatever starts workloads is back: no failure of the server, which is never given up for it.
    Away,
}

/// What happened.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    /// Somebody wants it to run, now.
    Start,
    /// Somebody wants it to stop.
    Stop {
        /// When that is no longer asked but done.
        kill_at: Instant,
    },
    /// Nothing runs any more.
    Drained,
    /// A workload was launched.
    Launched,
    /// A workload was not launched.
    NotLaunched {
        /// Why.
        reason: Reason,
        /// What the next try may expect.
        prospect: Prospect,
    },
    /// A workload ended.
    Ended {
        /// What that says of the server.
        weight: Weight,
        /// How it ended.
        reason: Reason,
    },
    /// The server has answered.
    Ready,
    /// The server runs and does not answer.
    NotReady {
        /// What it does instead.
        reason: Reason,
    },
    /// Time has passed.
    Due,
}

/// What is to be done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// What is launched from now on belongs to a new life of the server.
    Begin,
    /// Ask everything that runs to end.
    End,
    /// Kill everything that runs.
    Kill,
}

/// The gate of one server.
#[derive(Debug, Clone)]
pub(crate) struct Gate {
    backoff: Backoff,
    state: State,
    /// Failures since the last healthy period or start.
    failures: u32,
    /// Crashes since the last failure or healthy period.
    crashes: u32,
    /// It was launched at least once, so what it needs was there.
    known_to_launch: bool,
    /// Counts how often it came to be starting: tells two such times apart.
    generation: u64,
    reason: Option<Reason>,
}

impl Gate {
    /// A stopped server.
    pub(crate) fn new(backoff: Backoff) -> Self {
        Self {
            backoff,
            state: State::Stopped,
            failures: 0,
            crashes: 0,
            known_to_launch: false,
            generation: 0,
            reason: None,
        }
    }

    /// Takes an event and says what is to be done.
    pub(crate) fn step(&mut self, now: Instant, event: Event) -> Option<Effect> {
        let due = self.pass_time(now);
        self.take(now, event).or(due)
    }

    fn take(&mut self, now: Instant, event: Event) -> Option<Effect> {
        match event {
            Event::Start => self.start(),
            Event::Stop { kill_at } => self.stop(kill_at),
            Event::Drained => self.drained(),
            Event::Due => None,
            Event::Launched => {
                self.known_to_launch = true;
                None
            }
            Event::Ready => {
                self.ready(now);
                None
            }
            Event::NotLaunched { reason, prospect: Prospect::Lasting } if !self.known_to_launch => {
                if self.is_open() {
                    self.give_up(reason);
                }
                None
            }
            Event::NotLaunched { reason, prospect: Prospect::Away } => {
                if self.is_open() {
                    self.reason = Some(reason);
                    self.state = State::BackingOff { until: now + AWAY_RETRY };
                }
                None
            }
            Event::NotLaunched { reason, .. } => {
                self.fail(now, reason, true);
                None
            }
            Event::NotReady { reason } => {
                // A crash says more than whoever waited for an answer in vain.
                let crash = self.reason.clone().filter(|_| self.crashes > 0);
                self.fail(now, crash.unwrap_or(reason), true);
                None
            }
            Event::Ended { weight, reason } => {
                self.ended(now, weight, reason);
                None
            }
        }
    }

    /// Whether a launch is let through now.
    pub(crate) fn admit(&mut self, now: Instant) -> Result<(), Unavailable> {
        self.pass_time(now);
        match self.state {
            State::Starting | State::Running { .. } => Ok(()),
            State::Stopped | State::Stopping { .. } => Err(Unavailable::Stopped),
            State::BackingOff { until } => Err(Unavailable::BackingOff {
                reason: self.reason.as_ref().map_or_else(String::new, |reason| reason.public.clone()),
                retry_after: until.saturating_duration_since(now),
            }),
            State::Failed => {
                Err(Unavailable::Failed(self.reason.as_ref().map_or_else(String::new, |r| r.public.clone())))
            }
        }
    }

    /// When time alone changes something.
    pub(crate) fn wakes_at(&self) -> Option<Instant> {
        match self.state {
            State::Stopping { kill_at, .. } => kill_at,
            State::Running { healthy_at } => healthy_at,
            State::BackingOff { until } => Some(until),
            State::Stopped | State::Starting | State::Failed => None,
        }
    }

    /// What is, as shown.
    pub(crate) fn phase(&self) -> ServerPhase {
        match self.state {
            State::Stopped => ServerPhase::Stopped,
            State::Stopping { .. } => ServerPhase::Stopping,
            State::Starting => ServerPhase::Starting,
            State::Running { .. } => ServerPhase::Running,
            State::BackingOff { .. } => ServerPhase::BackingOff,
            State::Failed => ServerPhase::Failed,
        }
    }

    /// Which time of starting this is.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// Unwanted ends that counted, since the last healthy period or start.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    /// Why.
    pub(crate) fn reason(&self) -> Option<&Reason> {
        self.reason.as_ref()
    }

    fn is_open(&self) -> bool {
        matches!(self.state, State::Starting | State::Running { .. })
    }

    /// Does what is due. The only effect that time has is to kill what did not end.
    fn pass_time(&mut self, now: Instant) -> Option<Effect> {
        match &mut self.state {
            State::Stopping { kill_at, .. } if kill_at.is_some_and(|at| at <= now) => {
                *kill_at = None;
                return Some(Effect::Kill);
            }
            State::Running { healthy_at } if healthy_at.is_some_and(|at| at <= now) => {
                *healthy_at = None;
                self.forget();
            }
            State::BackingOff { until } if *until <= now => self.begin(),
            _ => {}
        }
        None
    }

    fn start(&mut self) -> Option<Effect> {
        match &mut self.state {
            State::Starting | State::Running { .. } => None,
            State::Stopping { then_start, .. } => {
                *then_start = true;
                None
            }
            State::BackingOff { .. } | State::Failed => {
                self.forget();
                self.begin();
                None
            }
            State::Stopped => {
                self.forget();
                self.begin();
                Some(Effect::Begin)
            }
        }
    }

    fn stop(&mut self, at: Instant) -> Option<Effect> {
        match &mut self.state {
            State::Stopped => None,
            State::Stopping { kill_at, then_start } => {
                *then_start = false;
                *kill_at = kill_at.map(|earlier| earlier.min(at));
                None
            }
            _ => {
                self.state = State::Stopping { kill_at: Some(at), then_start: false };
                Some(Effect::End)
            }
        }
    }

    fn drained(&mut self) -> Option<Effect> {
        let State::Stopping { then_start, .. } = self.state else { return None };
        self.forget();
        self.state = State::Stopped;
        if then_start { self.start() } else { None }
    }

    fn ready(&mut self, now: Instant) {
        if self.state == State::Starting {
            self.state = State::Running { healthy_at: None };
            self.expect_health(now);
        }
    }

    /// A healthy period begins, if it runs.
    fn expect_health(&mut self, now: Instant) {
        if let State::Running { healthy_at } = &mut self.state {
            *healthy_at = Some(now + self.backoff.healthy_after);
        }
    }

    fn ended(&mut self, now: Instant, weight: Weight, reason: Reason) {
        if !self.is_open() {
            return;
        }
        match weight {
            Weight::None => {}
            Weight::Failure => self.fail(now, reason, true),
            Weight::Crash => {
                self.crashes += 1;
                if self.crashes >= CRASHES_PER_FAILURE {
                    self.fail(now, reason, false);
                } else {
                    self.reason = Some(reason);
                    self.expect_health(now);
                }
            }
        }
    }

    /// Closes the gate for a while. What fails while it is closed is the same trouble and counts once. Sessions that crash
    /// never close it for good: that they began shows that the server comes up.
    fn fail(&mut self, now: Instant, reason: Reason, may_give_up: bool) {
        if !self.is_open() {
            return;
        }
        self.crashes = 0;
        self.failures = self.failures.saturating_add(1);
        let delay = self.backoff.delay(self.failures);
        match delay.or_else(|| (!may_give_up).then_some(self.backoff.max)) {
            Some(delay) => {
                self.reason = Some(reason);
                self.state = State::BackingOff { until: now + delay };
            }
            None => self.give_up(reason),
        }
    }

    fn give_up(&mut self, reason: Reason) {
        self.reason = Some(reason);
        self.state = State::Failed;
    }

    fn begin(&mut self) {
        self.generation += 1;
        self.state = State::Starting;
    }

    fn forget(&mut self) {
        self.failures = 0;
        self.crashes = 0;
        self.reason = None;
    }
}

#[cfg(test)]
mod tests;
