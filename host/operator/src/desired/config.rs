//! What the proxy is told: how the server is reached, its chain with every plugin pinned, and where sessions are kept.
//!
//! It is a type of the core that the proxy reads as well. Values of secrets are never in it, and what the proxy has no use for
//! is not either (image, environment, labels, the number of proxies), so that a newer image or another count does not start
//! pods anew.

use fairlead_core::cluster::SessionStorage;
use fairlead_core::pod::{PodConfig, PodUpstream};
use serde_json::json;

use super::names::Component;
use super::object::{Object, Resource};
use super::{Origin, Plan};

/// The key of the configuration in its `ConfigMap`, and the name of the file in the pod.
pub(crate) const FILE: &str = "server.json";

impl Plan<'_> {
    pub(super) fn config_map(&self) -> Object {
        let config = PodConfig {
            server: self.key.clone(),
            upstream: self.upstream(),
            isolation: self.spec.isolation,
            bridge: self.spec.bridge,
            chain: self.chain.clone(),
            backend_replicas: self.cluster.server_replicas(&self.spec.transport),
            // The password comes by environment, from the Secret itself.
            session_storage: self
                .cluster
                .session_storage
                .clone()
                .map(|storage| SessionStorage { password_ref: None, ..storage }),
        };
        let labels = self.names.labels(Some(Component::Proxy));
        let body = json!({"data": {FILE: json!(config).to_string()}});
        Object::new(Resource::ConfigMap, self.names.config_map(), labels, body)
    }

    /// How the proxy gets at the server.
    fn upstream(&self) -> PodUpstream {
        match (&self.origin, self.spec.transport.port()) {
            (Origin::Remote { remote, .. }, _) => PodUpstream::Remote(Box::new((*remote).clone())),
            (Origin::Image { .. }, None) => PodUpstream::Attach {
                namespace: self.names.namespace.to_owned(),
                pod: format!("{}-0", self.names.stateful_set()),
                container: super::backend::CONTAINER.to_owned(),
            },
            (Origin::Image { .. }, Some(port)) => PodUpstream::Service {
                origin: format!("http://{}.{}.svc:{port}", self.names.headless(), self.names.namespace),
                transport: self.spec.transport.clone(),
            },
        }
    }
}
