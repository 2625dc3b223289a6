//! A registry server in a cluster: what an `MCPRegistry` says, and what comes of it.
//!
//! The document is the file that `fairlead registry serve --file` reads, with sources that only a cluster has. What one registry may
//! say (sources, rules, layers, hooks) belongs to the crate that reads registries, which is a sibling of this one: the host brings
//! the two together in [`Registries`], so that the schema of the custom resource is made of the very types that read the file.

mod access;
mod desired;
mod source;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use fairlead_core::cluster::ServiceSpec;
use fairlead_core::registry::Offered;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use access::{Access, audience, binding_name};
pub(crate) use desired::COMPONENT;
pub use desired::{Observed, desired, object_name};
pub use source::ClusterSource;

use crate::desired::Declared;
use crate::status::RegistryStatus;

/// What is known of registries by those who read them.
#[derive(Debug, Clone, Copy)]
pub struct Registries {
    /// The JSON Schema of one, without references.
    pub schema: fn() -> Value,
    /// Whether it can be read; why not, in one sentence.
    pub check: fn(&Value) -> Result<(), String>,
    /// What a source is granted to read an address, and to show a token there.
    pub grants: fn(&str, Option<&str>) -> Value,
    /// Reads what a registry server answers for one entry.
    pub read: fn(&str) -> Result<Offered, String>,
}

/// `spec` of an `MCPRegistry`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RegistryServerSpec {
    /// The registries that are read, by name: source, layer of trust, rules, hooks, how often. They are served as one catalogue.
    pub registries: BTreeMap<String, Value>,
    /// The Service in front of it.
    #[serde(default)]
    pub service: ServiceSpec,
    /// The port at which clients find it; 8080 when it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub port: Option<u16>,
    /// Who may read it. Without it, and without `tokens`, whom the cluster lets: `get` of `mcpregistries/entries`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<Access>,
    /// Serves nobody without a token of Fairlead's own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tokens: bool,
    /// A pod template that is laid over that of the registry server. Its container is named `registry` in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_template_spec: Option<Value>,
}

/// A registry server, as its document says.
pub type RegistryServer = Declared<Result<RegistryServerSpec, String>, RegistryStatus>;

/// The JSON Schema of `spec`, given that of one registry.
#[must_use]
pub fn spec_schema(registry: &Value) -> Value {
    let settings = || {
        let settings = schemars::generate::SchemaSettings::draft2020_12();
        settings.with(|settings| settings.inline_subschemas = true).into_generator()
    };
    let mut registry = registry.clone();
    let cluster = settings().into_root_schema_for::<ClusterSource>().to_value();
    if let Some(kinds) = registry.pointer_mut("/properties/source/oneOf").and_then(Value::as_array_mut) {
        // A cluster has no files of a machine.
        kinds.retain(|kind| kind.pointer("/properties/kind/const").is_none_or(|kind| kind != "file"));
        kinds.extend(cluster.get("oneOf").and_then(Value::as_array).cloned().unwrap_or_default());
    }
    let mut spec = settings().into_root_schema_for::<RegistryServerSpec>().to_value();
    if let Some(registries) = spec.pointer_mut("/properties/registries").and_then(Value::as_object_mut) {
        registries.insert("additionalProperties".to_owned(), registry);
    }
    spec
}
