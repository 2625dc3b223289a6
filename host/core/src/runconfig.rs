//! ToolHive's RunConfig v0.1.0: one more door to [`ServerSpec`](crate::server::ServerSpec), in and out.
//!
//! What has a meaning here becomes part of the spec. What has none is kept with the server as an annotation and written back
//! on export, and either way it is told: with its path, and whether it is a setting that Fairlead does not apply or a field
//! that nobody knows. A secret in plain text is the exception. It is not taken over, because it would lie in the state of
//! the daemon and in every export; what to do instead is told.

mod export;
mod import;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::permission::PermissionProfile;

pub use export::export;
pub use import::import;

/// The version that is read and written.
pub const SCHEMA_VERSION: &str = "v0.1.0";

/// Where the part of a RunConfig that has no meaning here is kept.
pub const ANNOTATION: &str = "toolhive.stacklok.dev/run-config";

/// What became of a field that did not simply become part of a server, or the other way round.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Note {
    /// Where: an RFC 6901 pointer into the document.
    pub pointer: String,
    /// What became of it.
    pub fate: Fate,
    /// In one sentence.
    pub reason: String,
}

/// What became of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// Kept and written back, without effect: a setting that Fairlead does not have.
    NotApplied,
    /// Kept and written back, without effect: no version of RunConfig that is known has such a field.
    Unknown,
    /// Not taken over.
    Dropped,
}

/// Why a document is no RunConfig that can be taken over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{pointer}: {reason}")]
pub struct RunConfigError {
    /// Where: an RFC 6901 pointer.
    pub pointer: String,
    /// What is wrong.
    pub reason: String,
}

/// A RunConfig, as far as it is understood. The order is that in which ToolHive writes it.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct RunConfig {
    #[serde(skip_serializing_if = "String::is_empty")]
    schema_version: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    image: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    remote_url: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cmd_args: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    container_name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    base_name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    transport: String,
    #[serde(skip_serializing_if = "is_zero")]
    target_port: u16,
    #[serde(skip_serializing_if = "String::is_empty")]
    permission_profile_name_or_path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    permission_profile: Option<Value>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    env_vars: Map<String, Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    volumes: Vec<String>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    container_labels: Map<String, Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    secrets: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools_filter: Vec<String>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    tools_override: Map<String, Value>,
    #[serde(skip_serializing_if = "String::is_empty")]
    group: String,
    #[serde(skip_serializing_if = "Map::is_empty")]
    header_forward: Map<String, Value>,
    /// Everything else.
    #[serde(flatten)]
    rest: Map<String, Value>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(port: &u16) -> bool {
    *port == 0
}

/// Settings of RunConfig v0.1.0 that have no meaning here, and why.
const NOT_APPLIED: &[(&str, &str)] = &[
    ("additional_middleware_configs", "Fairlead's middleware are plugins: attach one with `--plugin`"),
    ("allow_docker_gateway", "a server with the profile `network` reaches every host, one without it none"),
    ("allowed_origins", "the data plane checks `Origin` for all servers alike"),
    ("audit_config", "auditing is a setting of the daemon"),
    ("audit_config_path", "auditing is a setting of the daemon"),
    ("authz_config", "authorisation is a plugin: attach one with `--plugin`"),
    ("authz_config_path", "authorisation is a plugin: attach one with `--plugin`"),
    ("aws_sts_config", "outgoing authentication of this kind is not available"),
    ("debug", "what is logged is a setting of the daemon"),
    ("embedded_auth_server_config", "there is no authorisation server inside the data plane"),
    ("endpoint_prefix", "servers have one stable address each"),
    ("env_file_dir", "ToolHive does not use it either"),
    ("host", "servers have one stable address each"),
    (
        "ignore_config",
        "ignore files are always honoured: that of a mount takes back with `!` what the one for all hides",
    ),
    ("isolate_network", "what a server may reach is said by its permission profile alone"),
    ("jwks_auth_token_file", "ToolHive does not use it either"),
    ("k8s_pod_template_patch", "it is for a cluster"),
    ("mcpserver_generation", "it is for a cluster"),
    ("middleware_configs", "Fairlead's middleware are plugins: attach one with `--plugin`"),
    ("mutating_webhooks", "Fairlead's middleware are plugins: attach one with `--plugin`"),
    ("oidc_config", "authentication is a plugin: attach one with `--plugin`"),
    ("port", "servers have one stable address each"),
    ("proxy_mode", "one address serves every transport"),
    ("publish", "a container's ports are reached by the data plane alone"),
    ("rate_limit_config", "attach the plugin `rate-limit`"),
    ("rate_limit_namespace", "attach the plugin `rate-limit`"),
    ("registry_api_url", "where a server came from is kept as it is"),
    ("registry_server_name", "where a server came from is kept as it is"),
    ("registry_url", "where a server came from is kept as it is"),
    ("remote_auth_config", "give the header with `header_forward`, or log in again"),
    ("runtime_config", "use `--base-image`, or the `[build]` settings"),
    ("scaling_config", "it is for a cluster"),
    ("session_ttl", "it is a setting of the daemon"),
    ("stateless", "it is found out by asking the server"),
    ("strict_protocol_validation", "the data plane always checks the envelope"),
    ("target_host", "a container is reached where its engine says"),
    ("telemetry_config", "telemetry is a setting of the daemon"),
    ("thv_ca_bundle", "ToolHive does not use it either"),
    ("token_exchange_config", "outgoing authentication of this kind is not available"),
    ("trust_proxy_headers", "the data plane trusts no header of a proxy"),
    ("upstream_swap_config", "outgoing authentication of this kind is not available"),
    ("validating_webhooks", "Fairlead's middleware are plugins: attach one with `--plugin`"),
];

/// Names of fields that hold a secret, unless they name one of ToolHive's store.
const SECRET_FIELDS: &[&str] =
    &["client_secret", "bearer_token", "clientsecret", "bearertoken", "password", "api_key", "hmac_secret"];

/// The built-in profile that ToolHive takes when a configuration names none.
fn usual_profile() -> PermissionProfile {
    PermissionProfile::network()
}
