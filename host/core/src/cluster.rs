//! What a cluster is told about a server beside what the server is: how many, behind which Service, where sessions are kept.
//!
//! These fields stand in `spec` of an `MCPServer` next to those of [`ServerSpec`](crate::server::ServerSpec), so that one
//! document works everywhere. On one machine they are checked and then left alone: there is one data plane, one workload, and
//! nothing to schedule. They are a type of their own because nothing behind the document reader of a daemon has a use for them,
//! and because an absent value means something here ([`ClusterSpec::replicas`]).

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::server::Transport;

/// How a server stands in a cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClusterSpec {
    /// Replicas of the proxy. Absent: nobody's business but that of whoever scales the Deployment (an autoscaler, `kubectl
    /// scale`); nothing is ever written then. A stdio server has one at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 2_147_483_647))]
    pub replicas: Option<u32>,
    /// Replicas of the server itself, under the same rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 2_147_483_647))]
    pub backend_replicas: Option<u32>,
    /// The port at which clients find the proxy; 8080 when it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub proxy_port: Option<u16>,
    /// Whether one client stays with one replica.
    #[serde(default, skip_serializing_if = "is_default")]
    pub session_affinity: SessionAffinity,
    /// Where sessions are kept, so that one that was opened at one replica continues at another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_storage: Option<SessionStorage>,
    /// The Service in front of the proxy.
    #[serde(default, skip_serializing_if = "is_default")]
    pub service: ServiceSpec,
    /// The service account of the server itself; absent: the one of the namespace, without its token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account: Option<String>,
    /// Secrets of the registries that the image is pulled from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub image_pull_secrets: Vec<String>,
    /// Keys of Secrets that the server gets as environment variables.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<SecretVariable>,
    /// What the server sees as files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<ClusterVolume>,
    /// A pod template that is laid over that of the server, for all that is infrastructure (scheduling, sidecars, labels). The
    /// container of the server is named `mcp` in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_template_spec: Option<Value>,
}

/// Whether one client stays with one replica.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SessionAffinity {
    /// By its address.
    #[default]
    #[serde(rename = "ClientIP")]
    ClientIp,
    /// It does not.
    None,
}

impl SessionAffinity {
    /// As Kubernetes writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ClientIp => "ClientIP",
            Self::None => "None",
        }
    }
}

/// Where sessions are kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SessionStorage {
    /// By what.
    pub provider: SessionProvider,
    /// `host:port`; needed with `redis`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Number of the database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub db: Option<u32>,
    /// What the names of keys begin with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_prefix: Option<String>,
    /// The password, in a Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_ref: Option<SecretKey>,
    /// Encrypts what is said, and checks that whoever answers has a certificate for the host of `address`. Absent: neither.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Box<SessionTls>>,
}

/// How a connection to where sessions are kept is encrypted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SessionTls {
    /// The authority that its certificate is signed by. Absent: one of those that the image of the proxy trusts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<Authority>,
}

/// A certificate authority, in PEM, at a key of an object in the namespace of the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Authority {
    /// What that object is.
    pub kind: AuthorityKind,
    /// Its name.
    pub name: String,
    /// Its key.
    pub key: String,
}

/// What a certificate authority is kept in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AuthorityKind {
    /// A `ConfigMap`: it is no secret.
    ConfigMap,
    /// A Secret, where whoever makes certificates puts it beside its own.
    Secret,
}

/// By what sessions are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SessionProvider {
    /// Each replica keeps its own.
    #[default]
    Memory,
    /// All replicas share a Redis.
    Redis,
}

impl SessionStorage {
    /// The authority that whoever keeps them has to be vouched for by.
    #[must_use]
    pub fn authority(&self) -> Option<&Authority> {
        self.tls.as_ref().and_then(|tls| tls.ca.as_ref()).filter(|_| self.is_shared())
    }

    /// Whether replicas share their sessions.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.provider == SessionProvider::Redis && self.address.as_deref().is_some_and(|address| !address.is_empty())
    }
}

/// A key of a Secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretKey {
    /// The Secret, in the namespace of the server.
    pub name: String,
    /// Its key.
    pub key: String,
}

/// A key of a Secret as an environment variable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretVariable {
    /// The Secret, in the namespace of the server.
    pub name: String,
    /// Its key.
    pub key: String,
    /// The variable; the key when it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_env_name: Option<String>,
}

impl SecretVariable {
    /// The variable.
    #[must_use]
    pub fn variable(&self) -> &str {
        self.target_env_name.as_deref().unwrap_or(&self.key)
    }
}

/// Something of the cluster that the server sees as files. Exactly one of `claim`, `configMap` and `secret` says what.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClusterVolume {
    /// Its name, unique within the server.
    pub name: String,
    /// Where the server sees it.
    pub mount_path: String,
    /// Keeps the server from changing it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub read_only: bool,
    /// A persistent volume claim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<String>,
    /// A `ConfigMap`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map: Option<String>,
    /// A Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}

/// The Service in front of a proxy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServiceSpec {
    /// Who can reach it.
    #[serde(default, rename = "type", skip_serializing_if = "is_default")]
    pub kind: ServiceType,
    /// What others read from it: load balancers, certificate issuers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// Who can reach a Service.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ServiceType {
    /// The cluster.
    #[default]
    #[serde(rename = "ClusterIP")]
    ClusterIp,
    /// Whoever reaches a node.
    NodePort,
    /// Whoever reaches the load balancer of the cluster.
    LoadBalancer,
}

impl ServiceType {
    /// As Kubernetes writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ClusterIp => "ClusterIP",
            Self::NodePort => "NodePort",
            Self::LoadBalancer => "LoadBalancer",
        }
    }
}

/// What the servers of a tenant are in a cluster where their own documents do not say. There are no replicas among it: an absent
/// number means that nobody here writes one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClusterDefaults {
    /// Where sessions are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_storage: Option<SessionStorage>,
    /// The Service in front of the proxy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceSpec>,
    /// The service account of a server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account: Option<String>,
    /// Secrets of the registries that images are pulled from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub image_pull_secrets: Vec<String>,
    /// A pod template that lies below that of each server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_template_spec: Option<Value>,
}

impl ClusterDefaults {
    /// Whether nothing is said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl ClusterSpec {
    /// The names of its fields in a document.
    pub const FIELDS: [&str; 11] = [
        "backendReplicas",
        "imagePullSecrets",
        "podTemplateSpec",
        "proxyPort",
        "replicas",
        "secrets",
        "service",
        "serviceAccount",
        "sessionAffinity",
        "sessionStorage",
        "volumes",
    ];

    /// Whether nothing is said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The replicas of the proxy that are written; `None`: none are. One process cannot be shared by two proxies, so a stdio
    /// server has one at most, whatever was asked for.
    #[must_use]
    pub fn proxy_replicas(&self, transport: &Transport) -> Option<u32> {
        capped(self.replicas, transport)
    }

    /// The same for the server itself: whoever is attached to one of two processes hears nothing of the other.
    #[must_use]
    pub fn server_replicas(&self, transport: &Transport) -> Option<u32> {
        capped(self.backend_replicas, transport)
    }

    /// Whether either of the two was asked to be more than a stdio server can have.
    #[must_use]
    pub fn exceeds_stdio(&self, transport: &Transport) -> bool {
        let exceeds = |wanted: Option<u32>| wanted != capped(wanted, transport);
        exceeds(self.replicas) || exceeds(self.backend_replicas)
    }
}

fn capped(wanted: Option<u32>, transport: &Transport) -> Option<u32> {
    match transport {
        Transport::Stdio => wanted.map(|wanted| wanted.min(1)),
        Transport::StreamableHttp { .. } | Transport::Sse { .. } => wanted,
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_the_fields_are_those_of_the_type() {
        let schema = schemars::schema_for!(ClusterSpec).to_value();
        let names: Vec<&str> = schema["properties"].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(names.len(), ClusterSpec::FIELDS.len());
        assert!(names.iter().all(|name| ClusterSpec::FIELDS.contains(name)), "{names:?}");
    }

    #[test]
    fn stdio_is_capped_in_both_ways_and_http_in_none() {
        let http = Transport::StreamableHttp { port: 80, path: "/mcp".to_owned() };
        for wanted in [None, Some(0), Some(1), Some(3)] {
            let spec = ClusterSpec { replicas: wanted, backend_replicas: wanted, ..ClusterSpec::default() };
            let most = wanted.map(|wanted| wanted.min(1));
            assert_eq!(spec.proxy_replicas(&Transport::Stdio), most);
            assert_eq!(spec.server_replicas(&Transport::Stdio), most);
            assert_eq!(spec.exceeds_stdio(&Transport::Stdio), wanted == Some(3));
            assert_eq!((spec.proxy_replicas(&http), spec.server_replicas(&http)), (wanted, wanted));
            assert!(!spec.exceeds_stdio(&http));
        }
    }

    #[test]
    fn redis_without_an_address_is_no_shared_storage() {
        let storage = |text| serde_json::from_str::<SessionStorage>(text).unwrap().is_shared();
        assert!(storage(r#"{"provider":"redis","address":"redis:6379"}"#));
        assert!(!storage(r#"{"provider":"redis"}"#) && !storage(r#"{"provider":"redis","address":""}"#));
        assert!(!storage(r#"{"provider":"memory","address":"redis:6379"}"#));
    }
}
