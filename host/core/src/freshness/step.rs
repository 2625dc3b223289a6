//! The state machine: an event in, the next record out, nothing done.
//!
//! There are no effects beside the record. What is to be done is read off it ([`todo()`]) by whoever holds the lease, so what
//! a crash interrupted is done by the ordinary path: there is no recovery mode. Every worker's event carries the fence of
//! its lease, and one that is too old changes nothing.

use jiff::Timestamp;

use super::eligibility::{Ineligible, UpdateToggles};
use super::facts::{Candidate, Outcome, Running, Surface, Trigger};
use super::mutant::{Mutant, is_on};
use super::operation;
use super::record::{CheckError, Direction, Fence, Found, Freshness, Hold, Lease, Mark, Message, Operation, Phase};
use super::verdict::{Decision, HoldReason, Verdict};
use super::{after, backoff, candidates};
use crate::digest::Digest;
use crate::limits::{APPROVALS_MAX, FLIPS_MAX, FLIPS_WINDOW, LEASE_TTL, MESSAGES_MAX};

/// What surrounds a step.
#[derive(Debug, Clone, Copy)]
pub struct Moment<'a> {
    /// The store's time, not the worker's.
    pub now: Timestamp,
    /// Since when this engine looks. What was not well before, nobody saw.
    pub since: Timestamp,
    /// The toggles, read in the transaction that stores the step.
    pub toggles: UpdateToggles,
    /// What speaks against a check, likewise.
    pub against: &'a [Ineligible],
    /// Between two checks.
    pub interval: std::time::Duration,
    /// Stable for the server, 0..1000: spreads the checks over the interval.
    pub spread: u16,
}

impl Moment<'_> {
    /// The server is out of service: a forward operation that has touched nothing is called off.
    #[must_use]
    pub fn called_off(&self) -> bool {
        let out = |reason: &Ineligible| {
            matches!(reason, Ineligible::Disabled | Ineligible::Stopped | Ineligible::ManualReinstall)
        };
        self.against.iter().any(out)
    }
}

/// What a check saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// What runs.
    pub running: Running,
    /// What the followed tag names; its pin decides whether what runs is fresh.
    pub newest: Digest,
    /// All that was seen; `first_seen` and everything that is recorded here is filled in by the step.
    pub candidates: Vec<Candidate>,
    /// What runs became another, and nobody here did that.
    pub news: Option<News>,
}

/// What people are to be told of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct News {
    /// In a sentence.
    pub text: String,
    /// It should not wait.
    pub urgent: bool,
}

/// What was seen of a rollout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// Mark and revision of the deployed object.
    pub mark: Option<Mark>,
    /// See there.
    pub revision: u64,
    /// What runs.
    pub running: Running,
    /// Since when it has answered as MCP wants it, without a break.
    pub ready_since: Option<Timestamp>,
    /// It will not come up any more: why.
    pub terminal: Option<String>,
}

/// What happened. All but the last group come from the holder of the lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A check saw something.
    Observed(Box<Observed>),
    /// A check did not.
    CheckFailed {
        /// Why.
        error: CheckError,
        /// What the OCI registry asked for.
        retry_after: Option<std::time::Duration>,
    },
    /// The OCI registry is left alone for a while; nothing was asked.
    Deferred(Timestamp),
    /// The policy has spoken, and [`admit`](super::admit) has been asked. With the revision of what was deployed when the
    /// facts were collected.
    Decided(Box<Verdict>, u64),
    /// The trial of the candidate begins.
    Begun,
    /// The candidate passed its trial.
    Passed(Surface),
    /// It did not, and nothing was touched.
    NotPassed(String),
    /// The trial says nothing of the candidate (no room, no engine): again later, for a while.
    TrialPutOff(String),
    /// The target is in place.
    Applied,
    /// It could not be put in place, and trying again does not help.
    NotApplied(String),
    /// The object is sealed.
    Sealed,
    /// Somebody else changed the object.
    Superseded,
    /// The rollout was looked at.
    Verified(Box<Evidence>),
    /// The holder has nothing more to do.
    Released,

    /// A person wants a check now, or the world says that there is something to see.
    Asked(Trigger),
    /// A person says yes to a digest.
    Approved {
        /// To what.
        pin: Digest,
        /// Who.
        by: String,
        /// Worth nothing after.
        expires: Timestamp,
    },
    /// A person says no.
    Held(Hold),
    /// They take it back.
    Unheld,
    /// A person wants a digest tried again.
    Retried(Digest),
    /// A person wants an update to a digest that is offered, now, whatever the policy says.
    Ordered(Box<super::Plan>, u64),
    /// A person wants back what was well before. With the revision of what is deployed.
    RollBack(u64),
    /// People were told.
    Told(Vec<String>),
}

/// Why an event changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The lease is gone: somebody else works on it.
    #[error("the lease on this server was lost")]
    LeaseLost,
    /// It does not fit what is under way.
    #[error("this does not fit what is under way: {0}")]
    OutOfTurn(&'static str),
    /// A digest that is not among the candidates.
    #[error("`{0}` is not among the candidates of this server; `fairlead update status` shows them")]
    UnknownDigest(Digest),
    /// Nothing to go back to.
    #[error("there is no earlier revision that was well here")]
    NothingToGoBackTo,
}

/// Takes an event of whoever holds the lease that `fence` was given for.
///
/// # Errors
/// The lease is somebody else's by now, or the event does not fit.
pub fn step(before: &Freshness, fence: Fence, event: Event, at: &Moment<'_>) -> Result<Freshness, Refused> {
    let holds = before.lease.fence == fence && before.lease.holder.is_some();
    if !holds && !is_on(Mutant::NoRecordFence) {
        return Err(Refused::LeaseLost);
    }
    let mut record = before.clone();
    match event {
        Event::Observed(observed) => observe(&mut record, *observed, at),
        Event::CheckFailed { error, retry_after } => check_failed(&mut record, error, retry_after, at),
        Event::Deferred(until) => record.check.next = Some(until),
        Event::Decided(verdict, deployed) => decided(&mut record, *verdict, deployed, at),
        Event::Released => {
            record.lease = Lease { fence: record.lease.fence, ..Lease::default() };
        }
        Event::Begun
        | Event::Passed(_)
        | Event::NotPassed(_)
        | Event::TrialPutOff(_)
        | Event::Applied
        | Event::NotApplied(_)
        | Event::Sealed
        | Event::Superseded
        | Event::Verified(_) => operation::advance(&mut record, event, at)?,
        command => order(&mut record, command, at)?,
    }
    record.revision += 1;
    Ok(record)
}

/// Takes the word of a person, which needs no lease: the revision of the record guards it.
///
/// # Errors
/// It does not fit.
pub fn command(before: &Freshness, event: Event, at: &Moment<'_>) -> Result<Freshness, Refused> {
    let mut record = before.clone();
    order(&mut record, event, at)?;
    record.revision += 1;
    Ok(record)
}

/// Gives the lease to `holder`, if it is free or has run out.
#[must_use]
pub fn acquire(before: &Freshness, holder: &str, now: Timestamp) -> Option<(Freshness, Fence)> {
    if before.lease.holder.is_some() && before.lease.expires.is_some_and(|expires| expires > now) {
        return None;
    }
    let mut record = before.clone();
    let fence = record.lease.fence + 1;
    record.lease = Lease { fence, holder: Some(holder.to_owned()), expires: Some(after(now, LEASE_TTL)) };
    record.revision += 1;
    Some((record, fence))
}

/// Keeps the lease for another while.
///
/// # Errors
/// It is somebody else's by now.
pub fn renew(before: &Freshness, fence: Fence, now: Timestamp) -> Result<Freshness, Refused> {
    if before.lease.fence != fence || before.lease.holder.is_none() {
        return Err(Refused::LeaseLost);
    }
    let mut record = before.clone();
    record.lease.expires = Some(after(now, LEASE_TTL));
    record.revision += 1;
    Ok(record)
}

/// What whoever holds the lease does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Todo {
    /// Nothing, until then.
    Rest(Option<Timestamp>),
    /// Look what is newest.
    Check,
    /// Ask the policy.
    Decide,
    /// Say that the trial begins, or that the operation is called off.
    Begin,
    /// Try the candidate.
    Try,
    /// Put the target in place, or seal.
    Apply,
    /// Look whether it is well.
    Verify,
}

/// Reads off the record what is to be done.
#[must_use]
pub fn todo(record: &Freshness, at: &Moment<'_>) -> Todo {
    let due = |time: Option<Timestamp>| time.is_none_or(|time| time <= at.now);
    if let Some(operation) = record.operation.as_ref().filter(|operation| due(operation.next)) {
        return match operation.phase {
            Phase::Pending => Todo::Begin,
            Phase::Preflight => Todo::Try,
            Phase::Applying => Todo::Apply,
            Phase::Verifying => Todo::Verify,
        };
    }
    let checks = at.against.is_empty();
    if checks && due(record.check.next) {
        return Todo::Check;
    }
    let decides = checks && record.operation.is_none() && record.check.found == Found::Stale;
    if decides && record.check.decide.is_some_and(|time| time <= at.now) {
        return Todo::Decide;
    }
    let operation = record.operation.as_ref().and_then(|operation| operation.next);
    let check = checks.then_some(record.check.next).flatten();
    let decide = decides.then_some(record.check.decide).flatten();
    Todo::Rest([operation, check, decide].into_iter().flatten().min())
}

fn observe(record: &mut Freshness, seen: Observed, at: &Moment<'_>) {
    let Observed { running, newest, candidates: found, news } = seen;
    if let Some(News { text, urgent }) = news {
        tell(record, format!("changed:{newest}"), text, urgent, at.now);
    }
    let flipped = record.check.newest.as_ref().is_some_and(|before| *before != newest)
        && record.candidates.iter().any(|known| known.pin == newest);
    // Where a policy chooses among versions, what the tag names is not all that there is.
    let others =
        found.iter().any(|other| other.pin != newest && !running.digests.iter().any(|digest| other.is(digest)));
    candidates::merge(record, found, &newest, at.now);
    let means_newest = |digest: &Digest| {
        *digest == newest || record.candidates.iter().any(|known| known.pin == newest && known.is(digest))
    };
    let current = !running.digests.is_empty() && running.unknown == 0 && running.digests.iter().all(means_newest);
    let check = &mut record.check;
    if flipped {
        check.flips.push(at.now);
    }
    check.flips.retain(|flip| after(*flip, FLIPS_WINDOW) > at.now);
    check.newest = Some(newest);
    check.asked = None;
    check.next = Some(backoff::next_check(at));
    check.found = match () {
        () if current && !others => Found::Fresh,
        () if running.unknown > 0 || running.digests.is_empty() => Found::Unknown,
        () => Found::Stale,
    };
    check.failures = 0;
    check.last_success = Some(at.now);
    check.decide = (check.found == Found::Stale).then_some(at.now);
    if check.found == Found::Fresh {
        check.verdict = None;
    }
    // The first revision that is seen is what a rollback goes to, even if it is not the newest by then: a server that is not
    // well is not checked.
    if let ([only], true, 0) = (running.digests.as_slice(), record.good.is_empty(), running.unknown) {
        record.good.push(only.clone());
    }
    check.running = running;
}

fn check_failed(record: &mut Freshness, error: CheckError, retry_after: Option<std::time::Duration>, at: &Moment<'_>) {
    if is_on(Mutant::CheckClobbers) {
        record.operation = None;
    }
    let check = &mut record.check;
    check.failures = check.failures.saturating_add(1);
    check.found = Found::Failed;
    check.asked = None;
    check.last_failure = Some(at.now);
    check.next = Some(backoff::after_failure(check.failures, error.class, retry_after, at));
    check.last_error = Some(error);
}

/// A1 to A3: what becomes of a verdict.
fn decided(record: &mut Freshness, verdict: Verdict, deployed: u64, at: &Moment<'_>) {
    record.check.decide = None;
    let decision = verdict.decision.clone();
    record.check.verdict = Some(verdict);
    if record.operation.is_some() {
        // A live operation is never given another target.
        return;
    }
    match decision {
        Decision::UpToDate => {}
        Decision::Hold { until, .. } => record.check.decide = until,
        Decision::Notify { pin, detail, urgent } => {
            let text = format!("something newer is there: {} {detail}", candidates::named(record, &pin));
            tell(record, format!("update:{pin}"), text, urgent, at.now);
        }
        Decision::Update(plan) => {
            if let Some(why) = barred(record, &plan.pin, at) {
                let hold = Decision::Hold { reason: why.0, detail: why.1, pin: Some(plan.pin), until: None };
                record.check.verdict = Some(hold.into());
            } else if !at.toggles.auto_reinstall && record.check.asked != Some(Trigger::Operator) {
                let text = format!("something newer is there: {}", candidates::named(record, &plan.pin));
                tell(record, format!("update:{}", plan.pin), text, false, at.now);
            } else {
                let trigger = record.check.asked.unwrap_or(Trigger::Schedule);
                operation::begin(record, plan, Direction::Forward, trigger, deployed, at.now);
            }
        }
        Decision::Rollback { pin, .. } => {
            let plan = super::Plan::to(pin);
            operation::begin(record, plan, Direction::Back, Trigger::Schedule, deployed, at.now);
        }
    }
}

/// What the host has against an update by itself, whatever a policy says.
fn barred(record: &Freshness, pin: &Digest, at: &Moment<'_>) -> Option<(HoldReason, String)> {
    if record.stuck {
        return Some((HoldReason::Frozen, "going back has failed; `fairlead update resume` lets it go on".to_owned()));
    }
    if let Some(hold) = record.hold.as_ref().filter(|hold| hold.until.is_none_or(|until| until > at.now)) {
        return Some((HoldReason::Frozen, format!("held by {}: {}", hold.by, hold.reason)));
    }
    if record.check.flips.len() > FLIPS_MAX {
        return Some((HoldReason::Ambiguous, "its tag moves to and fro".to_owned()));
    }
    let candidate = record.candidates.iter().find(|candidate| candidate.pin == *pin);
    if candidate.is_some_and(|candidate| candidate.quarantined_until.is_some_and(|until| until > at.now)) {
        return Some((HoldReason::Quarantined, "it failed here, or a person went back from it".to_owned()));
    }
    None
}

/// The word of a person.
fn order(record: &mut Freshness, event: Event, at: &Moment<'_>) -> Result<(), Refused> {
    match event {
        Event::Asked(trigger) => {
            record.check.next = Some(at.now);
            record.check.asked = Some(trigger);
        }
        Event::Approved { pin, by, expires } => {
            known(record, &pin)?;
            let again = |approval: &super::Approval| approval.pin == pin && approval.by == by;
            record.approvals.retain(|approval| !again(approval) && approval.expires > at.now);
            let beyond = (record.approvals.len() + 1).saturating_sub(APPROVALS_MAX);
            record.approvals.drain(..beyond);
            record.approvals.push(super::Approval { pin, by, at: at.now, expires });
            record.check.decide = Some(at.now);
        }
        Event::Held(hold) => record.hold = Some(hold),
        Event::Unheld => {
            record.hold = None;
            record.stuck = false;
            record.check.decide = Some(at.now);
        }
        Event::Retried(pin) => {
            known(record, &pin)?;
            candidates::pardon(record, &pin);
            record.stuck = false;
            record.check.asked = Some(Trigger::Retry);
            record.check.decide = Some(at.now);
        }
        Event::Ordered(plan, deployed) => {
            known(record, &plan.pin)?;
            if record.operation.is_some() {
                return Err(Refused::OutOfTurn("another update of this server is under way"));
            }
            candidates::pardon(record, &plan.pin);
            record.stuck = false;
            operation::begin(record, *plan, Direction::Forward, Trigger::Operator, deployed, at.now);
        }
        Event::RollBack(deployed) => {
            if record.operation.is_some() {
                return Err(Refused::OutOfTurn("another update of this server is under way"));
            }
            let running = record.check.running.digests.clone();
            let earlier = record.good.iter().find(|good| !candidates::mean(record, good, &running)).cloned();
            let pin = earlier.ok_or(Refused::NothingToGoBackTo)?;
            record.stuck = false;
            // Nothing may undo by itself what a person did in need.
            candidates::shun(record, &running);
            operation::begin(record, super::Plan::to(pin), Direction::Back, Trigger::Operator, deployed, at.now);
        }
        Event::Told(topics) => record.outbox.retain(|message| !topics.contains(&message.topic)),
        _ => return Err(Refused::OutOfTurn("only whoever holds the lease may say so")),
    }
    Ok(())
}

fn known(record: &Freshness, pin: &Digest) -> Result<(), Refused> {
    let known = record.candidates.iter().any(|candidate| candidate.pin == *pin);
    if known { Ok(()) } else { Err(Refused::UnknownDigest(pin.clone())) }
}

/// Puts a message into the outbox, once for each topic.
pub(super) fn tell(record: &mut Freshness, topic: String, text: String, urgent: bool, at: Timestamp) {
    if record.outbox.iter().all(|message| message.topic != topic) {
        record.outbox.push(Message { topic, text, urgent, at });
        let surplus = record.outbox.len().saturating_sub(MESSAGES_MAX);
        record.outbox.drain(..surplus);
    }
}

impl Freshness {
    /// The operation, when it is the one with this number.
    #[must_use]
    pub fn live(&self, id: u64) -> Option<&Operation> {
        self.operation.as_ref().filter(|operation| operation.id == id)
    }

    /// Every digest that may be launched on the word of this record.
    pub fn spoken_of(&self) -> impl Iterator<Item = &Digest> {
        let operation = self.operation.iter().flat_map(|live| std::iter::once(&live.plan.pin).chain(&live.previous));
        let candidates = self.candidates.iter().map(|candidate| &candidate.pin);
        operation.chain(candidates).chain(&self.good).chain(&self.check.running.digests)
    }

    /// How the last attempt that has ended did so.
    #[must_use]
    pub fn last_outcome(&self) -> Option<(&Digest, Outcome)> {
        let ended = self.attempts.iter().find(|attempt| attempt.outcome != Outcome::InProgress)?;
        Some((&ended.pin, ended.outcome))
    }
}
