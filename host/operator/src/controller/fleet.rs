//! The servers of a cluster as the freshness engine sees them: who there is, what is kept of each, what its pods run, and how a
//! digest comes to be what they run.
//!
//! Nothing here changes a pod. What is to run is written into the record of the server, by compare-and-set, and the next look of
//! the operator applies it: what was read is remembered with the version that the API server gave it, so a write on what somebody
//! else has changed since is refused there, whoever the writer is and however late it comes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fairlead_core::BoxFuture;
use fairlead_core::freshness::{
    Announcer, Deployed, Evidence, Freshness, FreshnessStore, Ineligible, Mark, Message, Operation, Plan, Roller,
    Running, Servers, Signal, Subject, Trial, Version,
};
use fairlead_core::image::ImageReference;
use fairlead_core::name::{PluginName, ServerKey, ServerName, TenantName};
use fairlead_core::policy::Policies;
use fairlead_core::server::ServerSpec;
use fairlead_core::store::{PluginSpec, StoreError};
use jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::DynamicObject;
use kube::runtime::reflector::ObjectRef;
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::Notify;

use super::act::{ReconcileError, within};
use super::cache::is_of;
use super::prober::Probes;
use super::reconcile::{Context, read};
use super::subject;
use super::trier::Examiner;
use crate::desired::{MANAGER, Names, Resource, Server};
use crate::freshness::{Kept, image, pods};
use crate::status::{Phase, ServerStatus};

/// Keeps the servers of a cluster fresh: the engine, put together with whoever says what is newest and whoever decides.
pub trait Keeper: std::fmt::Debug + Send + Sync {
    /// Works for as long as it is polled, by whoever leads. Dropping it ends it where it is, which is as good as a crash.
    fn keep(&self, fleet: Arc<Fleet>) -> BoxFuture<'_, ()>;
    /// Who speaks to what is tried.
    fn examiner(&self) -> Arc<dyn Examiner>;
}

/// The servers of a cluster.
pub struct Fleet {
    pub(super) context: Arc<Context>,
    /// The namespace that is looked at; `None`: all of them.
    pub(super) namespace: Option<String>,
    pub(super) probes: Probes,
    pub(super) examiner: Arc<dyn Examiner>,
    /// What was last read of each record, or written.
    seen: Mutex<BTreeMap<ServerKey, Seen>>,
}

/// A record as it was read.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) kept: Kept,
    /// What the API server calls this state of it; `None`: it is not there.
    version: Option<String>,
    pub(super) uid: String,
}

/// What policies are asked with.
#[derive(Debug, Clone)]
pub struct Attached {
    /// The server.
    pub spec: ServerSpec,
    /// All plugins that go by a name.
    pub plugins: BTreeMap<PluginName, PluginSpec>,
    /// All attachments of the platform and of tenants.
    pub policies: Policies,
}

/// Servers that stand otherwise than before, until somebody has asked for them.
#[derive(Debug, Default)]
pub(super) struct Changes {
    keys: Mutex<BTreeSet<ServerKey>>,
    wake: Notify,
    /// How each of them stood when it was seen last.
    stood: Mutex<BTreeMap<ServerKey, Stood>>,
}

/// What of a status those who keep a server fresh look at. What they did themselves is no news to them.
#[derive(Debug, PartialEq, Eq)]
struct Stood {
    phase: Phase,
    generation: i64,
    /// What is asked of it.
    asked: Option<u64>,
    updates: Option<(Vec<Ineligible>, bool, bool)>,
}

impl Changes {
    /// Sees a status as it is kept by now: told before it is written, whoever looked would see the one before.
    pub(super) fn see(&self, key: &ServerKey, status: &ServerStatus, asked: Option<u64>) {
        let updates = status.updates.as_ref();
        let stands = Stood {
            phase: status.phase,
            generation: status.observed_generation,
            asked,
            updates: updates.map(|updates| (updates.ineligible.clone(), updates.check, updates.auto_reinstall)),
        };
        let mut stood = self.stood.lock();
        if stood.get(key) != Some(&stands) {
            stood.insert(key.clone(), stands);
            drop(stood);
            self.keys.lock().insert(key.clone());
            self.wake.notify_one();
        }
    }

    async fn take(&self) -> BTreeSet<ServerKey> {
        loop {
            let keys = std::mem::take(&mut *self.keys.lock());
            if !keys.is_empty() {
                return keys;
            }
            self.wake.notified().await;
        }
    }
}

impl Fleet {
    pub(super) fn new(context: Arc<Context>, namespace: Option<String>, examiner: Arc<dyn Examiner>) -> Arc<Self> {
        Arc::new(Self { context, namespace, probes: Probes::default(), examiner, seen: Mutex::default() })
    }

    /// Servers that stand otherwise than when this was asked last.
    pub async fn changed(&self) -> BTreeSet<ServerKey> {
        self.context.changes.take().await
    }

    /// The image that a server follows.
    #[must_use]
    pub fn image(&self, key: &ServerKey) -> Option<ImageReference> {
        let (_, server) = self.server(key)?;
        image(&server).map(|image| image.reference.clone())
    }

    /// What policies are asked with; `None`: the server is gone.
    #[must_use]
    pub fn attached(&self, key: &ServerKey) -> Option<Attached> {
        let (_, server) = self.server(key)?;
        let (plugins, policies) = self.context.cache().plugins();
        Some(Attached { spec: server.document.ok()?.spec, plugins, policies })
    }

    pub(super) fn object(&self, key: &ServerKey) -> Option<Arc<DynamicObject>> {
        let resource = subject::Subject::Server.resource();
        self.context.cache().servers.get(&ObjectRef::new_with(key.name.as_str(), resource).within(key.tenant.as_str()))
    }

    pub(super) fn server(&self, key: &ServerKey) -> Option<(Arc<DynamicObject>, Server)> {
        let object = self.object(key)?;
        let server = read(&object);
        Some((object, server))
    }

    /// Reads the record of a server, said of what its document names now.
    pub(super) async fn look(&self, key: &ServerKey) -> Result<Seen, StoreError> {
        let gone =
            || failed("find", std::io::Error::other(format!("there is no server `{key}` that follows an image")));
        let (_, server) = self.server(key).ok_or_else(gone)?;
        let reference = image(&server).ok_or_else(gone)?.reference.to_string();
        let names = Names::new(key.name.as_str(), key.tenant.as_str());
        let api = self.context.hands.api(Resource::ConfigMap, names.namespace);
        let what = format!("read the freshness of `{key}`");
        let found = within(what, api.get_opt(&names.freshness())).await.map_err(|error| failed("read", error))?;
        // That of an earlier server of this name goes with it; until then nothing can be written.
        let found = found.filter(|object| is_of(object, &server.uid));
        let kept = found.as_ref().map_or_else(|| Ok(Kept::default()), |object| Kept::read(object.data.get("data")));
        let kept = kept.map_err(|source| StoreError::Damaged { key: key.to_string(), source })?;
        let version = found.and_then(|object| object.resource_version());
        let seen = Seen { kept: kept.of(&reference), version, uid: server.uid };
        self.seen.lock().insert(key.clone(), seen.clone());
        Ok(seen)
    }

    /// What was read or written last, if the document still names what it named then.
    pub(super) async fn known(&self, key: &ServerKey) -> Result<Option<Seen>, StoreError> {
        let known = self.seen.lock().get(key).cloned();
        let known = match known {
            Some(known) => known,
            None => self.look(key).await?,
        };
        let reference = self.image(key);
        Ok(reference.is_some_and(|reference| reference.as_str() == known.kept.reference).then_some(known))
    }

    /// Writes on what was seen. False: somebody else has written since.
    pub(super) async fn write(&self, key: &ServerKey, seen: Seen, kept: Kept) -> Result<bool, StoreError> {
        let names = Names::new(key.name.as_str(), key.tenant.as_str());
        let hands = &self.context.hands;
        let api = hands.api(Resource::ConfigMap, names.namespace);
        let damaged = |source| StoreError::Damaged { key: key.to_string(), source };
        let what = format!("write the freshness of `{key}`");
        // Whoever reads next, reads what is there, unless this goes well.
        self.seen.lock().remove(key);
        let written = match &seen.version {
            None => {
                let object = kept.object(&names, &seen.uid).map_err(damaged)?;
                let object = serde_json::from_value(object).map_err(damaged)?;
                hands.write(what, api.create(&PostParams::default(), &object)).await
            }
            Some(version) => {
                let patch = json!({"metadata": {"resourceVersion": version}, "data": kept.data().map_err(damaged)?});
                let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
                hands.write(what, api.patch(&names.freshness(), &params, &Patch::Merge(&patch))).await
            }
        };
        match written {
            Ok(object) => {
                let seen = Seen { kept, version: object.resource_version(), uid: seen.uid };
                self.seen.lock().insert(key.clone(), seen);
                Ok(true)
            }
            Err(ReconcileError::Call { source, .. }) if is_refused(&source) => Ok(false),
            Err(error) => Err(failed("write", error)),
        }
    }

    /// What runs, as its pods tell.
    pub(super) fn runs(&self, subject: &Subject) -> Running {
        let names = Names::new(subject.key.name.as_str(), subject.key.tenant.as_str());
        let seen = pods::running(&self.context.cache().backend_pods(&names));
        let version = self.image(&subject.key).and_then(|image| Version::of_tag(image.tag()?));
        Running {
            reference: subject.reference.clone(),
            pinned: subject.pinned,
            digests: seen.digests,
            unknown: seen.unknown,
            version,
            since: seen.since,
            health: subject.health,
        }
    }

    /// How far a rollout is. The operator does it; here it is only looked at.
    async fn look_at_rollout(&self, subject: &Subject, operation: &Operation) -> Evidence {
        let key = &subject.key;
        let running = Running { health: Signal::Unknown, ..self.runs(subject) };
        let kept = match self.look(key).await {
            Ok(seen) => seen.kept,
            Err(error) => {
                tracing::warn!(fairlead.server.name = %key, %error, "what is deployed cannot be read");
                let mark = Some(Mark { operation: operation.id, fence: 0 });
                let running = Running { unknown: 1, ..running };
                return Evidence { mark, revision: operation.base, running, ready_since: None, terminal: None };
            }
        };
        let names = Names::new(key.name.as_str(), key.tenant.as_str());
        let cache = self.context.cache();
        let backend = cache.backend(&names).unwrap_or_default();
        let server = self.server(key);
        let target = server.as_ref().and_then(|(_, server)| kept.launched(image(server)?));
        let (ready_since, terminal) = match target {
            Some(target) if backend.is_current => {
                let pods = cache.backend_pods(&names);
                (pods::ready_since(&pods, target.as_str(), backend.wanted), pods::terminal(&pods, target.as_str()))
            }
            _ => (None, None),
        };
        // Nobody can say whether a server without pods is well: whoever took them away has changed it.
        let mark = kept.deployed.mark.filter(|_| backend.wanted > 0);
        Evidence { mark, revision: kept.deployed.revision, running, ready_since, terminal }
    }
}

impl Servers for Fleet {
    fn keys(&self) -> Vec<ServerKey> {
        let servers = self.context.cache().servers.state();
        let key = |object: &Arc<DynamicObject>| {
            let tenant = TenantName::new(&object.namespace()?).ok()?;
            Some(ServerKey { tenant, name: ServerName::new(&object.name_any()).ok()? })
        };
        let is_staying = |object: &&Arc<DynamicObject>| object.metadata.deletion_timestamp.is_none();
        let keys: BTreeSet<ServerKey> = servers.iter().filter(is_staying).filter_map(key).collect();
        self.seen.lock().retain(|seen, _| keys.contains(seen));
        self.context.changes.stood.lock().retain(|seen, _| keys.contains(seen));
        keys.into_iter().collect()
    }

    fn subject(&self, key: &ServerKey) -> Option<Subject> {
        let (object, server) = self.server(key)?;
        let created = object.creation_timestamp().map_or(Timestamp::UNIX_EPOCH, |created| created.0);
        crate::freshness::subject(&server, created).filter(|_| !server.deleting)
    }
}

impl FreshnessStore for Fleet {
    fn load<'a>(&'a self, key: &'a ServerKey) -> BoxFuture<'a, Result<Freshness, StoreError>> {
        Box::pin(async { self.look(key).await.map(|seen| seen.kept.record) })
    }

    fn swap<'a>(
        &'a self,
        key: &'a ServerKey,
        revision: u64,
        next: &'a Freshness,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move {
            let known = self.known(key).await?.filter(|seen| seen.kept.record.revision == revision);
            let Some(seen) = known else { return Ok(false) };
            let kept = Kept { record: next.clone(), ..seen.kept.clone() };
            self.write(key, seen, kept).await
        })
    }
}

impl Roller for Fleet {
    fn running<'a>(&'a self, subject: &'a Subject) -> BoxFuture<'a, Running> {
        Box::pin(async { self.runs(subject) })
    }

    fn trial<'a>(&'a self, subject: &'a Subject, plan: &'a Plan) -> BoxFuture<'a, Trial> {
        Box::pin(self.judge(subject, plan))
    }

    fn deployed<'a>(&'a self, key: &'a ServerKey) -> BoxFuture<'a, Result<Deployed, StoreError>> {
        Box::pin(async { self.look(key).await.map(|seen| seen.kept.deployed) })
    }

    fn deploy<'a>(
        &'a self,
        key: &'a ServerKey,
        revision: u64,
        next: &'a Deployed,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move {
            let known = self.known(key).await?.filter(|seen| seen.kept.deployed.revision == revision);
            let Some(seen) = known else { return Ok(false) };
            let kept = Kept { deployed: next.clone(), ..seen.kept.clone() };
            self.write(key, seen, kept).await
        })
    }

    fn settle<'a>(&'a self, subject: &'a Subject, operation: &'a Operation) -> BoxFuture<'a, Evidence> {
        Box::pin(self.look_at_rollout(subject, operation))
    }
}

impl Announcer for Fleet {
    fn announce<'a>(&'a self, key: &'a ServerKey, message: &'a Message) -> BoxFuture<'a, bool> {
        Box::pin(async move {
            let Some(object) = self.object(key) else { return true };
            let Message { text, urgent, .. } = message;
            if *urgent {
                tracing::warn!(fairlead.server.name = %key, "{text}");
            } else {
                tracing::info!(fairlead.server.name = %key, "{text}");
            }
            self.context.teller.announce(&object, message, &self.context.hands.tally).await
        })
    }
}

/// Whether it was refused because it is not what was seen any more.
fn is_refused(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if matches!(status.code, 404 | 409))
}

fn failed(operation: &'static str, source: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    StoreError::Io { operation, source: Box::new(source) }
}
