//! A registry as somebody wants it to be: where its entries come from, how far it is trusted, which of them are taken.

use fairlead_core::name::{LayerName, RegistryName, TenantName};
use fairlead_core::plugin::Capability;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::approval::ApprovalRule;
use crate::rules::Rules;

/// Where entries come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "kind", deny_unknown_fields)]
pub enum EntrySource {
    /// A registry source.
    Plugin {
        /// A file (`./source.wasm`) or the name of an installed plugin (`source-json`).
        plugin: String,
        /// Configuration, checked against the plugin's schema.
        #[serde(default)]
        config: serde_json::Value,
        /// What the operator gives it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        grants: Vec<Capability>,
    },
    /// A file of this machine, in one of the formats of registries. The daemon reads it itself: a guest has no files.
    File {
        /// Absolute path.
        path: std::path::PathBuf,
    },
    /// Files of a git repository. The daemon speaks git: a guest would have to bring all of it.
    Git(Box<GitSource>),
    /// A catalogue that is an OCI artifact. The daemon fetches it as it fetches images, with the credentials of this machine.
    Oci {
        /// `host/repository:tag`.
        reference: String,
    },
}

/// Files of a git repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GitSource {
    /// Where the repository is: `https://…`.
    pub url: String,
    /// A branch; without one, and without a tag, the one that the server calls its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// A tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// A file or a directory in it; of a directory, all files that end in `.json`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Whether its name may lead into a private network. An address that is written as one is allowed by that.
    #[serde(default, skip_serializing_if = "is_false")]
    pub private: bool,
    /// Reference of a secret that is shown to its server as a password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// The user beside that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

/// A registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RegistrySpec {
    /// Where its entries come from.
    pub source: EntrySource,
    /// How far it is trusted.
    #[serde(default = "community")]
    #[schemars(with = "String")]
    pub layer: LayerName,
    /// Which entries are taken, and how they are changed.
    #[serde(default, skip_serializing_if = "Rules::is_empty")]
    pub rules: Rules,
    /// Plugins that keep, change or drop each entry when it is read: what rules cannot say. One after the other.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub transform: Vec<Hook>,
    /// How often it is read.
    #[serde(default = "hourly")]
    pub interval_secs: u64,
}

/// A registry source that decides about entries of another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Hook {
    /// A file (`./source.wasm`) or the name of an installed plugin.
    pub plugin: String,
    /// Configuration, checked against the plugin's schema.
    #[serde(default)]
    pub config: serde_json::Value,
    /// What the operator gives it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grants: Vec<Capability>,
}

/// A registry, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RegistryRecord {
    /// Whose it is.
    pub tenant: TenantName,
    /// Its name.
    pub name: RegistryName,
    /// As somebody wants it to be.
    pub spec: RegistrySpec,
    /// When it was added.
    pub created: Timestamp,
}

/// Which layers there are for a tenant, and which of them may run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LayerPolicy {
    /// The order of trust, the most trusted first.
    #[schemars(with = "Vec<String>")]
    pub layers: Vec<LayerName>,
    /// What may run: entries of these layers, and nothing else. Absent: everything, also what comes from no registry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Vec<String>>")]
    pub run: Option<Vec<LayerName>>,
    /// What is approved without a person, once a version of it was.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approvals: Vec<ApprovalRule>,
}

/// Names of the layers that everybody has, the most trusted first.
pub const LAYERS: [&str; 3] = ["trusted", "reviewed", "community"];

/// How often a registry is read, when nobody says otherwise.
const INTERVAL_SECS: u64 = 3_600;

impl Default for LayerPolicy {
    fn default() -> Self {
        Self {
            layers: LAYERS.iter().filter_map(|name| LayerName::new(name).ok()).collect(),
            run: None,
            approvals: Vec::new(),
        }
    }
}

impl LayerPolicy {
    /// Whether an entry of this layer may run.
    #[must_use]
    pub fn may_run(&self, layer: &LayerName) -> bool {
        self.run.as_ref().is_none_or(|layers| layers.contains(layer))
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over references")]
fn is_false(value: &bool) -> bool {
    !value
}

fn community() -> LayerName {
    LayerName::community()
}

fn hourly() -> u64 {
    INTERVAL_SECS
}

impl EntrySource {
    /// What names this source with its configuration: a copy of one origin is not gone on with under another. `digest` is that
    /// of the plugin.
    #[must_use]
    pub fn origin(&self, digest: &str) -> String {
        let text = serde_json::to_string(self).unwrap_or_default();
        let hash: [u8; 32] = Sha256::digest(format!("{digest}\n{text}")).into();
        hash.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// In one line.
    #[must_use]
    pub fn shown(&self) -> String {
        match self {
            Self::File { path } => path.display().to_string(),
            Self::Git(git) => format!("git+{}", git.url),
            Self::Oci { reference } => format!("oci://{reference}"),
            Self::Plugin { plugin, config, .. } => match config.get("url").and_then(|url| url.as_str()) {
                Some(url) => url.split(['?', '#']).next().unwrap_or_default().to_owned(),
                None => plugin.clone(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_registry_needs_no_more_than_a_source() {
        let spec: RegistrySpec =
            serde_json::from_value(json!({"source": {"kind": "plugin", "plugin": "source-json"}})).unwrap();
        assert_eq!((spec.layer.as_str(), spec.interval_secs), ("community", 3_600));
    }

    #[test]
    fn another_configuration_or_another_plugin_is_another_origin() {
        let of = |plugin: &str, url: &str| EntrySource::Plugin {
            plugin: plugin.to_owned(),
            config: json!({"url": url}),
            grants: Vec::new(),
        };
        assert_eq!(of("a", "b").origin("d"), of("a", "b").origin("d"));
        assert_ne!(of("a", "b").origin("d"), of("a", "c").origin("d"));
        assert_ne!(of("a", "b").origin("d"), of("a", "b").origin("e"));
    }

    #[test]
    fn everything_may_run_until_somebody_says_what() {
        let mut policy = LayerPolicy::default();
        let community = LayerName::new("community").unwrap();
        assert!(policy.may_run(&community));
        policy.run = Some(vec![LayerName::new("trusted").unwrap()]);
        assert!(!policy.may_run(&community));
    }
}
