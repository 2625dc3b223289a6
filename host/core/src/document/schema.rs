//! The JSON Schemas of documents, from the same types that read them.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Value, json};

use super::{API_VERSION, DocumentKind, Metadata, PluginAttachmentSpec};
use crate::server::ServerSpec;
use crate::store::PluginSpec;
use crate::tenant::TenantSpec;

/// One schema (2020-12) for each kind, complete in itself.
#[must_use]
pub fn schemas() -> Vec<(DocumentKind, Value)> {
    DocumentKind::ALL.into_iter().map(|kind| (kind, schema(kind))).collect()
}

fn schema(kind: DocumentKind) -> Value {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let mut spec = match kind {
        DocumentKind::Tenant => whole::<TenantSpec>(&mut generator),
        DocumentKind::Plugin => whole::<PluginSpec>(&mut generator),
        DocumentKind::PluginAttachment => whole::<PluginAttachmentSpec>(&mut generator),
        DocumentKind::McpServer => whole::<ServerSpec>(&mut generator),
    };
    if kind == DocumentKind::McpServer
        && let Some(properties) = spec.pointer_mut("/properties").and_then(Value::as_object_mut)
    {
        // They stand in the metadata.
        properties.remove("labels");
        properties.remove("annotations");
    }
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
