//! Servers whose images come from registries that listen, kept fresh by the real engine with the real detector and client.
//!
//! Only the time is not real: it stands still while anybody works, and jumps to the next moment at which something is due. So
//! a day passes in a second, and a request too many is a request too many, not a matter of luck.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use fairlead_control::freshness::{Engine, EngineConfig, EnginePorts};
use fairlead_core::BoxFuture;
use fairlead_core::clock::Clock;
use fairlead_core::dial::Anywhere;
use fairlead_core::digest::Digest;
use fairlead_core::freshness::*;
use fairlead_core::image::ImageReference;
use fairlead_core::name::{ServerKey, ServerName, TenantName};
use fairlead_core::oci::{Credential, CredentialError, CredentialSource};
use fairlead_core::store::StoreError;
use fairlead_dial::NetDialer;
use fairlead_oci::{InsecureRegistries, OciClient, OciClientConfig, RegistryDetector};
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::server::Image;
use crate::world::spawn;

/// The time of the lab.
struct Hand(Mutex<Timestamp>);

impl Clock for Hand {
    fn now(&self) -> Timestamp {
        *self.0.lock()
    }
}

/// Each tenant logs in under its own name, but for `nobody`.
struct OwnNames;

impl CredentialSource for OwnNames {
    fn find<'a>(&'a self, tenant: &'a TenantName, _: &'a str) -> BoxFuture<'a, Result<Credential, CredentialError>> {
        Box::pin(async move {
            Ok(match tenant.as_str() {
                "default" => Credential::Anonymous,
                name => Credential::Password { username: name.to_owned(), password: "p".to_owned() },
            })
        })
    }
}

pub(crate) struct Lab {
    clock: Arc<Hand>,
    interval: Duration,
    detector: RegistryDetector,
    servers: Vec<(ServerKey, ImageReference)>,
    records: Mutex<HashMap<ServerKey, Freshness>>,
    deployed: Mutex<HashMap<ServerKey, Deployed>>,
    /// What was put in place, in order.
    pub(crate) applied: Mutex<Vec<(ServerKey, Digest)>>,
    changed: Notify,
    engine: Mutex<Option<(Arc<Engine>, JoinHandle<()>)>>,
}

pub(crate) fn key(tenant: &str, name: &str) -> ServerKey {
    ServerKey { tenant: TenantName::new(tenant).unwrap(), name: ServerName::new(name).unwrap() }
}

impl Lab {
    /// Servers, all of which run `image` now.
    pub(crate) fn new(servers: Vec<(ServerKey, ImageReference)>, image: &Image, interval: Duration) -> Arc<Self> {
        let clock = Arc::new(Hand(Mutex::new(Timestamp::from_second(1_800_000_000).unwrap())));
        let client = OciClient::new(OciClientConfig {
            dialer: Arc::new(NetDialer::new()),
            admission: Arc::new(Anywhere),
            credentials: Arc::new(OwnNames),
            insecure: InsecureRegistries::default(),
            clock: Arc::clone(&clock) as _,
        });
        let running = Digest::new(&image.digest()).unwrap();
        let first = |key: &ServerKey| (key.clone(), Deployed { pin: Some(running.clone()), ..Deployed::default() });
        let deployed = servers.iter().map(|(key, _)| first(key)).collect();
        let lab = Arc::new(Self {
            interval,
            detector: RegistryDetector::new(Arc::new(client), Arc::clone(&clock) as _, interval),
            clock,
            servers,
            records: Mutex::default(),
            deployed: Mutex::new(deployed),
            applied: Mutex::default(),
            changed: Notify::new(),
            engine: Mutex::default(),
        });
        let ports = EnginePorts {
            servers: Arc::clone(&lab) as _,
            store: Arc::clone(&lab) as _,
            detector: Arc::clone(&lab) as _,
            policies: Arc::clone(&lab) as _,
            roller: Arc::clone(&lab) as _,
            announcer: Arc::clone(&lab) as _,
            clock: Arc::clone(&lab.clock) as _,
        };
        let engine = Engine::new(EngineConfig::new("lab".to_owned(), interval), ports);
        let work = spawn(Arc::clone(&engine).run());
        *lab.engine.lock() = Some((engine, work));
        lab
    }

    pub(crate) fn engine(&self) -> Arc<Engine> {
        Arc::clone(&self.engine.lock().as_ref().unwrap().0)
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) fn record(&self, key: &ServerKey) -> Freshness {
        self.records.lock().get(key).cloned().unwrap_or_default()
    }

    pub(crate) async fn view(&self, key: &ServerKey) -> UpdateView {
        self.engine().view(key).await.unwrap()
    }

    pub(crate) fn runs(&self, key: &ServerKey) -> Digest {
        self.deployed.lock()[key].pin.clone().unwrap()
    }

    /// When a server has something to do; none: nothing by itself.
    fn due(&self, key: &ServerKey) -> Option<Timestamp> {
        let subject = Servers::subject(self, key).unwrap();
        let (now, interval) = (self.now(), self.interval);
        let moment = Moment { now, since: now, toggles: subject.toggles, against: &[], interval, spread: 0 };
        match todo(&self.record(key), &moment) {
            Todo::Rest(time) => time,
            _ => Some(now),
        }
    }

    /// Everything that is due now is done, and everybody rests.
    pub(crate) async fn settle(&self) {
        for (key, _) in &self.servers {
            self.engine().touch(key);
        }
        let settled = async {
            loop {
                let changed = self.changed.notified();
                let rests = |key: &ServerKey| {
                    self.record(key).lease.holder.is_none() && self.due(key).is_none_or(|due| due > self.now())
                };
                if self.servers.iter().all(|(key, _)| rests(key)) {
                    return;
                }
                // A turn that found nothing to do changes nothing, so nobody would say so.
                let _ = timeout(Duration::from_millis(50), changed).await;
                self.servers.iter().filter(|(key, _)| !rests(key)).for_each(|(key, _)| self.engine().touch(key));
            }
        };
        timeout(Duration::from_secs(60), settled).await.expect("they do not come to rest");
    }

    /// Lets time pass, from each moment at which something is due to the next.
    pub(crate) async fn pass(&self, time: Duration) {
        let end = self.now() + SignedDuration::try_from(time).unwrap();
        self.settle().await;
        while let Some(next) =
            self.servers.iter().filter_map(|(key, _)| self.due(key)).min().filter(|next| *next <= end)
        {
            {
                let mut now = self.clock.0.lock();
                *now = next.max(*now);
            }
            self.settle().await;
        }
        *self.clock.0.lock() = end;
    }

    pub(crate) async fn close(&self) {
        let (engine, work) = self.engine.lock().take().unwrap();
        engine.stop();
        work.await.unwrap();
    }
}

impl Servers for Lab {
    fn keys(&self) -> Vec<ServerKey> {
        self.servers.iter().map(|(key, _)| key.clone()).collect()
    }

    fn subject(&self, key: &ServerKey) -> Option<Subject> {
        let (key, reference) = self.servers.iter().find(|(known, _)| known == key)?;
        Some(Subject {
            key: key.clone(),
            toggles: UpdateToggles::for_new(),
            against: Vec::new(),
            reference: reference.to_string(),
            pinned: false,
            group: None,
            labels: BTreeMap::new(),
            created: Timestamp::UNIX_EPOCH,
            sessions: 0,
            health: Signal::Good,
        })
    }
}

impl FreshnessStore for Lab {
    fn load<'a>(&'a self, key: &'a ServerKey) -> BoxFuture<'a, Result<Freshness, StoreError>> {
        Box::pin(async { Ok(self.record(key)) })
    }

    fn swap<'a>(
        &'a self,
        key: &'a ServerKey,
        revision: u64,
        next: &'a Freshness,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move {
            let mut records = self.records.lock();
            let current = records.entry(key.clone()).or_default();
            let fits = current.revision == revision;
            if fits {
                *current = next.clone();
            }
            drop(records);
            self.changed.notify_waiters();
            Ok(fits)
        })
    }
}

impl Detector for Lab {
    fn observe<'a>(
        &'a self,
        subject: &'a Subject,
        running: Running,
        known: &'a Freshness,
    ) -> BoxFuture<'a, Result<Observed, Unseen>> {
        Box::pin(async move {
            let (_, reference) = self.servers.iter().find(|(key, _)| *key == subject.key).unwrap();
            // Whoever follows a version chooses among them.
            let chooses = reference.tag().is_some_and(|tag| Version::of_tag(tag).is_some());
            self.detector.observe(subject, reference, running, known, chooses).await
        })
    }
}

impl Policies for Lab {
    fn decide<'a>(&'a self, _: &'a Subject, facts: &'a Facts) -> BoxFuture<'a, Verdict> {
        Box::pin(async {
            match facts.candidates.iter().find(|candidate| candidate.same_tag) {
                Some(newest) => Decision::Update(Plan::to(newest.pin.clone())).into(),
                None => Decision::UpToDate.into(),
            }
        })
    }
}

impl Roller for Lab {
    fn running<'a>(&'a self, subject: &'a Subject) -> BoxFuture<'a, Running> {
        Box::pin(async { Running { digests: vec![self.runs(&subject.key)], ..Running::default() } })
    }

    fn trial<'a>(&'a self, _: &'a Subject, _: &'a Plan) -> BoxFuture<'a, Trial> {
        Box::pin(async { Trial::Passed(Surface::Same) })
    }

    fn deployed<'a>(&'a self, key: &'a ServerKey) -> BoxFuture<'a, Result<Deployed, StoreError>> {
        Box::pin(async { Ok(self.deployed.lock()[key].clone()) })
    }

    fn deploy<'a>(
        &'a self,
        key: &'a ServerKey,
        revision: u64,
        next: &'a Deployed,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move {
            let mut deployed = self.deployed.lock();
            let fits = deployed[key].revision == revision;
            if fits {
                self.applied.lock().push((key.clone(), next.pin.clone().unwrap()));
                deployed.insert(key.clone(), next.clone());
            }
            Ok(fits)
        })
    }

    fn settle<'a>(&'a self, subject: &'a Subject, _: &'a Operation) -> BoxFuture<'a, Evidence> {
        Box::pin(async {
            let deployed = self.deployed.lock()[&subject.key].clone();
            Evidence {
                mark: deployed.mark,
                revision: deployed.revision,
                running: Running { digests: deployed.pin.into_iter().collect(), ..Running::default() },
                ready_since: Some(Timestamp::MIN),
                terminal: None,
            }
        })
    }
}

impl Announcer for Lab {
    fn announce<'a>(&'a self, _: &'a ServerKey, _: &'a Message) -> BoxFuture<'a, bool> {
        Box::pin(async { true })
    }
}
