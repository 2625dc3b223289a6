//! What the API server told: one watch for each kind, kept as it is, and who has to look when something changed.
//!
//! A reconcile reads nothing but this, so a look at a server that has not changed costs the API server nothing. What is here may
//! be old by the time of a round trip. That is no harm: what is written on it is either the same again, or seen to differ when
//! the next event arrives.

use std::collections::BTreeMap;
use std::sync::Arc;

use fairlead_core::cluster::ClusterDefaults;
use fairlead_core::document::{self, API_VERSION, Document};
use fairlead_core::name::PluginName;
use fairlead_core::policy::{Policies, PolicyRecord};
use fairlead_core::store::PluginSpec;
use futures_util::StreamExt as _;
use jiff::Timestamp;
use kube::api::Api;
use kube::core::{ApiResource, DynamicObject, TypeMeta};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::ours;
use super::subject::Subject;
use crate::approval::book::RegistryKey;
use crate::desired::{
    LABEL_COMPONENT, LABEL_NAMESPACE, LABEL_OWNER, LABEL_REGISTRY, LABEL_SERVER, MANAGED_BY, Names, Observed, Resource,
    Workload,
};
use crate::freshness::{Kept, pods};
use crate::limits::EVENTS_MAX;
use crate::registry::{self, object_name};

/// Names an object to its queue.
pub(super) type SubjectRef = ObjectRef<DynamicObject>;

/// Names of objects to look at, as they arrive.
pub(super) struct Queues {
    pub(super) servers: mpsc::Receiver<SubjectRef>,
    pub(super) registries: mpsc::Receiver<SubjectRef>,
}

/// Everything that is watched.
pub(super) struct Cache {
    /// The servers.
    pub(super) servers: Store<DynamicObject>,
    /// The registries.
    pub(super) registries: Store<DynamicObject>,
    owned: BTreeMap<Resource, Store<DynamicObject>>,
    pods: Store<DynamicObject>,
    plugins: Store<DynamicObject>,
    attachments: Store<DynamicObject>,
    tenants: Store<DynamicObject>,
    queues: Senders,
    /// Dropped with the cache, and the watches with it.
    _watches: JoinSet<()>,
}

impl Cache {
    /// Begins to watch; the names of objects to look at arrive in the queues. What has no namespace is watched where it is `written`.
    pub(super) fn start(client: &Client, namespace: Option<&str>, written: bool) -> (Self, Queues) {
        let (to_servers, servers) = mpsc::channel(EVENTS_MAX);
        let (to_registries, registries) = mpsc::channel(EVENTS_MAX);
        let queues = Queues { servers, registries };
        let senders = Senders { servers: to_servers, registries: to_registries };
        let mut watches = Watches { client, queues: senders.clone(), tasks: JoinSet::new() };
        let itself = |subject: Subject| {
            move |object: &DynamicObject| match object.namespace() {
                Some(namespace) => Concerned::One(subject, namespace, object.name_any()),
                None => Concerned::Nobody,
            }
        };
        let servers = watches.add(Subject::Server.resource(), namespace, "", itself(Subject::Server));
        let registries = watches.add(Subject::Registry.resource(), namespace, "", itself(Subject::Registry));
        let all = servers.clone();
        let everyone = move |_: &DynamicObject| Concerned::Servers(named(&all, |_| true));
        let all = servers.clone();
        let its_own = move |tenant: &DynamicObject| {
            Concerned::Servers(named(&all, |server| server.metadata.namespace == tenant.metadata.name))
        };
        let ours_there = namespace
            .map_or_else(|| MANAGED_BY.to_owned(), |namespace| format!("{MANAGED_BY},{LABEL_NAMESPACE}={namespace}"));
        let owned = Resource::ALL.into_iter().filter(|resource| resource.is_namespaced() || written);
        let owned = owned.map(|resource| {
            let (namespace, labels) =
                if resource.is_namespaced() { (namespace, MANAGED_BY) } else { (None, ours_there.as_str()) };
            (resource, watches.add(resource.api_resource(), namespace, labels, of_owner))
        });
        let owned: BTreeMap<_, _> = owned.collect();
        let pods = ApiResource {
            group: String::new(),
            version: "v1".to_owned(),
            api_version: "v1".to_owned(),
            kind: "Pod".to_owned(),
            plural: "pods".to_owned(),
        };
        let cache = Self {
            owned,
            pods: watches.add(pods, namespace, MANAGED_BY, of_owner),
            plugins: watches.add(ours("Plugin", "plugins"), None, "", everyone.clone()),
            attachments: watches.add(ours("PluginAttachment", "pluginattachments"), None, "", everyone),
            tenants: watches.add(ours("Tenant", "tenants"), None, "", its_own),
            servers,
            registries,
            queues: senders,
            _watches: watches.tasks,
        };
        (cache, queues)
    }

    /// Ready once everything was listed; at once from then on.
    pub(super) async fn ready(&self) {
        let stores = [&self.servers, &self.registries, &self.pods, &self.plugins, &self.attachments, &self.tenants];
        for store in stores.into_iter().chain(self.owned.values()) {
            // Whoever wrote it has gone: then this is about to go as well.
            let _ = store.wait_until_ready().await;
        }
    }

    /// An object, if it is marked as one of ours.
    pub(super) fn find(&self, resource: Resource, namespace: &str, name: &str) -> Option<Arc<DynamicObject>> {
        let key = ObjectRef::new_with(name, resource.api_resource());
        let key = if resource.is_namespaced() { key.within(namespace) } else { key };
        self.owned.get(&resource)?.get(&key)
    }

    /// All objects that belong to another, those of an earlier one of the same name aside.
    pub(super) fn belonging(&self, server: &DynamicObject) -> Vec<(Resource, Arc<DynamicObject>)> {
        let is_there = |object: &DynamicObject| {
            object.metadata.namespace.is_none() || object.metadata.namespace == server.metadata.namespace
        };
        let is_its = |object: &DynamicObject| is_there(object) && belongs(object, server);
        let stores = self.owned.iter();
        stores
            .flat_map(|(resource, store)| {
                store.state_filter(|object| is_its(object)).into_iter().map(|it| (*resource, it))
            })
            .collect()
    }

    /// Whether objects of a kind are watched, and so written.
    pub(super) fn watches(&self, resource: Resource) -> bool {
        self.owned.contains_key(&resource)
    }

    /// What a decision about a server needs to know; `uid` tells it from another of the same name.
    pub(super) fn observed(&self, names: &Names<'_>, uid: &str) -> Observed {
        let workload =
            |resource, name: &str| self.find(resource, names.namespace, name).map(|object| workload(&object));
        let mut observed = Observed {
            proxy: workload(Resource::Deployment, &names.deployment()),
            backend: workload(Resource::StatefulSet, &names.stateful_set()),
            pod_failures: self.pod_failures(names.namespace, LABEL_SERVER, names.name),
            kept: self.kept(names, uid),
            running: pods::running(&self.backend_pods(names)).digests,
            defaults: self.defaults(names.namespace),
            ..Observed::default()
        };
        (observed.plugins, observed.policies) = self.plugins();
        observed
    }

    /// The template of the pods of a server, as it was applied.
    pub(super) fn template(&self, names: &Names<'_>) -> Option<Value> {
        let set = self.find(Resource::StatefulSet, names.namespace, &names.stateful_set())?;
        set.data.pointer("/spec/template").cloned()
    }

    /// What is known of the `StatefulSet` of a server.
    pub(super) fn backend(&self, names: &Names<'_>) -> Option<Workload> {
        self.find(Resource::StatefulSet, names.namespace, &names.stateful_set()).map(|set| workload(&set))
    }

    /// The pods of a server itself.
    pub(super) fn backend_pods(&self, names: &Names<'_>) -> Vec<Arc<DynamicObject>> {
        let labels = names.backend_labels();
        let has = |pod: &DynamicObject| labels.iter().all(|(name, value)| pod.labels().get(*name) == Some(value));
        self.pods.state_filter(|pod| pod.metadata.namespace.as_deref() == Some(names.namespace) && has(pod))
    }

    /// What is kept of the freshness of a server.
    pub(super) fn kept(&self, names: &Names<'_>, uid: &str) -> Option<Kept> {
        let object = self.find(Resource::ConfigMap, names.namespace, &names.freshness())?;
        if !is_of(&object, uid) {
            return None;
        }
        let kept = Kept::read(object.data.get("data"));
        kept.inspect_err(|error| tracing::error!(server = names.name, %error, "its freshness cannot be read")).ok()
    }

    fn defaults(&self, namespace: &str) -> ClusterDefaults {
        let tenant = self.tenants.get(&ObjectRef::new_with(namespace, ours("Tenant", "tenants")));
        match tenant.map(|tenant| document::read(&as_document("Tenant", &tenant))) {
            Some(Ok(Document::Tenant(tenant))) => tenant.spec.defaults,
            _ => ClusterDefaults::default(),
        }
    }

    /// All plugins that go by a name, and where they are attached. What cannot be read is as if it were not there: whoever needs it
    /// says that it is missing.
    pub(super) fn plugins(&self) -> (BTreeMap<PluginName, PluginSpec>, Policies) {
        let (mut plugins, mut policies) = (BTreeMap::new(), Policies::new());
        for object in self.plugins.state() {
            if let Ok(Document::Plugin(plugin)) = document::read(&as_document("Plugin", &object)) {
                plugins.insert(plugin.name, plugin.spec);
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
                policies.insert(record.key(), record);
            }
        }
        (plugins, policies)
    }

    /// What a decision about a registry needs to know.
    pub(super) fn observed_of_registry(&self, namespace: &str, name: &str) -> registry::Observed {
        let server = self.find(Resource::Deployment, namespace, &object_name(name));
        registry::Observed {
            server: server.map(|object| workload(&object)),
            pod_failures: self.pod_failures(namespace, LABEL_REGISTRY, name),
        }
    }

    /// All pods of registry servers, by registry.
    pub(super) fn registry_pods(&self) -> BTreeMap<RegistryKey, Vec<Arc<DynamicObject>>> {
        let mut pods: BTreeMap<RegistryKey, Vec<Arc<DynamicObject>>> = BTreeMap::new();
        for pod in self.pods.state_filter(|pod| pod.labels().contains_key(LABEL_REGISTRY)) {
            if let Some(registry) = registry_of(&pod) {
                pods.entry(registry).or_default().push(pod);
            }
        }
        pods
    }

    /// Names servers to their queue although no watch told of them.
    pub(super) async fn look_again(&self, are_concerned: impl Fn(&DynamicObject) -> bool) {
        // Nobody looks any more where it is closed.
        let _ = self.queues.name(Concerned::Servers(named(&self.servers, are_concerned))).await;
    }

    fn pod_failures(&self, namespace: &str, label: &str, name: &str) -> Vec<String> {
        let is_its = |pod: &DynamicObject| {
            pod.metadata.namespace.as_deref() == Some(namespace) && pod.labels().get(label).is_some_and(|it| it == name)
        };
        self.pods.state_filter(|pod| is_its(pod)).iter().filter_map(|pod| failure(pod)).collect()
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

/// Whether an object says that it belongs to this very one.
pub(super) fn belongs(object: &DynamicObject, server: &DynamicObject) -> bool {
    let uid = server.metadata.uid.as_ref();
    if object.metadata.namespace.is_none() {
        return uid.is_some() && object.labels().get(LABEL_OWNER) == uid;
    }
    object.owner_references().iter().any(|owner| owner.controller == Some(true) && Some(&owner.uid) == uid)
}

/// The registry whose server runs in a pod, by what selects it. A name alone is none: the template of any server may write that label,
/// and none the component.
fn registry_of(pod: &DynamicObject) -> Option<RegistryKey> {
    let is_its = pod.labels().get(LABEL_COMPONENT).is_some_and(|component| component == registry::COMPONENT);
    let name = pod.labels().get(LABEL_REGISTRY).filter(|_| is_its)?.clone();
    Some(RegistryKey { namespace: pod.namespace()?, name })
}

/// Whether an object names this very server as one that it goes with.
pub(super) fn is_of(object: &DynamicObject, uid: &str) -> bool {
    object.owner_references().iter().any(|owner| owner.uid == uid)
}

struct Watches<'a> {
    client: &'a Client,
    queues: Senders,
    tasks: JoinSet<()>,
}

/// Who has to look because of an event.
enum Concerned {
    Nobody,
    /// Namespace and name.
    One(Subject, String, String),
    /// The same of several servers.
    Servers(Vec<(String, String)>),
}

/// Namespaces and names of servers.
fn named(servers: &Store<DynamicObject>, are: impl Fn(&DynamicObject) -> bool) -> Vec<(String, String)> {
    let servers = servers.state_filter(|server| are(server)).into_iter();
    servers.filter_map(|server| Some((server.namespace()?, server.name_any()))).collect()
}

fn of_owner(object: &DynamicObject) -> Concerned {
    let namespace = object.namespace().or_else(|| object.labels().get(LABEL_NAMESPACE).cloned());
    match (namespace, Subject::of(object)) {
        (Some(namespace), Some((subject, name))) => Concerned::One(subject, namespace, name),
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
        let api: Api<DynamicObject> = match namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource),
            None => Api::all_with(self.client.clone(), &resource),
        };
        let config = watcher::Config::default();
        let config = if labels.is_empty() { config } else { config.labels(labels) };
        let writer = kube::runtime::reflector::store::Writer::new(resource.clone());
        let store = writer.as_reader();
        let (reader, queues) = (store.clone(), self.queues.clone());
        let types = TypeMeta { api_version: resource.api_version.clone(), kind: resource.kind.clone() };
        self.tasks.spawn(async move {
            let told = watcher(api, config).default_backoff().modify(move |object| kept(object, &types));
            let mut changes = std::pin::pin!(told.reflect(writer));
            let mut before: Vec<Arc<DynamicObject>> = Vec::new();
            while let Some(change) = changes.next().await {
                let changed = match change {
                    Ok(watcher::Event::Apply(object) | watcher::Event::Delete(object)) => vec![Arc::new(object)],
                    Ok(watcher::Event::Init) => {
                        before = reader.state();
                        continue;
                    }
                    // Whoever looked now would see what was there before.
                    Ok(watcher::Event::InitApply(_)) => continue,
                    Ok(watcher::Event::InitDone) => differing(&std::mem::take(&mut before), &reader.state()),
                    Err(error) => {
                        tracing::warn!(kind = resource.kind, %error, "a watch was interrupted");
                        continue;
                    }
                };
                for object in changed {
                    if queues.name(concerned(&object)).await.is_err() {
                        return;
                    }
                }
            }
        });
        store
    }
}

/// Makes an object what is kept of it, however it was told: the elements of a list do not say what they are, and an object
/// without that is never the one that was decided.
fn kept(object: &mut DynamicObject, types: &TypeMeta) {
    object.types.get_or_insert_with(|| types.clone());
    // Who set which field is half of an object, and nobody here asks.
    object.metadata.managed_fields = None;
}

/// What differs between two lists: what is new or another, and what went while nobody was told of it.
fn differing(before: &[Arc<DynamicObject>], after: &[Arc<DynamicObject>]) -> Vec<Arc<DynamicObject>> {
    type Versions<'a> = BTreeMap<(Option<&'a str>, Option<&'a str>), Option<&'a str>>;
    fn key(object: &DynamicObject) -> (Option<&str>, Option<&str>) {
        (object.metadata.namespace.as_deref(), object.metadata.name.as_deref())
    }
    fn versions(objects: &[Arc<DynamicObject>]) -> Versions<'_> {
        objects.iter().map(|object| (key(object), object.metadata.resource_version.as_deref())).collect()
    }
    let (known, there) = (versions(before), versions(after));
    let new =
        after.iter().filter(|object| known.get(&key(object)) != Some(&object.metadata.resource_version.as_deref()));
    let gone = before.iter().filter(|object| !there.contains_key(&key(object)));
    new.chain(gone).cloned().collect()
}

/// Where names of objects to look at are sent.
#[derive(Clone)]
struct Senders {
    servers: mpsc::Sender<SubjectRef>,
    registries: mpsc::Sender<SubjectRef>,
}

impl Senders {
    /// Names those who have to look.
    async fn name(&self, concerned: Concerned) -> Result<(), mpsc::error::SendError<SubjectRef>> {
        let (subject, whom) = match concerned {
            Concerned::Nobody => return Ok(()),
            Concerned::One(subject, namespace, name) => (subject, vec![(namespace, name)]),
            Concerned::Servers(whom) => (Subject::Server, whom),
        };
        let queue = match subject {
            Subject::Server => &self.servers,
            Subject::Registry => &self.registries,
        };
        for (namespace, name) in whom {
            queue.send(ObjectRef::new_with(&name, subject.resource()).within(&namespace)).await?;
        }
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn object(name: &str, version: &str) -> Arc<DynamicObject> {
        let body =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "resourceVersion": version}});
        Arc::new(serde_json::from_value(body).unwrap())
    }

    #[test]
    fn an_element_of_a_list_says_what_it_is() {
        let types = TypeMeta { api_version: "v1".to_owned(), kind: "ConfigMap".to_owned() };
        let mut element: DynamicObject =
            serde_json::from_value(json!({"metadata": {"name": "one", "managedFields": [{"manager": "other"}]}}))
                .unwrap();
        kept(&mut element, &types);
        let expected = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one"}});
        assert_eq!(json!(element), expected);
    }

    #[test]
    fn a_pod_of_a_server_that_says_it_is_one_of_a_registry_is_none() {
        let pod = |component: &str| -> DynamicObject {
            let labels = json!({LABEL_REGISTRY: "main", LABEL_COMPONENT: component});
            serde_json::from_value(json!({"metadata": {"name": "one", "namespace": "team", "labels": labels}})).unwrap()
        };
        let main = RegistryKey { namespace: "team".to_owned(), name: "main".to_owned() };
        assert_eq!(registry_of(&pod("registry")), Some(main));
        for other in ["backend", "probe", "proxy"] {
            assert_eq!(registry_of(&pod(other)), None, "{other}");
        }
    }

    #[test]
    fn after_a_gap_whoever_is_new_or_another_or_gone_is_looked_at_and_nobody_else() {
        let before = [object("same", "1"), object("other", "1"), object("gone", "1")];
        let after = [object("same", "1"), object("other", "2"), object("new", "1")];
        let mut names: Vec<String> = differing(&before, &after).iter().map(|object| object.name_any()).collect();
        names.sort();
        assert_eq!(names, ["gone", "new", "other"]);
        assert_eq!(differing(&[], &after).len(), 3);
    }
}
