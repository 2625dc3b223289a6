//! Sources that only a cluster has, in the words of those that a registry server reads.
//!
//! A `ConfigMap` becomes a file beside the server. The two shorthands become the plugins that read a file or a registry at an
//! address, with the grant for that address and no other: whoever writes an address means that it is read. A reference to a
//! Secret becomes a variable of the pod, so that no value is ever in a `ConfigMap`.

use std::collections::BTreeMap;

use fairlead_core::secret::{STORE, SecretReference};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::Registries;
use crate::desired::{KUBERNETES, STORE_KEY};

/// Where the files of `ConfigMap`s are in the pod.
const DIRECTORY: &str = "/etc/fairlead/sources";

/// The provider of secrets that are variables of a program.
const ENVIRONMENT: &str = "env";

/// How such a variable begins.
const PREFIX: &str = "FAIRLEAD_SECRET_";

/// A source that only a cluster has, or a shorthand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum ClusterSource {
    /// A file in a `ConfigMap` of the namespace, in one of the formats of registries.
    ConfigMap {
        /// The `ConfigMap`.
        name: String,
        /// Its key.
        key: String,
    },
    /// A file at a URL.
    Json {
        /// Where it is.
        url: String,
        /// Reference of a secret that is sent as `Authorization: Bearer`: `secret://kubernetes/<secret>/<key>`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        token: Option<String>,
    },
    /// A registry of the official API, or another Fairlead.
    Api {
        /// Where it is.
        url: String,
        /// All versions of each server, and not only the newest.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        versions: bool,
        /// Reference of a secret that is sent as `Authorization: Bearer`: `secret://kubernetes/<secret>/<key>`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        token: Option<String>,
    },
}

/// What the pod needs beside its configuration.
#[derive(Debug, Default)]
pub(super) struct Needs {
    /// `ConfigMap`s, each with where it is mounted: object, key, directory.
    pub(super) files: Vec<(String, String, String)>,
    /// Keys of Secrets by variable.
    pub(super) variables: BTreeMap<String, (String, String)>,
}

/// One registry as the server in the pod reads it.
///
/// # Errors
/// It cannot be read, or names what no cluster has.
pub(super) fn local(name: &str, registry: &Value, known: &Registries, needs: &mut Needs) -> Result<Value, String> {
    let mut registry = registry.clone();
    let source = registry.get_mut("source").ok_or("`source` is missing")?;
    let kind = source.get("kind").and_then(Value::as_str).unwrap_or_default();
    match kind {
        "file" => return Err("a file is of one machine: put it into a ConfigMap".to_owned()),
        "config-map" | "json" | "api" => {
            let of_the_cluster: ClusterSource =
                serde_json::from_value(source.clone()).map_err(|error| format!("source: {error}"))?;
            *source = of_the_cluster.local(name, known, needs)?;
        }
        _ => {}
    }
    relocate(&mut registry, needs)?;
    (known.check)(&registry)?;
    Ok(registry)
}

impl ClusterSource {
    fn local(self, registry: &str, known: &Registries, needs: &mut Needs) -> Result<Value, String> {
        let plugin = |plugin: &str, url: &str, token: Option<&str>, mut config: Map<String, Value>| {
            config.insert("url".to_owned(), url.into());
            config.extend(token.map(|token| ("token".to_owned(), token.into())));
            json!({"kind": "plugin", "plugin": plugin, "config": config, "grants": (known.grants)(url, token)})
        };
        Ok(match self {
            Self::ConfigMap { name, key } => {
                // A key is a file name; `..` is one that Kubernetes refuses as well.
                if key.is_empty() || key.contains('/') || key.starts_with("..") {
                    return Err(format!("source: `{key}` is no key of a ConfigMap"));
                }
                let directory = format!("{DIRECTORY}/{registry}");
                let path = format!("{directory}/{key}");
                needs.files.push((name, key, directory));
                json!({"kind": "file", "path": path})
            }
            Self::Json { url, token } => plugin("source-json", &url, token.as_deref(), Map::new()),
            Self::Api { url, versions, token } => {
                let config = versions.then(|| ("versions".to_owned(), true.into())).into_iter().collect();
                plugin("source-mcp-registry", &url, token.as_deref(), config)
            }
        })
    }
}

/// Every reference to a Secret, wherever it stands, becomes one to a variable of the pod. In a grant a host follows it.
fn relocate(value: &mut Value, needs: &mut Needs) -> Result<(), String> {
    match value {
        Value::String(text) if text.starts_with("secret://") => {
            let (reference, host) =
                text.split_once('@').map_or((text.as_str(), None), |(text, host)| (text, Some(host)));
            let parsed: SecretReference = reference
                .parse()
                .map_err(|error: fairlead_core::secret::SecretReferenceError| format!("`{reference}`: {error}"))?;
            let named = parsed.name().as_str();
            let (object, key) = match parsed.provider().as_str() {
                STORE => (named, STORE_KEY),
                KUBERNETES => named
                    .split_once('/')
                    .ok_or_else(|| format!("`{reference}`: write `secret://kubernetes/<secret>/<key>`"))?,
                ENVIRONMENT => return Ok(()),
                other => return Err(format!("`{reference}`: there is no provider `{other}` in a cluster")),
            };
            let sum = Sha256::digest(format!("{object}/{key}"));
            let id: String = sum.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
            let id = format!("k{id}");
            let variable = format!("{PREFIX}{}", id.to_ascii_uppercase());
            needs.variables.insert(variable, (object.to_owned(), key.to_owned()));
            let host = host.map(|host| format!("@{host}")).unwrap_or_default();
            *text = format!("secret://{ENVIRONMENT}/{id}{host}");
            Ok(())
        }
        Value::Array(elements) => elements.iter_mut().try_for_each(|element| relocate(element, needs)),
        Value::Object(fields) => fields.values_mut().try_for_each(|field| relocate(field, needs)),
        _ => Ok(()),
    }
}
