//! What the operator may is what it needs: the role of `deploy/operator.yaml` is held against what the API server saw it do.
//!
//! A whole life of two servers runs under that role, so nothing is missing. Every verb of the role is then either in the audit
//! log of that life, or, where the log cannot show it (an apply that creates needs `create`, a grant needs what is granted), it
//! is taken away and the operator fails.

use std::collections::BTreeSet;
use std::path::Path;

use fairlead_operator::desired::Resource;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::client::UpgradeConnectionError;
use kube::core::DynamicObject;
use serde_json::{Value, json};

use crate::ground::{Ground, config, http, resource, stdio, with};
use crate::keeper::{Follower, Node, digest};

/// Group, resource and verb.
pub(crate) type Right = (String, String, String);

pub(crate) fn manifest(kind: &str, name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/operator.yaml");
    let all: Vec<Value> = serde_saphyr::from_multiple(&std::fs::read_to_string(path).unwrap()).unwrap();
    all.into_iter().find(|object| object["kind"] == kind && object["metadata"]["name"] == name).unwrap()
}

pub(crate) fn rights(role: &Value) -> BTreeSet<Right> {
    let texts = |value: &Value| {
        value.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let mut rights = BTreeSet::new();
    for rule in role["rules"].as_array().unwrap() {
        for group in texts(&rule["apiGroups"]) {
            for resource in texts(&rule["resources"]) {
                rights.extend(texts(&rule["verbs"]).into_iter().map(|verb| (group.clone(), resource.clone(), verb)));
            }
        }
    }
    rights
}

/// All rights of the operator, wherever it has them.
pub(crate) fn all() -> BTreeSet<Right> {
    let (everywhere, own) = (manifest("ClusterRole", "fairlead-operator"), manifest("Role", "fairlead-operator"));
    rights(&everywhere).union(&rights(&own)).cloned().collect()
}

impl Ground {
    /// Makes an account that may do this, in the whole cluster, and returns who that is.
    pub(crate) async fn allow(&self, who: &str, rights: &BTreeSet<Right>) -> String {
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": who}});
        let accounts = self.api(Resource::ServiceAccount);
        accounts.create(&PostParams::default(), &serde_json::from_value(account).unwrap()).await.unwrap();
        let user = format!("system:serviceaccount:{}:{who}", self.namespace);
        let name = format!("{}-{who}", self.namespace);
        let rules: Vec<Value> = rights
            .iter()
            .map(|(group, resource, verb)| json!({"apiGroups": [group], "resources": [resource], "verbs": [verb]}))
            .collect();
        let group = "rbac.authorization.k8s.io";
        let role = json!({"apiVersion": format!("{group}/v1"), "kind": "ClusterRole", "metadata": {"name": name}, "rules": rules});
        let binding = json!({
            "apiVersion": format!("{group}/v1"), "kind": "ClusterRoleBinding", "metadata": {"name": name},
            "roleRef": {"kind": "ClusterRole", "name": name, "apiGroup": group},
            "subjects": [{"kind": "User", "name": user, "apiGroup": group}],
        });
        for (kind, plural, body) in
            [("ClusterRole", "clusterroles", role), ("ClusterRoleBinding", "clusterrolebindings", binding)]
        {
            let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &resource(group, kind, plural));
            api.create(&PostParams::default(), &serde_json::from_value(body).unwrap()).await.unwrap();
        }
        user
    }

    /// How the API server answers a user who wants to reach a port of a pod that there is not.
    async fn forwards(&self, user: &str) -> u16 {
        let client = kube::Client::try_from(config(Some(user)).await.unwrap()).unwrap();
        let pods: Api<k8s_openapi::api::core::v1::Pod> = Api::namespaced(client, &self.namespace);
        match pods.portforward("nobody", &[1]).await.err().unwrap() {
            kube::Error::Api(status) => status.code,
            kube::Error::UpgradeConnection(UpgradeConnectionError::ProtocolSwitch(status)) => status.as_u16(),
            error => panic!("{error}"),
        }
    }

    async fn create_registry(&self) {
        let registry = json!({"apiVersion": "fairlead.dev/v1alpha1", "kind": "MCPRegistry", "metadata": {"name": "all"},
                              "spec": {"registries": {"a": {"source": {"kind": "oci", "reference": "r.test/a:1"}}}}});
        let registry = serde_json::from_value(registry).unwrap();
        self.registries().create(&PostParams::default(), &registry).await.unwrap();
    }

    /// The life of two servers and a registry, with every kind of object, a newer image, an entry that is asked for, a mark that is
    /// taken away, and an end.
    async fn life(&self) {
        self.create_registry().await;
        self.there(Resource::Deployment, "all-registry").await;
        self.condition_of(&self.registries(), "all", "SpecValid", "True", "SpecIsValid").await;
        let binding = format!("fairlead.dev:{}:all-registry", self.namespace);
        self.create("one", with(stdio(), json!({"replicas": 1, "backendReplicas": 1}))).await;
        let updates = json!({"check": true, "autoReinstall": true});
        self.create("two", with(http(), json!({"replicas": 2, "backendReplicas": 2, "updates": updates}))).await;
        self.there(Resource::Deployment, "one").await;
        self.there(Resource::PodDisruptionBudget, "two-proxy").await;
        for (api, name) in [(self.api(Resource::Deployment), "two"), (self.api(Resource::StatefulSet), "two")] {
            self.until(&api, name, "two", |object| object["spec"]["replicas"] == 2).await;
        }
        let is_updated = |server: &Value| {
            let updates = server.pointer("/status/updates");
            updates.is_some_and(|updates| updates["status"] == "up_to_date" && updates["running"] == json!([digest(2)]))
        };
        self.until(&self.servers(), "two", "probed, noticed, tried and rolled out", is_updated).await;
        let named = Patch::Merge(json!({"metadata": {"annotations": {"fairlead.dev/registry-entry": "a/b@1"}}}));
        self.servers().patch("one", &PatchParams::default(), &named).await.unwrap();
        // The pod of the registry is on no node.
        let is_asked =
            |server: &Value| server["status"]["conditions"].to_string().contains("does not forward its port");
        self.until(&self.servers(), "one", "its entry is asked for", is_asked).await;
        let unmark = Patch::Merge(json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": null}}}));
        for resource in Resource::ALL {
            let name = match resource {
                Resource::ServiceAccount | Resource::Role | Resource::RoleBinding => "one-proxy",
                Resource::ClusterRoleBinding => binding.as_str(),
                Resource::ConfigMap => "one-config",
                Resource::Service => "mcp-one-proxy",
                Resource::NetworkPolicy => "one-backend",
                Resource::StatefulSet | Resource::Deployment => "one",
                Resource::PodDisruptionBudget => "two-proxy",
            };
            let api = self.api(resource);
            api.patch(name, &PatchParams::default(), &unmark).await.unwrap();
            let is_marked =
                |object: &Value| object["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "fairlead-operator";
            self.until(&api, name, "marked", is_marked).await;
        }
        self.registries().delete("all", &DeleteParams::default()).await.unwrap();
        self.gone(&self.registries(), "all").await;
        for name in ["one", "two"] {
            self.servers().delete(name, &DeleteParams::default()).await.unwrap();
            self.gone(&self.servers(), name).await;
        }
    }
}

/// What the API server let a user do, except for what everybody may: ask who they are.
fn used(user: &str) -> BTreeSet<Right> {
    let log = Path::new(&std::env::var_os("FAIRLEAD_TEST_CLUSTER").unwrap()).with_file_name("audit.log");
    let log = std::fs::read_to_string(log).unwrap();
    let events =
        log.lines().filter(|line| line.contains(user)).map(|line| serde_json::from_str::<Value>(line).unwrap());
    let by_user = events.filter(|event| event["impersonatedUser"]["username"] == user);
    by_user
        .filter_map(|event| {
            let of = &event["objectRef"];
            let text = |name: &str| of[name].as_str().unwrap_or_default().to_owned();
            let resource = match of["subresource"].as_str() {
                Some(sub) => format!("{}/{sub}", text("resource")),
                None => text("resource"),
            };
            (resource != "selfsubjectreviews")
                .then(|| (text("apiGroup"), resource, event["verb"].as_str().unwrap().to_owned()))
        })
        .collect()
}

/// Whether it is a registry server that asks for this right of the operator: a test with a real one takes it away.
fn is_seen_by_a_registry((_, resource, verb): &Right) -> bool {
    (resource.as_str(), verb.as_str()) == ("mcpregistries/entries", "get")
}

#[tokio::test]
async fn every_right_of_the_operator_is_needed_and_none_is_missing() {
    let Some(mut ground) = Ground::bare().await else { return };
    let all = all();
    let user = ground.allow("whole", &all).await;
    let whole = user.clone();
    let _node = Node::start(&ground, 1);
    let follower = Follower::of(&[("one", 1), ("two", 2)]);
    let tally = ground.operator_keeping("one", Some(&user), &follower).await;
    ground.life().await;
    let used = used(&user);
    let unasked: Vec<&Right> = used.difference(&all).collect();
    assert!(unasked.is_empty(), "asked for and not granted: {unasked:?}");
    assert_eq!(tally.failures(), 0, "{tally:?}");
    // What the log cannot show.
    let unseen: Vec<Right> = all.difference(&used).filter(|right| !is_seen_by_a_registry(right)).cloned().collect();
    for (group, resource, verb) in &unseen {
        // The second question about a stream, which nobody logs.
        let is_forward = group.is_empty() && resource == "pods/portforward" && verb == "create";
        let is_creation = verb == "create" && Resource::ALL.iter().any(|it| it.plural() == resource);
        let is_of_a_proxy = group.is_empty() && (resource == "pods/attach" || (resource == "pods" && verb == "get"));
        let is_of_a_registry =
            verb == "create" && ["subjectaccessreviews", "tokenreviews"].contains(&resource.as_str());
        let is_grant = is_of_a_proxy || is_of_a_registry;
        assert!(is_creation || is_grant || is_forward, "{group}/{resource}: {verb} was never used");
    }
    ground.kill(0);
    for right in unseen {
        let mut less = all.clone();
        less.remove(&right);
        let mut without = Ground::bare().await.unwrap();
        let user = without.allow("less", &less).await;
        if right.1 == "pods/portforward" {
            assert_eq!((without.forwards(&user).await, ground.forwards(&whole).await), (403, 404), "{right:?}");
            continue;
        }
        let tally = without.operator_as("one", Some(&user)).await;
        without.create("one", stdio()).await;
        without.create("two", with(http(), json!({"replicas": 2}))).await;
        without.create_registry().await;
        without.fails(&tally, &format!("{right:?} is taken away")).await;
    }
}
