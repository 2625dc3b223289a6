//! The laws of freshness, held on the real store: engines side by side on sled, whatever happens around them and wherever they are
//! killed, in time that is paused.
//!
//! The state machine alone is explored exhaustively in `core::freshness::model`; what is asked here is whether the store keeps what
//! that exploration takes for granted, also when it is closed and opened again in the middle.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
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
use proptest::prelude::{Just, ProptestConfig, any, prop_assert, prop_oneof, proptest};
use proptest::strategy::Strategy as _;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::SledStore;

/// Images from here on are not good: one crashes, one does not speak MCP, one never becomes ready.
const BAD: u8 = 60;
const MUTE: u8 = 61;
const SLOW: u8 = 62;

/// The image that is there in the end, and must run.
const LAST: u8 = 50;

#[derive(Debug, Clone)]
enum Happens {
    /// The tag names another image.
    Push(u8),
    /// So many minutes pass.
    Wait(u64),
    /// Everybody is killed at their n-th call from now on, and the store is opened again.
    Kill(i64),
    /// The machine is off for so many minutes.
    Away(u64),
    /// A person changes what is deployed.
    Edit,
    /// Reinstalling automatically is turned on or off.
    Auto(bool),
    /// The clock is set.
    Jump(i64),
}

struct World {
    began: Instant,
    skew: Mutex<SignedDuration>,
    store: Mutex<Option<Arc<SledStore>>>,
    keys: Vec<ServerKey>,
    auto: Mutex<bool>,
    tag: Mutex<u8>,
    runs: Mutex<BTreeMap<ServerKey, u8>>,
    ready: Mutex<BTreeMap<ServerKey, Timestamp>>,
    applied: Mutex<HashSet<(ServerKey, u64)>>,
    on_trial: Mutex<HashSet<ServerKey>>,
    /// Calls until everybody is killed.
    fuse: AtomicI64,
    rollouts: AtomicUsize,
}

fn digest(number: u8) -> Digest {
    Digest::new(&format!("sha256:{number:064}")).unwrap()
}

fn number(digest: &Digest) -> u8 {
    digest.as_str().trim_start_matches("sha256:").parse().unwrap()
}

impl World {
    fn store(&self) -> Arc<SledStore> {
        Arc::clone(self.store.lock().as_ref().unwrap())
    }

    /// Every call passes here before and after its effect. Who is killed never comes out.
    async fn passes(&self) {
        if self.fuse.fetch_sub(1, Ordering::SeqCst) <= 0 {
            std::future::pending::<()>().await;
        }
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

    /// Two schedulers on one store, for a while or until they are killed.
    async fn engines(self: &Arc<Self>, life: &mut u32, time: Duration) {
        *life += 1;
        let engines = [0, 1].map(|number| self.engine(&format!("{life}-{number}")));
        let mut work = JoinSet::new();
        for engine in &engines {
            work.spawn(Arc::clone(engine).run());
        }
        let end = Instant::now() + time;
        while Instant::now() < end && self.fuse.load(Ordering::SeqCst) > 0 {
            tokio::time::sleep(Duration::from_secs(7)).await;
        }
        if self.fuse.load(Ordering::SeqCst) > 0 {
            engines.iter().for_each(|engine| engine.stop());
            while work.join_next().await.is_some() {}
        } else {
            work.shutdown().await;
        }
    }

    fn outcome_of_everything(&self) {
        for key in &self.keys {
            let record = self.store().freshness(key).unwrap();
            assert_eq!(record.operation, None, "it has no end: {record:#?}");
            assert_eq!(self.runs.lock()[key], LAST, "{record:#?}");
            assert!(!record.stuck, "{record:#?}");
            let good = |candidate: &&Candidate| number(&candidate.pin) < BAD;
            let blamed: Vec<_> = record.candidates.iter().filter(good).filter(|good| good.failures > 0).collect();
            assert!(blamed.is_empty(), "good ones are blamed: {blamed:#?}");
            let open = record.attempts.iter().filter(|attempt| attempt.outcome == Outcome::InProgress).count();
            assert_eq!(open, 0, "{record:#?}");
        }
        assert!(self.on_trial.lock().is_empty(), "a trial was left behind");
    }
}

/// A candidate that runs beside what runs; gone whatever becomes of its trial.
struct OnTrial<'a>(&'a World, ServerKey);

impl Drop for OnTrial<'_> {
    fn drop(&mut self) {
        self.0.on_trial.lock().remove(&self.1);
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
            toggles: UpdateToggles { check: true, auto_reinstall: *self.auto.lock() },
            against: Vec::new(),
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
            self.store().load(key).await
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
            let swapped = self.store().swap(key, revision, next).await;
            self.passes().await;
            swapped
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
            let newest = digest(*self.tag.lock());
            let candidates = vec![fairlead_oci::candidate(&newest, None, vec![newest.clone()], self.now())];
            Ok(Observed { running, newest, candidates, news: None })
        })
    }
}

impl Policies for World {
    fn decide<'a>(&'a self, _: &'a Subject, facts: &'a Facts) -> BoxFuture<'a, Verdict> {
        Box::pin(async {
            self.passes().await;
            let newest = facts.candidates.iter().find(|candidate| candidate.same_tag).unwrap();
            Decision::Update(Plan::to(newest.pin.clone())).into()
        })
    }
}

impl Roller for World {
    fn running<'a>(&'a self, subject: &'a Subject) -> BoxFuture<'a, Running> {
        Box::pin(async { Running { digests: vec![digest(self.runs.lock()[&subject.key])], ..Running::default() } })
    }

    fn trial<'a>(&'a self, subject: &'a Subject, plan: &'a Plan) -> BoxFuture<'a, Trial> {
        Box::pin(async {
            self.passes().await;
            assert!(self.on_trial.lock().insert(subject.key.clone()), "two rollouts of one server");
            let _on_trial = OnTrial(self, subject.key.clone());
            tokio::time::sleep(Duration::from_secs(40)).await;
            self.passes().await;
            if number(&plan.pin) == MUTE {
                Trial::Failed("it is mute".to_owned())
            } else {
                Trial::Passed(Surface::Same)
            }
        })
    }

    fn deployed<'a>(&'a self, key: &'a ServerKey) -> BoxFuture<'a, Result<Deployed, StoreError>> {
        Box::pin(async {
            self.passes().await;
            self.store().deployed(key)
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
            let deployed = self.store().deploy(key, revision, next)?;
            if let (true, Some(mark)) = (deployed, next.mark) {
                let record = self.store().freshness(key)?;
                let operation = record.live(mark.operation).expect("an effect before its record");
                assert_eq!(operation.phase, Phase::Applying, "an effect before its record");
                assert_eq!(Some(&operation.plan.pin), next.pin.as_ref(), "another digest than was decided");
                assert!(self.applied.lock().insert((key.clone(), mark.operation)), "applied twice");
                self.rollouts.fetch_add(1, Ordering::SeqCst);
            }
            self.passes().await;
            Ok(deployed)
        })
    }

    fn settle<'a>(&'a self, subject: &'a Subject, _: &'a Operation) -> BoxFuture<'a, Evidence> {
        Box::pin(async {
            self.passes().await;
            let key = &subject.key;
            let deployed = self.store().deployed(key).unwrap();
            let wanted = deployed.pin.as_ref().map_or(1, number);
            let terminal = (wanted == BAD).then(|| "it crashes".to_owned());
            if terminal.is_none() && self.runs.lock().insert(key.clone(), wanted) != Some(wanted) {
                self.ready.lock().insert(key.clone(), self.now());
            }
            let running = Running { digests: vec![digest(self.runs.lock()[key])], ..Running::default() };
            let since = self.ready.lock().get(key).copied().unwrap_or(Timestamp::MIN);
            let ready_since = (wanted != SLOW).then_some(since);
            Evidence { mark: deployed.mark, revision: deployed.revision, running, ready_since, terminal }
        })
    }
}

impl Announcer for World {
    fn announce<'a>(&'a self, _: &'a ServerKey, _: &'a Message) -> BoxFuture<'a, bool> {
        Box::pin(async {
            self.passes().await;
            true
        })
    }
}

async fn live(story: Vec<Happens>) -> usize {
    let home = tempfile::tempdir().unwrap();
    let keys = ["a", "b"].map(|name| ServerKey { tenant: TenantName::default(), name: ServerName::new(name).unwrap() });
    let world = Arc::new(World {
        began: Instant::now(),
        skew: Mutex::default(),
        store: Mutex::default(),
        runs: Mutex::new(keys.iter().map(|key| (key.clone(), 1)).collect()),
        keys: keys.to_vec(),
        auto: Mutex::new(true),
        tag: Mutex::new(1),
        ready: Mutex::default(),
        applied: Mutex::default(),
        on_trial: Mutex::default(),
        fuse: AtomicI64::new(i64::MAX),
        rollouts: AtomicUsize::new(0),
    });
    let open = || {
        world.store.lock().take();
        let store = SledStore::open(home.path(), Arc::clone(&world) as Arc<dyn Clock>);
        *world.store.lock() = Some(store.unwrap());
    };
    open();
    let mut lives = 0;
    for event in story {
        match event {
            Happens::Push(image) => *world.tag.lock() = image,
            Happens::Wait(minutes) => world.engines(&mut lives, Duration::from_secs(minutes * 60)).await,
            Happens::Kill(calls) => {
                world.fuse.store(calls, Ordering::SeqCst);
                world.engines(&mut lives, Duration::from_secs(3_600)).await;
                world.fuse.store(i64::MAX, Ordering::SeqCst);
                open();
            }
            Happens::Away(minutes) => tokio::time::sleep(Duration::from_secs(minutes * 60)).await,
            Happens::Edit => {
                let (store, key) = (world.store(), &world.keys[0]);
                let revision = store.deployed(key).unwrap().revision;
                let next = Deployed { revision: revision + 1, pin: None, mark: None };
                assert!(store.deploy(key, revision, &next).unwrap());
                world.runs.lock().insert(key.clone(), 1);
            }
            Happens::Auto(on) => *world.auto.lock() = on,
            Happens::Jump(seconds) => *world.skew.lock() += SignedDuration::from_secs(seconds),
        }
    }
    *world.auto.lock() = true;
    *world.tag.lock() = LAST;
    world.engines(&mut lives, Duration::from_secs(8 * 3_600)).await;
    world.outcome_of_everything();
    world.store.lock().take();
    world.rollouts.load(Ordering::SeqCst)
}

fn happens() -> impl proptest::strategy::Strategy<Value = Happens> {
    prop_oneof![
        3 => prop_oneof![4 => 1_u8..8, 1 => BAD..=SLOW].prop_map(Happens::Push),
        3 => (1_u64..40).prop_map(Happens::Wait),
        4 => (1_i64..90).prop_map(Happens::Kill),
        2 => (1_u64..30).prop_map(Happens::Away),
        1 => Just(Happens::Edit),
        1 => any::<bool>().prop_map(Happens::Auto),
        1 => (-40_i64..40).prop_map(Happens::Jump),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    /// Never two rollouts of one server, never an effect before its record, never another digest than was decided, never a good one
    /// that is blamed, nothing applied twice, no trial left behind, and always an end.
    #[test]
    fn the_laws_of_freshness_hold_on_sled_wherever_it_is_killed(story in proptest::collection::vec(happens(), 1..14)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        let rollouts = runtime.block_on(live(story));
        prop_assert!(rollouts > 0, "nothing was rolled out, so nothing was seen");
    }
}
