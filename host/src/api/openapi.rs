//! The OpenAPI document, made from the same table as the routes.
//!
//! A route is added together with its description, so neither can be there without the other. OpenAPI 3.1 schemas are JSON
//! Schema 2020-12, which is what `schemars` makes of our types; so the document needs no second set of derives on them, and
//! the hundred lines here replace a library (aide 0.15 stands on another major version of schemars; utoipa wants derives of
//! its own on every noun of the core).

use std::collections::BTreeMap;

use axum::Router;
use axum::routing::MethodRouter;
use http::StatusCode;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::problem::{PROBLEM_JSON, ProblemDocument};

/// One operation, described.
pub(crate) struct Operation {
    method: &'static str,
    path: &'static str,
    id: &'static str,
    summary: &'static str,
    query: Option<fn(&mut SchemaGenerator) -> Value>,
    body: Option<fn(&mut SchemaGenerator) -> Value>,
    success: (StatusCode, Content),
}

enum Content {
    Nothing,
    Text,
    Json(fn(&mut SchemaGenerator) -> Value),
}

impl Operation {
    /// An operation that answers with nothing.
    pub(crate) fn new(method: &'static str, path: &'static str, id: &'static str, summary: &'static str) -> Self {
        Self { method, path, id, summary, query: None, body: None, success: (StatusCode::NO_CONTENT, Content::Nothing) }
    }

    /// With parameters in the query.
    pub(crate) fn query<T: JsonSchema>(mut self) -> Self {
        self.query = Some(inline::<T>);
        self
    }

    /// With a JSON body.
    pub(crate) fn body<T: JsonSchema>(mut self) -> Self {
        self.body = Some(reference::<T>);
        self
    }

    /// Answers with JSON.
    pub(crate) fn returns<T: JsonSchema>(mut self, status: StatusCode) -> Self {
        self.success = (status, Content::Json(reference::<T>));
        self
    }

    /// Answers with text.
    pub(crate) fn returns_text(mut self) -> Self {
        self.success = (StatusCode::OK, Content::Text);
        self
    }
}

fn reference<T: JsonSchema>(generator: &mut SchemaGenerator) -> Value {
    generator.subschema_for::<T>().to_value()
}

fn inline<T: JsonSchema>(generator: &mut SchemaGenerator) -> Value {
    T::json_schema(generator).to_value()
}

/// Routes and their description, growing together.
pub(crate) struct Doors<S> {
    router: Router<S>,
    paths: BTreeMap<&'static str, Map<String, Value>>,
    generator: SchemaGenerator,
}

impl<S: Clone + Send + Sync + 'static> Doors<S> {
    /// None yet.
    pub(crate) fn new() -> Self {
        let generator = SchemaSettings::draft2020_12()
            .with(|settings| settings.definitions_path = "/components/schemas".into())
            .into_generator();
        Self { router: Router::new(), paths: BTreeMap::new(), generator }
    }

    /// One more.
    pub(crate) fn door(mut self, operation: Operation, handler: MethodRouter<S>) -> Self {
        let described = describe(&operation, &mut self.generator);
        self.paths.entry(operation.path).or_default().insert(operation.method.to_owned(), described);
        self.router = self.router.route(operation.path, handler);
        self
    }

    /// The routes and the document.
    pub(crate) fn finish(mut self) -> (Router<S>, Value) {
        let schemas = self.generator.take_definitions(true);
        let document = json!({
            "openapi": "3.1.1",
            "info": {
                "title": "Fairlead",
                "description": "Runs, guards and keeps fresh MCP servers. Served over a Unix socket that only its owner may open.",
                "version": env!("CARGO_PKG_VERSION"),
                "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
            },
            "paths": self.paths,
            "components": { "schemas": schemas },
        });
        (self.router, document)
    }
}

fn describe(operation: &Operation, generator: &mut SchemaGenerator) -> Value {
    let mut parameters: Vec<Value> = path_parameters(operation.path)
        .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }))
        .collect();
    if let Some(query) = operation.query {
        parameters.extend(query_parameters(&query(generator)));
    }
    let (status, content) = &operation.success;
    let mut success = json!({ "description": status.canonical_reason().unwrap_or_default() });
    match content {
        Content::Nothing => {}
        Content::Text => success["content"] = json!({ "text/plain": { "schema": { "type": "string" } } }),
        Content::Json(schema) => success["content"] = json!({ "application/json": { "schema": schema(generator) } }),
    }
    let problem = reference::<ProblemDocument>(generator);
    let mut responses = Map::new();
    responses.insert(status.as_str().to_owned(), success);
    responses.insert(
        "default".to_owned(),
        json!({ "description": "A problem (RFC 9457)", "content": { PROBLEM_JSON: { "schema": problem } } }),
    );
    let mut described = json!({
        "operationId": operation.id,
        "summary": operation.summary,
        "responses": responses,
    });
    if !parameters.is_empty() {
        described["parameters"] = parameters.into();
    }
    if let Some(body) = operation.body {
        let schema = body(generator);
        described["requestBody"] = json!({ "required": true, "content": { "application/json": { "schema": schema } } });
    }
    described
}

fn path_parameters(path: &'static str) -> impl Iterator<Item = &'static str> {
    path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
}

/// Each property of the query type is one parameter.
fn query_parameters(schema: &Value) -> Vec<Value> {
    let required = schema.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
    let properties = schema.get("properties").and_then(Value::as_object);
    properties
        .into_iter()
        .flatten()
        .map(|(name, property)| {
            let mut property = property.clone();
            let description = property.as_object_mut().and_then(|object| object.remove("description"));
            let mut parameter = json!({
                "name": name,
                "in": "query",
                "required": required.contains(&name.as_str().into()),
                "schema": property,
            });
            if let Some(description) = description {
                parameter["description"] = description;
            }
            parameter
        })
        .collect()
}
