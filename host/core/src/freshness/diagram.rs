//! The state machine as a drawing, made of what [`step`] and [`todo()`] do: nobody draws it, so it cannot be out of date.
//!
//! Starting from a server that was never looked at, every event that fits is tried on every kind of record that is reached;
//! what changes the state becomes an arrow. Two images are enough to see every state: one that runs and one that is newer.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::time::Duration;

use jiff::Timestamp;

use super::record::{CheckError, Direction, ErrorClass, Freshness, Mark, Operation};
use super::step::{Event, Evidence, Moment, Observed, Todo, acquire, command, step, todo};
use super::verdict::{Decision, HoldReason, Plan};
use super::{Candidate, Ineligible, Running, Signal, Surface, Trigger, UpdateToggles, after, view};
use crate::digest::Digest;
use crate::limits::TRIAL_PUT_OFF_MAX;

/// The drawings, in Mermaid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagrams {
    /// What a person sees: one state for each public status.
    pub status: String,
    /// One update from its intent to its end.
    pub operation: String,
    /// What whoever holds the lease does next.
    pub turn: String,
}

/// Arrows: from, to, and what leads there.
type Arrows = BTreeMap<(String, String), BTreeSet<&'static str>>;

const OLD: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000001";
const NEW: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000002";

/// What an operation does to stay where it is.
const OWN: [&str; 2] = ["the trial is put off", "not yet: looked at again after a back-off"];

/// Further records than this are none of ours: the exploration has lost its way.
const RECORDS_MAX: usize = 20_000;

/// A record, the time, and what runs.
#[derive(Clone)]
struct World {
    record: Freshness,
    now: Timestamp,
    runs_new: bool,
    around: Around,
}

/// What surrounds the server.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Around {
    Usual,
    NotAutomatic,
    OutOfService,
}

/// What makes two records the same for the drawing: all but times, numbers and texts.
type Kind = (String, String, String, bool, bool, bool, bool, usize, Around);

impl World {
    fn look<T>(&self, look: impl FnOnce(&Moment<'_>) -> T) -> T {
        let against: &[Ineligible] = if self.around == Around::OutOfService { &[Ineligible::Disabled] } else { &[] };
        look(&Moment {
            now: self.now,
            since: Timestamp::UNIX_EPOCH,
            toggles: UpdateToggles { check: true, auto_reinstall: self.around != Around::NotAutomatic },
            against,
            interval: Duration::from_secs(900),
            spread: 500,
        })
    }

    fn todo(&self) -> Todo {
        self.look(|at| todo(&self.record, at))
    }

    fn status(&self) -> String {
        let status = self.look(|at| view(&self.record, at).status);
        let word = serde_json::to_value(status).ok();
        word.as_ref().and_then(serde_json::Value::as_str).unwrap_or_default().to_owned()
    }

    fn operation(&self) -> String {
        match &self.record.operation {
            Some(operation) => phase(operation),
            None => match self.record.attempts.first() {
                Some(attempt) => attempt.outcome.as_str().replace('-', "_"),
                None => String::new(),
            },
        }
    }

    fn kind(&self) -> Kind {
        let record = &self.record;
        let shunned =
            record.candidates.iter().any(|known| known.quarantined_until.is_some_and(|until| until > self.now));
        (
            self.status(),
            self.operation(),
            format!("{:?}{:?}", record.check.found, turn(&self.todo())),
            record.stuck,
            record.hold.is_some(),
            self.runs_new,
            shunned,
            record.good.len(),
            self.around,
        )
    }

    fn after(&self, event: Event) -> Option<Self> {
        let fence = self.record.lease.fence;
        let record = self.look(|at| match event {
            Event::Asked(_)
            | Event::Held(_)
            | Event::Unheld
            | Event::Retried(_)
            | Event::Ordered(..)
            | Event::RollBack(_) => command(&self.record, event, at),
            event => step(&self.record, fence, event, at),
        });
        Some(Self { record: record.ok()?, ..self.clone() })
    }
}

fn phase(operation: &Operation) -> String {
    let phase = format!("{:?}", operation.phase).to_lowercase();
    if operation.direction == Direction::Back { format!("back_{phase}") } else { phase }
}

/// Explores the state machine and draws it.
#[must_use]
pub fn diagrams() -> Option<Diagrams> {
    let (old, new) = (Digest::new(OLD).ok()?, Digest::new(NEW).ok()?);
    let (record, _) = acquire(&Freshness::default(), "drawing", Timestamp::UNIX_EPOCH)?;
    let start = World { record, now: Timestamp::UNIX_EPOCH, runs_new: false, around: Around::Usual };
    let (mut statuses, mut operations, mut turns) = (Arrows::new(), Arrows::new(), Arrows::new());
    let mut seen = BTreeSet::from([start.kind()]);
    let mut queue = VecDeque::from([start]);
    while let Some(world) = queue.pop_front() {
        for (name, next) in moves(&world, &old, &new) {
            let draw = |arrows: &mut Arrows, from: String, to: String| {
                arrows.entry((from, to)).or_default().insert(name);
            };
            if !name.starts_with("a person") && !matches!(world.todo(), Todo::Rest(_)) {
                draw(&mut turns, turn(&world.todo()).to_owned(), turn(&next.todo()).to_owned());
            }
            if world.status() != next.status() {
                draw(&mut statuses, world.status(), next.status());
            }
            if world.record.operation.is_some() && world.record.operations == next.record.operations {
                // What leaves it as it is, is worth an arrow only where it is the operation's own.
                if world.operation() == next.operation() && !OWN.contains(&name) {
                    continue_with(&mut seen, &mut queue, next);
                    continue;
                }
                draw(&mut operations, world.operation(), next.operation());
            } else if next.record.operations > world.record.operations {
                let ended = next.record.attempts.get(1).filter(|_| world.record.operation.is_some());
                if let Some(ended) = ended {
                    // One write ends the update and intends the way back.
                    let outcome = ended.outcome.as_str().replace('-', "_");
                    draw(&mut operations, world.operation(), outcome.clone());
                    draw(&mut operations, outcome, next.operation());
                } else {
                    draw(&mut operations, "[*]".to_owned(), next.operation());
                }
            }
            continue_with(&mut seen, &mut queue, next);
        }
    }
    Some(Diagrams {
        status: state_diagram(&statuses, "unknown"),
        operation: state_diagram(&operations, ""),
        turn: flow_chart(&turns),
    })
}

fn continue_with(seen: &mut BTreeSet<Kind>, queue: &mut VecDeque<World>, next: World) {
    if seen.len() < RECORDS_MAX && seen.insert(next.kind()) {
        queue.push_back(next);
    }
}

/// Everything that can happen now.
fn moves(world: &World, old: &Digest, new: &Digest) -> Vec<(&'static str, World)> {
    let mut out = Vec::new();
    let mut add = |name: &'static str, next: Option<World>| out.extend(next.map(|next| (name, next)));
    let tell = |event: Event| world.after(event);
    match world.todo() {
        Todo::Rest(until) => {
            let interval = after(world.now, Duration::from_secs(900));
            let next = World { now: until.unwrap_or(interval).max(world.now), ..world.clone() };
            add("its time comes", Some(next));
        }
        Todo::Check => {
            add("nothing newer", tell(seen(world, old, new, false)));
            if !world.runs_new {
                add("something newer", tell(seen(world, old, new, true)));
            }
            add("what runs cannot be read", tell(unread(new)));
            add("the check fails", tell(failed(world)));
            let later = after(world.now, Duration::from_secs(60));
            add("the registry is left alone", tell(Event::Deferred(later)));
        }
        Todo::Decide => {
            let decided = |decision: Decision| tell(Event::Decided(Box::new(decision.into()), 0));
            add("the policy updates", decided(Decision::Update(Plan::to(new.clone()))));
            add("the policy holds", decided(Decision::hold(HoldReason::TooYoung, "")));
            add(
                "the policy notifies",
                decided(Decision::Notify { pin: new.clone(), detail: String::new(), urgent: false }),
            );
            add("nothing to do", decided(Decision::UpToDate));
        }
        Todo::Begin => add("the intent is stored", tell(Event::Begun)),
        Todo::Try => {
            add("the trial passes", tell(Event::Passed(Surface::Same)));
            add("the trial fails", tell(Event::NotPassed(String::new())));
            add("the trial is put off", tell(Event::TrialPutOff(String::new())));
            let begun = world.record.operation.as_ref().map_or(world.now, |operation| operation.started);
            let late = World { now: after(begun, TRIAL_PUT_OFF_MAX).max(world.now), ..world.clone() };
            add("the trial is put off for too long", late.after(Event::TrialPutOff(String::new())));
        }
        Todo::Apply => {
            add("the object is written", tell(Event::Applied));
            add("it cannot be written", tell(Event::NotApplied(String::new())));
            add("somebody else wrote it", tell(Event::Superseded));
            if world.around == Around::OutOfService {
                add("the object is sealed", tell(Event::Sealed));
            }
        }
        Todo::Verify => add_looks(world, old, new, &mut add),
    }
    let Some(operation) = &world.record.operation else {
        for (name, event) in [
            ("a person asks for a check", Event::Asked(Trigger::Operator)),
            ("a person goes back", Event::RollBack(0)),
            ("a person lets it go on", Event::Unheld),
            ("a person wants it tried again", Event::Retried(new.clone())),
        ] {
            add(name, tell(event));
        }
        if !world.runs_new {
            add("a person orders an update", tell(Event::Ordered(Box::new(Plan::to(new.clone())), 0)));
        }
        return surrounded(world, out);
    };
    if matches!(operation.phase, super::Phase::Pending | super::Phase::Preflight | super::Phase::Applying) {
        return surrounded(world, out);
    }
    out
}

/// A person turns a toggle, or takes the server out of service.
fn surrounded(world: &World, mut out: Vec<(&'static str, World)>) -> Vec<(&'static str, World)> {
    let turned = |around| World { around, ..world.clone() };
    match world.around {
        Around::Usual => {
            out.push(("a person turns reinstalling off", turned(Around::NotAutomatic)));
            out.push(("a person disables the server", turned(Around::OutOfService)));
        }
        Around::NotAutomatic => out.push(("a person turns reinstalling on", turned(Around::Usual))),
        Around::OutOfService => out.push(("a person enables the server", turned(Around::Usual))),
    }
    out
}

fn add_looks(world: &World, old: &Digest, new: &Digest, add: &mut impl FnMut(&'static str, Option<World>)) {
    let Some(operation) = &world.record.operation else { return };
    let back = operation.direction == Direction::Back;
    let mark = Some(Mark { operation: operation.id, fence: world.record.lease.fence });
    let target = if back { old } else { new };
    let looked = |running: &Digest, ready_since, terminal: Option<&str>, mark| {
        Event::Verified(Box::new(Evidence {
            mark,
            revision: 1,
            running: Running { digests: vec![running.clone()], health: Signal::Unknown, ..Running::default() },
            ready_since,
            terminal: terminal.map(str::to_owned),
        }))
    };
    let well = world.after(looked(target, Some(Timestamp::MIN), None, mark));
    add("the target runs and is well", well.map(|next| World { runs_new: !back, ..next }));
    let other = if back { new } else { old };
    add("not yet: looked at again after a back-off", world.after(looked(other, None, None, mark)));
    add("it does not come up", world.after(looked(other, None, Some("it crashes"), mark)));
    let late = World { now: operation.deadline.unwrap_or(world.now), ..world.clone() };
    add("its deadline passes", late.after(looked(other, None, None, mark)));
    add("somebody else wrote it", world.after(looked(other, None, None, None)));
}

fn seen(world: &World, old: &Digest, new: &Digest, newer: bool) -> Event {
    let running = if world.runs_new { new } else { old };
    let newest = if newer || world.runs_new { new } else { old };
    Event::Observed(Box::new(Observed {
        running: Running { digests: vec![running.clone()], ..Running::default() },
        newest: newest.clone(),
        candidates: vec![candidate(newest, world.now)],
        news: None,
    }))
}

fn unread(new: &Digest) -> Event {
    Event::Observed(Box::new(Observed {
        running: Running { unknown: 1, ..Running::default() },
        newest: new.clone(),
        candidates: Vec::new(),
        news: None,
    }))
}

fn failed(world: &World) -> Event {
    let error = CheckError { class: ErrorClass::RegistryUnreachable, message: String::new(), at: world.now };
    Event::CheckFailed { error, retry_after: None }
}

fn candidate(pin: &Digest, now: Timestamp) -> Candidate {
    Candidate {
        tag: None,
        same_tag: true,
        version: None,
        pin: pin.clone(),
        digests: Vec::new(),
        first_seen: now,
        last_seen: now,
        pushed: None,
        created_claimed: None,
        platform: Signal::Good,
        signature: Signal::Unknown,
        provenance: Signal::Unknown,
        surface: Surface::Unknown,
        missing_settings: Vec::new(),
        failures: 0,
        quarantined_until: None,
        is_last_good: false,
        attributes: BTreeMap::new(),
    }
}

fn turn(todo: &Todo) -> &'static str {
    match todo {
        Todo::Rest(_) => "rest",
        Todo::Check => "check",
        Todo::Decide => "decide",
        Todo::Begin => "begin",
        Todo::Try => "try",
        Todo::Apply => "apply",
        Todo::Verify => "verify",
    }
}

fn state_diagram(arrows: &Arrows, first: &str) -> String {
    let mut text = "stateDiagram-v2\n".to_owned();
    if !first.is_empty() {
        let _ = writeln!(text, "    [*] --> {first}");
    }
    for ((from, to), names) in arrows {
        let _ = writeln!(text, "    {from} --> {to}: {}", joined(names));
    }
    let froms: BTreeSet<&String> = arrows.keys().map(|(from, _)| from).collect();
    for end in arrows.keys().map(|(_, to)| to).collect::<BTreeSet<_>>() {
        if !froms.contains(end) {
            let _ = writeln!(text, "    {end} --> [*]");
        }
    }
    text
}

fn flow_chart(arrows: &Arrows) -> String {
    let mut text = "flowchart TD\n".to_owned();
    for (name, says) in [
        ("rest", "rest until the next time"),
        ("check", "check: what does the reference name now?"),
        ("decide", "decide: ask the policy"),
        ("begin", "begin: store the intent"),
        ("try", "try the candidate beside what runs"),
        ("apply", "apply: write repo@digest by compare-and-set"),
        ("verify", "verify: does the target run, and is it well?"),
    ] {
        let _ = writeln!(text, "    {name}[\"{says}\"]");
    }
    for ((from, to), names) in arrows {
        let _ = writeln!(text, "    {from} -->|\"{}\"| {to}", joined(names));
    }
    text
}

fn joined(names: &BTreeSet<&'static str>) -> String {
    names.iter().copied().collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::super::UpdateStatus;
    use super::*;

    #[test]
    fn the_drawing_has_every_status_that_a_server_with_its_check_on_can_have() {
        let drawn = diagrams().unwrap().status;
        for status in [
            UpdateStatus::RollingBack,
            UpdateStatus::Reinstalling,
            UpdateStatus::NotEligible,
            UpdateStatus::RolloutFailed,
            UpdateStatus::Checking,
            UpdateStatus::CheckFailed,
            UpdateStatus::UpdateAvailable,
            UpdateStatus::UpToDate,
            UpdateStatus::Unknown,
        ] {
            let word = serde_json::to_value(status).unwrap();
            assert!(drawn.contains(&format!("--> {}", word.as_str().unwrap())), "{status:?} is not drawn:\n{drawn}");
        }
    }

    #[test]
    fn the_drawing_has_every_phase_and_every_end_and_no_way_out_of_an_end_but_back() {
        let drawn = diagrams().unwrap().operation;
        for word in [
            "pending",
            "preflight",
            "applying",
            "verifying",
            "back_pending",
            "back_applying",
            "back_verifying",
            "succeeded",
            "cancelled",
            "preflight_failed",
            "apply_failed",
            "rollout_failed",
            "superseded",
            "rolled_back",
            "rollback_failed",
        ] {
            assert!(drawn.contains(&format!("--> {word}")), "{word} is not drawn:\n{drawn}");
        }
        assert!(!drawn.contains("back_preflight"), "what goes back was well here and needs no trial");
        assert!(!drawn.contains("back_applying --> cancelled"), "a way back is not called off");
        let out = |word: &str| drawn.lines().filter(|line| line.trim().starts_with(&format!("{word} --> "))).count();
        for end in ["succeeded", "cancelled", "superseded", "rolled_back", "rollback_failed"] {
            assert_eq!(out(end), 1, "{end}: only to rest\n{drawn}");
        }
    }

    #[test]
    fn a_drawing_of_a_broken_machine_is_another_one() {
        let sound = diagrams().unwrap();
        super::super::mutant::set(Some(super::super::mutant::Mutant::CancelsRollback));
        let broken = diagrams().unwrap();
        super::super::mutant::set(None);
        assert_ne!(sound.operation, broken.operation);
    }
}
