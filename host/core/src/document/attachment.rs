//! `PluginAttachment`: a plugin in the chain of the platform or of a tenant, as it is written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::AttachmentDocument;
use crate::plugin::{Capability, FailureMode, InstanceModel, PluginKind, PluginLimits};
use crate::policy::{Owner, Selector};

/// Whose chain it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AttachmentLevel {
    /// The platform's: outermost, for the servers of every tenant.
    Platform,
    /// That of the tenant whose namespace it stands in.
    #[default]
    Tenant,
}

impl AttachmentLevel {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// `spec` of a `PluginAttachment`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PluginAttachmentSpec {
    /// Whose chain it is.
    #[serde(default, skip_serializing_if = "AttachmentLevel::is_default")]
    pub level: AttachmentLevel,
    /// The decision that it takes over. A plugin of another kind is refused.
    #[serde(default, skip_serializing_if = "PluginKind::is_middleware")]
    pub kind: PluginKind,
    /// A file, or the name of an installed plugin.
    pub plugin: String,
    /// Configuration, checked against the plugin's schema.
    #[serde(default = "empty")]
    pub config: Value,
    /// Its place among the attachments of its level: the smallest is outermost; of two alike, the one whose name comes first.
    #[serde(default)]
    pub order: i32,
    /// Which servers it reaches; all when it is not given.
    #[serde(default, skip_serializing_if = "Selector::is_empty")]
    pub selector: Selector,
    /// What happens when it is broken.
    #[serde(default)]
    pub failure_mode: FailureMode,
    /// How instances are kept.
    #[serde(default)]
    pub instances: InstanceModel,
    /// Bounds.
    #[serde(default)]
    pub limits: PluginLimits,
    /// What it is given. A capability that the manifest asks for and that is not here is refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grants: Vec<Capability>,
}

fn empty() -> Value {
    Value::Object(Map::new())
}

impl From<&AttachmentDocument> for PluginAttachmentSpec {
    fn from(document: &AttachmentDocument) -> Self {
        let spec = document.spec.clone();
        Self {
            level: match document.owner {
                Owner::Platform => AttachmentLevel::Platform,
                Owner::Tenant(_) => AttachmentLevel::Tenant,
            },
            kind: spec.kind,
            plugin: spec.plugin,
            config: spec.config,
            order: document.order,
            selector: document.selector.clone(),
            failure_mode: spec.failure_mode,
            instances: spec.instances,
            limits: spec.limits,
            grants: spec.grants,
        }
    }
}
