//! Names and labels of what belongs to a server.

use serde_json::{Value, json};

/// The one field manager of all that is applied.
pub const MANAGER: &str = "fairlead-operator";

/// Keeps a server until all that belongs to it is gone.
pub const FINALIZER: &str = "fairlead.dev/cleanup";

/// The label that says to which server something belongs.
pub const LABEL_SERVER: &str = "fairlead.dev/server";

/// The label that says to which registry something belongs.
pub const LABEL_REGISTRY: &str = "fairlead.dev/registry";

/// The label that says which half of a server something is.
pub(crate) const LABEL_COMPONENT: &str = "app.kubernetes.io/component";

/// The label of what has no namespace that says to which one it belongs.
pub const LABEL_NAMESPACE: &str = "fairlead.dev/namespace";

/// The label of what has no namespace that says to which very object it belongs: nothing of a namespace can own it.
pub const LABEL_OWNER: &str = "fairlead.dev/owner";

/// Selects all that the operator owns.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by=fairlead-operator";

/// Which half of a server something belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Component {
    /// What clients speak to.
    Proxy,
    /// The server itself.
    Backend,
}

impl Component {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Proxy => "proxy",
            Self::Backend => "backend",
        }
    }
}

/// The names of the objects of a server. Those of Services are what people of the field expect, so that a client's
/// configuration survives a move.
#[derive(Debug, Clone, Copy)]
pub struct Names<'a> {
    /// Of the server.
    pub name: &'a str,
    /// Its namespace.
    pub namespace: &'a str,
}

impl<'a> Names<'a> {
    /// The names of a server's objects.
    #[must_use]
    pub const fn new(name: &'a str, namespace: &'a str) -> Self {
        Self { name, namespace }
    }

    /// The Deployment of the proxy.
    #[must_use]
    pub fn deployment(&self) -> String {
        self.name.to_owned()
    }

    /// The `StatefulSet` of the server.
    #[must_use]
    pub fn stateful_set(&self) -> String {
        self.name.to_owned()
    }

    /// The Service that clients use.
    #[must_use]
    pub fn service(&self) -> String {
        format!("mcp-{}-proxy", self.name)
    }

    /// The Service that gives each pod of the server a name.
    #[must_use]
    pub fn headless(&self) -> String {
        format!("mcp-{}-headless", self.name)
    }

    /// The configuration of the proxy.
    #[must_use]
    pub fn config_map(&self) -> String {
        format!("{}-config", self.name)
    }

    /// The identity of the proxy: service account, role and role binding.
    #[must_use]
    pub fn identity(&self) -> String {
        format!("{}-proxy", self.name)
    }

    /// What guards the pods of the server.
    #[must_use]
    pub fn network_policy(&self) -> String {
        format!("{}-backend", self.name)
    }

    /// What guards pods that are there to find something out about the server.
    #[must_use]
    pub fn probe_policy(&self) -> String {
        format!("{}-probe", self.name)
    }

    /// What is known of its freshness.
    #[must_use]
    pub fn freshness(&self) -> String {
        format!("{}-freshness", self.name)
    }

    /// The pods of the proxy, as `kubectl -l` takes it.
    #[must_use]
    pub fn proxy_selector(&self) -> String {
        format!("{LABEL_SERVER}={},app.kubernetes.io/component=proxy", self.name)
    }

    /// The labels by which the pods of the server itself are known.
    pub(crate) fn backend_labels(&self) -> [(&'static str, String); 2] {
        [(LABEL_SERVER, self.name.to_owned()), (LABEL_COMPONENT, Component::Backend.as_str().to_owned())]
    }

    /// What selects the pods of one half.
    pub(super) fn selector(&self, component: Component) -> Value {
        json!({LABEL_SERVER: self.name, LABEL_COMPONENT: component.as_str()})
    }

    /// The labels of what belongs to one half, or to the whole.
    pub(crate) fn labels(&self, component: Option<Component>) -> Value {
        let mut labels = json!({
            LABEL_SERVER: self.name,
            "app.kubernetes.io/name": "fairlead",
            "app.kubernetes.io/instance": self.name,
            "app.kubernetes.io/managed-by": MANAGER,
        });
        if let (Some(component), Some(labels)) = (component, labels.as_object_mut()) {
            labels.insert(LABEL_COMPONENT.to_owned(), component.as_str().into());
        }
        labels
    }
}
