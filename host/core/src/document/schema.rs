//! The JSON Schemas of documents, from the same types that read them.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Value, json};

use super::{API_VERSION, DocumentKind, Metadata, PluginAttachmentSpec};
use crate::cluster::ClusterSpec;
use crate::server::ServerSpec;
use crate::store::PluginSpec;
use crate::tenant::TenantSpec;

/// One schema (2020-12) for each kind, complete in itself.
#[must_use]
pub fn schemas() -> Vec<(DocumentKind, Value)> {
    DocumentKind::ALL.into_iter().map(|kind| (kind, schema(kind))).collect()
}

/// The schema of `spec` alone, without references: for those who put it into a document of their own.
#[must_use]
pub fn spec_schema(kind: DocumentKind) -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    spec(kind, &mut settings.into_generator())
}

fn spec(kind: DocumentKind, generator: &mut SchemaGenerator) -> Value {
    let mut spec = match kind {
        DocumentKind::Tenant => whole::<TenantSpec>(generator),
        DocumentKind::Plugin => whole::<PluginSpec>(generator),
        DocumentKind::PluginAttachment => whole::<PluginAttachmentSpec>(generator),
        DocumentKind::McpServer => whole::<ServerSpec>(generator),
    };
    if kind == DocumentKind::McpServer
        && let Some(properties) = spec.pointer_mut("/properties").and_then(Value::as_object_mut)
    {
        // They stand in the metadata.
        properties.remove("labels");
        properties.remove("annotations");
        if let Some(of_the_cluster) = whole::<ClusterSpec>(generator).get_mut("properties").map(Value::take)
            && let Value::Object(of_the_cluster) = of_the_cluster
        {
            properties.extend(of_the_cluster);
        }
    }
    spec
}

fn schema(kind: DocumentKind) -> Value {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let spec = spec(kind, &mut generator);
    let mut metadata = whole::<Metadata>(&mut generator);
    if let (false, Some(properties)) =
        (kind.is_namespaced(), metadata.pointer_mut("/properties").and_then(Value::as_object_mut))
    {
        properties.remove("namespace");
    }
    let definitions = generator.take_definitions(true);
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": kind.as_str(),
        "type": "object",
        "additionalProperties": false,
        "required": ["apiVersion", "kind", "metadata"],
        "properties": {
            "apiVersion": { "const": API_VERSION },
            "kind": { "const": kind.as_str() },
            "metadata": metadata,
            "spec": spec,
            "status": { "description": "What is; ignored where a document is applied." },
        },
        "$defs": definitions,
    })
}

fn whole<T: JsonSchema>(generator: &mut SchemaGenerator) -> Value {
    T::json_schema(generator).to_value()
}
