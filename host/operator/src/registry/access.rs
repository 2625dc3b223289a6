//! Who may read what a registry server serves, and what the server needs to find that out.
//!
//! Reading is a right like any other in the cluster: `get` of `mcpregistries/entries`, given by roles. To learn who shows a token
//! and what they may is a right over the whole cluster, `system:auth-delegator`, which every cluster has for this and which has
//! nothing beside it. It is bound to the account of the one server, and without a namespace, so that nothing of a namespace can own
//! the binding: it goes by the finalizer.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{RegistryServer, RegistryServerSpec, object_name};
use crate::desired::{Object, Resource};
use crate::status::{ConditionType, Finding, Reason, Truth};

/// What a cluster calls the right to review tokens and accesses.
const REVIEWER: &str = "system:auth-delegator";

/// Who may read a registry server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// Whoever shows a token of the cluster, made for this registry, and may `get` its `mcpregistries/entries`.
    #[default]
    Cluster,
    /// Whoever reaches its Service.
    Open,
}

impl RegistryServerSpec {
    /// Whether clients are reviewed by the cluster: unless something else is said. Its network is everybody's, and what is served was
    /// perhaps read with a secret.
    #[must_use]
    pub fn is_reviewed(&self) -> bool {
        self.access.map_or(!self.tokens, |access| access == Access::Cluster)
    }

    pub(super) fn check_access(&self) -> Result<(), String> {
        match self.access {
            Some(_) if self.tokens => Err("`access` and `tokens` say two things: give one of them".to_owned()),
            _ => Ok(()),
        }
    }
}

/// What a token is made for that a registry server takes: the name of its Service.
#[must_use]
pub fn audience(namespace: &str, name: &str) -> String {
    format!("{}.{namespace}.svc", object_name(name))
}

/// The name of the binding of a registry server. There is one such name in the cluster for each server.
#[must_use]
pub fn binding_name(namespace: &str, name: &str) -> String {
    format!("fairlead.dev:{namespace}:{}", object_name(name))
}

/// That the account of a registry server may review.
pub(super) fn binding(namespace: &str, name: &str, labels: serde_json::Value) -> Object {
    let account = json!({"kind": "ServiceAccount", "name": object_name(name), "namespace": namespace});
    let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": REVIEWER});
    let body = json!({"roleRef": role, "subjects": [account]});
    Object::new(Resource::ClusterRoleBinding, binding_name(namespace, name), labels, body)
}

/// What is said of it.
pub(super) fn finding(server: &RegistryServer, binds: bool) -> Finding {
    let is_reviewed = server.document.as_ref().is_ok_and(RegistryServerSpec::is_reviewed);
    let kind = ConditionType::ReviewsGranted;
    if !is_reviewed {
        return Finding::new(
            kind,
            Truth::Unknown,
            Reason::ReviewsNotApplicable,
            "the cluster is not asked who clients are",
        );
    }
    if binds {
        return Finding::new(kind, Truth::True, Reason::ReviewerBound, "");
    }
    let (namespace, account) = (&server.namespace, object_name(&server.name));
    let message = format!(
        "this operator gives no rights over the whole cluster; without them nobody is served: \
         kubectl create clusterrolebinding {} --clusterrole={REVIEWER} --serviceaccount={namespace}:{account}",
        binding_name(namespace, &server.name)
    );
    Finding::new(kind, Truth::Unknown, Reason::ReviewerBoundByOthers, message)
}
