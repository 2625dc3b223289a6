//! An object as it is applied, and how one that is there is compared with it.
//!
//! A server-side apply that changes nothing is still a request, so what is there is compared first. The comparison looks only
//! at fields that are applied: what others add is theirs. That something applied before is not applied any more shows in the
//! checksum that each object carries.

use fairlead_core::document::API_VERSION;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::names::{LABEL_NAMESPACE, LABEL_OWNER};
use super::quantity;

/// The annotation with the checksum of what was applied.
const APPLIED: &str = "fairlead.dev/applied";

/// A kind of object that belongs to a server, in the order in which they are applied: what is needed first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resource {
    /// Who the proxy is.
    ServiceAccount,
    /// What it may.
    Role,
    /// That it may.
    RoleBinding,
    /// That it may what only the whole cluster can be asked for.
    ClusterRoleBinding,
    /// What it is told.
    ConfigMap,
    /// Where it is found.
    Service,
    /// What the server may reach.
    NetworkPolicy,
    /// The server.
    StatefulSet,
    /// The proxy.
    Deployment,
    /// How many of it may go at once.
    PodDisruptionBudget,
}

impl Resource {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::ServiceAccount,
        Self::Role,
        Self::RoleBinding,
        Self::ClusterRoleBinding,
        Self::ConfigMap,
        Self::Service,
        Self::NetworkPolicy,
        Self::StatefulSet,
        Self::Deployment,
        Self::PodDisruptionBudget,
    ];

    /// Group and version.
    #[must_use]
    pub const fn api(self) -> (&'static str, &'static str) {
        match self {
            Self::ServiceAccount | Self::ConfigMap | Self::Service => ("", "v1"),
            Self::Role | Self::RoleBinding | Self::ClusterRoleBinding => ("rbac.authorization.k8s.io", "v1"),
            Self::NetworkPolicy => ("networking.k8s.io", "v1"),
            Self::StatefulSet | Self::Deployment => ("apps", "v1"),
            Self::PodDisruptionBudget => ("policy", "v1"),
        }
    }

    /// Its kind.
    #[must_use]
    pub const fn kind(self) -> &'static str {
        match self {
            Self::ServiceAccount => "ServiceAccount",
            Self::Role => "Role",
            Self::RoleBinding => "RoleBinding",
            Self::ClusterRoleBinding => "ClusterRoleBinding",
            Self::ConfigMap => "ConfigMap",
            Self::Service => "Service",
            Self::NetworkPolicy => "NetworkPolicy",
            Self::StatefulSet => "StatefulSet",
            Self::Deployment => "Deployment",
            Self::PodDisruptionBudget => "PodDisruptionBudget",
        }
    }

    /// Whether it lies in a namespace.
    #[must_use]
    pub const fn is_namespaced(self) -> bool {
        !matches!(self, Self::ClusterRoleBinding)
    }

    /// Its name in URLs and roles.
    #[must_use]
    pub const fn plural(self) -> &'static str {
        match self {
            Self::ServiceAccount => "serviceaccounts",
            Self::Role => "roles",
            Self::RoleBinding => "rolebindings",
            Self::ClusterRoleBinding => "clusterrolebindings",
            Self::ConfigMap => "configmaps",
            Self::Service => "services",
            Self::NetworkPolicy => "networkpolicies",
            Self::StatefulSet => "statefulsets",
            Self::Deployment => "deployments",
            Self::PodDisruptionBudget => "poddisruptionbudgets",
        }
    }
}

/// To whom an object belongs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Owner<'a> {
    /// What that is.
    pub(crate) kind: &'static str,
    /// Its name.
    pub(crate) name: &'a str,
    /// Its namespace.
    pub(crate) namespace: &'a str,
    /// Tells it from another of the same name.
    pub(crate) uid: &'a str,
}

/// An object as it is applied.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    /// What it is.
    pub resource: Resource,
    /// Its name.
    pub name: String,
    /// All fields that are ours.
    pub body: Value,
}

impl Object {
    /// An object with labels; `body` has what comes beside `metadata`.
    pub(crate) fn new(resource: Resource, name: String, labels: Value, body: Value) -> Self {
        let (group, version) = resource.api();
        let api = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
        let mut whole = Map::new();
        whole.insert("apiVersion".to_owned(), api.into());
        whole.insert("kind".to_owned(), resource.kind().into());
        whole.insert("metadata".to_owned(), json!({"name": name, "labels": labels}));
        if let Value::Object(body) = body {
            whole.extend(body);
        }
        Self { resource, name, body: whole.into() }
    }

    /// With annotations.
    pub(crate) fn annotated(mut self, annotations: impl IntoIterator<Item = (String, Value)>) -> Self {
        if let Some(there) = self.metadata("annotations") {
            there.extend(annotations);
        }
        self
    }

    /// Tells objects with the same content by the same text.
    pub(crate) fn checksum(&self) -> String {
        let sum = Sha256::digest(self.body.to_string().as_bytes());
        sum.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
    }

    /// Puts it into the namespace of its owner, makes it go with it, and writes down what is applied. What has no namespace only
    /// says whose it is: a cluster would remove at once what an object of a namespace owns there.
    pub(crate) fn own(&mut self, owner: &Owner<'_>) {
        if !self.resource.is_namespaced() {
            if let Some(labels) = self.metadata("labels") {
                labels.insert(LABEL_NAMESPACE.to_owned(), owner.namespace.into());
                labels.insert(LABEL_OWNER.to_owned(), owner.uid.into());
            }
        } else if let Some(metadata) = self.body.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.insert("namespace".to_owned(), owner.namespace.into());
            let reference = json!({
                "apiVersion": API_VERSION, "kind": owner.kind, "name": owner.name, "uid": owner.uid, "controller": true,
            });
            metadata.insert("ownerReferences".to_owned(), json!([reference]));
        }
        let checksum = self.checksum();
        if let Some(annotations) = self.metadata("annotations") {
            annotations.insert(APPLIED.to_owned(), checksum.into());
        }
    }

    fn metadata(&mut self, field: &str) -> Option<&mut Map<String, Value>> {
        let metadata = self.body.get_mut("metadata")?.as_object_mut()?;
        metadata.entry(field).or_insert_with(|| json!({})).as_object_mut()
    }

    /// Whether an object that is there has all of this as it is here.
    #[must_use]
    pub fn is_in(&self, there: &Value) -> bool {
        contains(there, &self.body)
    }
}

/// Whether `there` has every field of `wanted`. An element of a list is found by its name where it has one, for lists of named
/// things are open to others; other lists are compared as a whole. An API server leaves out what is empty.
fn contains(there: &Value, wanted: &Value) -> bool {
    match (there, wanted) {
        (Value::Object(there), Value::Object(wanted)) => wanted.iter().all(|(name, wanted)| match there.get(name) {
            Some(there) if quantity::has_amounts(name) => contains_amounts(there, wanted),
            Some(there) => contains(there, wanted),
            None => is_empty(wanted),
        }),
        (Value::Array(there), Value::Array(wanted)) => {
            let named = wanted.iter().all(|element| key(element).is_some());
            if named {
                wanted.iter().all(|wanted| {
                    let found = there.iter().find(|there| key(there) == key(wanted));
                    found.is_some_and(|there| contains(there, wanted))
                })
            } else {
                there.len() == wanted.len() && there.iter().zip(wanted).all(|(there, wanted)| contains(there, wanted))
            }
        }
        (there, wanted) => there == wanted || (is_empty(there) && is_empty(wanted)),
    }
}

/// The same of amounts, or of a map of them.
fn contains_amounts(there: &Value, wanted: &Value) -> bool {
    match (there, wanted) {
        (Value::Object(there), Value::Object(wanted)) => {
            wanted.iter().all(|(name, wanted)| there.get(name).is_some_and(|there| contains_amounts(there, wanted)))
        }
        (there, wanted) => contains(there, wanted) || quantity::is_same(there, wanted),
    }
}

/// What tells elements of a list apart: by the fields that an API server merges such lists by.
fn key(element: &Value) -> Option<(&str, &Value)> {
    let fields = ["mountPath", "containerPort", "uid", "name"];
    fields.into_iter().find_map(|field| element.get(field).map(|value| (field, value)))
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(fields) => fields.values().all(is_empty),
        Value::Array(elements) => elements.is_empty(),
        Value::String(text) => text.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_add_is_theirs_and_what_is_ours_is_seen() {
        let wanted = json!({"a": {"b": 1}, "list": [{"name": "x", "v": 1}], "none": [], "words": ["p", "q"]});
        let there = json!({"a": {"b": 1, "c": 2}, "list": [{"name": "y"}, {"name": "x", "v": 1, "w": 2}], "words": ["p", "q"], "z": 1});
        assert!(contains(&there, &wanted));
        for (pointer, value) in
            [("/a/b", json!(2)), ("/list/1/v", json!(2)), ("/words", json!(["p"])), ("/list", json!([]))]
        {
            let mut other = there.clone();
            *other.pointer_mut(pointer).unwrap() = value;
            assert!(!contains(&other, &wanted), "{pointer}");
        }
    }

    #[test]
    fn what_an_api_server_writes_in_its_own_form_is_what_was_applied() {
        let wanted = json!({"resources": {"limits": {"memory": "1024Mi", "cpu": 1}, "requests": {"cpu": "500m"}},
            "volumes": [{"name": "v", "emptyDir": {"sizeLimit": "2048Ki"}}], "value": "1000m"});
        let there = json!({"resources": {"limits": {"memory": "1Gi", "cpu": "1"}, "requests": {"cpu": "500m"}},
            "volumes": [{"name": "v", "emptyDir": {"sizeLimit": "2Mi"}}], "value": "1000m"});
        assert!(contains(&there, &wanted));
        for (pointer, value) in [
            ("/resources/limits/memory", json!("1G")),
            ("/resources/limits", json!({"memory": "1Gi"})),
            ("/volumes/0/emptyDir/sizeLimit", json!("3Mi")),
            ("/value", json!("1")),
        ] {
            let mut other = there.clone();
            *other.pointer_mut(pointer).unwrap() = value;
            assert!(!contains(&other, &wanted), "{pointer}");
        }
    }
}
