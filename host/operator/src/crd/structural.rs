//! From the JSON Schema of a type to the structural schema of a custom resource.
//!
//! An API server takes less than JSON Schema can say: every field has one type at one place, and `oneOf` may only restrict what
//! is said outside of it. Our nouns have tagged variants (`source`, `transport`), so a variant becomes fields of one object, and
//! which of them belong together becomes a rule in CEL. What has no such form (a value of any shape, a name or a whole profile)
//! is let through whole and judged by the operator, which reads every object with the reader of documents; the operator is
//! the last judge of all of it, these schemas only make `kubectl apply` say so at once.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// Words of JSON Schema that mean the same in a structural schema.
const KEPT: [&str; 9] =
    ["description", "maxItems", "maxLength", "maximum", "minItems", "minLength", "minimum", "pattern", "required"];

/// The structural form of a schema without references.
#[must_use]
pub fn structural(schema: &Value) -> Value {
    let Value::Object(fields) = schema else { return anything(None) };
    let described = fields.get("description").cloned();
    if let Some(variants) = fields.get("oneOf").and_then(Value::as_array) {
        return variant(variants, described);
    }
    if let Some(options) = fields.get("anyOf").and_then(Value::as_array) {
        let mut there = options.iter().filter(|option| option.get("type") != Some(&json!("null")));
        return match (there.next(), there.next()) {
            (Some(only), None) => with_description(structural(only), described),
            _ => anything(described),
        };
    }
    if let Some(value) = fields.get("const") {
        return with_description(choice(vec![value.clone()]), described);
    }
    if let Some(values) = fields.get("enum").and_then(Value::as_array) {
        let values = values.iter().filter(|value| !value.is_null()).cloned().collect();
        return with_description(choice(values), described);
    }
    let Some(kind) = kind(fields) else { return anything(described) };
    let mut structured = Map::new();
    for name in KEPT {
        structured.extend(fields.get(name).map(|value| (name.to_owned(), value.clone())));
    }
    structured.insert("type".to_owned(), kind.into());
    if let Some(items) = fields.get("items") {
        structured.insert("items".to_owned(), structural(items));
    }
    match (fields.get("properties").and_then(Value::as_object), fields.get("additionalProperties")) {
        (Some(properties), _) => {
            let properties: Map<_, _> = properties.iter().map(|(name, of)| (name.clone(), structural(of))).collect();
            structured.insert("properties".to_owned(), properties.into());
        }
        (None, Some(values @ Value::Object(_))) => {
            structured.insert("additionalProperties".to_owned(), structural(values));
        }
        (None, _) if kind == "object" => return anything(described),
        (None, _) => {}
    }
    structured.into()
}

/// The one type of a value that is there: that it may be `null` says only that it may be left out.
fn kind(fields: &Map<String, Value>) -> Option<&str> {
    match fields.get("type") {
        Some(Value::String(kind)) => Some(kind),
        Some(Value::Array(kinds)) => {
            let mut kinds = kinds.iter().filter_map(Value::as_str).filter(|kind| *kind != "null");
            kinds.next().filter(|_| kinds.next().is_none())
        }
        _ if fields.contains_key("properties") => Some("object"),
        _ => None,
    }
}

fn anything(description: Option<Value>) -> Value {
    with_description(json!({"x-kubernetes-preserve-unknown-fields": true}), description)
}

fn choice(values: Vec<Value>) -> Value {
    json!({"type": "string", "enum": values})
}

/// What stands at a field says more than what stands at its type.
fn with_description(mut schema: Value, description: Option<Value>) -> Value {
    if let (Some(description), Some(fields)) = (description, schema.as_object_mut()) {
        fields.insert("description".to_owned(), description);
    }
    schema
}

/// A type with variants: words, or objects that say in one field which they are.
fn variant(variants: &[Value], description: Option<Value>) -> Value {
    let words: Option<Vec<Value>> = variants.iter().map(words).collect::<Option<Vec<_>>>().map(|all| all.concat());
    if let Some(words) = words {
        return with_description(choice(words), description);
    }
    match tag(variants) {
        Some(tag) => with_description(tagged(variants, &tag), description),
        None => anything(description),
    }
}

fn words(variant: &Value) -> Option<Vec<Value>> {
    match (variant.get("const"), variant.get("enum").and_then(Value::as_array)) {
        (Some(word @ Value::String(_)), _) => Some(vec![word.clone()]),
        (None, Some(words)) => Some(words.clone()),
        _ => None,
    }
}

/// The field that every variant has as one constant.
fn tag(variants: &[Value]) -> Option<String> {
    let first = variants.first()?.get("properties")?.as_object()?;
    let constant = |variant: &Value, name: &str| variant.pointer(&format!("/properties/{name}/const")).is_some();
    first.keys().find(|name| variants.iter().all(|variant| constant(variant, name))).cloned()
}

fn tagged(variants: &[Value], tag: &str) -> Value {
    let mut properties: Map<String, Value> = Map::new();
    let mut names = Vec::new();
    // Which variants have a field, and which cannot be without it.
    let mut having: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    let mut needing: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for variant in variants {
        let name = variant.pointer(&format!("/properties/{tag}/const")).cloned().unwrap_or_default();
        let required: Vec<&str> =
            variant.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
        for (field, schema) in variant.get("properties").and_then(Value::as_object).into_iter().flatten() {
            if field == tag {
                continue;
            }
            having.entry(field).or_default().push(name.clone());
            if required.contains(&field.as_str()) {
                needing.entry(field).or_default().push(name.clone());
            }
            let schema = structural(schema);
            match properties.get(field) {
                Some(there) if bare(there) != bare(&schema) => properties.insert(field.clone(), anything(None)),
                Some(_) => None,
                None => properties.insert(field.clone(), schema),
            };
        }
        names.push(name);
    }
    // What has no type cannot be named in a rule; the operator judges it.
    let typed = having.iter().filter(|(field, _)| properties.get(**field).is_some_and(|of| of.get("type").is_some()));
    let rules = typed.flat_map(|(field, variants)| {
        let everywhere = variants.len() == names.len();
        let only = (!everywhere).then(|| rule(tag, field, variants, &format!("!has(self.{field})"), "is only for"));
        let needed = needing.get(field).map(|needing| {
            let others: Vec<Value> = names.iter().filter(|name| !needing.contains(name)).cloned().collect();
            rule(tag, field, &others, &format!("has(self.{field})"), "may be left out only for")
        });
        only.into_iter().chain(needed)
    });
    let rules: Vec<Value> = rules.collect();
    properties.insert(tag.to_owned(), choice(names));
    let mut schema = json!({"type": "object", "required": [tag], "properties": properties});
    if let (false, Some(fields)) = (rules.is_empty(), schema.as_object_mut()) {
        fields.insert("x-kubernetes-validations".to_owned(), rules.into());
    }
    schema
}

/// Either the object is one of these variants, or something else holds.
fn rule(tag: &str, field: &str, variants: &[Value], otherwise: &str, relation: &str) -> Value {
    let list: Vec<String> = variants.iter().filter_map(Value::as_str).map(|name| format!("'{name}'")).collect();
    let plain = list.join(", ").replace('\'', "`");
    let message = match list.is_empty() {
        true => format!("`{field}` is missing"),
        false => format!("`{field}` {relation} {tag} {plain}"),
    };
    json!({"rule": format!("self.{tag} in [{}] || {otherwise}", list.join(", ")), "message": message})
}

/// A schema without the words that only people read.
fn bare(schema: &Value) -> Value {
    let mut schema = schema.clone();
    if let Some(fields) = schema.as_object_mut() {
        fields.remove("description");
    }
    schema
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_null_may_be_left_out() {
        assert_eq!(
            structural(&json!({"type": ["integer", "null"], "format": "uint32", "minimum": 0})),
            json!({"type": "integer", "minimum": 0})
        );
        let optional =
            json!({"description": "here", "anyOf": [{"type": "string", "description": "there"}, {"type": "null"}]});
        assert_eq!(structural(&optional), json!({"type": "string", "description": "here"}));
    }

    #[test]
    fn variants_become_fields_and_rules() {
        let schema = json!({"oneOf": [
            {"type": "object", "properties": {"kind": {"const": "stdio"}}, "required": ["kind"]},
            {"type": "object", "properties": {"kind": {"const": "http"}, "port": {"type": "integer"}, "path": {"type": "string"}},
             "required": ["kind", "port"]},
        ]});
        let structured = structural(&schema);
        assert_eq!(structured["properties"]["kind"], json!({"type": "string", "enum": ["stdio", "http"]}));
        assert_eq!(structured["properties"]["port"], json!({"type": "integer"}));
        let rules: Vec<&str> = structured["x-kubernetes-validations"]
            .as_array()
            .unwrap()
            .iter()
            .map(|rule| rule["rule"].as_str().unwrap())
            .collect();
        assert_eq!(
            rules,
            [
                "self.kind in ['http'] || !has(self.path)",
                "self.kind in ['http'] || !has(self.port)",
                "self.kind in ['stdio'] || has(self.port)",
            ]
        );
    }

    #[test]
    fn words_stay_words_and_any_value_stays_any_value() {
        let words = json!({"oneOf": [{"const": "a", "type": "string"}, {"enum": ["b", "c"], "type": "string"}]});
        assert_eq!(structural(&words), json!({"type": "string", "enum": ["a", "b", "c"]}));
        let any = json!({"x-kubernetes-preserve-unknown-fields": true});
        assert_eq!(structural(&Value::Bool(true)), any);
        assert_eq!(structural(&json!({"anyOf": [{"type": "string"}, {"type": "object"}]})), any);
        assert_eq!(structural(&json!({"type": "object"})), any);
    }
}
