//! The custom resources: documents as a cluster keeps them, generated from the types that every other door reads into.
//!
//! `fairlead crd` prints them, `deploy/crds/` has them, and a test holds the two together. What a schema cannot say in general
//! (two fields that exclude each other, a source that no cluster can run) stands here as rules in CEL.

mod structural;

use fairlead_core::document::{API_VERSION, DocumentKind, spec_schema};
use serde_json::{Map, Value, json};

pub use structural::structural;

use crate::limits::{REGISTRIES_MAX, SERVER_NAME_LENGTH_MAX};
use crate::registry;
use crate::status::{RegistryStatus, ServerStatus};

/// The group of all of them.
pub const GROUP: &str = "fairlead.dev";

/// The version that is served and stored.
pub const VERSION: &str = "v1alpha1";

/// Of what an object is a description.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noun {
    /// Of what a document describes on one machine as well.
    Document(DocumentKind),
    /// Of a registry server: on one machine that is a file, or a list of commands.
    Registry,
}

impl Noun {
    /// The word in `kind`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Document(kind) => kind.as_str(),
            Self::Registry => "MCPRegistry",
        }
    }

    /// Whether such an object stands in a namespace.
    #[must_use]
    pub const fn is_namespaced(self) -> bool {
        match self {
            Self::Document(kind) => kind.is_namespaced(),
            Self::Registry => true,
        }
    }

    /// Whether others belong to it, so that somebody writes a status and names are made of its own.
    const fn has_status(self) -> bool {
        matches!(self, Self::Document(DocumentKind::McpServer) | Self::Registry)
    }
}

/// One custom resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// What it describes.
    pub noun: Noun,
    /// Its name in URLs.
    pub plural: &'static str,
    singular: &'static str,
    short: &'static [&'static str],
}

impl Kind {
    const fn of(noun: Noun, plural: &'static str, singular: &'static str, short: &'static [&'static str]) -> Self {
        Self { noun, plural, singular, short }
    }
}

/// All of them.
pub const KINDS: [Kind; 5] = [
    Kind::of(Noun::Document(DocumentKind::McpServer), "mcpservers", "mcpserver", &["mcp"]),
    Kind::of(Noun::Registry, "mcpregistries", "mcpregistry", &["mcpreg"]),
    Kind::of(Noun::Document(DocumentKind::Tenant), "tenants", "tenant", &["mcptenant"]),
    Kind::of(Noun::Document(DocumentKind::Plugin), "plugins", "plugin", &["mcpplugin"]),
    Kind::of(Noun::Document(DocumentKind::PluginAttachment), "pluginattachments", "pluginattachment", &["mcpattach"]),
];

/// The definitions, as they are given to an API server; `registry` is the JSON Schema of one registry, by those who read them.
#[must_use]
pub fn definitions(registry: &Value) -> Vec<Value> {
    KINDS.iter().map(|kind| kind.definition(registry)).collect()
}

impl Kind {
    /// The name of its definition.
    #[must_use]
    pub fn definition_name(&self) -> String {
        format!("{}.{GROUP}", self.plural)
    }

    fn definition(&self, registry: &Value) -> Value {
        debug_assert_eq!(API_VERSION, format!("{GROUP}/{VERSION}"));
        let kind = self.noun.as_str();
        let subresources = match self.noun {
            Noun::Document(DocumentKind::McpServer) => json!({
                "status": {},
                "scale": {
                    "specReplicasPath": ".spec.replicas",
                    "statusReplicasPath": ".status.replicas",
                    "labelSelectorPath": ".status.selector",
                },
            }),
            Noun::Registry => json!({"status": {}}),
            Noun::Document(_) => json!({}),
        };
        json!({
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": self.definition_name(), "labels": {"app.kubernetes.io/name": "fairlead"}},
            "spec": {
                "group": GROUP,
                "scope": if self.noun.is_namespaced() { "Namespaced" } else { "Cluster" },
                "names": {
                    "kind": kind,
                    "listKind": format!("{kind}List"),
                    "plural": self.plural,
                    "singular": self.singular,
                    "shortNames": self.short,
                    "categories": ["fairlead"],
                },
                "versions": [{
                    "name": VERSION,
                    "served": true,
                    "storage": true,
                    "schema": {"openAPIV3Schema": self.schema(registry)},
                    "subresources": subresources,
                    "additionalPrinterColumns": self.columns(),
                }],
            },
        })
    }

    fn schema(&self, registry: &Value) -> Value {
        let mut spec = match self.noun {
            Noun::Document(kind) => structural(&spec_schema(kind)),
            Noun::Registry => structural(&registry::spec_schema(registry)),
        };
        if let Some(registries) = spec.pointer_mut("/properties/registries").and_then(Value::as_object_mut) {
            registries.insert("minProperties".to_owned(), 1.into());
            registries.insert("maxProperties".to_owned(), REGISTRIES_MAX.into());
        }
        let rules = self.rules();
        if let (false, Some(fields)) = (rules.is_empty(), spec.as_object_mut()) {
            fields.insert("x-kubernetes-validations".to_owned(), rules.into());
        }
        let mut properties = Map::new();
        properties.insert("apiVersion".to_owned(), json!({"type": "string"}));
        properties.insert("kind".to_owned(), json!({"type": "string"}));
        properties.insert("metadata".to_owned(), json!({"type": "object"}));
        properties.insert("spec".to_owned(), spec);
        properties.extend(self.status().map(|status| ("status".to_owned(), status)));
        let mut schema = json!({
            "type": "object",
            "description": self.noun.as_str(),
            "properties": properties,
            "required": if self.noun == Noun::Document(DocumentKind::Tenant) { json!([]) } else { json!(["spec"]) },
        });
        if self.noun.has_status()
            && let Some(fields) = schema.as_object_mut()
        {
            let rule =
                format!("self.metadata.name.size() <= {SERVER_NAME_LENGTH_MAX} && !self.metadata.name.contains('.')");
            let what = if self.noun == Noun::Registry { "registry" } else { "server" };
            let message = format!(
                "the name of a {what} is a DNS label of at most {SERVER_NAME_LENGTH_MAX} characters: names of pods and services \
                 are made of it"
            );
            fields.insert("x-kubernetes-validations".to_owned(), json!([{"rule": rule, "message": message}]));
        }
        if let (true, Some(fields)) = (schema.get("required") == Some(&json!([])), schema.as_object_mut()) {
            fields.remove("required");
        }
        schema
    }

    /// The status, where somebody writes one.
    fn status(&self) -> Option<Value> {
        let settings =
            schemars::generate::SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
        let generator = settings.into_generator();
        let schema = match self.noun {
            Noun::Document(DocumentKind::McpServer) => generator.into_root_schema_for::<ServerStatus>(),
            Noun::Registry => generator.into_root_schema_for::<RegistryStatus>(),
            Noun::Document(_) => return None,
        };
        let mut status = structural(&schema.to_value());
        if let Some(conditions) = status.pointer_mut("/properties/conditions").and_then(Value::as_object_mut) {
            conditions.insert("x-kubernetes-list-type".to_owned(), "map".into());
            conditions.insert("x-kubernetes-list-map-keys".to_owned(), json!(["type"]));
        }
        Some(status)
    }

    fn rules(&self) -> Vec<Value> {
        let rule = |rule: &str, message: &str| json!({"rule": rule, "message": message});
        match self.noun {
            Noun::Document(DocumentKind::McpServer) => vec![
                rule(
                    "self.source.kind in ['image', 'remote']",
                    "a cluster runs images and reaches remote servers; build an image of a package with `fairlead build`",
                ),
                rule(
                    "!has(self.sessionStorage) || self.sessionStorage.provider != 'redis' || \
                     (has(self.sessionStorage.address) && self.sessionStorage.address != '')",
                    "sessionStorage.provider `redis` needs an address",
                ),
                rule(
                    "!has(self.volumes) || self.volumes.all(v, [has(v.claim), has(v.configMap), has(v.secret)].filter(x, x).size() == 1)",
                    "a volume has exactly one of `claim`, `configMap` and `secret`",
                ),
            ],
            Noun::Document(DocumentKind::PluginAttachment) => vec![rule(
                "!has(self.selector) || !has(self.selector.tenants) || (has(self.level) && self.level == 'platform')",
                "only the platform selects tenants; what belongs to a tenant stays with it",
            )],
            Noun::Document(DocumentKind::Plugin) => {
                vec![rule(
                    "self.digest.matches('^sha256:[0-9a-f]{64}$')",
                    "digest is `sha256:` and 64 hexadecimal digits",
                )]
            }
            Noun::Registry => vec![rule(
                "!has(self.access) || !has(self.tokens) || !self.tokens",
                "`access` and `tokens` say two things: give one of them",
            )],
            Noun::Document(DocumentKind::Tenant) => Vec::new(),
        }
    }

    fn columns(&self) -> Vec<Value> {
        let column = |name: &str, kind: &str, path: &str| json!({"name": name, "type": kind, "jsonPath": path});
        let wide = |name: &str, path: &str| json!({"name": name, "type": "string", "jsonPath": path, "priority": 1});
        let mut columns = match self.noun {
            Noun::Document(DocumentKind::McpServer) => vec![
                column("Status", "string", ".status.phase"),
                column("Ready", "string", ".status.conditions[?(@.type==\"Ready\")].status"),
                column("Replicas", "integer", ".status.readyReplicas"),
                column("URL", "string", ".status.url"),
                wide("Image", ".spec.source.reference"),
                wide("Message", ".status.message"),
            ],
            Noun::Registry => vec![
                column("Status", "string", ".status.phase"),
                column("Ready", "string", ".status.conditions[?(@.type==\"Ready\")].status"),
                column("Registries", "integer", ".status.registries"),
                column("URL", "string", ".status.url"),
                wide("Message", ".status.message"),
            ],
            Noun::Document(DocumentKind::Tenant) => vec![column("Description", "string", ".spec.description")],
            Noun::Document(DocumentKind::Plugin) => {
                vec![column("Source", "string", ".spec.source"), column("Digest", "string", ".spec.digest")]
            }
            Noun::Document(DocumentKind::PluginAttachment) => vec![
                column("Plugin", "string", ".spec.plugin"),
                column("Level", "string", ".spec.level"),
                column("Order", "integer", ".spec.order"),
            ],
        };
        columns.push(column("Age", "date", ".metadata.creationTimestamp"));
        columns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every place of a schema that says of what type a value is.
    fn typed(schema: &Value, at: &str, wrong: &mut Vec<String>) {
        let Some(fields) = schema.as_object() else { return wrong.push(at.to_owned()) };
        let open = fields.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true));
        if !fields.contains_key("type") && !open {
            wrong.push(at.to_owned());
        }
        for word in ["oneOf", "anyOf", "allOf", "$ref", "const", "default", "title", "format"] {
            if fields.contains_key(word) {
                wrong.push(format!("{at}: {word}"));
            }
        }
        for (name, below) in fields.get("properties").and_then(Value::as_object).into_iter().flatten() {
            typed(below, &format!("{at}/{name}"), wrong);
        }
        for word in ["items", "additionalProperties"] {
            if let Some(below) = fields.get(word) {
                typed(below, &format!("{at}/{word}"), wrong);
            }
        }
    }

    fn definitions() -> Vec<Value> {
        let settings =
            schemars::generate::SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
        let registry = settings.into_generator().into_root_schema_for::<fairlead_registry::spec::RegistrySpec>();
        super::definitions(&registry.to_value())
    }

    #[test]
    fn every_schema_is_structural() {
        for definition in definitions() {
            let mut wrong = Vec::new();
            typed(&definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"], "", &mut wrong);
            assert!(wrong.is_empty(), "{}: {wrong:#?}", definition["metadata"]["name"]);
        }
    }

    #[test]
    fn a_registry_has_the_sources_of_a_cluster_and_no_files_of_a_machine() {
        let definition = definitions().swap_remove(1);
        let registries = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
            ["registries"]["additionalProperties"]["properties"];
        let mut kinds: Vec<&str> = registries["source"]["properties"]["kind"]["enum"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it.as_str().unwrap())
            .collect();
        kinds.sort_unstable();
        assert_eq!(kinds, ["api", "config-map", "git", "json", "oci", "plugin"]);
        for field in ["url", "branch", "plugin", "reference", "key"] {
            assert_eq!(registries["source"]["properties"][field]["type"], "string", "{field}");
        }
        assert_eq!(registries["rules"]["properties"]["include"]["items"]["properties"]["names"]["type"], "array");
    }

    #[test]
    fn a_server_scales_like_a_deployment() {
        let server = &definitions()[0]["spec"]["versions"][0];
        assert_eq!(server["subresources"]["scale"]["specReplicasPath"], ".spec.replicas");
        assert_eq!(
            server["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["replicas"]["type"],
            "integer"
        );
    }
}
