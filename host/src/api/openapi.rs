//! The OpenAPI document, made from the same table as the routes.
//!
//! A route is added together with its description, so neither can be there without the other. OpenAPI 3.1 schemas are JSON
//! Schema 2020-12, which is what `schemars` makes of our types; so the document needs no second set of derives on them, and
//! the hundred lines here replace a library (aide 0.15 stands on another major version of schemars; utoipa wants derives of
//! its own on every noun of the core).

use std::collections::BTreeMap;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::MethodRouter;
use fairlead_core::tenant::Role;
use http::StatusCode;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::access::{Access, guard};
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
    access: Access,
}

enum Content {
    Nothing,
    Text,
    Json(fn(&mut SchemaGenerator) -> Value),
}

impl Operation {
    /// An operation that answers with nothing, for the owner of the daemon alone.
    pub(crate) fn new(method: &'static str, path: &'static str, id: &'static str, summary: &'static str) -> Self {
        let success = (StatusCode::NO_CONTENT, Content::Nothing);
        Self { method, path, id, summary, query: None, body: None, success, access: Access::Platform(Role::Admin) }
    }

    /// For whom it is.
    pub(crate) fn access(mut self, access: Access) -> Self {
        self.access = access;
        self
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
    description: Description,
}

impl<S: Clone + Send + Sync + 'static> Doors<S> {
    /// None yet.
    pub(crate) fn new() -> Self {
        Self { router: Router::new(), description: Description(Vec::new()) }
    }

    /// One more.
    pub(crate) fn door(mut self, operation: Operation, handler: MethodRouter<S>) -> Self {
        let handler = handler.layer(from_fn_with_state(operation.access, guard));
        self.router = self.router.route(operation.path, handler);
        self.description.0.push(operation);
        self
    }

    /// The routes and what describes them.
    pub(crate) fn finish(self) -> (Router<S>, Description) {
        (self.router, self.description)
    }
}

/// What describes all operations. The schemas of all our types are made when somebody asks: a start would wait for them, and
/// keep in memory what hardly anybody reads.
pub(crate) struct Description(Vec<Operation>);

impl Description {
    /// The document.
    pub(crate) fn document(&self) -> Value {
        let settings =
            SchemaSettings::draft2020_12().with(|settings| settings.definitions_path = "/components/schemas".into());
        let mut generator = settings.into_generator();
        let mut paths = BTreeMap::<_, Map<String, Value>>::new();
        for operation in &self.0 {
            let described = describe(operation, &mut generator);
            paths.entry(operation.path).or_default().insert(operation.method.to_owned(), described);
        }
        json!({
            "openapi": "3.1.1",
            "info": {
                "title": "Fairlead",
                "description": "Runs, guards and keeps fresh MCP servers. Served over a Unix socket that only its owner may open, and, where that is asked for, over TCP to whoever has a token. `x-fairlead-access` of an operation says for whom it is; what belongs to another tenant is not there.",
                "version": env!("CARGO_PKG_VERSION"),
                "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
            },
            "paths": paths,
            "components": {
                "schemas": generator.take_definitions(true),
                "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
            },
            "security": [{ "token": [] }],
        })
    }
}

fn describe(operation: &Operation, generator: &mut SchemaGenerator) -> Value {
    let mut parameters: Vec<Value> = path_parameters(operation.path)
        .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }))
        .collect();
    if let Some(query) = operation.query {
        parameters.extend(query_parameters(&query(generator)));
    }
    let mut described = Map::new();
    let mut put = |name: &str, value: Value| described.insert(name.to_owned(), value);
    put("operationId", operation.id.into());
    put("summary", operation.summary.into());
    put("x-fairlead-access", operation.access.told());
    if operation.access == Access::Everybody {
        put("security", json!([]));
    }
    if !parameters.is_empty() {
        put("parameters", parameters.into());
    }
    if let Some(body) = operation.body {
        put("requestBody", json!({ "required": true, "content": content("application/json", body(generator)) }));
    }
    put("responses", responses(operation, generator));
    described.into()
}

fn responses(operation: &Operation, generator: &mut SchemaGenerator) -> Value {
    let (status, answer) = &operation.success;
    let description = status.canonical_reason().unwrap_or_default();
    let success = match answer {
        Content::Nothing => json!({ "description": description }),
        Content::Text => {
            json!({ "description": description, "content": content("text/plain", json!({ "type": "string" })) })
        }
        Content::Json(schema) => {
            json!({ "description": description, "content": content("application/json", schema(generator)) })
        }
    };
    let problem = content(PROBLEM_JSON, reference::<ProblemDocument>(generator));
    json!({ status.as_str(): success, "default": { "description": "A problem (RFC 9457)", "content": problem } })
}

fn content(media: &str, schema: Value) -> Value {
    json!({ media: { "schema": schema } })
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
            json!({
                "name": name,
                "in": "query",
                "description": description.unwrap_or_default(),
                "required": required.contains(&name.as_str().into()),
                "schema": property,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use axum::routing::{get, post};

    use super::*;
    use crate::api::types::{CreateWorkload, TenantQuery, Workload};

    #[test]
    fn every_reference_leads_somewhere_and_every_parameter_is_described() {
        let operation = Operation::new("post", "/things/{name}", "makeThing", "Make a thing")
            .query::<TenantQuery>()
            .body::<CreateWorkload>()
            .returns::<Workload>(StatusCode::CREATED);
        let plain = Operation::new("get", "/things/{name}", "showThing", "Show a thing").returns_text();
        let doors: Doors<()> = Doors::new().door(operation, post(|| async {})).door(plain, get(|| async {}));
        let document = doors.finish().1.document();
        let mut references = Vec::new();
        collect(&document, &mut references);
        assert!(references.iter().any(|reference| reference.ends_with("/CreateWorkload")), "{references:?}");
        for reference in references {
            assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
        }
        let parameters = document.pointer("/paths/~1things~1{name}/post/parameters").unwrap();
        let names: Vec<_> = parameters.as_array().unwrap().iter().map(|parameter| &parameter["name"]).collect();
        assert_eq!(names, ["name", "tenant"]);
        assert!(document.pointer("/paths/~1things~1{name}/get/responses/200").is_some());
    }

    fn collect(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(object) => {
                found.extend(object.get("$ref").and_then(Value::as_str).map(str::to_owned));
                object.values().for_each(|value| collect(value, found));
            }
            Value::Array(array) => array.iter().for_each(|value| collect(value, found)),
            _ => {}
        }
    }
}
