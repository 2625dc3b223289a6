//! What a data plane in a pod is told: one server, how it is reached, and its chain with every plugin pinned.
//!
//! The operator writes it into a `ConfigMap` and `fairlead proxy pod` reads it there, both by this type, so that neither can
//! say what the other does not understand. It has what a proxy needs and nothing else: a change of it starts pods anew, and a
//! newer image or another environment of the server is none of their business. Values of secrets are never in it.

use serde::{Deserialize, Serialize};

use crate::chain::Level;
use crate::cluster::SessionStorage;
use crate::name::ServerKey;
use crate::plugin::AttachmentSpec;
use crate::remote::RemoteSource;
use crate::server::{Isolation, Transport};

/// The variable with the password of the Redis that keeps sessions, where it has one.
pub const SESSION_STORAGE_PASSWORD: &str = "FAIRLEAD_SESSION_STORAGE_PASSWORD";

/// One server, as its data plane is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PodConfig {
    /// Its name; the tenant is its namespace.
    pub server: ServerKey,
    /// How it is reached.
    pub upstream: PodUpstream,
    /// Who shares a process or a stream.
    #[serde(default)]
    pub isolation: Isolation,
    /// Whether clients of the newest revision are served also where the server speaks older ones only.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub bridge: bool,
    /// What its messages pass, outermost first.
    #[serde(default)]
    pub chain: Vec<PodLink>,
    /// How many pods the server was given; absent where somebody else decides about that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend_replicas: Option<u32>,
    /// Where sessions are kept; the password comes by environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_storage: Option<SessionStorage>,
}

/// How a data plane in a pod gets at its server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind", deny_unknown_fields)]
pub enum PodUpstream {
    /// Over HTTP at a name that stands for all pods of the server, each of which keeps sessions of its own.
    Service {
        /// `http://name:port`, without a path.
        origin: String,
        /// How it speaks there, and at which path.
        transport: Transport,
    },
    /// By the standard streams of the one container that there is.
    Attach {
        /// Its namespace.
        namespace: String,
        /// Its pod.
        pod: String,
        /// The container in it.
        container: String,
    },
    /// It runs elsewhere.
    Remote(Box<RemoteSource>),
}

/// A plugin in the chain of a data plane in a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PodLink {
    /// Who attached it.
    pub level: Level,
    /// How.
    pub attachment: AttachmentSpec,
    /// Where the component comes from: a path in the pod, or an OCI reference.
    pub source: String,
    /// What it is: `sha256:` and the digest of the component.
    pub digest: String,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_not_understood_is_refused_and_what_is_comes_back() {
        let told = |upstream| json!({"server": {"tenant": "team", "name": "docs"}, "upstream": upstream});
        for upstream in [
            json!({"kind": "service", "origin": "http://x:1", "transport": {"kind": "streamable-http", "port": 1, "path": "/mcp"}}),
            json!({"kind": "attach", "namespace": "team", "pod": "docs-0", "container": "mcp"}),
            json!({"kind": "remote", "url": "https://x.test/mcp", "transport": "auto", "proxy": {"kind": "environment"}}),
        ] {
            let config: PodConfig = serde_json::from_value(told(upstream.clone())).unwrap();
            assert_eq!(json!(config)["upstream"], upstream);
            let mut odd = told(upstream);
            odd["upstream"]["odd"] = 1.into();
            assert!(serde_json::from_value::<PodConfig>(odd).is_err());
        }
    }
}
