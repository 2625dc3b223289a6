//! The engine over a world that is scripted: time is paused, so hours pass in milliseconds.
//!
//! A *kill* drops the engine at its n-th call to the world, before or after that call took effect; what an effect is, is
//! counted by the world, not by the engine.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

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

use super::{Engine, EngineConfig, EnginePorts};

/// A task of a test, which waits for it.
fn spawn(work: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    TaskTracker::new().spawn(work)
}

const BAD: u8 = 66;
const MUTE: u8 = 77;

fn digest(number: u8) -> Digest {
    Digest::new(&format!("sha256:{number:064}")).unwrap()
}

fn number(digest: &Digest) -> u8 {
    digest.as_str().trim_start_matches("sha256:").parse().unwrap()
}

fn key(name: &str) -> ServerKey {
    ServerKey { tenant: TenantName::default(), name: ServerName::new(name).unwrap() }
}

struct World {
    began: Instant,
    keys: Vec<ServerKey>,
    toggles: Mutex<UpdateToggles>,
    against: Mutex<Vec<Ineligible>>,
    records: Mutex<HashMap<ServerKey, Freshness>>,
    deployed: Mutex<HashMap<ServerKey, Deployed>>,
    runs: Mutex<HashMap<ServerKey, u8>>,
    ready: Mutex<HashMap<ServerKey, Timestamp>>,
    tag: Mutex<u8>,
    verdict: Mutex<Option<Verdict>>,
    writes: Mutex<Vec<(ServerKey, u64, u8)>>,
    trials: AtomicUsize,
    told: Mutex<Vec<String>>,
    checks: AtomicUsize,
    latency: Mutex<Duration>,
    calls: AtomicUsize,
    kill_at: AtomicUsize,
    killed: AtomicBool,
    registry_down: AtomicBool,
}

impl World {
    fn new(names: &[&str]) -> Arc<Self> {
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
            kill_at: AtomicUsize::new(usize::MAX),
            killed: AtomicBool::new(false),
            registry_down: AtomicBool::new(false),
            keys,
        })
    }

    fn engine(self: &Arc<Self>, holder: &str) -> Arc<Engine> {
        let ports = EnginePorts {
            servers: Arc::clone(self) as _,
            store: Arc::clone(self) as _,
            detector: Arc::clone(self) as _,
            policies: Arc::clone(self) as _,
            roller: Arc::clone(self) as _,
            announcer: Arc::clone(self) as _,
            clock: Arc::clone(self) as _,
        };
        Engine::new(EngineConfig::new(holder.to_owned(), Duration::from_secs(900)), ports)
    }

    /// Every call to the world passes here twice: before it takes effect and after. A killed engine never comes out.
    async fn passes(&self) {
        let latency = *self.latency.lock();
        if latency > Duration::ZERO {
            tokio::time::sleep(latency).await;
        }
        if self.calls.fetch_add(1, Ordering::SeqCst) >= self.kill_at.load(Ordering::SeqCst) {
            self.killed.store(true, Ordering::SeqCst);
            std::future::pending::<()>().await;
        }
    }

    async fn runs_for(self: &Arc<Self>, engine: Arc<Engine>, time: Duration) {
        let work = spawn(Arc::clone(&engine).run());
        tokio::time::sleep(time).await;
        engine.stop();
        work.await.unwrap();
    }

    /// Runs an engine until it is killed at its n-th call. False: it had fewer.
    async fn runs_until_killed(self: &Arc<Self>, at: usize, time: Duration) -> bool {
        self.calls.store(0, Ordering::SeqCst);
        self.kill_at.store(at, Ordering::SeqCst);
        let engine = self.engine("killed");
        let work = spawn(Arc::clone(&engine).run());
        let end = Instant::now() + time;
        while !self.killed.load(Ordering::SeqCst) && Instant::now() < end {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        work.abort();
        // Its workers go with it.
        let _ = work.await;
        engine.stop();
        self.kill_at.store(usize::MAX, Ordering::SeqCst);
        self.killed.swap(false, Ordering::SeqCst)
    }

    fn record(&self, name: &str) -> Freshness {
        self.records.lock().get(&key(name)).cloned().unwrap_or_default()
    }

    fn running(&self, name: &str) -> u8 {
        *self.runs.lock().get(&key(name)).unwrap()
    }

    fn outcomes(&self, name: &str) -> Vec<(u8, Outcome)> {
        let record = self.record(name);
        record.attempts.iter().rev().map(|attempt| (number(&attempt.pin), attempt.outcome)).collect()
    }
}

impl Clock for World {
    fn now(&self) -> Timestamp {
        let passed = SignedDuration::try_from(self.began.elapsed()).unwrap();
        Timestamp::from_second(1_800_000_000).unwrap() + passed
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
            Ok(Observed { running, newest, candidates })
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
            if wanted == BAD {
                terminal = Some("it crashes".to_owned());
            } else if self.runs.lock().insert(subject.key.clone(), wanted) != Some(wanted) {
                self.ready.lock().insert(subject.key.clone(), self.now());
            }
            let runs = self.runs.lock()[&subject.key];
            Evidence {
                mark: deployed.mark,
                revision: deployed.revision,
                running: Running { digests: vec![digest(runs)], ..Running::default() },
                ready_since: Some(self.ready.lock().get(&subject.key).copied().unwrap_or(Timestamp::MIN)),
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

const HOUR: Duration = Duration::from_secs(3_600);

#[tokio::test(start_paused = true)]
async fn what_is_newer_is_tried_put_in_place_and_confirmed() {
    let world = World::new(&["a"]);
    world.runs_for(world.engine("one"), HOUR).await;
    assert_eq!(world.running("a"), 1);
    *world.tag.lock() = 2;
    world.runs_for(world.engine("two"), HOUR).await;
    assert_eq!(world.running("a"), 2);
    assert_eq!(world.outcomes("a"), [(2, Outcome::Succeeded)]);
    assert_eq!(*world.writes.lock(), [(key("a"), 1, 2)]);
    let view = world.engine("three").view(&key("a")).await.unwrap();
    assert_eq!(view.status, UpdateStatus::UpToDate);
    assert!(view.last_reinstall.is_some() && view.last_success.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_candidate_that_fails_its_trial_touches_nothing_and_is_left_alone_for_a_while() {
    let world = World::new(&["a"]);
    world.runs_for(world.engine("one"), HOUR).await;
    *world.tag.lock() = MUTE;
    world.runs_for(world.engine("two"), HOUR / 4).await;
    assert_eq!(world.running("a"), 1);
    assert_eq!(world.outcomes("a"), [(MUTE, Outcome::PreflightFailed)]);
    world.runs_for(world.engine("three"), 100 * HOUR).await;
    assert_eq!(world.trials.load(Ordering::SeqCst), 4, "three quarantines, then never again");
    assert_eq!(*world.writes.lock(), []);
}

#[tokio::test(start_paused = true)]
async fn a_rollout_that_fails_goes_back_and_the_old_one_serves() {
    let world = World::new(&["a"]);
    world.runs_for(world.engine("one"), HOUR).await;
    *world.tag.lock() = BAD;
    world.runs_for(world.engine("two"), HOUR / 4).await;
    assert_eq!(world.running("a"), 1);
    assert_eq!(world.outcomes("a"), [(BAD, Outcome::RolloutFailed), (1, Outcome::RolledBack)]);
    assert!(world.told.lock().iter().any(|topic| topic.starts_with("failed:")));
}

#[tokio::test(start_paused = true)]
async fn t1_a_kill_at_any_call_ends_as_if_there_had_been_none() {
    for (target, expected) in
        [(2, vec![(2, Outcome::Succeeded)]), (BAD, vec![(BAD, Outcome::RolloutFailed), (1, Outcome::RolledBack)])]
    {
        for kill in 0.. {
            let world = World::new(&["a"]);
            world.runs_for(world.engine("before"), HOUR).await;
            *world.tag.lock() = target;
            if !world.runs_until_killed(kill, HOUR / 4).await {
                assert!(kill > 20, "only {kill} calls were seen");
                break;
            }
            let seen = Instant::now();
            let engine = world.engine("after");
            let work = spawn(Arc::clone(&engine).run());
            while world.outcomes("a").last().is_none_or(|(_, outcome)| *outcome == Outcome::InProgress)
                || world.outcomes("a").len() < expected.len()
            {
                tokio::time::sleep(Duration::from_secs(1)).await;
                assert!(seen.elapsed() < HOUR, "killed at {kill}: {:?}", world.outcomes("a"));
            }
            engine.stop();
            work.await.unwrap();
            assert_eq!(world.outcomes("a"), expected, "killed at {kill}");
            let writes = world.writes.lock().clone();
            let mut operations: Vec<_> = writes.iter().map(|(_, operation, _)| *operation).collect();
            operations.dedup();
            assert_eq!(operations.len(), writes.len(), "killed at {kill}: an operation was applied twice: {writes:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn t2_five_engines_on_one_store_make_each_change_once() {
    for latency in [0, 1, 7, 300, 3_000] {
        let world = World::new(&["a", "b", "c"]);
        world.runs_for(world.engine("before"), HOUR).await;
        *world.latency.lock() = Duration::from_millis(latency);
        *world.tag.lock() = 2;
        let engines: Vec<_> = (0..5).map(|number| world.engine(&format!("engine-{number}"))).collect();
        let work: Vec<_> = engines.iter().map(|engine| spawn(Arc::clone(engine).run())).collect();
        tokio::time::sleep(2 * HOUR).await;
        engines.iter().for_each(|engine| engine.stop());
        for work in work {
            work.await.unwrap();
        }
        for name in ["a", "b", "c"] {
            assert_eq!(world.outcomes(name), [(2, Outcome::Succeeded)], "latency {latency} ms");
        }
        assert_eq!(world.writes.lock().len(), 3, "latency {latency} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn t5_a_registry_that_is_down_is_asked_less_and_less_and_nothing_else_happens() {
    let world = World::new(&["a"]);
    world.runs_for(world.engine("one"), HOUR).await;
    let before = world.checks.load(Ordering::SeqCst);
    world.registry_down.store(true, Ordering::SeqCst);
    world.runs_for(world.engine("two"), 12 * HOUR).await;
    let asked = world.checks.load(Ordering::SeqCst) - before;
    assert!((10..25).contains(&asked), "{asked} checks in twelve hours");
    assert_eq!(world.record("a").check.found, Found::Failed);
    assert_eq!(*world.writes.lock(), []);
    world.registry_down.store(false, Ordering::SeqCst);
    world.runs_for(world.engine("three"), 2 * HOUR).await;
    assert_eq!(world.record("a").check.found, Found::Fresh);
}

#[tokio::test(start_paused = true)]
async fn t17_a_server_that_is_disabled_is_neither_checked_nor_changed() {
    let world = World::new(&["a"]);
    world.runs_for(world.engine("one"), HOUR).await;
    world.against.lock().push(Ineligible::Disabled);
    *world.tag.lock() = 2;
    let before = world.checks.load(Ordering::SeqCst);
    world.runs_for(world.engine("two"), 10 * HOUR).await;
    assert_eq!(world.checks.load(Ordering::SeqCst), before);
    assert_eq!(world.running("a"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_broken_policy_holds_and_says_so() {
    let world = World::new(&["a"]);
    *world.verdict.lock() = Some(Verdict::policy_error("it trapped"));
    world.runs_for(world.engine("one"), HOUR).await;
    *world.tag.lock() = 2;
    world.runs_for(world.engine("two"), HOUR).await;
    let view = world.engine("three").view(&key("a")).await.unwrap();
    assert_eq!((view.status, view.held), (UpdateStatus::UpdateAvailable, Some(HoldReason::PolicyError)));
    assert_eq!(world.running("a"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_persons_order_is_carried_out_at_once_whatever_the_policy_says() {
    let world = World::new(&["a"]);
    *world.verdict.lock() = Some(Decision::hold(HoldReason::TooYoung, "wait").into());
    world.runs_for(world.engine("one"), HOUR).await;
    *world.tag.lock() = 2;
    world.runs_for(world.engine("two"), HOUR).await;
    let engine = world.engine("three");
    let order = Event::Ordered(Box::new(Plan::to(digest(2))), 0);
    engine.command(&key("a"), order).await.unwrap();
    world.runs_for(engine, HOUR / 12).await;
    assert_eq!(world.running("a"), 2);
}

#[tokio::test(start_paused = true)]
async fn checks_of_many_servers_are_spread_over_the_interval() {
    let names: Vec<String> = (0..200).map(|number| format!("s{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let world = World::new(&names);
    world.runs_for(world.engine("one"), HOUR * 8).await;
    let next: Vec<i64> = world.records.lock().values().map(|record| record.check.next.unwrap().as_second()).collect();
    let (first, last) = (next.iter().min().unwrap(), next.iter().max().unwrap());
    assert!(last - first > 600, "all are due within {} s", last - first);
    let checks = world.checks.load(Ordering::SeqCst) / names.len();
    assert!((30..=36).contains(&checks), "{checks} checks of each in eight hours");
}
