//! The decision: what a server is in a cluster, given its document and what was observed.
//!
//! Nothing here talks to anybody, so each rule is a unit test and the same inputs give the same objects, to the byte. Two rules
//! shape the rest. A replica count is never part of an object that is applied: it is a [`Scale`] of its own, so that applying
//! can never take back what an autoscaler did, and so that giving a count up ("nil") leaves the number that there is instead of
//! resetting it to a default, as dropping an applied field would. And where a document cannot be carried out, nothing is
//! touched ([`Decision::objects`] is `None`): a slip in a document does not end what runs.

mod access;
mod backend;
mod conditions;
mod config;
mod defaults;
mod merge;
mod names;
mod network;
mod object;
mod proxy;
mod quantity;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use fairlead_core::cluster::{ClusterDefaults, ClusterSpec};
use fairlead_core::digest::Digest;
use fairlead_core::document::{DocumentError, ServerDocument};
use fairlead_core::image::{ImageReference, ImageSource};
use fairlead_core::name::{PluginName, ServerKey};
use fairlead_core::permission::{Granted, NetworkAccess};
use fairlead_core::pod::PodLink;
use fairlead_core::policy::Policies;
use fairlead_core::remote::RemoteSource;
use fairlead_core::server::{ServerSpec, Source};
use fairlead_core::store::PluginSpec;
use jiff::Timestamp;
use serde_json::Value;

pub(crate) use backend::{CONTAINER as BACKEND, KUBERNETES, STORE_KEY, check_template, selected};
pub(crate) use config::FILE as CONFIG_FILE;
pub use merge::overlay;
pub(crate) use names::LABEL_COMPONENT;
pub use names::{FINALIZER, LABEL_NAMESPACE, LABEL_OWNER, LABEL_REGISTRY, LABEL_SERVER, MANAGED_BY, MANAGER, Names};
pub(crate) use object::Owner;
pub use object::{Object, Resource};
pub(crate) use proxy::{confined, without_root};

use crate::approval::Answers;
use crate::freshness::Kept;
use crate::limits::CAP_RECHECK;
use crate::status::ServerStatus;

/// The annotation of a server that, when it changes, starts its pods anew.
pub const RESTARTED_AT: &str = "fairlead.dev/restarted-at";

/// What the operator is set to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The image of the proxy: of this very program.
    pub proxy_image: String,
    /// How often servers are looked after; `None`: nobody does.
    pub updates: Option<Duration>,
    /// Lets registry servers ask the cluster who their clients are. That is a right over the whole cluster, which an operator of one
    /// namespace may not have to give.
    pub binds_reviewers: bool,
}

/// What a document of a cluster says, whose it is, and what was said of it last.
#[derive(Debug, Clone, PartialEq)]
pub struct Declared<D, S> {
    /// Its name.
    pub name: String,
    /// Its namespace, which is its tenant.
    pub namespace: String,
    /// Tells it from another of the same name.
    pub uid: String,
    /// Which state of the document this is.
    pub generation: i64,
    /// Whether it is being removed.
    pub deleting: bool,
    /// Value of [`RESTARTED_AT`].
    pub restarted_at: Option<String>,
    /// Value of [`CREATED_FRESH`](crate::freshness::CREATED_FRESH).
    pub created_fresh: bool,
    /// What it says, or why it cannot be read.
    pub document: D,
    /// What was said of it last.
    pub status: S,
}

/// A server, as its document says.
pub type Server = Declared<Result<ServerDocument, DocumentError>, ServerStatus>;

/// What is there.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Observed {
    /// The Deployment of the proxy.
    pub proxy: Option<Workload>,
    /// The `StatefulSet` of the server.
    pub backend: Option<Workload>,
    /// Why pods of either do not come up, in no particular order.
    pub pod_failures: Vec<String>,
    /// What is kept of its freshness.
    pub kept: Option<Kept>,
    /// The digests that its pods run.
    pub running: Vec<Digest>,
    /// All plugins that go by a name.
    pub plugins: BTreeMap<PluginName, PluginSpec>,
    /// All attachments of the platform and of tenants.
    pub policies: Policies,
    /// What the tenant of the server says for all of its servers.
    pub defaults: ClusterDefaults,
    /// What the registries of its namespace say of the entry that it names.
    pub answers: Answers,
}

/// What is known of a Deployment or a `StatefulSet`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Workload {
    /// How many were asked for, by whomever.
    pub wanted: u32,
    /// How many there are.
    pub replicas: u32,
    /// How many of them answer.
    pub ready: u32,
    /// Whether the controller of such workloads has seen its newest form.
    pub is_current: bool,
}

/// What shall be.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision<S = ServerStatus> {
    /// All objects of the server, in the order in which they are applied. What is there beside them goes. `None`: the document
    /// cannot be carried out, and nothing is touched.
    pub objects: Option<Vec<Object>>,
    /// Replica counts that are written. What is not here is not written.
    pub scales: Vec<Scale>,
    /// What is said.
    pub status: S,
    /// When to look again although nothing has changed.
    pub requeue: Option<Duration>,
}

/// A replica count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scale {
    /// Of a Deployment or a `StatefulSet`.
    pub resource: Resource,
    /// Its name.
    pub name: String,
    /// How many.
    pub replicas: u32,
}

/// What a server needs in a cluster, all of it possible there.
struct Plan<'a> {
    names: Names<'a>,
    spec: &'a ServerSpec,
    cluster: &'a ClusterSpec,
    origin: Origin<'a>,
    /// What is launched instead of the image that the document names.
    launched: Option<ImageReference>,
    key: &'a ServerKey,
    chain: Vec<PodLink>,
    settings: &'a Settings,
    server: &'a Server,
}

/// Where a server comes from, in a cluster.
enum Origin<'a> {
    /// A pod.
    Image { image: &'a ImageSource, network: NetworkAccess, env: Vec<Value> },
    /// Elsewhere.
    Remote {
        remote: &'a RemoteSource,
        /// The Secrets that its headers name, each with its key.
        secrets: Vec<(String, String)>,
    },
}

/// Decides.
#[must_use]
pub fn desired(server: &Server, observed: &Observed, settings: &Settings, now: Timestamp) -> Decision {
    let server = &defaults::applied(server, &observed.defaults);
    let verdict = conditions::judge(server, observed);
    let status = conditions::status(server, observed, &verdict, settings, now);
    if server.deleting {
        return Decision { objects: Some(Vec::new()), scales: Vec::new(), status, requeue: None };
    }
    let Ok(document) = &server.document else {
        return Decision { objects: None, scales: Vec::new(), status, requeue: None };
    };
    let conditions::Verdict { origin: Ok(origin), chain: Ok(chain), template: Ok(()), profile: Ok(()) } = verdict
    else {
        return Decision { objects: None, scales: Vec::new(), status, requeue: None };
    };
    let plan = Plan {
        names: Names::new(&server.name, &server.namespace),
        key: &document.key,
        spec: &document.spec,
        cluster: &document.cluster,
        launched: launched(document, observed),
        origin,
        chain,
        settings,
        server,
    };
    let is_capped = is_over_cap(document, observed);
    Decision {
        objects: Some(plan.objects(observed)),
        scales: plan.scales(observed),
        status,
        requeue: is_capped.then_some(CAP_RECHECK),
    }
}

/// What is launched instead of the image that a document names: what an update has put in its place.
fn launched(document: &ServerDocument, observed: &Observed) -> Option<ImageReference> {
    match &document.spec.source {
        Source::Image(image) => observed.kept.as_ref()?.launched(image),
        _ => None,
    }
}

/// Whether a stdio server was asked to be more than one, by its document or by whoever scales its workloads.
fn is_over_cap(document: &ServerDocument, observed: &Observed) -> bool {
    let transport = &document.spec.transport;
    let is_stdio = transport.port().is_none() && matches!(document.spec.source, Source::Image(_));
    let outside =
        |given: Option<u32>, there: Option<Workload>| given.is_none() && there.is_some_and(|it| it.wanted > 1);
    is_stdio
        && (document.cluster.exceeds_stdio(transport)
            || outside(document.cluster.replicas, observed.proxy)
            || outside(document.cluster.backend_replicas, observed.backend))
}

impl Plan<'_> {
    fn objects(&self, observed: &Observed) -> Vec<Object> {
        let config = self.config_map();
        let mut objects = vec![self.service_account()];
        objects.extend(self.role());
        objects.extend(self.role_binding());
        let checksum = config.checksum();
        objects.push(config);
        objects.push(self.proxy_service());
        if let Origin::Image { image, network, env } = &self.origin {
            objects.push(self.network_policy(network));
            objects.push(self.probe_policy(network));
            objects.push(self.headless_service());
            objects.push(self.stateful_set(image, env));
        }
        objects.push(self.deployment(&checksum));
        objects.extend(self.disruption_budget(observed));
        objects.sort_by(|a, b| (a.resource, &a.name).cmp(&(b.resource, &b.name)));
        let (name, namespace) = (self.names.name, self.names.namespace);
        let owner = Owner { kind: "MCPServer", name, namespace, uid: &self.server.uid };
        for object in &mut objects {
            object.own(&owner);
        }
        objects
    }

    fn scales(&self, observed: &Observed) -> Vec<Scale> {
        let transport = &self.spec.transport;
        let is_image = matches!(self.origin, Origin::Image { .. });
        let is_stdio = is_image && transport.port().is_none();
        // What somebody else has scaled beyond one is put back, but only where two cannot work.
        let outside = |there: Option<Workload>| there.filter(|there| is_stdio && there.wanted > 1).map(|_| 1);
        let proxy = if is_image { self.cluster.proxy_replicas(transport) } else { self.cluster.replicas };
        let backend = if is_image { self.cluster.server_replicas(transport) } else { None };
        let scale =
            |resource, name: String, replicas: Option<u32>| replicas.map(|replicas| Scale { resource, name, replicas });
        let proxy = scale(Resource::Deployment, self.names.deployment(), proxy.or_else(|| outside(observed.proxy)));
        let backend =
            scale(Resource::StatefulSet, self.names.stateful_set(), backend.or_else(|| outside(observed.backend)));
        proxy.into_iter().chain(backend.filter(|_| is_image)).collect()
    }
}

/// What a permission profile comes to in a cluster.
fn enforceable(granted: &Granted) -> Result<(), String> {
    if let Some(mount) = granted.mounts.first() {
        return Err(format!(
            "the profile mounts `{}` of a machine, and a cluster has no such place: give a volume",
            mount.source.display()
        ));
    }
    match &granted.network {
        NetworkAccess::Open { network: Some(name) } => {
            Err(format!("the profile names the network `{name}` of an engine, and a cluster has no such thing"))
        }
        NetworkAccess::Open { network: None } | NetworkAccess::Closed => Ok(()),
    }
}
