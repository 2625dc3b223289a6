//! A world that is scripted: servers, their engine, an OCI registry, a store. Time is paused, so hours pass in milliseconds.
//!
//! Every call of the freshness engine passes through [`World::passes`] twice, before it takes effect and after, and anything
//! may be made to happen at the n-th of these points: the engine is killed, frozen, or the world around it changed. What an
//! effect is, is counted by the world, not by the engine.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use fairlead_control::freshness::{Engine, EngineConfig, EnginePorts};
use fairlead_core::BoxFuture;
use fairlead_core::clock::Clock;
use fairlead_core::digest::Digest;
use fairlead_core::freshness::*;
use fairlead_core::name::{ServerKey, ServerName, TenantName};
use fairlead_core::store::StoreError;
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

/// A task of a test, which waits for it.
pub(crate) fn spawn(work: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    TaskTracker::new().spawn(work)
}

pub(crate) const HOUR: Duration = Duration::from_secs(3_600);

/// An image that crashes.
pub(crate) const BAD: u8 = 66;
/// An image that does not speak MCP.
pub(crate) const MUTE: u8 = 77;
/// An image that comes up and is never ready.
pub(crate) const SLOW: u8 = 88;

/// What happens at a call.
#[derive(Clone)]
pub(crate) enum Interruption {
    /// The engine is killed there.
    Kill,
    /// Whoever made the call stands still for a while, as a process does whose machine is frozen.
    Freeze(Duration),
    /// The world changes.
    Do(Arc<dyn Fn(&World) + Send + Sync>),
}

pub(crate) fn digest(number: u8) -> Digest {
    Digest::new(&format!("sha256:{number:064}")).unwrap()
}

pub(crate) fn number(digest: &Digest) -> u8 {
    digest.as_str().trim_start_matches("sha256:").parse().unwrap()
}

pub(crate) fn key(name: &str) -> ServerKey {
    ServerKey { tenant: TenantName::default(), name: ServerName::new(name).unwrap() }
}

pub(crate) struct World {
    pub(crate) began: Instant,
    pub(crate) keys: Vec<ServerKey>,
    pub(crate) toggles: Mutex<UpdateToggles>,
    pub(crate) against: Mutex<Vec<Ineligible>>,
    pub(crate) records: Mutex<HashMap<ServerKey, Freshness>>,
    pub(crate) deployed: Mutex<HashMap<ServerKey, Deployed>>,
    pub(crate) runs: Mutex<HashMap<ServerKey, u8>>,
    pub(crate) ready: Mutex<HashMap<ServerKey, Timestamp>>,
    pub(crate) tag: Mutex<u8>,
    pub(crate) verdict: Mutex<Option<Verdict>>,
    pub(crate) writes: Mutex<Vec<(ServerKey, u64, u8)>>,
    pub(crate) trials: AtomicUsize,
    pub(crate) told: Mutex<Vec<String>>,
    pub(crate) checks: AtomicUsize,
    /// How long each call takes, one after the other and again from the beginning.
    pub(crate) latency: Mutex<Vec<Duration>>,
    pub(crate) calls: AtomicUsize,
    pub(crate) at_call: Mutex<Option<(usize, Interruption)>>,
    pub(crate) killed: AtomicBool,
    pub(crate) registry_down: AtomicBool,
    /// The first image does not come up any more.
    pub(crate) old_is_gone: AtomicBool,
    /// Writes that came too late and were refused.
    pub(crate) refused: AtomicUsize,
    /// What the clock is ahead of the time that has passed.
    pub(crate) skew: Mutex<SignedDuration>,
    /// How many operations and writes there had been when a person edited the object.
    pub(crate) edited: (AtomicU64, AtomicUsize),
}

impl World {
    pub(crate) fn new(names: &[&str]) -> Arc<Self> {
        let keys: Vec<_> = names.iter().map(|name| key(name)).collect();
        Arc::new(Self {
            began: Instant::now(),
            toggles: Mutex::new(UpdateToggles::for_new()),
            against: Mutex::default(),
            records: Mutex::default(),
            deployed: Mutex::default(),
            runs: Mutex::new(keys.iter().map(|key| (key.clone(), 1)).collect()),
            ready: Mutex::default(),
            tag: Mutex::new(1),
            verdict: Mutex::default(),
            writes: Mutex::default(),
            trials: AtomicUsize::new(0),
            told: Mutex::default(),
            checks: AtomicUsize::new(0),
            latency: Mutex::default(),
            calls: AtomicUsize::new(0),
            at_call: Mutex::default(),
            killed: AtomicBool::new(false),
            registry_down: AtomicBool::new(false),
            old_is_gone: AtomicBool::new(false),
            refused: AtomicUsize::new(0),
            skew: Mutex::default(),
            edited: (AtomicU64::new(0), AtomicUsize::new(0)),
            keys,
        })
    }

    pub(crate) fn engine(self: &Arc<Self>, holder: &str) -> Arc<Engine> {
        self.engine_with(EngineConfig::new(holder.to_owned(), Duration::from_secs(900)))
    }

    /// An engine that knows that there is no other.
    pub(crate) fn engine_alone(self: &Arc<Self>, holder: &str) -> Arc<Engine> {
        self.engine_with(EngineConfig { alone: true, ..EngineConfig::new(holder.to_owned(), Duration::from_secs(900)) })
    }

    fn engine_with(self: &Arc<Self>, config: EngineConfig) -> Arc<Engine> {
        let ports = EnginePorts {
            servers: Arc::clone(self) as _,
            store: Arc::clone(self) as _,
            detector: Arc::clone(self) as _,
            policies: Arc::clone(self) as _,
            roller: Arc::clone(self) as _,
            announcer: Arc::clone(self) as _,
            clock: Arc::clone(self) as _,
        };
        Engine::new(config, ports)
    }

    /// Every call to the world passes here twice: before it takes effect and after. A killed engine never comes out.
    async fn passes(&self) {
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        let latency = {
            let latency = self.latency.lock();
            latency.get(call % latency.len().max(1)).copied().unwrap_or_default()
        };
        if latency > Duration::ZERO {
            tokio::time::sleep(latency).await;
        }
        let now = self.at_call.lock().clone().filter(|(at, _)| *at == call || (*at < call && self.is_killed()));
        match now {
            None => {}
            Some((_, Interruption::Kill)) => {
                self.killed.store(true, Ordering::SeqCst);
                std::future::pending::<()>().await;
            }
            Some((_, Interruption::Freeze(time))) => tokio::time::sleep(time).await,
            Some((_, Interruption::Do(change))) => change(self),
        }
    }

    fn is_killed(&self) -> bool {
        self.killed.load(Ordering::SeqCst)
    }

    /// Lets something happen at the n-th call from now on.
    pub(crate) fn at_call(&self, at: usize, what: Interruption) {
        self.calls.store(0, Ordering::SeqCst);
        *self.at_call.lock() = Some((at, what));
    }

    /// Whether there were so many calls.
    pub(crate) fn came_to(&self, call: usize) -> bool {
        self.calls.load(Ordering::SeqCst) > call
    }

    pub(crate) async fn runs_for(self: &Arc<Self>, engine: Arc<Engine>, time: Duration) {
        let work = spawn(Arc::clone(&engine).run());
        tokio::time::sleep(time).await;
        engine.stop();
        work.await.unwrap();
    }

    /// Runs an engine until it is killed at its n-th call. False: it had fewer.
    pub(crate) async fn runs_until_killed(self: &Arc<Self>, at: usize, time: Duration) -> bool {
        self.at_call(at, Interruption::Kill);
        let engine = self.engine("killed");
        let work = spawn(Arc::clone(&engine).run());
        let end = Instant::now() + time;
        while !self.is_killed() && Instant::now() < end {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        work.abort();
        // Its workers go with it.
        let _ = work.await;
        engine.stop();
        *self.at_call.lock() = None;
        self.killed.swap(false, Ordering::SeqCst)
    }

    /// Runs engines side by side.
    pub(crate) async fn run_for(self: &Arc<Self>, engines: usize, time: Duration) {
        let engines: Vec<_> = (0..engines).map(|number| self.engine(&format!("engine-{number}"))).collect();
        let work: Vec<_> = engines.iter().map(|engine| spawn(Arc::clone(engine).run())).collect();
        tokio::time::sleep(time).await;
        engines.iter().for_each(|engine| engine.stop());
        for work in work {
            work.await.unwrap();
        }
    }

    /// No operation wrote the object twice.
    pub(crate) fn assert_written_once(&self, context: &str) {
        let mut writes: Vec<_> =
            self.writes.lock().iter().map(|(key, operation, _)| (key.clone(), *operation)).collect();
        let all = writes.len();
        writes.sort();
        writes.dedup();
        assert_eq!(writes.len(), all, "{context}: an operation was applied twice: {writes:?}");
    }

    pub(crate) fn record(&self, name: &str) -> Freshness {
        self.records.lock().get(&key(name)).cloned().unwrap_or_default()
    }

    pub(crate) fn running(&self, name: &str) -> u8 {
        *self.runs.lock().get(&key(name)).unwrap()
    }

    pub(crate) fn outcomes(&self, name: &str) -> Vec<(u8, Outcome)> {
        let record = self.record(name);
        record.attempts.iter().rev().map(|attempt| (number(&attempt.pin), attempt.outcome)).collect()
    }
}

impl Clock for World {
    fn now(&self) -> Timestamp {
        let passed = SignedDuration::try_from(self.began.elapsed()).unwrap();
        Timestamp::from_second(1_800_000_000).unwrap() + passed + *self.skew.lock()
    }
}

impl Servers for World {
    fn keys(&self) -> Vec<ServerKey> {
        self.keys.clone()
    }

    fn subject(&self, key: &ServerKey) -> Option<Subject> {
        self.keys.contains(key).then(|| Subject {
            key: key.clone(),
            toggles: *self.toggles.lock(),
            against: self.against.lock().clone(),
            reference: "registry.test/a:latest".to_owned(),
            pinned: false,
            group: None,
            labels: BTreeMap::new(),
            created: Timestamp::UNIX_EPOCH,
            sessions: 0,
            health: Signal::Good,
        })
    }
}

impl FreshnessStore for World {
    fn load<'a>(&'a self, key: &'a ServerKey) -> BoxFuture<'a, Result<Freshness, StoreError>> {
        Box::pin(async {
            self.passes().await;
            Ok(self.records.lock().get(key).cloned().unwrap_or_default())
        })
    }

    fn swap<'a>(
        &'a self,
        key: &'a ServerKey,
        revision: u64,
        next: &'a Freshness,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move {
            self.passes().await;
            let swapped = {
                let mut records = self.records.lock();
                let current = records.entry(key.clone()).or_default();
                let fits = current.revision == revision;
                if fits {
                    *current = next.clone();
                } else {
                    self.refused.fetch_add(1, Ordering::SeqCst);
                }
                fits
            };
            self.passes().await;
            Ok(swapped)
        })
    }
}

impl Detector for World {
    fn observe<'a>(
        &'a self,
        _: &'a Subject,
        running: Running,
        _: &'a Freshness,
    ) -> BoxFuture<'a, Result<Observed, Unseen>> {
        Box::pin(async {
            self.passes().await;
            self.checks.fetch_add(1, Ordering::SeqCst);
            if self.registry_down.load(Ordering::SeqCst) {
                let class = ErrorClass::RegistryUnreachable;
                let error = CheckError { class, message: "no route".to_owned(), at: self.now() };
                return Err(Unseen::Failed { error, retry_after: None });
            }
            let newest = digest(*self.tag.lock());
            let now = self.now();
            let candidate = serde_json::json!({"pin": newest, "firstSeen": now, "lastSeen": now});
            let candidates = vec![serde_json::from_value(candidate).unwrap()];
            Ok(Observed { running, newest, candidates, news: None })
        })
    }
}

impl Policies for World {
    fn decide<'a>(&'a self, _: &'a Subject, facts: &'a Facts) -> BoxFuture<'a, Verdict> {
        Box::pin(async {
            self.passes().await;
            let scripted = self.verdict.lock().clone();
            let newest = facts.candidates.iter().find(|candidate| candidate.same_tag).unwrap();
            scripted.unwrap_or_else(|| Decision::Update(Plan::to(newest.pin.clone())).into())
        })
    }
}

impl Roller for World {
    fn running<'a>(&'a self, subject: &'a Subject) -> BoxFuture<'a, Running> {
        Box::pin(async {
            self.passes().await;
            let runs = self.runs.lock()[&subject.key];
            Running { digests: vec![digest(runs)], ..Running::default() }
        })
    }

    fn trial<'a>(&'a self, _: &'a Subject, plan: &'a Plan) -> BoxFuture<'a, Trial> {
        Box::pin(async {
            self.passes().await;
            self.trials.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_secs(40)).await;
            if number(&plan.pin) == MUTE {
                return Trial::Failed("it does not answer `initialize`".to_owned());
            }
            Trial::Passed(Surface::Same)
        })
    }

    fn deployed<'a>(&'a self, key: &'a ServerKey) -> BoxFuture<'a, Result<Deployed, StoreError>> {
        Box::pin(async {
            self.passes().await;
            Ok(self.deployed.lock().get(key).cloned().unwrap_or_default())
        })
    }

    fn deploy<'a>(
        &'a self,
        key: &'a ServerKey,
        revision: u64,
        next: &'a Deployed,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move {
            self.passes().await;
            let fits = {
                let mut deployed = self.deployed.lock();
                let current = deployed.entry(key.clone()).or_default();
                let fits = current.revision == revision;
                if fits {
                    *current = next.clone();
                    let operation = next.mark.map_or(0, |mark| mark.operation);
                    let stored = self.records.lock().get(key).and_then(|record| record.live(operation).cloned());
                    assert!(
                        operation == 0 || stored.is_some_and(|operation| operation.phase == Phase::Applying),
                        "an effect before its record"
                    );
                    self.writes.lock().push((key.clone(), operation, next.pin.as_ref().map_or(0, number)));
                }
                fits
            };
            self.passes().await;
            Ok(fits)
        })
    }

    fn settle<'a>(&'a self, subject: &'a Subject, _: &'a Operation) -> BoxFuture<'a, Evidence> {
        Box::pin(async {
            self.passes().await;
            let deployed = self.deployed.lock().get(&subject.key).cloned().unwrap_or_default();
            let wanted = deployed.pin.as_ref().map_or(1, number);
            let mut terminal = None;
            let gone = wanted == 1 && deployed.pin.is_some() && self.old_is_gone.load(Ordering::SeqCst);
            if wanted == BAD || gone {
                terminal = Some("it crashes".to_owned());
            } else if self.runs.lock().insert(subject.key.clone(), wanted) != Some(wanted) {
                self.ready.lock().insert(subject.key.clone(), self.now());
            }
            let runs = self.runs.lock()[&subject.key];
            Evidence {
                mark: deployed.mark,
                revision: deployed.revision,
                running: Running { digests: vec![digest(runs)], ..Running::default() },
                ready_since: (wanted != SLOW)
                    .then(|| self.ready.lock().get(&subject.key).copied().unwrap_or(Timestamp::MIN)),
                terminal,
            }
        })
    }
}

impl Announcer for World {
    fn announce<'a>(&'a self, _: &'a ServerKey, message: &'a Message) -> BoxFuture<'a, bool> {
        Box::pin(async {
            self.passes().await;
            self.told.lock().push(message.topic.clone());
            true
        })
    }
}
