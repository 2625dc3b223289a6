//! What may reach a server and what it may reach, from its permission profile.

use fairlead_core::permission::NetworkAccess;
use serde_json::{Map, Value, json};

use super::Plan;
use super::names::Component;
use super::object::{Object, Resource};
use crate::probe::LABEL_PROBE;

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
        let selector = self.names.selector(Component::Backend);
        self.guard(self.names.network_policy(), &selector, from_proxy.into_iter().collect(), network)
    }

    /// A newer image is started before anybody has let it in: what the profile keeps the server from, that is kept from as well. Whoever
    /// speaks to it comes through the kubelet, and nobody over the network.
    pub(super) fn probe_policy(&self, network: &NetworkAccess) -> Object {
        self.guard(self.names.probe_policy(), &json!({LABEL_PROBE: self.names.name}), Vec::new(), network)
    }

    fn guard(&self, name: String, selector: &Value, ingress: Vec<Value>, network: &NetworkAccess) -> Object {
        let mut spec = Map::new();
        spec.insert("podSelector".to_owned(), json!({"matchLabels": selector}));
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
        Object::new(Resource::NetworkPolicy, name, labels, json!({"spec": spec}))
    }
}
