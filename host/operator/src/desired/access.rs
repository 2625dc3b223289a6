//! Who the proxy is to the cluster, and what it may: to attach to the one pod of a stdio server, and nothing otherwise.

use serde_json::json;

use super::names::Component;
use super::object::{Object, Resource};
use super::{Origin, Plan};

impl Plan<'_> {
    /// Whether the proxy speaks to the API server at all.
    pub(super) fn attaches(&self) -> bool {
        matches!(self.origin, Origin::Image { .. }) && self.spec.transport.port().is_none()
    }

    pub(super) fn service_account(&self) -> Object {
        let labels = self.names.labels(Some(Component::Proxy));
        // The pod asks for the token where it needs one; nothing else gets it.
        let body = json!({"automountServiceAccountToken": false});
        Object::new(Resource::ServiceAccount, self.names.identity(), labels, body)
    }

    pub(super) fn role(&self) -> Option<Object> {
        if !self.attaches() {
            return None;
        }
        // A stdio server has one pod, so its name is known: no other pod can be looked at or attached to.
        let pod = format!("{}-0", self.names.stateful_set());
        let rules = json!([
            {"apiGroups": [""], "resources": ["pods"], "resourceNames": [pod], "verbs": ["get"]},
            {"apiGroups": [""], "resources": ["pods/attach"], "resourceNames": [pod], "verbs": ["create", "get"]},
        ]);
        let labels = self.names.labels(Some(Component::Proxy));
        Some(Object::new(Resource::Role, self.names.identity(), labels, json!({"rules": rules})))
    }

    pub(super) fn role_binding(&self) -> Option<Object> {
        if !self.attaches() {
            return None;
        }
        let name = self.names.identity();
        let body = json!({
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": self.names.namespace}],
        });
        let labels = self.names.labels(Some(Component::Proxy));
        Some(Object::new(Resource::RoleBinding, name, labels, body))
    }
}
