//! What the API server told: one watch for each kind, kept as it is, and who has to look when something changed.
//!
//! A reconcile reads nothing but this, so a look at a server that has not changed costs the API server nothing. What is here may
//! be old by the time of a round trip. That is no harm: what is written on it is either the same again, or seen to differ when
//! the next event arrives.

use std::collections::BTreeMap;
use std::sync::Arc;

use fairlead_core::document::{self, API_VERSION, Document};
use fairlead_core::policy::PolicyRecord;
use futures_util::StreamExt as _;
use jiff::Timestamp;
use kube::api::Api;
use kube::core::{ApiResource, DynamicObject};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::{ours, servers};
use crate::desired::{LABEL_SERVER, MANAGED_BY, Names, Observed, Resource, Workload};
use crate::limits::EVENTS_MAX;

/// Names a server to the queue.
pub(super) type ServerRef = ObjectRef<DynamicObject>;

/// Everything that is watched.
pub(super) struct Cache {
    /// The servers.
    pub(super) servers: Store<DynamicObject>,
    owned: BTreeMap<Resource, Store<DynamicObject>>,
    pods: Store<DynamicObject>,
    plugins: Store<DynamicObject>,
    attachments: Store<DynamicObject>,
    /// Dropped with the cache, and the watches with it.
    _watches: JoinSet<()>,
}

impl Cache {
    /// Begins to watch; the names of servers to look at arrive at the receiver.
    pub(super) fn start(client: &Client, namespace: Option<&str>) -> (Self, mpsc::Receiver<ServerRef>) {
        let (events, receiver) = mpsc::channel(EVENTS_MAX);
        let mut watches = Watches { client, events, tasks: JoinSet::new() };
        let servers = watches.add(servers(), namespace, "", |object| match object.namespace() {
            Some(namespace) => Concerned::One(namespace, object.name_any()),
            None => Concerned::Nobody,
        });
        let all = servers.clone();
        let everyone = move |_: &DynamicObject| {
            let names = all.state().into_iter().filter_map(|server| Some((server.namespace()?, server.name_any())));
            Concerned::These(names.collect())
        };
        let owned = Resource::ALL
            .map(|resource| (resource, watches.add(resource.api_resource(), namespace, MANAGED_BY, of_owner)));
        let pods = ApiResource {
            group: String::new(),
            version: "v1".to_owned(),
            api_version: "v1".to_owned(),
            kind: "Pod".to_owned(),
            plural: "pods".to_owned(),
        };
        let cache = Self {
            owned: owned.into(),
            pods: watches.add(pods, namespace, MANAGED_BY, of_owner),
            plugins: watches.add(ours("Plugin", "plugins"), None, "", everyone.clone()),
            attachments: watches.add(ours("PluginAttachment", "pluginattachments"), None, "", everyone),
            servers,
            _watches: watches.tasks,
        };
        (cache, receiver)
    }

    /// Ready once everything was listed; at once from then on.
    pub(super) async fn ready(&self) {
        let stores = [&self.servers, &self.pods, &self.plugins, &self.attachments];
        for store in stores.into_iter().chain(self.owned.values()) {
            // Whoever wrote it has gone: then this is about to go as well.
            let _ = store.wait_until_ready().await;
        }
    }

    /// An object, if it is marked as one of ours.
    pub(super) fn find(&self, resource: Resource, namespace: &str, name: &str) -> Option<Arc<DynamicObject>> {
        let key = ObjectRef::new_with(name, resource.api_resource()).within(namespace);
        self.owned.get(&resource)?.get(&key)
    }

    /// All objects that belong to a server, those of an earlier one of the same name aside.
    pub(super) fn belonging(&self, server: &DynamicObject) -> Vec<(Resource, Arc<DynamicObject>)> {
        let is_its = |object: &DynamicObject| object.namespace() == server.namespace() && belongs(object, server);
        let stores = self.owned.iter();
        stores
            .flat_map(|(resource, store)| {
                store.state_filter(|object| is_its(object)).into_iter().map(|it| (*resource, it))
            })
            .collect()
    }

    /// What a decision needs to know.
    pub(super) fn observed(&self, names: &Names<'_>) -> Observed {
        let workload =
            |resource, name: &str| self.find(resource, names.namespace, name).map(|object| workload(&object));
        let is_its = |pod: &DynamicObject| {
            pod.namespace().as_deref() == Some(names.namespace)
                && pod.labels().get(LABEL_SERVER).is_some_and(|name| name == names.name)
        };
        let pods = self.pods.state_filter(|pod| is_its(pod));
        let mut observed = Observed {
            proxy: workload(Resource::Deployment, &names.deployment()),
            backend: workload(Resource::StatefulSet, &names.stateful_set()),
            pod_failures: pods.iter().filter_map(|pod| failure(pod)).collect(),
            ..Observed::default()
        };
        // What cannot be read is as if it were not there: whoever needs it says that it is missing.
        for object in self.plugins.state() {
            if let Ok(Document::Plugin(plugin)) = document::read(&as_document("Plugin", &object)) {
                observed.plugins.insert(plugin.name, plugin.spec);
            }
        }
        for object in self.attachments.state() {
            if let Ok(Document::Attachment(attachment)) = document::read(&as_document("PluginAttachment", &object)) {
                let record = PolicyRecord {
                    owner: attachment.owner,
                    order: attachment.order,
                    selector: attachment.selector,
                    labels: attachment.labels,
                    spec: attachment.spec,
                    created: Timestamp::UNIX_EPOCH,
                };
                observed.policies.insert(record.key(), record);
            }
        }
        observed
    }
}

/// An object in the form in which documents are read.
pub(super) fn as_document(kind: &str, object: &DynamicObject) -> Value {
    json!({
        "apiVersion": API_VERSION,
        "kind": kind,
        "metadata": {
            "name": object.name_any(),
            "namespace": object.namespace(),
            "labels": object.labels(),
            "annotations": object.annotations(),
        },
        "spec": object.data.get("spec"),
    })
}

/// Whether an object says that it belongs to this very server.
pub(super) fn belongs(object: &DynamicObject, server: &DynamicObject) -> bool {
    let uid = server.uid();
    object.owner_references().iter().any(|owner| owner.controller == Some(true) && Some(&owner.uid) == uid.as_ref())
}

struct Watches<'a> {
    client: &'a Client,
    events: mpsc::Sender<ServerRef>,
    tasks: JoinSet<()>,
}

/// Who has to look because of an event.
enum Concerned {
    Nobody,
    /// Namespace and name.
    One(String, String),
    These(Vec<(String, String)>),
}

/// The server that an object belongs to. Its owner is asked before its label, which anybody may have changed.
fn of_owner(object: &DynamicObject) -> Concerned {
    let is_server = |api: &str, kind: &str| api == API_VERSION && kind == "MCPServer";
    let mut owners = object.owner_references().iter();
    let owner = owners.find(|owner| is_server(&owner.api_version, &owner.kind)).map(|owner| &owner.name);
    match (object.namespace(), owner.or_else(|| object.labels().get(LABEL_SERVER))) {
        (Some(namespace), Some(name)) => Concerned::One(namespace, name.clone()),
        _ => Concerned::Nobody,
    }
}

impl Watches<'_> {
    fn add(
        &mut self,
        resource: ApiResource,
        namespace: Option<&str>,
        labels: &str,
        concerned: impl Fn(&DynamicObject) -> Concerned + Send + 'static,
    ) -> Store<DynamicObject> {
        let api = match namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource),
            None => Api::all_with(self.client.clone(), &resource),
        };
        let config = watcher::Config::default();
        let config = if labels.is_empty() { config } else { config.labels(labels) };
        let writer = kube::runtime::reflector::store::Writer::new(resource.clone());
        let store = writer.as_reader();
        let events = self.events.clone();
        self.tasks.spawn(async move {
            let mut changes = std::pin::pin!(watcher(api, config).default_backoff().reflect(writer));
            while let Some(change) = changes.next().await {
                let object = match change {
                    Ok(
                        watcher::Event::Apply(object)
                        | watcher::Event::Delete(object)
                        | watcher::Event::InitApply(object),
                    ) => object,
                    Ok(watcher::Event::Init | watcher::Event::InitDone) => continue,
                    Err(error) => {
                        tracing::warn!(kind = resource.kind, %error, "a watch was interrupted");
                        continue;
                    }
                };
                let whom = match concerned(&object) {
                    Concerned::Nobody => Vec::new(),
                    Concerned::One(namespace, name) => vec![(namespace, name)],
                    Concerned::These(whom) => whom,
                };
                for (namespace, name) in whom {
                    let server = ObjectRef::new_with(&name, servers()).within(&namespace);
                    if events.send(server).await.is_err() {
                        return;
                    }
                }
            }
        });
        store
    }
}

fn workload(object: &DynamicObject) -> Workload {
    let number = |pointer: &str| object.data.pointer(pointer).and_then(Value::as_u64);
    let count = |pointer: &str| number(pointer).and_then(|count| u32::try_from(count).ok());
    let generation = object.metadata.generation.and_then(|generation| u64::try_from(generation).ok());
    Workload {
        // An API server fills in one where nothing is said.
        wanted: count("/spec/replicas").unwrap_or(1),
        replicas: count("/status/replicas").unwrap_or(0),
        ready: count("/status/readyReplicas").unwrap_or(0),
        is_current: number("/status/observedGeneration") >= generation,
    }
}

/// Why a pod will not come up as it is. What may pass by itself (an image that is being pulled, and pulled again) is none.
fn failure(pod: &DynamicObject) -> Option<String> {
    let name = pod.name_any();
    let statuses = pod.data.pointer("/status/containerStatuses").and_then(Value::as_array)?;
    statuses.iter().find_map(|status| {
        let reason = status.pointer("/state/waiting/reason").and_then(Value::as_str)?;
        let is_failure = matches!(
            reason,
            "CrashLoopBackOff"
                | "CreateContainerError"
                | "CreateContainerConfigError"
                | "InvalidImageName"
                | "RunContainerError"
        );
        is_failure.then(|| format!("pod `{name}`: {reason}"))
    })
}
