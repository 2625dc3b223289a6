//! What would be done: now, at another time, or at every time of a history; and the same done on a person's word.
//!
//! Nothing here has rules of its own. A forecast takes core's step on a copy of the record; a replay drives core's state
//! machine through the whole of a history, with the history in place of the world.

use std::time::Duration;

use fairlead_core::digest::Digest;
use fairlead_core::freshness::{
    CheckError, ErrorClass, Event, Evidence, Forecast, Freshness, Mark, Moment, Observed, Outcome, Replay, Replayed,
    Running, Subject, Surface, Todo, Trigger, UpdateHistory, UpdatePolicy, Verdict, acquire, admit, effect, settled,
    step, todo,
};
use fairlead_core::name::ServerKey;
use jiff::Timestamp;
use tokio::time::timeout;

use super::engine::{CommandError, Engine, later};
use super::facts;
use crate::limits::{POLICY_MAX, REPLAY_STEPS_MAX};

impl Engine {
    /// What would happen to a server at a moment, now unless one is given. Nothing is stored, and nothing asked but the
    /// policies.
    ///
    /// # Errors
    /// There is no such server, or the store failed.
    pub async fn forecast(
        &self,
        key: &ServerKey,
        trigger: Trigger,
        time: Option<Timestamp>,
    ) -> Result<Forecast, CommandError> {
        let subject = self.subject(key)?;
        let record = self.ports.store.load(key).await?;
        Ok(self.forecast_of(&subject, &record, trigger, time).await)
    }

    pub(super) async fn forecast_of(
        &self,
        subject: &Subject,
        record: &Freshness,
        trigger: Trigger,
        time: Option<Timestamp>,
    ) -> Forecast {
        let usual = self.moment(subject);
        let moment = Moment { now: time.unwrap_or(usual.now), ..usual };
        let (effect, trace) = match settled(record, &moment, trigger) {
            Some(effect) => (effect, Vec::new()),
            None => {
                let decided = timeout(POLICY_MAX, self.decide(subject, record, trigger, moment.now)).await;
                let verdict = decided.unwrap_or_else(|_| Verdict::policy_error("the policy did not answer in time"));
                (effect(record, &verdict, &moment, trigger), verdict.trace)
            }
        };
        Forecast::new(subject.key.clone(), record, &moment, effect, trace)
    }
}

/// What a policy would have made of a history: every check of it is made again, at its time, and what the history says of an
/// update happens again.
pub async fn replay(
    subject: &Subject,
    history: &UpdateHistory,
    policy: &dyn UpdatePolicy,
    interval: Duration,
    until: Timestamp,
) -> Replay {
    let mut replay = Replay::default();
    let Some(began) = history.candidates.iter().map(|candidate| candidate.first_seen).min() else { return replay };
    let Some((record, fence)) = acquire(&Freshness::default(), "replay", began) else { return replay };
    let mut past = Past { subject, history, record, fence, now: began, interval, runs: first(history, began) };
    for _ in 0..REPLAY_STEPS_MAX {
        if past.now > until {
            replay.running = past.runs.into_iter().collect();
            return replay;
        }
        past.go_on(policy, &mut replay).await;
    }
    replay.truncated = true;
    replay.running = past.runs.into_iter().collect();
    replay
}

/// A history in place of the world.
struct Past<'a> {
    subject: &'a Subject,
    history: &'a UpdateHistory,
    record: Freshness,
    fence: u64,
    now: Timestamp,
    interval: Duration,
    runs: Option<Digest>,
}

/// What ran at the beginning: what is known to, or else what was there first.
fn first(history: &UpdateHistory, began: Timestamp) -> Option<Digest> {
    let oldest = history.candidates.iter().find(|candidate| candidate.first_seen == began);
    history.first.clone().or_else(|| oldest.map(|candidate| candidate.pin.clone()))
}

impl Past<'_> {
    async fn go_on(&mut self, policy: &dyn UpdatePolicy, replay: &mut Replay) {
        let at = self.moment();
        let event = match todo(&self.record, &at) {
            Todo::Rest(next) => {
                let next = next.unwrap_or_else(|| later(self.now, self.interval));
                self.now = next.max(later(self.now, Duration::from_millis(1)));
                return;
            }
            Todo::Check => self.check(),
            Todo::Decide => {
                self.record.approvals =
                    self.history.approvals.iter().filter(|approval| approval.at <= self.now).cloned().collect();
                let trigger = Trigger::Schedule;
                let facts = facts::collect(self.subject, &self.record, Vec::new(), self.interval, trigger, self.now);
                let verdict = admit(policy.decide(&facts).await, &facts);
                Event::Decided(Box::new(verdict), 0)
            }
            Todo::Begin => Event::Begun,
            Todo::Try => match self.fate() {
                Some((Outcome::PreflightFailed, why)) => Event::NotPassed(why),
                _ => Event::Passed(Surface::Unknown),
            },
            Todo::Apply => Event::Applied,
            Todo::Verify => Event::Verified(Box::new(self.look())),
        };
        let decides = matches!(event, Event::Decided(..));
        let Ok(next) = step(&self.record, self.fence, event, &at) else {
            // What does not fit cannot have happened; the next check is another matter.
            self.now = later(self.now, self.interval);
            return;
        };
        if decides {
            self.note_decision(&next, replay);
        }
        if let (Some(operation), None) = (&self.record.operation, &next.operation) {
            let ended = next.attempts.iter().find(|attempt| attempt.operation == operation.id);
            if let (Some(ended), Some(last)) = (ended, replay.decisions.last_mut()) {
                last.outcome = Some(ended.outcome);
            }
        }
        self.record = next;
        self.record.outbox.clear();
    }

    fn moment(&self) -> Moment<'static> {
        let toggles = self.subject.toggles;
        // Nobody was away in a history that is played again.
        Moment { now: self.now, since: Timestamp::MIN, toggles, against: &[], interval: self.interval, spread: 500 }
    }

    /// What was there at this time.
    fn check(&self) -> Event {
        let there = self.history.candidates.iter().filter(|candidate| candidate.first_seen <= self.now);
        let Some(newest) = there.clone().max_by_key(|candidate| candidate.first_seen) else {
            let message = "the history says nothing of this time".to_owned();
            let error = CheckError { class: ErrorClass::Other, message, at: self.now };
            return Event::CheckFailed { error, retry_after: None };
        };
        let running = Running { digests: self.runs.iter().cloned().collect(), ..Running::default() };
        // What was replaced by then is remembered and not offered any more. What is known of it here is what the replay makes of it.
        let pin = newest.pin.clone();
        let offered = there.filter(|candidate| candidate.pin == pin || candidate.last_seen >= self.now);
        let candidates = offered.cloned().map(|mut candidate| {
            candidate.failures = 0;
            candidate.quarantined_until = None;
            candidate
        });
        Event::Observed(Box::new(Observed {
            running,
            newest: pin.clone(),
            candidates: candidates.collect(),
            news: None,
        }))
    }

    /// How an update to the present target ended, if it was ever tried.
    fn fate(&self) -> Option<(Outcome, String)> {
        let target = &self.record.operation.as_ref()?.plan.pin;
        let tried = self.history.attempts.iter().filter(|attempt| attempt.pin == *target);
        let ended = tried.filter(|attempt| attempt.outcome.blames_candidate() || attempt.outcome == Outcome::Succeeded);
        let last = ended.max_by_key(|attempt| attempt.operation)?;
        Some((last.outcome, last.detail.clone().unwrap_or_else(|| "it failed then".to_owned())))
    }

    fn look(&mut self) -> Evidence {
        let failed = self.fate().filter(|(outcome, _)| *outcome == Outcome::RolloutFailed).map(|(_, why)| why);
        let operation = self.record.operation.as_ref();
        if failed.is_none() {
            self.runs = operation.map(|operation| operation.plan.pin.clone());
        }
        Evidence {
            mark: operation.map(|operation| Mark { operation: operation.id, fence: self.fence }),
            revision: 0,
            running: Running { digests: self.runs.iter().cloned().collect(), ..Running::default() },
            ready_since: Some(Timestamp::MIN),
            terminal: failed,
        }
    }

    /// A decision that says the same as the one before is not said again.
    fn note_decision(&self, next: &Freshness, replay: &mut Replay) {
        let Some(verdict) = &next.check.verdict else { return };
        let same = |last: &Replayed| last.decision == verdict.decision;
        let again = replay.decisions.last().is_some_and(same) && next.operation.is_none();
        if !again {
            let (decision, trace) = (verdict.decision.clone(), verdict.trace.clone());
            replay.decisions.push(Replayed { at: self.now, decision, trace, outcome: None });
        }
    }
}
