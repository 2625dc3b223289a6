//! The gate, drawn: every change of state that any event can make, found by making it.
//!
//! A drawing by hand is right on the day that it is made. This one walks from a stopped server through everything that can
//! happen, as often as anything new comes of it, and writes down where it led.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fairlead_core::backoff::Backoff;
use fairlead_core::status::ServerPhase;
use tokio::time::Instant;

use super::{Event, Gate, Prospect, State};
use crate::ending::{Reason, Weight};

/// What can happen, and how the drawing calls it.
fn events(now: Instant) -> [(&'static str, Event); 12] {
    let reason = || Reason::new("x");
    let ended = |weight| Event::Ended { weight, reason: reason() };
    [
        ("started", Event::Start),
        ("stopped", Event::Stop { kill_at: now + Duration::from_secs(1) }),
        ("nothing runs any more", Event::Drained),
        ("a workload is launched", Event::Launched),
        ("a launch fails", Event::NotLaunched { reason: reason(), prospect: Prospect::Open }),
        ("what it needs is not there", Event::NotLaunched { reason: reason(), prospect: Prospect::Lasting }),
        ("what starts workloads is away", Event::NotLaunched { reason: reason(), prospect: Prospect::Away }),
        ("a session ends in peace", ended(Weight::None)),
        ("sessions crash", ended(Weight::Crash)),
        ("it ends unasked", ended(Weight::Failure)),
        ("it answers", Event::Ready),
        ("it does not answer", Event::NotReady { reason: reason() }),
    ]
}

/// Gates that differ in nothing that decides.
type Likeness = (&'static str, bool, u32, u32, bool);

fn likeness(gate: &Gate) -> Likeness {
    let then_start = matches!(gate.state, State::Stopping { then_start: true, .. });
    // Crashes alone are counted without end and decide nothing new from some number on.
    let many = Backoff::default().failures_max + 1;
    (name(gate.phase()), then_start, gate.failures.min(many), gate.crashes.min(many), gate.known_to_launch)
}

/// All changes of state: from, to, and what makes them.
fn changes() -> BTreeMap<(&'static str, &'static str), BTreeSet<&'static str>> {
    let begun = Instant::now();
    let first = Gate::new(Backoff::default());
    let mut seen: BTreeSet<Likeness> = [likeness(&first)].into();
    let mut open = vec![(first, begun)];
    let mut changes: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    while let Some((gate, now)) = open.pop() {
        let happened = events(now).into_iter().map(|(what, event)| (what, event, now));
        let later = gate.wakes_at().map(|at| ("time passes", Event::Due, at.max(now)));
        for (what, event, at) in happened.chain(later) {
            let mut next = gate.clone();
            next.step(at, event);
            let (from, to) = (name(gate.phase()), name(next.phase()));
            if from != to {
                changes.entry((from, to)).or_default().insert(what);
            }
            if seen.insert(likeness(&next)) {
                open.push((next, at));
            }
        }
    }
    changes
}

fn name(phase: ServerPhase) -> &'static str {
    match phase {
        ServerPhase::Stopped => "stopped",
        ServerPhase::Starting => "starting",
        ServerPhase::Running => "running",
        ServerPhase::BackingOff => "backing_off",
        ServerPhase::Failed => "failed",
        ServerPhase::Stopping => "stopping",
    }
}

/// The states of a server and what leads from one to another, in the language of Mermaid.
#[must_use]
pub fn lifecycle_diagram() -> String {
    let mut text = "stateDiagram-v2\n    [*] --> stopped\n".to_owned();
    for ((from, to), what) in changes() {
        let what: Vec<&str> = what.into_iter().collect();
        text += &format!("    {from} --> {to}: {}\n", what.join(", or "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_is_reached_and_left() {
        let changes = changes();
        for phase in ["stopped", "starting", "running", "backing_off", "failed", "stopping"] {
            assert!(changes.keys().any(|(_, to)| *to == phase), "{phase} is never reached");
            assert!(changes.keys().any(|(from, _)| *from == phase), "{phase} is never left");
        }
    }

    #[test]
    fn an_engine_that_is_away_never_makes_a_server_be_given_up() {
        for ((from, to), what) in changes() {
            if what.contains("what starts workloads is away") {
                assert!(matches!(from, "starting" | "running") && to == "backing_off", "{from} to {to}");
            }
        }
    }

    #[test]
    fn only_a_person_leaves_what_was_given_up_and_only_an_answer_makes_it_run() {
        let changes = changes();
        let left: BTreeSet<_> =
            changes.iter().filter(|((from, _), _)| *from == "failed").flat_map(|(_, what)| what).copied().collect();
        assert_eq!(left, ["started", "stopped"].into());
        let running: BTreeSet<_> = changes.keys().filter(|(_, to)| *to == "running").collect();
        assert_eq!(running, [&("starting", "running")].into());
        assert_eq!(changes[&("starting", "running")], ["it answers"].into());
    }
}
