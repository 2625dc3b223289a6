//! One turn of one server: take the lease, do what is to be done, store each step before its effect, give the lease back.

use std::sync::Arc;

use fairlead_core::freshness::{
    CheckError, ErrorClass, Event, Fence, Found, Freshness, Move, Observed, Operation, Refused, Subject, Todo, Trial,
    Trigger, Unseen, Verdict, acquire, apply, renew, step, todo,
};
use fairlead_core::name::ServerKey;
use fairlead_core::store::StoreError;
use jiff::Timestamp;
use tokio::time::timeout;

use super::engine::{Engine, later};
use crate::limits::{
    ANNOUNCE_MAX, CHECK_MAX, LEASE_RENEW, LEASE_RETRY, POLICY_MAX, SETTLE_MAX, STEP_TRIES, STEPS_PER_TURN_MAX,
    TRIAL_MAX,
};

/// Why a turn ended early.
#[derive(Debug)]
enum Interrupted {
    /// Somebody else has the lease, or the server is gone.
    Lost,
    /// The store failed.
    Store(StoreError),
}

impl From<StoreError> for Interrupted {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// A server, its record and our right to change it.
struct Turn<'a> {
    engine: &'a Engine,
    key: &'a ServerKey,
    record: Freshness,
    fence: Fence,
}

/// Gives a server its turn; says when the next one is. `None`: the server is gone.
pub(super) async fn work(engine: &Arc<Engine>, key: &ServerKey) -> Option<Timestamp> {
    let now = engine.ports.clock.now();
    match turn(engine, key).await {
        Ok(next) => next,
        Err(Interrupted::Lost) => Some(later(now, LEASE_RETRY)),
        Err(Interrupted::Store(error)) => {
            tracing::error!(fairlead.server.name = %key, error = %error, "the freshness of a server cannot be stored");
            Some(later(now, LEASE_RETRY))
        }
    }
}

async fn turn(engine: &Arc<Engine>, key: &ServerKey) -> Result<Option<Timestamp>, Interrupted> {
    let Ok(subject) = engine.subject(key) else { return Ok(None) };
    let mut record = engine.ports.store.load(key).await?;
    if engine.config.alone && record.lease.holder.as_ref().is_some_and(|holder| *holder != engine.config.holder) {
        record.lease.holder = None;
    }
    if let (Todo::Rest(_), []) = (todo(&record, &engine.moment(&subject)), record.outbox.as_slice()) {
        return Ok(Some(engine.next_turn(&record, &subject)));
    }
    let Some((next, fence)) = acquire(&record, &engine.config.holder, engine.ports.clock.now()) else {
        return Ok(record.lease.expires.or(Some(later(engine.ports.clock.now(), LEASE_RETRY))));
    };
    if !engine.ports.store.swap(key, record.revision, &next).await? {
        return Err(Interrupted::Lost);
    }
    let mut turn = Turn { engine, key, record: next, fence };
    turn.announce().await?;
    for _ in 0..STEPS_PER_TURN_MAX {
        // What surrounds the server is read anew at each step: it may have been disabled meanwhile.
        let Ok(subject) = engine.subject(key) else { break };
        if engine.stop.is_cancelled() || !turn.go_on(&subject).await? {
            break;
        }
        turn.announce().await?;
    }
    turn.tell(Event::Released).await?;
    let Ok(subject) = engine.subject(key) else { return Ok(None) };
    Ok(Some(engine.next_turn(&turn.record, &subject)))
}

impl Turn<'_> {
    /// Does the next thing. False: there is nothing to do now.
    async fn go_on(&mut self, subject: &Subject) -> Result<bool, Interrupted> {
        let operation = self.record.operation.clone();
        match (todo(&self.record, &self.engine.moment(subject)), operation) {
            (Todo::Check, _) => self.check(subject).await?,
            (Todo::Decide, _) => self.decide(subject).await?,
            (Todo::Begin, _) => self.tell(Event::Begun).await?,
            (Todo::Try, Some(operation)) => {
                let roller = Arc::clone(&self.engine.ports.roller);
                let trial = timeout(TRIAL_MAX, roller.trial(subject, &operation.plan));
                let event = match self.keeping_the_lease(trial).await? {
                    Ok(Trial::Passed(surface)) => Event::Passed(surface),
                    Ok(Trial::Failed(why)) => Event::NotPassed(why),
                    Ok(Trial::PutOff(why)) => {
                        tracing::info!(fairlead.server.name = %self.key, why, "a trial is put off");
                        Event::TrialPutOff(why)
                    }
                    Err(_) => Event::NotPassed(format!("its trial did not end within {} s", TRIAL_MAX.as_secs())),
                };
                self.tell(event).await?;
            }
            (Todo::Apply, Some(operation)) => self.apply(subject, &operation).await?,
            (Todo::Verify, Some(operation)) => {
                let roller = Arc::clone(&self.engine.ports.roller);
                let settled = timeout(SETTLE_MAX, roller.settle(subject, &operation));
                match self.keeping_the_lease(settled).await? {
                    Ok(evidence) => self.tell(Event::Verified(Box::new(evidence))).await?,
                    Err(_) => {
                        tracing::warn!(fairlead.server.name = %self.key, "a rollout could not be looked at in time");
                        return Ok(false);
                    }
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    async fn check(&mut self, subject: &Subject) -> Result<(), Interrupted> {
        let ports = self.engine.ports.clone();
        let known = self.record.clone();
        let observe = async {
            let running = ports.roller.running(subject).await;
            if let (true, Some(pin)) = (subject.pinned, running.digests.first().cloned()) {
                // O2: what a person pinned is fresh by definition.
                return Ok(Observed { running, newest: pin, candidates: Vec::new(), news: None });
            }
            ports.detector.observe(subject, running, &known).await
        };
        let seen = self.keeping_the_lease(timeout(CHECK_MAX, observe)).await?;
        let now = self.engine.ports.clock.now();
        let event = match seen {
            Ok(Ok(observed)) => Event::Observed(Box::new(observed)),
            Ok(Err(Unseen::Failed { error, retry_after })) => Event::CheckFailed { error, retry_after },
            Ok(Err(Unseen::Deferred(until))) => Event::Deferred(until),
            Err(_) => Event::CheckFailed {
                error: CheckError {
                    class: ErrorClass::RegistryUnreachable,
                    message: format!("the check did not end within {} s", CHECK_MAX.as_secs()),
                    at: now,
                },
                retry_after: None,
            },
        };
        self.tell(event).await
    }

    async fn decide(&mut self, subject: &Subject) -> Result<(), Interrupted> {
        let trigger = self.record.check.asked.unwrap_or(Trigger::Schedule);
        let now = self.engine.ports.clock.now();
        let deployed = self.engine.ports.roller.deployed(self.key).await?.revision;
        let decided = timeout(POLICY_MAX, self.engine.decide(subject, &self.record, trigger, now)).await;
        let verdict = decided.unwrap_or_else(|_| Verdict::policy_error("the policy did not answer in time"));
        self.tell(Event::Decided(Box::new(verdict), deployed)).await
    }

    /// A9 to A13, A22: reads the object, decides, writes if it has not changed since.
    async fn apply(&mut self, subject: &Subject, operation: &Operation) -> Result<(), Interrupted> {
        let roller = Arc::clone(&self.engine.ports.roller);
        let called_off = self.engine.moment(subject).called_off();
        for _ in 0..STEP_TRIES {
            let found = roller.deployed(self.key).await?;
            let (next, event) = match apply(operation, self.fence, &found, called_off) {
                Move::Yield => return Err(Interrupted::Lost),
                Move::Adopt => return self.tell(Event::Applied).await,
                Move::Supersede => return self.tell(Event::Superseded).await,
                Move::Write(next) => (next, Event::Applied),
                Move::Seal(next) => (next, Event::Sealed),
            };
            // The step before said that it is being applied: that is durable by now.
            if roller.deploy(self.key, found.revision, &next).await? {
                return self.tell(event).await;
            }
        }
        Err(Interrupted::Lost)
    }

    /// Stores what an event makes of the record. Somebody's command may have come between: then again, on what they left.
    async fn tell(&mut self, event: Event) -> Result<(), Interrupted> {
        for _ in 0..STEP_TRIES {
            let Ok(subject) = self.engine.subject(self.key) else { return Err(Interrupted::Lost) };
            let moment = self.engine.moment(&subject);
            let next = match step(&self.record, self.fence, event.clone(), &moment) {
                Ok(next) => next,
                Err(Refused::LeaseLost) => return Err(Interrupted::Lost),
                Err(refused) => {
                    tracing::warn!(fairlead.server.name = %self.key, reason = %refused, "a step of an update does not fit");
                    return Err(Interrupted::Lost);
                }
            };
            if self.engine.ports.store.swap(self.key, self.record.revision, &next).await? {
                log(self.key, &self.record, &next);
                self.record = next;
                return Ok(());
            }
            self.record = self.engine.ports.store.load(self.key).await?;
        }
        Err(Interrupted::Lost)
    }

    /// Waits for something long, and keeps the lease meanwhile.
    async fn keeping_the_lease<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Interrupted> {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return Ok(done),
                // A stop is a crash that was announced: what was begun is gone on with by the next engine.
                () = self.engine.stop.cancelled() => return Err(Interrupted::Lost),
                () = tokio::time::sleep(LEASE_RENEW) => self.renew().await?,
            }
        }
    }

    async fn renew(&mut self) -> Result<(), Interrupted> {
        for _ in 0..STEP_TRIES {
            let now = self.engine.ports.clock.now();
            let next = renew(&self.record, self.fence, now).map_err(|_| Interrupted::Lost)?;
            if self.engine.ports.store.swap(self.key, self.record.revision, &next).await? {
                self.record = next;
                return Ok(());
            }
            self.record = self.engine.ports.store.load(self.key).await?;
        }
        Err(Interrupted::Lost)
    }

    /// Tells people what waits to be told, and forgets it then.
    async fn announce(&mut self) -> Result<(), Interrupted> {
        let mut told = Vec::new();
        for message in self.record.outbox.clone() {
            let announced = timeout(ANNOUNCE_MAX, self.engine.ports.announcer.announce(self.key, &message));
            if announced.await.unwrap_or(false) {
                told.push(message.topic);
            }
        }
        if told.is_empty() { Ok(()) } else { self.tell(Event::Told(told)).await }
    }
}

/// What a person who reads the log wants to know of a step.
fn log(key: &ServerKey, before: &Freshness, after: &Freshness) {
    let phase = |record: &Freshness| record.operation.as_ref().map(|operation| (operation.id, operation.phase));
    if let (Some(operation), true) = (&after.operation, phase(before) != phase(after)) {
        tracing::info!(
            fairlead.server.name = %key, operation = operation.id, phase = ?operation.phase, target = %operation.plan.pin,
            "an update goes on"
        );
    }
    if let (Some(was), None) = (&before.operation, &after.operation) {
        let outcome = after.attempts.iter().find(|attempt| attempt.operation == was.id).map(|attempt| attempt.outcome);
        tracing::info!(fairlead.server.name = %key, operation = was.id, outcome = ?outcome, "an update has ended");
    }
    if before.check.found != Found::Failed && after.check.found == Found::Failed {
        let error = after.check.last_error.as_ref().map(|error| error.message.as_str());
        tracing::warn!(fairlead.server.name = %key, error, "a check for updates failed");
    }
}
