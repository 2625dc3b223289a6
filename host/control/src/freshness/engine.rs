//! The loop that gives servers their turns, and the door for people.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use fairlead_core::clock::Clock;
use fairlead_core::freshness::{
    Announcer, Decision, Detector, Event, Freshness, FreshnessStore, Moment, Peer, Policies, Refused, Roller, Servers,
    Subject, Todo, Trigger, UpdateView, Verdict, admit, command, todo, view,
};
use fairlead_core::name::ServerKey;
use fairlead_core::problem::Problem;
use fairlead_core::store::StoreError;
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::agenda::Agenda;
use super::{facts, worker};
use crate::limits::{AGENDA_REFRESH, COMMAND_TRIES, UPDATE_WORKERS_MAX};

/// What the engine works with.
#[derive(Clone)]
pub struct EnginePorts {
    /// The servers that there are.
    pub servers: Arc<dyn Servers>,
    /// Their records.
    pub store: Arc<dyn FreshnessStore>,
    /// Finds out what is newest.
    pub detector: Arc<dyn Detector>,
    /// Decides.
    pub policies: Arc<dyn Policies>,
    /// Changes what runs.
    pub roller: Arc<dyn Roller>,
    /// Tells people.
    pub announcer: Arc<dyn Announcer>,
    /// Tells the time: of the store, so that two schedulers have the same.
    pub clock: Arc<dyn Clock>,
}

/// How the engine works.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// Between two checks of one server.
    pub interval: Duration,
    /// Who holds its leases: different for every engine that ever runs on this store.
    pub holder: String,
    /// Servers that are worked on at once.
    pub workers_max: usize,
    /// No other engine works on this store now, as whoever holds the lock of the store knows. So a lease that somebody else
    /// holds is that of a dead one, and nobody waits until it runs out; its fence is raised all the same.
    pub alone: bool,
}

impl EngineConfig {
    /// With the defaults.
    #[must_use]
    pub fn new(holder: String, interval: Duration) -> Self {
        Self { interval, holder, workers_max: UPDATE_WORKERS_MAX, alone: false }
    }
}

/// Why a command was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// There is no such server.
    #[error("there is no server `{0}`")]
    NoServer(ServerKey),
    /// It does not fit.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// There is nothing that it could be about.
    #[error(transparent)]
    Declined(#[from] Problem),
    /// The store failed.
    #[error("the record of the server")]
    Store(#[from] StoreError),
    /// Others changed the record each time.
    #[error("the record of `{0}` is being changed all the time; try again")]
    Busy(ServerKey),
}

/// Keeps servers fresh.
pub struct Engine {
    pub(super) ports: EnginePorts,
    pub(super) config: EngineConfig,
    agenda: Mutex<Agenda>,
    /// The version of the set of servers that the agenda is made of.
    seen: Mutex<Option<u64>>,
    wake: Notify,
    /// When it was made.
    since: Timestamp,
    pub(super) stop: CancellationToken,
}

impl Engine {
    /// An engine that does nothing yet: [`run`](Self::run) it.
    #[must_use]
    pub fn new(config: EngineConfig, ports: EnginePorts) -> Arc<Self> {
        Arc::new(Self {
            since: ports.clock.now(),
            ports,
            config,
            agenda: Mutex::default(),
            seen: Mutex::default(),
            wake: Notify::new(),
            stop: CancellationToken::new(),
        })
    }

    /// Works until it is stopped. Ready when all its workers have ended: each at its next step. Dropping the future ends them
    /// where they are, which is as good as a crash.
    pub async fn run(self: Arc<Self>) {
        let mut workers = JoinSet::new();
        let room = Arc::new(Semaphore::new(self.config.workers_max));
        let mut refresh = tokio::time::interval(AGENDA_REFRESH);
        while !self.stop.is_cancelled() {
            let due = self.next_due();
            tokio::select! {
                () = self.stop.cancelled() => break,
                _ = refresh.tick() => self.refresh(),
                () = self.wake.notified() => {}
                Some(_) = workers.join_next() => {}
                () = tokio::time::sleep(due) => {}
            }
            while let Some(key) = self.take_due() {
                let permit = tokio::select! {
                    () = self.stop.cancelled() => break,
                    permit = Arc::clone(&room).acquire_owned() => permit,
                };
                let engine = Arc::clone(&self);
                workers.spawn(async move {
                    let next = worker::work(&engine, &key).await;
                    if let Some(next) = next {
                        engine.agenda.lock().set(&key, next);
                        engine.wake.notify_one();
                    }
                    drop(permit);
                });
            }
        }
        while workers.join_next().await.is_some() {}
    }

    /// Ends [`run`](Self::run).
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// A server has appeared or changed: look at it soon.
    pub fn touch(&self, key: &ServerKey) {
        self.agenda.lock().hasten(key, self.ports.clock.now());
        self.wake.notify_one();
    }

    /// What is known of a server's freshness.
    ///
    /// # Errors
    /// There is no such server, or the store failed.
    pub async fn view(&self, key: &ServerKey) -> Result<UpdateView, CommandError> {
        let subject = self.subject(key)?;
        let record = self.ports.store.load(key).await?;
        Ok(view(&record, &self.moment(&subject)))
    }

    /// The whole record.
    ///
    /// # Errors
    /// There is no such server, or the store failed.
    pub async fn record(&self, key: &ServerKey) -> Result<Freshness, CommandError> {
        self.subject(key)?;
        Ok(self.ports.store.load(key).await?)
    }

    /// Carries out what a person wants.
    ///
    /// # Errors
    /// There is no such server, it does not fit, or the store failed.
    pub async fn command(&self, key: &ServerKey, event: Event) -> Result<UpdateView, CommandError> {
        let subject = self.subject(key)?;
        for _ in 0..COMMAND_TRIES {
            let record = self.ports.store.load(key).await?;
            let moment = self.moment(&subject);
            let next = command(&record, event.clone(), &moment)?;
            if self.ports.store.swap(key, record.revision, &next).await? {
                self.touch(key);
                return Ok(view(&next, &moment));
            }
        }
        Err(CommandError::Busy(key.clone()))
    }

    /// What the policies would say, without effect. What would come of it says [`forecast`](Self::forecast).
    ///
    /// # Errors
    /// There is no such server, or the store failed.
    pub async fn plan(&self, key: &ServerKey, at: Option<Timestamp>) -> Result<Verdict, CommandError> {
        let subject = self.subject(key)?;
        let record = self.ports.store.load(key).await?;
        let now = at.unwrap_or_else(|| self.ports.clock.now());
        Ok(self.decide(&subject, &record, Trigger::Schedule, now).await)
    }

    /// Asks the policies, and makes of the answer what may be done.
    pub(super) async fn decide(
        &self,
        subject: &Subject,
        record: &Freshness,
        trigger: Trigger,
        now: Timestamp,
    ) -> Verdict {
        if record.check.newest.is_none() {
            return Decision::UpToDate.into();
        }
        let peers = self.peers(subject).await;
        let facts = facts::collect(subject, record, peers, self.config.interval, trigger, now);
        admit(self.ports.policies.decide(subject, &facts).await, &facts)
    }

    /// The others of the group of a server.
    async fn peers(&self, subject: &Subject) -> Vec<Peer> {
        let mut peers = Vec::new();
        let Some(group) = &subject.group else { return peers };
        for key in self.ports.servers.keys() {
            let Some(other) = self.ports.servers.subject(&key) else { continue };
            if key == subject.key || key.tenant != subject.key.tenant || other.group.as_ref() != Some(group) {
                continue;
            }
            let Ok(record) = self.ports.store.load(&key).await else { continue };
            peers.push(Peer {
                server: key.name.to_string(),
                digests: record.check.running.digests.clone(),
                since: record.last_reinstall.or(record.check.running.since),
                health: other.health,
            });
        }
        peers
    }

    /// What surrounds a step of this server now.
    pub(super) fn moment<'a>(&self, subject: &'a Subject) -> Moment<'a> {
        let spread = seed_of(&subject.key) % 1_000;
        Moment {
            now: self.ports.clock.now(),
            since: self.since,
            toggles: subject.toggles,
            against: &subject.against,
            interval: self.config.interval,
            spread: u16::try_from(spread).unwrap_or_default(),
        }
    }

    pub(super) fn subject(&self, key: &ServerKey) -> Result<Subject, CommandError> {
        self.ports.servers.subject(key).ok_or_else(|| CommandError::NoServer(key.clone()))
    }

    fn take_due(&self) -> Option<ServerKey> {
        self.agenda.lock().take(self.ports.clock.now())
    }

    fn next_due(&self) -> Duration {
        let next = self.agenda.lock().next();
        let until = next.map_or(SignedDuration::MAX, |next| next.duration_since(self.ports.clock.now()));
        Duration::try_from(until.max(SignedDuration::ZERO)).unwrap_or(AGENDA_REFRESH).min(AGENDA_REFRESH)
    }

    /// Servers that came or went without a word. A server that was never looked at gets its first turn at its own point of
    /// the interval, so that a thousand servers are not checked at once after a start.
    fn refresh(&self) {
        let version = self.ports.servers.version();
        if version.is_some() && std::mem::replace(&mut *self.seen.lock(), version) == version {
            return;
        }
        let now = self.ports.clock.now();
        let keys: HashSet<ServerKey> = self.ports.servers.keys().into_iter().collect();
        let mut agenda = self.agenda.lock();
        for gone in agenda.keys().into_iter().filter(|known| !keys.contains(known)) {
            agenda.remove(&gone);
        }
        for key in keys {
            if !agenda.contains(&key) {
                agenda.set(&key, now);
            }
        }
    }

    /// When a record has something to do, for whoever put it back.
    pub(super) fn next_turn(&self, record: &Freshness, subject: &Subject) -> Timestamp {
        let now = self.ports.clock.now();
        match todo(record, &self.moment(subject)) {
            Todo::Rest(Some(time)) => time.max(now),
            Todo::Rest(None) => later(now, self.config.interval),
            _ => now,
        }
    }
}

/// A point in time, later.
pub(super) fn later(time: Timestamp, duration: Duration) -> Timestamp {
    SignedDuration::try_from(duration)
        .ok()
        .and_then(|duration| time.checked_add(duration).ok())
        .unwrap_or(Timestamp::MAX)
}

fn seed_of(key: &ServerKey) -> u64 {
    facts::seed(&key.to_string(), "")
}
