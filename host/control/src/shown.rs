//! The state of a server as it is shown: the status that others watch, and a line in the logs when it changes.

use std::time::Duration;

use fairlead_core::status::{ServerPhase, ServerStatus};
use jiff::SignedDuration;
use tokio::time::Instant;

use crate::gate::Gate;
use crate::server::{Life, Move, Server};

impl Server {
    /// To be called with the lock held, so that watchers see the changes in their order.
    pub(crate) fn publish(&self, life: &Life) {
        let gate = &life.gate;
        let (now, phase) = (self.ports.clock.now(), gate.phase());
        let next = Move::of(gate);
        // Two times of the same phase are told apart: a back-off may end and begin anew between two looks.
        let moved = *self.moves.borrow() != next;
        self.status.send_if_modified(|status| {
            let next = ServerStatus {
                phase,
                reason: self.reason(gate),
                since: if moved { now } else { status.since },
                restarts: gate.failures(),
                retry_at: match phase {
                    // Computed once: a later look would differ by the time between two readings of two clocks.
                    ServerPhase::BackingOff if !moved => status.retry_at,
                    ServerPhase::BackingOff => gate.wakes_at().and_then(|at| {
                        let wait = SignedDuration::try_from(at.saturating_duration_since(Instant::now())).ok()?;
                        now.checked_add(wait).ok()
                    }),
                    _ => None,
                },
                profile: life.profile.clone(),
            };
            if moved {
                self.tell(&next, gate);
            }
            let changed = *status != next;
            *status = next;
            changed
        });
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
