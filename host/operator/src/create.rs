//! Makes a server in a cluster for whoever types a command, with the rights of that person: what `kubectl create` does.
//!
//! Created and never applied: a server of the same name is somebody's, and `run` takes nobody's server from them.

use std::time::Duration;

use fairlead_core::document::{Document, ServerDocument};
use kube::api::{Api, PostParams};
use kube::core::DynamicObject;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::controller::{OperatorError, connect, ours};
use crate::limits::CALL_TIMEOUT;

/// Who writes the fields of what is made here: not the operator, which would take them for its own.
const MANAGER: &str = "fairlead-run";

/// Why no server was made.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// There is no cluster.
    #[error(transparent)]
    Cluster(#[from] OperatorError),
    /// It has no form in a cluster.
    #[error("the server cannot be written down")]
    Form(#[from] serde_json::Error),
    /// There is one of its name.
    #[error("there is a server `{name}` in `{namespace}`")]
    Exists {
        /// Its name.
        name: String,
        /// Where.
        namespace: String,
    },
    /// The cluster has no such servers.
    #[error("the cluster does not know what a server is, or has no namespace `{namespace}`")]
    Undefined {
        /// Where it should be.
        namespace: String,
    },
    /// The cluster says no.
    #[error("the cluster does not take `{name}`")]
    Refused {
        /// Its name.
        name: String,
        /// Why.
        #[source]
        source: Box<kube::Error>,
    },
    /// The cluster says nothing.
    #[error("the API server does not answer within {0:?}")]
    Silent(Duration),
}

impl CreateError {
    /// What somebody can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Exists { name, namespace } => Some(format!(
                "choose another with `--name`, or remove it: kubectl delete mcpserver {name} --namespace {namespace}"
            )),
            Self::Undefined { namespace } => {
                Some(format!("fairlead crd | kubectl apply --server-side -f -; kubectl create namespace {namespace}"))
            }
            Self::Cluster(error) => error.hint().map(str::to_owned),
            Self::Form(_) | Self::Refused { .. } | Self::Silent(_) => None,
        }
    }
}

/// Makes a server in the cluster of the kubeconfig, in the namespace that is its tenant; what the cluster has made of it.
///
/// # Errors
/// There is no cluster, or it does not take it.
pub async fn create(document: ServerDocument) -> Result<Value, CreateError> {
    let (namespace, name) = (document.key.tenant.to_string(), document.key.name.to_string());
    let object: DynamicObject = serde_json::from_value(Document::Server(document).to_value())?;
    let client = connect().await?.client;
    let servers: Api<DynamicObject> = Api::namespaced_with(client, &namespace, &ours("MCPServer", "mcpservers"));
    let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
    match timeout(CALL_TIMEOUT, servers.create(&params, &object)).await {
        Ok(Ok(made)) => Ok(json!(made)),
        Ok(Err(kube::Error::Api(status))) if status.code == 409 => Err(CreateError::Exists { name, namespace }),
        Ok(Err(kube::Error::Api(status))) if status.code == 404 => Err(CreateError::Undefined { namespace }),
        Ok(Err(source)) => Err(CreateError::Refused { name, source: Box::new(source) }),
        Err(_) => Err(CreateError::Silent(CALL_TIMEOUT)),
    }
}
