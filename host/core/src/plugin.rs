//! Plugins as data: what a component says of itself, and how an operator puts one into a chain.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::middleware::Interest;
use crate::name::AttachmentName;

/// The decision that a plugin takes over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PluginKind {
    /// What a message may do.
    #[default]
    Middleware,
    /// Where servers come from.
    RegistrySource,
    /// When a newer artifact is taken.
    UpdatePolicy,
}

/// Something that the host gives only when it was granted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Capability {
    // The words of `crate::grant::CAPABILITIES`; whoever reads a schema sees no link.
    /// One of `kv`, `secrets`, `secrets-reveal`, `http` and `http-private`.
    pub name: String,
    /// Which hosts (`GET api.example.com`), secrets (`NAME@HOST`) or addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scope: Vec<String>,
    /// Why, in one sentence.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// What a component says of itself (`fairlead:types/manifest`).
#[derive(Debug, Clone)]
pub struct Manifest {
    /// DNS label.
    pub name: String,
    /// Semantic version.
    pub version: String,
    /// The decision that it takes over.
    pub kind: PluginKind,
    /// One sentence.
    pub description: String,
    /// JSON Schema (2020-12) of the configuration.
    pub config_schema: serde_json::Value,
    /// The most that it may ask to be called for.
    pub interests: Vec<Interest>,
    /// What it cannot work without.
    pub capabilities: Vec<Capability>,
    /// Anything else.
    pub attributes: Vec<(String, String)>,
}

/// What happens to a message when the middleware that should decide about it is broken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FailureMode {
    /// It is refused: a broken guard lets nobody through.
    #[default]
    Closed,
    /// It passes as if the middleware were not there.
    Open,
}

/// How instances are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum InstanceModel {
    /// Instances stay warm and serve one call after the other, for one attachment.
    #[default]
    Warm,
    /// Each call gets a fresh instance: nothing is remembered, ten times the cost.
    PerCall,
}

/// Bounds of one attachment. What is not given takes the host's default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PluginLimits {
    /// Linear memory of one instance, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes_max: Option<u64>,
    /// Computing time of one hook, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_ms_max: Option<u32>,
    /// Time of one hook in all, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wall_ms_max: Option<u32>,
    /// Calls at the same time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency_max: Option<u32>,
}

impl PluginKind {
    /// Whether it is the kind that most plugins are, and that need not be named.
    #[must_use]
    pub fn is_middleware(&self) -> bool {
        *self == Self::Middleware
    }
}

/// A plugin put into a chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AttachmentSpec {
    /// Unique within its chain; also the scope of the plugin's state.
    pub name: AttachmentName,
    /// The decision that it takes over. A plugin of another kind is refused.
    #[serde(default, skip_serializing_if = "PluginKind::is_middleware")]
    pub kind: PluginKind,
    /// A file (`./guard.wasm`) or the name of an installed plugin (`tool-filter`).
    pub plugin: String,
    /// Configuration, checked against the plugin's schema.
    #[serde(default)]
    pub config: serde_json::Value,
    /// What happens when it is broken.
    #[serde(default)]
    pub failure_mode: FailureMode,
    /// How instances are kept.
    #[serde(default)]
    pub instances: InstanceModel,
    /// Bounds.
    #[serde(default)]
    pub limits: PluginLimits,
    /// What the operator gives it. A capability that the manifest asks for and that is not here is refused at attachment.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grants: Vec<Capability>,
}

impl AttachmentSpec {
    /// A middleware with nothing but defaults.
    #[must_use]
    pub fn new(name: AttachmentName, plugin: impl Into<String>) -> Self {
        Self {
            name,
            kind: PluginKind::default(),
            plugin: plugin.into(),
            config: serde_json::Value::Object(serde_json::Map::new()),
            failure_mode: FailureMode::default(),
            instances: InstanceModel::default(),
            limits: PluginLimits::default(),
            grants: Vec::new(),
        }
    }
}
