//! What may reach a server and what it may reach, from its permission profile.

use fairlead_core::permission::NetworkAccess;
use serde_json::{Map, Value, json};

use super::Plan;
use super::names::Component;
use super::object::{Object, Resource};

impl Plan<'_> {
    /// Only the proxy reaches the server, at its port alone; a stdio server is attached to and nothing reaches it at all. A
    /// server without the network reaches nothing, names included.
    pub(super) fn network_policy(&self, network: &NetworkAccess) -> Object {
        let from_proxy = self.spec.transport.port().map(|port| {
            json!({
                "from": [{"podSelector": {"matchLabels": self.names.selector(Component::Proxy)}}],
                "ports": [{"port": port, "protocol": "TCP"}],
            })
        });
        let ingress: Vec<Value> = from_proxy.into_iter().collect();
        let mut spec = Map::new();
        spec.insert("podSelector".to_owned(), json!({"matchLabels": self.names.selector(Component::Backend)}));
        spec.insert("ingress".to_owned(), ingress.into());
        let types = match network {
            NetworkAccess::Closed => {
                spec.insert("egress".to_owned(), json!([]));
                json!(["Ingress", "Egress"])
            }
            NetworkAccess::Open { .. } => json!(["Ingress"]),
        };
        spec.insert("policyTypes".to_owned(), types);
        let labels = self.names.labels(Some(Component::Backend));
        Object::new(Resource::NetworkPolicy, self.names.network_policy(), labels, json!({"spec": spec}))
    }
}
