//! The reference page of documents, made from their schemas; a test keeps `docs/reference/documents.md` in step.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use fairlead_core::document::{API_VERSION, schemas};
use serde_json::{Map, Value};

/// The page.
pub(super) fn page() -> String {
    let mut text = format!(
        "# Documents\n\n\
         Made from the program by `fairlead reference documents`; do not edit.\n\n\
         What `fairlead apply -f` takes and `fairlead get` prints: `apiVersion: {API_VERSION}`, a `kind`, `metadata`, `spec`, \
         and a `status` that is ignored where it is applied. An unknown field is refused with its place. The namespace of an \
         object is its tenant; a Tenant and a Plugin have none.\n\n\
         ## metadata\n"
    );
    let schemas = schemas();
    let mut types: BTreeMap<String, Value> = BTreeMap::new();
    if let Some(metadata) = schemas.last().and_then(|(_, schema)| schema.pointer("/properties/metadata")) {
        fields(&mut text, metadata);
    }
    for (kind, schema) in &schemas {
        let _ = write!(text, "\n## {kind}\n");
        if let Some(spec) = schema.pointer("/properties/spec") {
            describe(&mut text, spec);
        }
        let definitions = schema.get("$defs").and_then(Value::as_object).into_iter().flatten();
        types.extend(definitions.map(|(name, definition)| (name.clone(), definition.clone())));
    }
    text += "\n# Types\n";
    for (name, definition) in &types {
        let _ = write!(text, "\n## {name}\n");
        describe(&mut text, definition);
    }
    text
}

fn describe(text: &mut String, schema: &Value) {
    if let Some(meaning) = schema.get("description").and_then(Value::as_str) {
        let _ = write!(text, "\n{}\n", one_line(meaning));
    }
    fields(text, schema);
    let variants = schema.get("oneOf").and_then(Value::as_array).into_iter().flatten();
    let variants: Vec<&Value> = variants.collect();
    let plain = |variant: &&Value| variant.get("const").is_some();
    if variants.iter().any(plain) {
        text.push('\n');
    }
    for variant in variants.iter().filter(|variant| plain(variant)) {
        let meaning = variant.get("description").and_then(Value::as_str).unwrap_or_default();
        let _ = writeln!(text, "- `{}`: {}", word(variant.get("const")), one_line(meaning));
    }
    for variant in variants.iter().filter(|variant| !plain(variant)) {
        let tag = variant.pointer("/properties/kind/const");
        match tag {
            Some(tag) => {
                let _ = write!(text, "\n**`kind: {}`**. ", word(Some(tag)));
            }
            None => text.push('\n'),
        }
        let meaning = variant.get("description").and_then(Value::as_str).unwrap_or_default();
        let _ = writeln!(text, "{}", one_line(meaning));
        if let Some(reference) = variant.get("$ref").and_then(Value::as_str) {
            let _ = writeln!(text, "Fields of {}.", link(reference));
        }
        fields(text, variant);
    }
}

fn fields(text: &mut String, schema: &Value) {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return };
    let properties: Vec<_> = properties.iter().filter(|(_, property)| property.get("const").is_none()).collect();
    if properties.is_empty() {
        return;
    }
    let required = schema.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
    text.push_str("\n| field | type | meaning |\n|---|---|---|\n");
    for (name, property) in properties {
        let is_required = required.contains(&name.as_str().into());
        let mut meaning = one_line(property.get("description").and_then(Value::as_str).unwrap_or_default());
        match property.get("default").filter(|default| is_short(default)) {
            Some(default) => meaning += &format!(" (default `{default}`)"),
            None if is_required => meaning += " (required)",
            None => {}
        }
        let _ = writeln!(text, "| `{name}` | {} | {} |", kind(property), meaning.trim().replace('|', "\\|"));
    }
}

fn is_short(default: &Value) -> bool {
    matches!(default, Value::Bool(_) | Value::Number(_)) || default.as_str().is_some_and(|text| !text.is_empty())
}

fn kind(property: &Value) -> String {
    let Some(schema) = property.as_object() else { return "any".to_owned() };
    if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
        return link(reference);
    }
    for several in ["anyOf", "oneOf", "allOf"] {
        if let Some(schemas) = schema.get(several).and_then(Value::as_array) {
            let kinds: Vec<_> = schemas.iter().map(kind).filter(|kind| kind != "null").collect();
            return kinds.join(" or ");
        }
    }
    match schema.get("type") {
        Some(Value::Array(types)) => {
            let types: Vec<_> =
                types.iter().filter(|one| *one != "null").map(|one| of_type(word(Some(one)), schema)).collect();
            types.join(" or ")
        }
        Some(one) => of_type(word(Some(one)), schema),
        None => "any".to_owned(),
    }
}

fn of_type(name: String, schema: &Map<String, Value>) -> String {
    match (name.as_str(), schema.get("items"), schema.get("additionalProperties")) {
        ("array", Some(items), _) => format!("list of {}", kind(items)),
        ("object", _, Some(values)) if values.is_object() => format!("map of {}", kind(values)),
        ("object", ..) => "map".to_owned(),
        _ => name,
    }
}

fn link(reference: &str) -> String {
    let name = reference.rsplit('/').next().unwrap_or_default();
    format!("[{name}](#{})", name.to_lowercase())
}

fn word(value: Option<&Value>) -> String {
    value.and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    /// `fairlead reference documents > docs/reference/documents.md` makes it right again.
    #[test]
    fn the_reference_page_is_what_the_schemas_say() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/documents.md");
        let there = std::fs::read_to_string(path).unwrap_or_default();
        let command = "fairlead reference documents > docs/reference/documents.md";
        assert!(there == super::page(), "{path} is out of date: run `{command}`");
    }

    #[test]
    fn every_link_of_the_page_leads_to_a_heading() {
        let page = super::page();
        for link in page.split("](#").skip(1) {
            let target = link.split(')').next().unwrap();
            let there =
                page.lines().any(|line| line.strip_prefix("## ").is_some_and(|name| name.to_lowercase() == target));
            assert!(there, "{target}");
        }
    }
}
