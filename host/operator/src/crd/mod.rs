//! The custom resources: documents as a cluster keeps them, generated from the types that every other door reads into.
//!
//! `fairlead crd` prints them, `deploy/crds/` has them, and a test holds the two together. What a schema cannot say in general
//! (two fields that exclude each other, a source that no cluster can run) stands here as rules in CEL.

mod structural;

use fairlead_core::document::{API_VERSION, DocumentKind, spec_schema};
use serde_json::{Map, Value, json};

pub use structural::structural;

use crate::limits::SERVER_NAME_LENGTH_MAX;
use crate::status::ServerStatus;

/// The group of all of them.
pub const GROUP: &str = "fairlead.dev";

/// The version that is served and stored.
pub const VERSION: &str = "v1alpha1";

/// One custom resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// Of what it is a document.
    pub document: DocumentKind,
    /// Its name in URLs.
    pub plural: &'static str,
    singular: &'static str,
    short: &'static [&'static str],
}

/// All of them.
pub const KINDS: [Kind; 4] = [
    Kind { document: DocumentKind::McpServer, plural: "mcpservers", singular: "mcpserver", short: &["mcp"] },
    Kind { document: DocumentKind::Tenant, plural: "tenants", singular: "tenant", short: &["mcptenant"] },
    Kind { document: DocumentKind::Plugin, plural: "plugins", singular: "plugin", short: &["mcpplugin"] },
    Kind {
        document: DocumentKind::PluginAttachment,
        plural: "pluginattachments",
        singular: "pluginattachment",
        short: &["mcpattach"],
    },
];

/// The definitions, as they are given to an API server.
#[must_use]
pub fn definitions() -> Vec<Value> {
    KINDS.iter().map(Kind::definition).collect()
}

impl Kind {
    /// The name of its definition.
    #[must_use]
    pub fn definition_name(&self) -> String {
        format!("{}.{GROUP}", self.plural)
    }

    fn definition(&self) -> Value {
        debug_assert_eq!(API_VERSION, format!("{GROUP}/{VERSION}"));
        let kind = self.document.as_str();
        let subresources = match self.document {
            DocumentKind::McpServer => json!({
                "status": {},
                "scale": {
                    "specReplicasPath": ".spec.replicas",
                    "statusReplicasPath": ".status.replicas",
                    "labelSelectorPath": ".status.selector",
                },
            }),
            DocumentKind::Tenant | DocumentKind::Plugin | DocumentKind::PluginAttachment => json!({}),
        };
        json!({
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": self.definition_name(), "labels": {"app.kubernetes.io/name": "fairlead"}},
            "spec": {
                "group": GROUP,
                "scope": if self.document.is_namespaced() { "Namespaced" } else { "Cluster" },
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
                    "schema": {"openAPIV3Schema": self.schema()},
                    "subresources": subresources,
                    "additionalPrinterColumns": self.columns(),
                }],
            },
        })
    }

    fn schema(&self) -> Value {
        let mut spec = structural(&spec_schema(self.document));
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
            "description": self.document.as_str(),
            "properties": properties,
            "required": if self.document == DocumentKind::Tenant { json!([]) } else { json!(["spec"]) },
        });
        if self.document == DocumentKind::McpServer
            && let Some(fields) = schema.as_object_mut()
        {
            let rule =
                format!("self.metadata.name.size() <= {SERVER_NAME_LENGTH_MAX} && !self.metadata.name.contains('.')");
            let message = format!(
                "the name of a server is a DNS label of at most {SERVER_NAME_LENGTH_MAX} characters: names of pods and services \
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
        if self.document != DocumentKind::McpServer {
            return None;
        }
        let settings =
            schemars::generate::SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
        let schema = settings.into_generator().into_root_schema_for::<ServerStatus>();
        let mut status = structural(&schema.to_value());
        if let Some(conditions) = status.pointer_mut("/properties/conditions").and_then(Value::as_object_mut) {
            conditions.insert("x-kubernetes-list-type".to_owned(), "map".into());
            conditions.insert("x-kubernetes-list-map-keys".to_owned(), json!(["type"]));
        }
        Some(status)
    }

    fn rules(&self) -> Vec<Value> {
        let rule = |rule: &str, message: &str| json!({"rule": rule, "message": message});
        match self.document {
            DocumentKind::McpServer => vec![
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
            DocumentKind::PluginAttachment => vec![rule(
                "!has(self.selector) || !has(self.selector.tenants) || (has(self.level) && self.level == 'platform')",
                "only the platform selects tenants; what belongs to a tenant stays with it",
            )],
            DocumentKind::Plugin => {
                vec![rule(
                    "self.digest.matches('^sha256:[0-9a-f]{64}$')",
                    "digest is `sha256:` and 64 hexadecimal digits",
                )]
            }
            DocumentKind::Tenant => Vec::new(),
        }
    }

    fn columns(&self) -> Vec<Value> {
        let column = |name: &str, kind: &str, path: &str| json!({"name": name, "type": kind, "jsonPath": path});
        let wide = |name: &str, path: &str| json!({"name": name, "type": "string", "jsonPath": path, "priority": 1});
        let mut columns = match self.document {
            DocumentKind::McpServer => vec![
                column("Status", "string", ".status.phase"),
                column("Ready", "string", ".status.conditions[?(@.type==\"Ready\")].status"),
                column("Replicas", "integer", ".status.readyReplicas"),
                column("URL", "string", ".status.url"),
                wide("Image", ".spec.source.reference"),
                wide("Message", ".status.message"),
            ],
            DocumentKind::Tenant => vec![column("Description", "string", ".spec.description")],
            DocumentKind::Plugin => {
                vec![column("Source", "string", ".spec.source"), column("Digest", "string", ".spec.digest")]
            }
            DocumentKind::PluginAttachment => vec![
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

    #[test]
    fn every_schema_is_structural() {
        for definition in definitions() {
            let mut wrong = Vec::new();
            typed(&definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"], "", &mut wrong);
            assert!(wrong.is_empty(), "{}: {wrong:#?}", definition["metadata"]["name"]);
        }
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
