//! Many servers for a long time, with a paused clock: each gets its checks, none waits for the others, nothing grows.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fairlead_control::freshness::{Engine, EngineConfig, EnginePorts};
use fairlead_core::BoxFuture;
use fairlead_core::clock::Clock;
use fairlead_core::freshness::*;
use fairlead_core::name::{ServerKey, ServerName, TenantName};
use fairlead_core::store::StoreError;
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::world::{digest, spawn};

const DAY: Duration = Duration::from_secs(24 * 3_600);

/// Servers without anything around them: what is counted is the engine's.
struct Crowd {
    began: Instant,
    keys: Vec<ServerKey>,
    records: Mutex<HashMap<ServerKey, Freshness>>,
    checks: AtomicUsize,
    /// Checks by the minute in which they were made.
    minutes: Mutex<BTreeMap<i64, usize>>,
    writes: AtomicUsize,
    latency: Duration,
}

impl Crowd {
    fn new(servers: usize, latency: Duration) -> Arc<Self> {
        let keys = (0..servers).map(|number| ServerKey {
            tenant: TenantName::default(),
            name: ServerName::new(&format!("s{number}")).unwrap(),
        });
        Arc::new(Self {
            began: Instant::now(),
            keys: keys.collect(),
            records: Mutex::default(),
            checks: AtomicUsize::new(0),
            minutes: Mutex::default(),
            writes: AtomicUsize::new(0),
            latency,
        })
    }

    async fn runs_for(self: &Arc<Self>, interval: Duration, time: Duration) {
        let ports = EnginePorts {
            servers: Arc::clone(self) as _,
            store: Arc::clone(self) as _,
            detector: Arc::clone(self) as _,
            policies: Arc::clone(self) as _,
            roller: Arc::clone(self) as _,
            announcer: Arc::clone(self) as _,
            clock: Arc::clone(self) as _,
        };
        let engine = Engine::new(EngineConfig::new("one".to_owned(), interval), ports);
        let work = spawn(Arc::clone(&engine).run());
        tokio::time::sleep(time).await;
        engine.stop();
        work.await.unwrap();
    }
}

impl Clock for Crowd {
    fn now(&self) -> Timestamp {
        Timestamp::from_second(1_800_000_000).unwrap() + SignedDuration::try_from(self.began.elapsed()).unwrap()
    }
}

impl Servers for Crowd {
    fn keys(&self) -> Vec<ServerKey> {
        self.keys.clone()
    }

    fn subject(&self, key: &ServerKey) -> Option<Subject> {
        Some(Subject {
            key: key.clone(),
            toggles: UpdateToggles::for_new(),
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

    fn version(&self) -> Option<u64> {
        Some(1)
    }
}

impl FreshnessStore for Crowd {
    fn load<'a>(&'a self, key: &'a ServerKey) -> BoxFuture<'a, Result<Freshness, StoreError>> {
        Box::pin(async { Ok(self.records.lock().get(key).cloned().unwrap_or_default()) })
    }

    fn swap<'a>(
        &'a self,
        key: &'a ServerKey,
        revision: u64,
        next: &'a Freshness,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move {
            self.writes.fetch_add(1, Ordering::Relaxed);
            let mut records = self.records.lock();
            let current = records.entry(key.clone()).or_default();
            let fits = current.revision == revision;
            if fits {
                *current = next.clone();
            }
            Ok(fits)
        })
    }
}

impl Detector for Crowd {
    fn observe<'a>(
        &'a self,
        _: &'a Subject,
        running: Running,
        _: &'a Freshness,
    ) -> BoxFuture<'a, Result<Observed, Unseen>> {
        Box::pin(async {
            if self.latency > Duration::ZERO {
                tokio::time::sleep(self.latency).await;
            }
            self.checks.fetch_add(1, Ordering::Relaxed);
            *self.minutes.lock().entry(self.now().as_second() / 60).or_default() += 1;
            Ok(Observed { running, newest: digest(1), candidates: Vec::new(), news: None })
        })
    }
}

impl Policies for Crowd {
    fn decide<'a>(&'a self, _: &'a Subject, _: &'a Facts) -> BoxFuture<'a, Verdict> {
        Box::pin(async { Decision::UpToDate.into() })
    }
}

impl Roller for Crowd {
    fn running<'a>(&'a self, _: &'a Subject) -> BoxFuture<'a, Running> {
        Box::pin(async { Running { digests: vec![digest(1)], ..Running::default() } })
    }

    fn trial<'a>(&'a self, _: &'a Subject, _: &'a Plan) -> BoxFuture<'a, Trial> {
        Box::pin(async { panic!("there is nothing to try") })
    }

    fn deployed<'a>(&'a self, _: &'a ServerKey) -> BoxFuture<'a, Result<Deployed, StoreError>> {
        Box::pin(async { Ok(Deployed::default()) })
    }

    fn deploy<'a>(&'a self, _: &'a ServerKey, _: u64, _: &'a Deployed) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async { panic!("there is nothing to change") })
    }

    fn settle<'a>(&'a self, _: &'a Subject, _: &'a Operation) -> BoxFuture<'a, Evidence> {
        Box::pin(async { panic!("there is nothing to change") })
    }
}

impl Announcer for Crowd {
    fn announce<'a>(&'a self, _: &'a ServerKey, _: &'a Message) -> BoxFuture<'a, bool> {
        Box::pin(async { true })
    }
}

/// A month of a hundred thousand servers. A check costs 130 µs here, without optimisation: so each is looked at once a month,
/// or more often when `FAIRLEAD_FRESHNESS_DAYS` says so (7 days: 485,676 checks in 63 s). `cargo xtask bench --freshness` says
/// what a real one costs.
#[tokio::test(start_paused = true)]
async fn a_hundred_thousand_servers_each_get_their_checks_for_a_month() {
    let began = std::time::Instant::now();
    let days = std::env::var("FAIRLEAD_FRESHNESS_DAYS").ok().and_then(|days| days.parse().ok()).unwrap_or(30_u32);
    let crowd = Crowd::new(100_000, Duration::ZERO);
    crowd.runs_for(DAY * days, 30 * DAY).await;
    let checks = crowd.checks.load(Ordering::Relaxed);
    println!("{checks} checks of {} servers in {:?}", crowd.keys.len(), began.elapsed());
    let records = crowd.records.lock();
    assert_eq!(records.len(), crowd.keys.len(), "each was looked at");
    // At once, then at every interval give or take a tenth, of which the place of each server in it is its own.
    let rounds = 1.0 + 30.0 / f64::from(days);
    let expected = (rounds - 0.5) * 100_000.0;
    let checks = f64::from(u32::try_from(checks).unwrap());
    assert!((checks - expected).abs() < 60_000.0, "{checks} checks instead of about {expected}");
    let (now, late) = (crowd.now(), SignedDuration::from_hours(1));
    let starved =
        records.values().filter(|record| record.check.next.is_none_or(|next| now.duration_since(next) > late));
    assert_eq!(starved.count(), 0, "some were left out");
    let held = records.values().filter(|record| record.lease.holder.is_some()).count();
    assert_eq!(held, 0, "leases were kept");
    // After the first round the checks are spread.
    let minutes = crowd.minutes.lock();
    let busiest = minutes.iter().skip(1).map(|(_, checks)| *checks).max().unwrap();
    assert!(busiest < 400, "{busiest} checks in one minute");
}

/// Sixteen at once, twenty milliseconds each: 12.5 s would be ideal without sharing what is asked for.
#[tokio::test(start_paused = true)]
async fn t25_a_round_of_ten_thousand_servers_ends_within_a_minute() {
    let crowd = Crowd::new(10_000, Duration::from_millis(20));
    let began = Instant::now();
    crowd.runs_for(Duration::from_secs(3_600), Duration::from_secs(60)).await;
    assert!(began.elapsed() >= Duration::from_secs(60));
    assert_eq!(crowd.checks.load(Ordering::Relaxed), crowd.keys.len(), "each once");
    let writes = crowd.writes.load(Ordering::Relaxed) / crowd.keys.len();
    assert!(writes <= 3, "{writes} writes for a check that found nothing");
}
