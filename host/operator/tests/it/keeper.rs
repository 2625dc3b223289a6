//! Who keeps servers fresh here: the real engine over the operator's ports, which is told what a tag names and follows it; and the
//! node that starts what it is given, as far as a kubelet would say so.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use fairlead_control::freshness::{Engine, EngineConfig, EnginePorts};
use fairlead_core::BoxFuture;
use fairlead_core::clock::Clock;
use fairlead_core::digest::Digest;
use fairlead_core::freshness::{
    Candidate, CheckError, Decision, Detector, ErrorClass, Facts, Freshness, Observed, Plan, Policies, Running,
    Subject, ToolShape, Unseen, Verdict,
};
use fairlead_operator::controller::{Examiner, Fleet, Keeper, Reach, Visit};
use fairlead_operator::probe::LABEL_PROBE;
use fairlead_operator::trial::Unexamined;
use jiff::Timestamp;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use kube::core::DynamicObject;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::ground::Ground;

/// The digest of a made-up image.
pub(crate) fn digest(number: u8) -> Digest {
    Digest::new(&format!("sha256:{number:064}")).unwrap()
}

/// Follows tags. What each server's names is said by the test.
pub(crate) struct Follower {
    pub(crate) interval: Duration,
    newest: Mutex<BTreeMap<String, Digest>>,
    /// What it was given last.
    fleet: Mutex<Option<Arc<Fleet>>>,
}

impl std::fmt::Debug for Follower {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Follower").field("interval", &self.interval).finish_non_exhaustive()
    }
}

impl Follower {
    /// Of these servers the tags name these images; looked at every second.
    pub(crate) fn of(tags: &[(&str, u8)]) -> Arc<Self> {
        Self::every(Duration::from_secs(1), tags)
    }

    /// The same, looked at that often.
    pub(crate) fn every(interval: Duration, tags: &[(&str, u8)]) -> Arc<Self> {
        let follower = Self { interval, newest: Mutex::default(), fleet: Mutex::default() };
        tags.iter().for_each(|(server, number)| follower.push(server, *number));
        Arc::new(follower)
    }

    /// The servers as whoever led last saw them: as good as that one, paused.
    pub(crate) fn fleet(&self) -> Option<Arc<Fleet>> {
        self.fleet.lock().clone()
    }

    /// Pushes another image under the tag of a server.
    pub(crate) fn push(&self, server: &str, number: u8) {
        self.newest.lock().insert(server.to_owned(), digest(number));
    }
}

struct Asked {
    newest: BTreeMap<String, Digest>,
    fleet: Arc<Fleet>,
}

struct MachineClock;

impl Clock for MachineClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

impl Keeper for Follower {
    fn keep(&self, fleet: Arc<Fleet>) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            fleet.sweep().await;
            *self.fleet.lock() = Some(Arc::clone(&fleet));
            loop {
                let newest = self.newest.lock().clone();
                let asked = Arc::new(Asked { newest: newest.clone(), fleet: Arc::clone(&fleet) });
                let holder = Timestamp::now().as_nanosecond().to_string();
                let config = EngineConfig { alone: true, ..EngineConfig::new(holder, self.interval) };
                let engine = Engine::new(
                    config,
                    EnginePorts {
                        servers: Arc::clone(&fleet) as _,
                        store: Arc::clone(&fleet) as _,
                        detector: Arc::clone(&asked) as _,
                        policies: asked as _,
                        roller: Arc::clone(&fleet) as _,
                        announcer: Arc::clone(&fleet) as _,
                        clock: Arc::new(MachineClock),
                    },
                );
                let mut run = std::pin::pin!(Arc::clone(&engine).run());
                // What a tag names is another thing now: the next engine is told so.
                while *self.newest.lock() == newest {
                    tokio::select! {
                        () = &mut run => return,
                        changed = fleet.changed() => changed.iter().for_each(|key| engine.touch(key)),
                        () = sleep(Duration::from_millis(100)) => {}
                    }
                }
            }
        })
    }

    fn examiner(&self) -> Arc<dyn Examiner> {
        Arc::new(Heard)
    }
}

/// Comes to whatever is there and hears nothing of it, for no process runs: what is heard of a server is said here.
struct Heard;

impl Examiner for Heard {
    fn examine(&self, visit: Visit) -> BoxFuture<'_, Result<Vec<ToolShape>, Unexamined>> {
        Box::pin(async move {
            if let Reach::Address(address) = visit.reach {
                let mut stream = TcpStream::connect(address).await.unwrap();
                assert_eq!(stream.read(&mut [0]).await.unwrap_or_default(), 0, "nobody is there");
            }
            Ok(vec![ToolShape { name: "echo".to_owned(), input: json!({"type": "object"}) }])
        })
    }
}

impl Detector for Asked {
    fn observe<'a>(
        &'a self,
        subject: &'a Subject,
        running: Running,
        known: &'a Freshness,
    ) -> BoxFuture<'a, Result<Observed, Unseen>> {
        Box::pin(async move {
            let newest = self.newest[subject.key.name.as_str()].clone();
            let is_known = known.candidates.iter().any(|candidate| candidate.pin == newest);
            if !is_known && !running.digests.contains(&newest) {
                let image = self.fleet.image(&subject.key).unwrap();
                let probed = self.fleet.probe(subject, &image, Some(&newest)).await;
                let error =
                    |message: String| CheckError { class: ErrorClass::ProbeFailed, message, at: Timestamp::now() };
                probed.map_err(|why| Unseen::Failed { error: error(why.to_string()), retry_after: None })?;
            }
            let candidate: Candidate = serde_json::from_value(json!({
                "pin": newest, "sameTag": true, "firstSeen": Timestamp::now(), "lastSeen": Timestamp::now(),
            }))
            .unwrap();
            Ok(Observed { running, newest, candidates: vec![candidate], news: None })
        })
    }
}

impl Policies for Asked {
    fn decide<'a>(&'a self, _: &'a Subject, facts: &'a Facts) -> BoxFuture<'a, Verdict> {
        let newest = facts.candidates.iter().find(|candidate| candidate.same_tag).unwrap();
        let is_current = facts.running.digests.iter().all(|digest| newest.is(digest));
        let decision = match is_current {
            true => Decision::UpToDate,
            false => Decision::Update(Plan { min_ready_ms: 100, ..Plan::to(newest.pin.clone()) }),
        };
        Box::pin(std::future::ready(decision.into()))
    }
}

/// What becomes of an image on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It starts.
    Well,
    /// It starts and crashes, again and again.
    Crashes,
    /// Nothing is heard of it.
    Silent,
}

/// Says of all pods of a namespace what a kubelet would.
pub(crate) struct Node {
    told: Arc<Mutex<Told>>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Told {
    /// What a tag names.
    tagged: Option<Digest>,
    fates: BTreeMap<String, Fate>,
    probed: BTreeSet<String>,
    tried: BTreeSet<String>,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Node {
    /// Of the tag of any server it has this image, from the beginning.
    pub(crate) fn start(ground: &Ground, tagged: u8) -> Self {
        let told = Arc::new(Mutex::new(Told { tagged: Some(digest(tagged)), ..Told::default() }));
        let (pods, shared) = (ground.pods(), Arc::clone(&told));
        #[expect(clippy::disallowed_methods, reason = "aborted when the node is dropped")]
        let task = tokio::spawn(async move {
            loop {
                for pod in pods.list(&ListParams::default()).await.map(|list| list.items).unwrap_or_default() {
                    let status = status(&pod, &mut shared.lock());
                    if let Some(status) = status {
                        say(&pods, &pod, &status).await;
                    }
                }
                sleep(Duration::from_millis(100)).await;
            }
        });
        Self { told, task }
    }

    /// From now on this becomes of an image: in the pods of servers, in probes, or in trials.
    pub(crate) fn fate(&self, number: u8, of: &str, fate: Fate) {
        self.told.lock().fates.insert(format!("{of} {}", digest(number)), fate);
    }

    /// Whether an image was tried.
    pub(crate) fn has_tried(&self, number: u8) -> bool {
        self.told.lock().tried.contains(digest(number).as_str())
    }

    /// Whether an image was probed.
    pub(crate) fn has_probed(&self, number: u8) -> bool {
        self.told.lock().probed.contains(digest(number).as_str())
    }
}

async fn say(pods: &Api<DynamicObject>, pod: &DynamicObject, status: &Value) {
    let name = pod.metadata.name.as_deref().unwrap();
    let patch = json!({"metadata": {"uid": pod.metadata.uid}, "status": status});
    // It may have gone meanwhile.
    let _ = pods.patch_status(name, &PatchParams::default(), &Patch::Merge(patch)).await;
}

/// What is said of a pod of which nothing was said yet.
fn status(pod: &DynamicObject, told: &mut Told) -> Option<Value> {
    if pod.data.pointer("/status/containerStatuses").is_some() || pod.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let finds_out = pod.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(LABEL_PROBE));
    let containers = pod.data["spec"]["containers"].as_array()?;
    let is_probe = finds_out && containers.first()?["name"] == "probe";
    let is_trial = finds_out && !is_probe;
    let image = containers.first()?["image"].as_str()?;
    let (repository, pulled) = match image.split_once('@') {
        Some((repository, digest)) => (repository, digest.to_owned()),
        None => (image, told.tagged.clone()?.to_string()),
    };
    let of = match (is_probe, is_trial) {
        (true, _) => "probe",
        (_, true) => "trial",
        _ => "server",
    };
    let fate = told.fates.get(&format!("{of} {pulled}")).copied().unwrap_or(Fate::Well);
    if fate == Fate::Silent {
        return None;
    }
    if is_probe {
        told.probed.insert(pulled.clone());
    }
    if is_trial {
        told.tried.insert(pulled.clone());
    }
    let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let state = match (is_probe, fate) {
        (true, _) => json!({"terminated": {"exitCode": 0, "reason": "Completed"}}),
        (false, Fate::Crashes) if is_trial => json!({"terminated": {"exitCode": 7, "reason": "Error"}}),
        (false, Fate::Crashes) => json!({"waiting": {"reason": "CrashLoopBackOff"}}),
        (false, _) => json!({"running": {"startedAt": now}}),
    };
    let is_ready = !is_probe && fate == Fate::Well;
    let truth = if is_ready { "True" } else { "False" };
    let containers: Vec<Value> = containers
        .iter()
        .map(|container| {
            json!({"name": container["name"], "image": image, "imageID": format!("{repository}@{pulled}"), "ready": is_ready,
                   "restartCount": if fate == Fate::Crashes && !is_trial { 3 } else { 0 }, "state": state})
        })
        .collect();
    let conditions =
        ["Ready", "ContainersReady"].map(|kind| json!({"type": kind, "status": truth, "lastTransitionTime": now}));
    let phase = match (is_probe, is_trial && fate == Fate::Crashes) {
        (true, _) => "Succeeded",
        (_, true) => "Failed",
        _ => "Running",
    };
    Some(json!({"phase": phase, "conditions": conditions, "containerStatuses": containers}))
}
