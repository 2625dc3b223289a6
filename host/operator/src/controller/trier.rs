//! Trials: pods in which an image is started with all that the server has, and spoken to as the proxies of the server would.
//!
//! What runs is asked in the same way, in a pod of its own and after the candidate: the wire of a process that clients use belongs to
//! its proxy. A trial is removed whatever it told, and swept like a probe where nobody lived to do so.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fairlead_core::BoxFuture;
use fairlead_core::digest::Digest;
use fairlead_core::freshness::{Plan, Strategy, Subject, Surface, ToolShape, Trial, compare};
use fairlead_core::image::ImageReference;
use fairlead_core::pod::{PodConfig, PodUpstream};
use fairlead_core::workload::Upstream;
use jiff::Timestamp;
use kube::api::{Api, PostParams};
use kube::core::DynamicObject;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::act::within;
use super::fleet::Fleet;
use super::prober::{Unprobed, reason};
use crate::attach::{Container, OneProcess};
use crate::desired::{BACKEND, CONFIG_FILE, Names, Resource};
use crate::forward::Forwarded;
use crate::freshness::pinned;
use crate::limits::{PROBE_POLL, PROBE_SCHEDULE_MAX, PROBE_TIME_MAX, TRIAL_END_MAX, TRIAL_READY_MAX};
use crate::status::shortened;
use crate::trial::{Candidate, Circumstances, Stage, Unexamined, Untried, stage, verdict};

/// Speaks MCP to servers that nobody else reaches.
pub trait Examiner: Send + Sync {
    /// Comes to a server as a client does: which tools it has.
    ///
    /// # Errors
    /// It did not answer as a server does.
    fn examine(&self, visit: Visit) -> BoxFuture<'_, Result<Vec<ToolShape>, Unexamined>>;
}

/// A server in a pod that is tried.
pub struct Visit {
    /// What its proxies are told of the server.
    pub config: PodConfig,
    /// How this one of it is reached.
    pub reach: Reach,
}

/// How a server in a pod is reached from here.
pub enum Reach {
    /// By the standard streams of its one process.
    Streams(Arc<dyn Upstream>),
    /// Over HTTP at an address of this machine, whatever name it goes by.
    Address(SocketAddr),
}

/// The pod of a trial, while it is looked at.
struct Watched<'a> {
    pods: &'a Api<DynamicObject>,
    name: &'a str,
    /// The API server answered whenever it was asked.
    is_steady: AtomicBool,
}

impl Watched<'_> {
    /// How far it is; `None`: the API server does not say.
    async fn stage(&self) -> Option<Stage> {
        match within(format!("look at trial `{}`", self.name), self.pods.get_opt(self.name)).await {
            Ok(Some(pod)) => Some(stage(&json!(pod), BACKEND)),
            Ok(None) => Some(Stage::Over("somebody removed it".to_owned())),
            Err(error) => {
                tracing::debug!(trial = self.name, error = reason(&error), "a trial cannot be looked at");
                self.is_steady.store(false, Ordering::Relaxed);
                None
            }
        }
    }

    /// Ready when it has ended.
    async fn ended(&self) -> Stage {
        loop {
            sleep(PROBE_POLL).await;
            if let Some(stage @ (Stage::Failed(_) | Stage::Over(_))) = self.stage().await {
                return stage;
            }
        }
    }

    /// How far it is after a look that told nothing: where the connection ended, the process may have, and its node tells soon.
    async fn settled(&self, look: &Unexamined) -> Stage {
        if matches!(look, Unexamined::Cut(_))
            && let Ok(stage) = tokio::time::timeout(TRIAL_END_MAX, self.ended()).await
        {
            return stage;
        }
        self.stage().await.unwrap_or(Stage::Waiting(None))
    }

    /// Waits until it can be spoken to.
    async fn speaks(&self, candidate: &Candidate<'_>, is_http: bool) -> Result<(), Untried> {
        let begun = Instant::now();
        let (mut running, mut unmade, mut last) = (None, None, None);
        loop {
            let stage = self.stage().await;
            let long = match &stage {
                Some(Stage::Unmade { .. }) => {
                    let since: &mut Instant = unmade.get_or_insert_with(Instant::now);
                    since.elapsed()
                }
                // Nobody knows of another one.
                None => Duration::ZERO,
                Some(_) => {
                    unmade = None;
                    Duration::ZERO
                }
            };
            match stage.map(|stage| stage.after(long)) {
                Some(Stage::Running { is_ready }) if is_ready || !is_http => return Ok(()),
                Some(Stage::Running { .. }) => {
                    let since: &mut Instant = running.get_or_insert_with(Instant::now);
                    if since.elapsed() >= TRIAL_READY_MAX {
                        let within = TRIAL_READY_MAX.as_secs();
                        return Err(Untried::Failed(format!("it runs, and was not ready within {within} s")));
                    }
                }
                Some(Stage::Failed(why)) => return Err(Untried::Failed(why)),
                Some(Stage::Over(why)) => return Err(Untried::PutOff(why)),
                Some(Stage::Unscheduled(why)) if begun.elapsed() >= PROBE_SCHEDULE_MAX => {
                    return Err(Untried::PutOff(format!("no node takes it: {why}{}", candidate.hindrance())));
                }
                Some(Stage::Unscheduled(why) | Stage::Unmade { why, .. }) => last = Some(why),
                Some(Stage::Waiting(why)) => last = why,
                // Nobody knows how long it has been running.
                None => running = None,
            }
            if running.is_none() && begun.elapsed() >= PROBE_TIME_MAX {
                let why = last.map(|why| format!(": {why}")).unwrap_or_default();
                let within = PROBE_TIME_MAX.as_secs();
                let hindrance = candidate.hindrance();
                return Err(Untried::PutOff(format!("it was not started within {within} s{why}{hindrance}")));
            }
            sleep(PROBE_POLL).await;
        }
    }
}

impl Fleet {
    /// Whether a candidate is fit to be rolled out. That it is put off is told to people, who may have to make room.
    pub(super) async fn judge(&self, subject: &Subject, plan: &Plan) -> Trial {
        // They may be the words of an image that nobody has let in yet, and are kept and shown.
        let said = |why: String| shortened(why.replace(char::is_control, " "));
        let trial = match self.trial_of(subject, plan).await {
            Trial::Passed(surface) => Trial::Passed(surface),
            Trial::Failed(why) => Trial::Failed(said(why)),
            Trial::PutOff(why) => Trial::PutOff(said(why)),
        };
        if let (Trial::PutOff(why), Some(object)) = (&trial, self.object(&subject.key)) {
            let text = format!("the trial of {} is put off: {why}", plan.pin);
            self.context.teller.note(&object, false, "Update", &text, &self.context.hands.tally).await;
        }
        trial
    }

    async fn trial_of(&self, subject: &Subject, plan: &Plan) -> Trial {
        let Some(reference) = self.image(&subject.key) else {
            return Trial::PutOff("the server is gone".to_owned());
        };
        match self.look(&subject.key).await {
            // Its digest is of another repository, perhaps, and is never put in place.
            Ok(seen) if seen.kept.is_superseded() => return Trial::Passed(Surface::Unknown),
            Ok(_) => {}
            Err(error) => return Trial::PutOff(error.to_string()),
        }
        if self.is_single(subject, plan) {
            // All that can be said is whether a node starts it. By digest, so whoever tries the same asks the same pod.
            return match self.probe(subject, &reference, Some(&plan.pin)).await {
                Ok(_) => Trial::Passed(Surface::Unknown),
                Err(Unprobed::Failed(why)) => Trial::Failed(why),
                Err(Unprobed::Denied(why) | Unprobed::Late(why)) => Trial::PutOff(why),
            };
        }
        let then = match self.tried(subject, &reference, &plan.pin).await {
            Ok(tools) => tools,
            Err(Untried::Failed(why)) => return Trial::Failed(why),
            Err(Untried::PutOff(why)) => return Trial::PutOff(why),
            Err(Untried::Unasked(why)) => {
                tracing::warn!(fairlead.server.name = %subject.key, why, "a candidate is judged by readiness alone");
                return Trial::Passed(Surface::Unknown);
            }
        };
        let running = self.runs(subject);
        let ([now], 0) = (running.digests.as_slice(), running.unknown) else { return Trial::Passed(Surface::Unknown) };
        match self.tried(subject, &reference, now).await {
            Ok(now) => Trial::Passed(compare(&now, &then)),
            Err(why) => {
                let why = shortened(why.to_string());
                tracing::warn!(fairlead.server.name = %subject.key, why, "what runs does not say which tools it has");
                Trial::Passed(Surface::Unknown)
            }
        }
    }

    /// Whether there may be only one of it, whoever says so.
    fn is_single(&self, subject: &Subject, plan: &Plan) -> bool {
        let updates = self.attached(&subject.key).and_then(|attached| attached.spec.updates);
        plan.strategy == Strategy::Recreate || updates.is_some_and(|updates| updates.single_instance)
    }

    /// The tools of a digest, as it says itself.
    async fn tried(
        &self,
        subject: &Subject,
        reference: &ImageReference,
        pin: &Digest,
    ) -> Result<Vec<ToolShape>, Untried> {
        let names = Names::new(subject.key.name.as_str(), subject.key.tenant.as_str());
        let cache = self.context.cache();
        let missing = || Untried::PutOff("the server has no pods yet".to_owned());
        let object = self.object(&subject.key).ok_or_else(missing)?;
        let template = cache.template(&names).ok_or_else(missing)?;
        let config = cache.find(Resource::ConfigMap, names.namespace, &names.config_map());
        let config = config.and_then(|object| config_of(&object)).ok_or_else(missing)?;
        // An operator before this one made none, and this one is about to.
        if cache.find(Resource::NetworkPolicy, names.namespace, &names.probe_policy()).is_none() {
            return Err(Untried::PutOff(format!("NetworkPolicy `{}` is not there yet", names.probe_policy())));
        }
        let image = pinned(reference, pin).ok_or_else(missing)?.to_string();
        let mark = format!("trial of {pin} at {}", Timestamp::now().as_nanosecond());
        let candidate = Candidate {
            server: names.name,
            namespace: names.namespace,
            uid: object.metadata.uid.as_deref().unwrap_or_default(),
            template: &template,
            container: BACKEND,
            reference: &image,
            mark: &mark,
        };
        let name = candidate.pod_name();
        let _waiting = self.probes.wait(names.namespace, &name);
        let api = self.pods(Some(names.namespace));
        let told = self.look_at(&api, &candidate, config).await;
        if let Err(error) = self.remove(&api, &name).await {
            tracing::warn!(fairlead.server.name = %subject.key, trial = name, %error, "a trial was not removed; it is swept");
        }
        told.map_err(|untried| untried.of_any(&name))
    }

    /// Starts it, and speaks to it.
    async fn look_at(
        &self,
        pods: &Api<DynamicObject>,
        candidate: &Candidate<'_>,
        config: PodConfig,
    ) -> Result<Vec<ToolShape>, Untried> {
        let (name, client) = (candidate.pod_name(), self.context.hands.client.clone());
        let pod = serde_json::from_value(candidate.pod()).map_err(|error| Untried::PutOff(error.to_string()))?;
        let params = PostParams::default();
        let created = pods.create(&params, &pod);
        let created = self.context.hands.write(format!("start trial `{name}`"), created).await;
        created.map_err(|error| Untried::PutOff(reason(&error)))?;
        let watched = Watched { pods, name: &name, is_steady: AtomicBool::new(true) };
        let port = port(&config);
        watched.speaks(candidate, port.is_some()).await?;
        watched.is_steady.store(true, Ordering::Relaxed);
        let forwarded = match port {
            Some(port) => {
                let opened = Forwarded::open(client.clone(), candidate.namespace, &name, port).await;
                Some(opened.map_err(|error| Untried::PutOff(format!("listen on loopback: {error}")))?)
            }
            None => None,
        };
        let reach = match &forwarded {
            Some(forwarded) => Reach::Address(forwarded.address()),
            None => {
                let container = Container::of(client, candidate.namespace, name.clone(), BACKEND.to_owned());
                Reach::Streams(Arc::new(OneProcess::new(Arc::new(container))))
            }
        };
        let looked = tokio::select! {
            biased;
            looked = self.examiner.examine(Visit { config, reach }) => looked.map_err(|look| (look, None)),
            stage = watched.ended() => {
                Err((Unexamined::Cut("it ended before it had said which tools it has".to_owned()), Some(stage)))
            }
        };
        let (look, known) = match looked {
            Ok(tools) => return Ok(tools),
            Err(told_nothing) => told_nothing,
        };
        let stage = match known {
            Some(stage) => stage,
            None => watched.settled(&look).await,
        };
        let was_steady = watched.is_steady.load(Ordering::Relaxed);
        let trouble = forwarded.as_ref().and_then(Forwarded::trouble);
        Err(verdict(&look, Circumstances { stage, was_steady, is_http: forwarded.is_some(), trouble }))
    }
}

/// What the proxies of a server are told of it.
fn config_of(object: &DynamicObject) -> Option<PodConfig> {
    let text = object.data.get("data")?.get(CONFIG_FILE).and_then(Value::as_str)?;
    serde_json::from_str(text).ok()
}

/// The port that it listens on; `None`: it speaks over its standard streams.
fn port(config: &PodConfig) -> Option<u16> {
    match &config.upstream {
        PodUpstream::Service { transport, .. } => transport.port(),
        PodUpstream::Attach { .. } | PodUpstream::Remote(_) => None,
    }
}
