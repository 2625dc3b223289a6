//! What the proxy is told: the server, its chain with every plugin pinned, and where sessions are kept.
//!
//! It is the document's own words (`spec` of the same type), so the data plane of a pod reads what the data plane of a daemon
//! reads. Values of secrets are never in it, and the server's environment is not either: the proxy has no use for it. The
//! number of proxies is left out too, so that scaling does not start pods anew.

use serde_json::{Map, Value, json};

use super::names::Component;
use super::object::{Object, Resource};
use super::{Origin, Plan};

/// The key of the configuration in its `ConfigMap`, and the name of the file in the pod.
pub(super) const FILE: &str = "server.json";

impl Plan<'_> {
    pub(super) fn config_map(&self) -> Object {
        let mut spec = json!(self.spec);
        if let Some(fields) = spec.as_object_mut() {
            for kept_elsewhere in ["env", "labels", "annotations", "plugins"] {
                fields.remove(kept_elsewhere);
            }
        }
        let config = json!({
            "server": self.names.name,
            "tenant": self.names.namespace,
            "spec": spec,
            "chain": self.chain,
            "upstream": self.upstream(),
            "backendReplicas": self.cluster.server_replicas(&self.spec.transport),
            "sessionStorage": self.sessions(),
        });
        let labels = self.names.labels(Some(Component::Proxy));
        let body = json!({"data": {FILE: config.to_string()}});
        Object::new(Resource::ConfigMap, self.names.config_map(), labels, body)
    }

    /// How the proxy gets at the server.
    fn upstream(&self) -> Value {
        match (&self.origin, self.spec.transport.port()) {
            (Origin::Remote(remote), _) => json!({"kind": "remote", "url": remote.url}),
            (Origin::Image { .. }, None) => {
                let pod = format!("{}-0", self.names.stateful_set());
                json!({"kind": "attach", "namespace": self.names.namespace, "pod": pod, "container": super::backend::CONTAINER})
            }
            (Origin::Image { .. }, Some(port)) => {
                let host = format!("{}.{}.svc", self.names.headless(), self.names.namespace);
                let path = self.spec.transport.path().unwrap_or_default();
                json!({"kind": "http", "url": format!("http://{host}:{port}{path}")})
            }
        }
    }

    fn sessions(&self) -> Value {
        let Some(storage) = &self.cluster.session_storage else { return Value::Null };
        let mut told = match json!(storage) {
            Value::Object(told) => told,
            _ => Map::new(),
        };
        // The password comes by environment, from the Secret itself.
        told.remove("passwordRef");
        told.into()
    }
}
