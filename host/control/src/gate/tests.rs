//! The laws of the gate, on every path that events and time can take.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::limits::{STDIN_GRACE, STOP_GRACE};

const BACKOFF: Backoff = Backoff {
    first: Duration::from_secs(1),
    max: Duration::from_secs(8),
    failures_max: 4,
    healthy_after: Duration::from_secs(60),
};

fn reason() -> Reason {
    Reason::with_detail("exited".to_owned(), Some("secret"))
}

fn ended(weight: Weight) -> Event {
    Event::Ended { weight, reason: reason() }
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// A gate and the time that it is told.
struct Walk {
    gate: Gate,
    now: Instant,
}

impl Walk {
    fn started() -> Self {
        let mut walk = Self { gate: Gate::new(BACKOFF), now: Instant::now() };
        assert_eq!(walk.step(Event::Start), Some(Effect::Begin));
        walk
    }

    fn running() -> Self {
        let mut walk = Self::started();
        walk.step(Event::Launched);
        walk.step(Event::Ready);
        assert_eq!(walk.gate.phase(), ServerPhase::Running);
        walk
    }

    fn step(&mut self, event: Event) -> Option<Effect> {
        self.gate.step(self.now, event)
    }

    fn pass(&mut self, time: Duration) -> ServerPhase {
        self.now += time;
        self.step(Event::Due);
        self.gate.phase()
    }

    fn admit(&mut self) -> Result<(), Unavailable> {
        self.gate.admit(self.now)
    }
}

#[test]
fn a_failure_closes_the_gate_for_its_delay_and_tells_clients_when_and_why() {
    let mut walk = Walk::running();
    walk.step(ended(Weight::Failure));
    let refused = walk.admit();
    assert_eq!(refused, Err(Unavailable::BackingOff { reason: "exited".to_owned(), retry_after: secs(1) }));
    walk.now += secs(1);
    assert_eq!(walk.admit(), Ok(()), "asking late is as good as a timer");
    assert_eq!(walk.gate.phase(), ServerPhase::Starting);
}

#[test]
fn failures_in_a_row_wait_longer_each_and_end_in_failed() {
    let mut walk = Walk::running();
    for delay in [1, 2, 4] {
        walk.step(ended(Weight::Failure));
        assert_eq!(walk.gate.wakes_at(), Some(walk.now + secs(delay)));
        assert_eq!(walk.pass(secs(delay)), ServerPhase::Starting);
    }
    walk.step(ended(Weight::Failure));
    assert_eq!((walk.gate.phase(), walk.gate.failures()), (ServerPhase::Failed, 4));
    assert_eq!(walk.pass(secs(1_000_000)), ServerPhase::Failed, "only a person starts it again");
    assert_eq!(walk.admit(), Err(Unavailable::Failed("exited".to_owned())));
    walk.step(Event::Start);
    assert_eq!((walk.admit(), walk.gate.failures()), (Ok(()), 0));
}

#[test]
fn failures_while_the_gate_is_closed_are_the_same_trouble() {
    let mut walk = Walk::running();
    for _ in 0..10 {
        walk.step(ended(Weight::Failure));
    }
    assert_eq!((walk.gate.phase(), walk.gate.failures()), (ServerPhase::BackingOff, 1));
}

#[test]
fn a_healthy_period_is_forgiveness() {
    let mut walk = Walk::running();
    walk.step(ended(Weight::Failure));
    walk.pass(secs(1));
    walk.step(Event::Ready);
    assert_eq!(walk.gate.failures(), 1, "not yet");
    walk.pass(BACKOFF.healthy_after);
    assert_eq!((walk.gate.failures(), walk.gate.reason()), (0, None));
}

#[test]
fn what_is_ended_each_half_minute_and_runs_between_is_back_after_the_first_delay_each_time() {
    let backoff = Backoff::default();
    let mut walk = Walk { gate: Gate::new(backoff), ..Walk::running() };
    walk.step(Event::Start);
    walk.step(Event::Launched);
    walk.step(Event::Ready);
    for _ in 0..2 * backoff.failures_max {
        walk.step(ended(Weight::Failure));
        assert_eq!(walk.gate.wakes_at(), Some(walk.now + backoff.first));
        assert_eq!(walk.pass(backoff.first), ServerPhase::Starting);
        walk.step(Event::Launched);
        walk.step(Event::Ready);
        assert_eq!(walk.pass(secs(30) - backoff.first), ServerPhase::Running);
    }
}

#[test]
fn single_crashes_close_nothing_and_many_in_a_row_never_for_good() {
    let mut walk = Walk::running();
    for _ in 0..BACKOFF.failures_max + 3 {
        for _ in 1..CRASHES_PER_FAILURE {
            walk.step(ended(Weight::Crash));
            assert_eq!(walk.admit(), Ok(()));
        }
        walk.step(ended(Weight::Crash));
        assert_eq!(walk.gate.phase(), ServerPhase::BackingOff);
        assert_eq!(walk.pass(BACKOFF.max), ServerPhase::Starting);
    }
}

#[test]
fn crashes_far_apart_do_not_add_up() {
    let mut walk = Walk::running();
    for _ in 0..10 * CRASHES_PER_FAILURE {
        walk.step(ended(Weight::Crash));
        assert_eq!(walk.pass(BACKOFF.healthy_after), ServerPhase::Running);
    }
}

#[test]
fn what_was_never_there_is_given_up_at_once_and_what_has_vanished_is_waited_for() {
    let lasting = || Event::NotLaunched { reason: reason(), prospect: Prospect::Lasting };
    let mut walk = Walk::started();
    walk.step(lasting());
    assert_eq!(walk.gate.phase(), ServerPhase::Failed);

    let mut walk = Walk::running();
    walk.step(lasting());
    assert_eq!(walk.gate.phase(), ServerPhase::BackingOff);
}

#[test]
fn an_engine_that_is_away_is_waited_for_however_long_and_is_no_failure_of_the_server() {
    let mut walk = Walk::running();
    for _ in 0..1_000 {
        walk.step(Event::NotLaunched { reason: reason(), prospect: Prospect::Away });
        assert_eq!((walk.gate.phase(), walk.gate.failures()), (ServerPhase::BackingOff, 0));
        assert_eq!(walk.pass(AWAY_RETRY), ServerPhase::Starting);
    }
}

#[test]
fn an_answer_that_comes_too_late_opens_nothing() {
    let mut walk = Walk::running();
    walk.step(ended(Weight::Failure));
    walk.step(Event::Ready);
    assert_eq!(walk.gate.phase(), ServerPhase::BackingOff);
}

#[test]
fn a_crash_explains_why_there_was_no_answer_and_no_answer_explains_no_failure() {
    let no_answer = || Event::NotReady { reason: Reason::new("no answer") };
    let mut walk = Walk::started();
    walk.step(ended(Weight::Crash));
    walk.step(no_answer());
    assert_eq!(walk.gate.reason(), Some(&reason()));

    let mut walk = Walk::started();
    walk.step(ended(Weight::Failure));
    walk.step(no_answer());
    assert_eq!((walk.gate.reason(), walk.gate.failures()), (Some(&reason()), 1));

    let mut walk = Walk::started();
    walk.step(no_answer());
    assert_eq!(walk.gate.reason(), Some(&Reason::new("no answer")));
}

#[test]
fn stopping_asks_then_kills_and_is_over_when_nothing_is_left() {
    let mut walk = Walk::running();
    let kill_at = walk.now + secs(5);
    assert_eq!(walk.step(Event::Stop { kill_at }), Some(Effect::End));
    assert_eq!(walk.admit(), Err(Unavailable::Stopped));
    assert_eq!(walk.step(Event::Stop { kill_at: kill_at + secs(9) }), None, "twice is once");
    walk.now = kill_at;
    assert_eq!(walk.step(Event::Due), Some(Effect::Kill));
    assert_eq!(walk.step(Event::Due), None);
    walk.step(Event::Drained);
    assert_eq!(walk.gate.phase(), ServerPhase::Stopped);
}

#[test]
fn a_start_while_stopping_is_kept_until_it_is_stopped_and_a_stop_takes_it_back() {
    let mut walk = Walk::running();
    let kill_at = walk.now + secs(5);
    walk.step(Event::Stop { kill_at });
    walk.step(Event::Start);
    assert_eq!(walk.gate.phase(), ServerPhase::Stopping);
    assert_eq!(walk.step(Event::Drained), Some(Effect::Begin));
    assert_eq!(walk.gate.phase(), ServerPhase::Starting);

    walk.step(Event::Stop { kill_at });
    walk.step(Event::Start);
    walk.step(Event::Stop { kill_at });
    assert_eq!(walk.step(Event::Drained), None);
    assert_eq!(walk.gate.phase(), ServerPhase::Stopped);
}

#[test]
fn what_happens_when_time_was_up_is_not_lost() {
    let mut walk = Walk::running();
    let kill_at = walk.now + secs(5);
    walk.step(Event::Stop { kill_at });
    walk.now = kill_at + secs(1);
    walk.step(Event::Drained);
    assert_eq!(walk.gate.phase(), ServerPhase::Stopped);
}

// === The guide ===

const GUIDE: &str = include_str!("../../../../docs/guides/supervision.md");

/// Every change of phase that single events can cause, found by trying them all.
fn moves() -> BTreeSet<(String, String)> {
    let long = Backoff::default().max * 2;
    let events = [
        Event::Start,
        Event::Stop { kill_at: Instant::now() + long },
        Event::Drained,
        Event::Launched,
        Event::Ready,
        Event::NotReady { reason: reason() },
        Event::NotLaunched { reason: reason(), prospect: Prospect::Lasting },
        Event::NotLaunched { reason: reason(), prospect: Prospect::Away },
        ended(Weight::Failure),
        ended(Weight::Crash),
        Event::Due,
    ];
    let mut found = BTreeSet::new();
    for failures_max in [1, 9] {
        let mut paths = vec![Vec::new()];
        for _ in 0..5 {
            let longer = |path: &Vec<Event>| events.clone().map(|event| [path.clone(), vec![event]].concat());
            paths = paths
                .iter()
                .flat_map(longer)
                .filter(|path| {
                    let mut walk = Walk { gate: Gate::new(Backoff { failures_max, ..BACKOFF }), now: Instant::now() };
                    let mut last = false;
                    for event in path {
                        let before = (walk.gate.phase(), walk.gate.wakes_at());
                        walk.now += if matches!(event, Event::Due) { long } else { Duration::ZERO };
                        walk.step(event.clone());
                        let after = (walk.gate.phase(), walk.gate.wakes_at());
                        if before.0 != after.0 {
                            found.insert((format!("{:?}", before.0), format!("{:?}", after.0)));
                        }
                        last = before != after || matches!(event, Event::Start | Event::Launched);
                    }
                    // What the last event did not change need not be walked on from.
                    last
                })
                .collect();
        }
    }
    found
}

#[test]
fn the_diagram_of_the_guide_is_the_machine() {
    let arrows = GUIDE.lines().filter_map(|line| line.split_once(" --> ")).map(|(from, to)| {
        let to = to.split(':').next().unwrap();
        (from.trim().to_owned(), to.trim().to_owned())
    });
    let drawn: BTreeSet<_> = arrows.filter(|(from, _)| from != "[*]").collect();
    assert_eq!(drawn, moves());
}

#[test]
fn the_numbers_of_the_guide_are_the_constants() {
    let backoff = Backoff::default();
    let waits: String = (1..=backoff.failures_max)
        .map(|failures| match backoff.delay(failures) {
            Some(wait) => format!("| {failures} | {} s |\n", wait.as_secs()),
            None => format!("| {failures} | given up |\n"),
        })
        .collect();
    for told in [
        format!("|---|---|\n{waits}\n"),
        format!("forgotten after {} s of", backoff.healthy_after.as_secs()),
        format!("wait {} s at most", backoff.max.as_secs()),
        format!("a crash; {CRASHES_PER_FAILURE} of them"),
        format!("there are {} s for it", STDIN_GRACE.as_secs()),
        format!("There are {} s.", STOP_GRACE.as_secs()),
    ] {
        assert!(GUIDE.contains(&told), "the guide does not say: {told}");
    }
}

#[derive(Debug, Clone)]
enum Act {
    Take(Event),
    Admit,
    Pass(Duration),
}

fn any_prospect() -> impl Strategy<Value = Prospect> {
    prop_oneof![Just(Prospect::Open), Just(Prospect::Lasting), Just(Prospect::Away)]
}

fn any_act() -> impl Strategy<Value = Act> {
    prop_oneof![
        2 => Just(Act::Take(Event::Start)),
        1 => (0_u64..20).prop_map(|after| Act::Take(Event::Stop { kill_at: Instant::now() + secs(after) })),
        1 => Just(Act::Take(Event::Drained)),
        2 => Just(Act::Take(Event::Launched)),
        1 => any_prospect().prop_map(|prospect| Act::Take(Event::NotLaunched { reason: reason(), prospect })),
        2 => Just(Act::Take(ended(Weight::None))),
        3 => Just(Act::Take(ended(Weight::Crash))),
        4 => Just(Act::Take(ended(Weight::Failure))),
        3 => Just(Act::Take(Event::Ready)),
        1 => Just(Act::Take(Event::NotReady { reason: reason() })),
        5 => Just(Act::Admit),
        5 => (0_u64..90).prop_map(|time| Act::Pass(secs(time))),
    ]
}

proptest! {
    #[test]
    fn nothing_is_let_through_during_a_back_off(acts in proptest::collection::vec(any_act(), 1..120)) {
        let mut walk = Walk::started();
        let mut closed_until = None;
        for act in acts {
            let before = (walk.gate.failures(), walk.gate.generation());
            match act {
                Act::Pass(time) => walk.now += time,
                Act::Admit => {
                    let admitted = walk.admit();
                    if closed_until.is_some_and(|until| walk.now < until) {
                        prop_assert!(admitted.is_err(), "let through before the time");
                    }
                }
                Act::Take(event) => {
                    // A person who starts it does not wait.
                    if matches!(event, Event::Start | Event::Drained) {
                        closed_until = None;
                    }
                    let counts = matches!(
                        event,
                        Event::NotLaunched { .. } | Event::NotReady { .. }
                            | Event::Ended { weight: Weight::Failure | Weight::Crash, .. }
                    );
                    walk.step(event);
                    if walk.gate.failures() > before.0 {
                        prop_assert!(counts && walk.gate.failures() == before.0 + 1, "one event, one failure at most");
                        if walk.gate.phase() == ServerPhase::BackingOff {
                            closed_until = walk.gate.wakes_at();
                            let delay = closed_until.unwrap() - walk.now;
                            let expected = BACKOFF.delay(walk.gate.failures()).unwrap_or(BACKOFF.max);
                            prop_assert_eq!(delay, expected);
                        }
                    }
                }
            }
            prop_assert!(walk.gate.generation() >= before.1);
            let due = walk.gate.wakes_at();
            let waits = matches!(walk.gate.phase(), ServerPhase::BackingOff);
            prop_assert!(!waits || due.is_some(), "a back-off has an end");
        }
    }

    #[test]
    fn a_stop_ends_in_stopped_whatever_else_happens(
        before in proptest::collection::vec(any_act(), 0..60),
        after in proptest::collection::vec(any_act(), 0..60),
    ) {
        let mut walk = Walk::started();
        let play = |walk: &mut Walk, act: Act| match act {
            Act::Pass(time) => walk.now += time,
            Act::Admit => drop(walk.admit()),
            Act::Take(event) => drop(walk.step(event)),
        };
        before.into_iter().for_each(|act| play(&mut walk, act));
        let kill_at = walk.now + secs(5);
        walk.step(Event::Stop { kill_at });
        for act in after {
            if matches!(act, Act::Take(Event::Start)) {
                continue;
            }
            play(&mut walk, act);
            prop_assert!(matches!(walk.gate.phase(), ServerPhase::Stopping | ServerPhase::Stopped));
            prop_assert_eq!(walk.admit(), Err(Unavailable::Stopped));
        }
        walk.step(Event::Drained);
        prop_assert_eq!(walk.gate.phase(), ServerPhase::Stopped);
        prop_assert_eq!(walk.gate.failures(), 0);
        prop_assert_eq!(walk.gate.wakes_at(), None);
    }
}
