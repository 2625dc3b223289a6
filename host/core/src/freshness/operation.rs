//! The second axis: an operation from its intent to its end, and what its end says of the candidate.

use jiff::Timestamp;

use super::facts::{Attempt, Outcome, Signal, Surface, Trigger};
use super::mutant::{Mutant, is_on};
use super::record::{Direction, Freshness, Operation, Phase};
use super::step::{Event, Evidence, Moment, Refused, tell};
use super::verdict::{OnFailure, Plan};
use super::{after, backoff, candidates};
use crate::digest::Digest;
use crate::limits::{ATTEMPTS_MAX, GOOD_MAX, ROLLOUT_DEADLINE_MIN, TRIAL_PUT_OFF_MAX};

/// Stores the intent: nothing is done before this is durable.
pub(super) fn begin(
    record: &mut Freshness,
    plan: Plan,
    direction: Direction,
    trigger: Trigger,
    base: u64,
    now: Timestamp,
) {
    record.operations += 1;
    let id = record.operations;
    let attempt = Attempt {
        operation: id,
        pin: plan.pin.clone(),
        trigger,
        outcome: Outcome::InProgress,
        detail: None,
        started: now,
        ended: None,
    };
    record.attempts.insert(0, attempt);
    record.attempts.truncate(ATTEMPTS_MAX);
    record.check.asked = None;
    record.operation = Some(Operation {
        id,
        direction,
        phase: Phase::Pending,
        previous: record.good.iter().find(|good| **good != plan.pin).cloned(),
        plan,
        base,
        trigger,
        started: now,
        deadline: None,
        next: None,
        looks: 0,
    });
}

/// Moves the operation that is under way.
pub(super) fn advance(record: &mut Freshness, event: Event, at: &Moment<'_>) -> Result<(), Refused> {
    let Some(mut operation) = record.operation.take() else {
        return Err(Refused::OutOfTurn("no operation is under way"));
    };
    let phase = operation.phase;
    match (phase, event) {
        (Phase::Pending, Event::Begun) => match against(record, &operation, at) {
            Some(why) => end(record, operation, Outcome::Cancelled, Some(why), at),
            // What goes back was well here: it needs no trial, and must not wait for one.
            None if operation.direction == Direction::Back => keep(record, operation, Phase::Applying),
            None => keep(record, operation, Phase::Preflight),
        },
        (Phase::Preflight, Event::Passed(surface)) => {
            let breaks = surface == Surface::Breaking && operation.trigger != Trigger::Operator;
            let is_news = breaks && !candidates::breaks(record, &operation.plan.pin);
            candidates::note_surface(record, &operation.plan.pin, surface);
            match against(record, &operation, at) {
                Some(why) => end(record, operation, Outcome::Cancelled, Some(why), at),
                None if is_news => {
                    // Whoever decided did not know it: they are asked again, and if they still want it, it is done.
                    record.check.decide = Some(at.now);
                    let why = "a tool is gone or asks for other arguments: the policy is asked again";
                    end(record, operation, Outcome::Cancelled, Some(why.to_owned()), at);
                }
                None => keep(record, operation, Phase::Applying),
            }
        }
        (Phase::Preflight, Event::NotPassed(why)) => {
            candidates::blame(record, &operation.plan.pin, at.now);
            end(record, operation, Outcome::PreflightFailed, Some(why), at);
        }
        (Phase::Preflight, Event::TrialPutOff(why)) => match against(record, &operation, at) {
            Some(why) => end(record, operation, Outcome::Cancelled, Some(why), at),
            None => put_off(record, operation, &why, at),
        },
        (Phase::Applying, Event::Applied) => {
            operation.deadline =
                Some(after(at.now, std::time::Duration::from_millis(u64::from(operation.plan.deadline_ms))));
            operation.next = None;
            operation.looks = 0;
            keep(record, operation, Phase::Verifying);
        }
        (Phase::Applying, Event::NotApplied(why)) => {
            record.stuck |= operation.direction == Direction::Back;
            end(record, operation, Outcome::ApplyFailed, Some(why), at);
        }
        // A rollback is never called off, whoever says so.
        (Phase::Applying, Event::Sealed) if operation.direction == Direction::Forward => {
            end(record, operation, Outcome::Cancelled, Some("the server was taken out of service".to_owned()), at);
        }
        (Phase::Applying | Phase::Verifying, Event::Superseded) => {
            end(record, operation, Outcome::Superseded, Some("somebody else changed the server".to_owned()), at);
        }
        (Phase::Verifying, Event::Verified(evidence)) => verified(record, operation, *evidence, at),
        _ => {
            record.operation = Some(operation);
            return Err(Refused::OutOfTurn("the operation is in another phase"));
        }
    }
    Ok(())
}

fn keep(record: &mut Freshness, operation: Operation, phase: Phase) {
    record.operation = Some(Operation { phase, ..operation });
}

/// The trial said nothing of the candidate, against which nothing is held. It is made again, but not where something newer has come
/// meanwhile, and not for ever: as long as it is under way, nothing else can be.
fn put_off(record: &mut Freshness, mut operation: Operation, why: &str, at: &Moment<'_>) {
    let newer = candidates::newer(record, &operation.plan.pin, operation.started).cloned();
    if let Some(newer) = newer {
        // Whoever decided did not know it.
        record.check.decide = Some(at.now);
        let newer = candidates::named(record, &newer);
        let text = format!("its trial is put off, and something newer has come meanwhile, {newer}: {why}");
        return end(record, operation, Outcome::Cancelled, Some(text), at);
    }
    if after(operation.started, TRIAL_PUT_OFF_MAX) <= at.now {
        let hours = TRIAL_PUT_OFF_MAX.as_secs() / 3_600;
        let text = format!("its trial has been put off for {hours} hours: {why}");
        return end(record, operation, Outcome::Cancelled, Some(text), at);
    }
    operation.looks = operation.looks.saturating_add(1);
    operation.next = Some(backoff::next_trial(operation.looks, at));
    keep(record, operation, Phase::Preflight);
}

/// A4: what calls off a forward operation that has touched nothing. A rollback is never called off.
fn against(record: &Freshness, operation: &Operation, at: &Moment<'_>) -> Option<String> {
    if operation.direction == Direction::Back && !(is_on(Mutant::CancelsRollback) && at.called_off()) {
        return None;
    }
    if at.called_off() {
        return Some("the server was taken out of service".to_owned());
    }
    if operation.trigger == Trigger::Operator {
        return None;
    }
    if !at.toggles.check || !at.toggles.auto_reinstall {
        return Some("reinstalling automatically was turned off".to_owned());
    }
    let held = record.hold.as_ref().filter(|hold| hold.until.is_none_or(|until| until > at.now));
    held.map(|hold| format!("held by {}: {}", hold.by, hold.reason))
}

/// A14 to A19.
fn verified(record: &mut Freshness, mut operation: Operation, seen: Evidence, at: &Moment<'_>) {
    if seen.mark.is_none_or(|mark| mark.operation != operation.id) {
        return end(record, operation, Outcome::Superseded, Some("somebody else changed the server".to_owned()), at);
    }
    let pin = operation.plan.pin.clone();
    let in_place = seen.running.unknown == 0
        && !seen.running.digests.is_empty()
        && seen.running.digests.iter().all(|digest| candidates::means(record, &pin, digest));
    let min_ready = std::time::Duration::from_millis(u64::from(operation.plan.min_ready_ms));
    let well = seen.ready_since.is_some_and(|since| after(since, min_ready) <= at.now);
    let overdue = deadline(&operation, at).is_some_and(|deadline| deadline <= at.now);
    if in_place && well && seen.running.health != Signal::Bad && seen.terminal.is_none() {
        record.check.running = seen.running;
        return succeed(record, operation, at);
    }
    let late = overdue.then(|| "it was not well in time".to_owned());
    match seen.terminal.or(late) {
        Some(why) => fail(record, operation, why, seen.revision, at),
        None => {
            operation.looks = operation.looks.saturating_add(1);
            operation.next = Some(backoff::next_look(&operation, seen.ready_since, min_ready, at));
            keep(record, operation, Phase::Verifying);
        }
    }
}

/// When an operation has failed. Time in which nobody looked says nothing of the target: whoever begins to look, after a crash or a
/// night in which the machine was off, looks for as long as any rollout is given at least.
pub(super) fn deadline(operation: &Operation, at: &Moment<'_>) -> Option<Timestamp> {
    operation.deadline.map(|deadline| deadline.max(after(at.since, ROLLOUT_DEADLINE_MIN)))
}

fn succeed(record: &mut Freshness, operation: Operation, at: &Moment<'_>) {
    let pin = operation.plan.pin.clone();
    let outcome = match operation.direction {
        Direction::Forward => {
            candidates::pardon(record, &pin);
            record.last_reinstall = Some(at.now);
            Outcome::Succeeded
        }
        Direction::Back => Outcome::RolledBack,
    };
    record.good.retain(|good| *good != pin);
    record.good.insert(0, pin);
    record.good.truncate(GOOD_MAX);
    candidates::note_good(record);
    // What runs has changed, so what is newest is looked at again.
    record.check.next = Some(at.now);
    end(record, operation, outcome, None, at);
}

/// A17, A18, A25: one write ends the operation and, where that is wanted, intends the way back.
fn fail(record: &mut Freshness, operation: Operation, why: String, revision: u64, at: &Moment<'_>) {
    if operation.direction == Direction::Back {
        record.stuck = true;
        let text = format!("going back to {} has failed: {why}", candidates::named(record, &operation.plan.pin));
        tell(record, format!("stuck:{}", operation.id), text, true, at.now);
        return end(record, operation, Outcome::RollbackFailed, Some(why), at);
    }
    candidates::blame(record, &operation.plan.pin, at.now);
    let text = format!("the update to {} has failed: {why}", candidates::named(record, &operation.plan.pin));
    tell(record, format!("failed:{}", operation.id), text, true, at.now);
    let back = (operation.plan.on_failure == OnFailure::RollBack).then(|| operation.previous.clone()).flatten();
    let plan = operation.plan.clone();
    end(record, operation, Outcome::RolloutFailed, Some(why), at);
    if let Some(pin) = back {
        begin(record, Plan { pin, ..plan }, Direction::Back, Trigger::Retry, revision, at.now);
    }
}

/// The one place where an operation ends: each has exactly one outcome.
fn end(record: &mut Freshness, operation: Operation, outcome: Outcome, detail: Option<String>, at: &Moment<'_>) {
    let attempt = record.attempts.iter_mut().find(|attempt| attempt.operation == operation.id);
    if let Some(attempt) = attempt {
        attempt.outcome = outcome;
        attempt.detail = detail;
        attempt.ended = Some(at.now);
    }
    let pin: &Digest = &operation.plan.pin;
    let text = format!("update to {}: {}", candidates::named(record, pin), outcome.as_str());
    tell(record, format!("{}:{}", outcome.as_str(), operation.id), text, false, at.now);
    record.operation = None;
}
