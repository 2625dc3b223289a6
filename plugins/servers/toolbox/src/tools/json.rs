//! JSON: looking into a document and laying it out.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Tool;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Query {
    /// A JSON document, as text.
    document: String,
    /// RFC 6901 pointer, such as `/items/0/name`; empty for the whole document.
    pointer: String,
}

#[derive(Serialize, JsonSchema)]
struct Found {
    found: bool,
    /// What is there; null when nothing is.
    value: Value,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Format {
    /// A JSON document, as text.
    document: String,
    /// Everything on one line.
    #[serde(default)]
    compact: bool,
}

#[derive(Serialize, JsonSchema)]
struct Formatted {
    document: String,
}

fn parse(document: &str) -> Result<Value, String> {
    serde_json::from_str(document).map_err(|error| format!("document: {error}"))
}

fn query(input: &Query) -> Result<Found, String> {
    if !(input.pointer.is_empty() || input.pointer.starts_with('/')) {
        return Err(format!("pointer `{}` must be empty or start with `/`", input.pointer));
    }
    let document = parse(&input.document)?;
    let value = document.pointer(&input.pointer);
    Ok(Found { found: value.is_some(), value: value.cloned().unwrap_or_default() })
}

fn format(input: &Format) -> Result<Formatted, String> {
    let document = parse(&input.document)?;
    let text = match input.compact {
        true => serde_json::to_string(&document),
        false => serde_json::to_string_pretty(&document),
    };
    text.map(|document| Formatted { document }).map_err(|error| error.to_string())
}

pub(super) fn tools() -> Vec<Tool> {
    vec![
        Tool::new(
            "json_query",
            "Look into JSON",
            "Returns what a JSON document has at a pointer.",
            |input: Query, _| query(&input),
        ),
        Tool::new(
            "json_format",
            "Lay out JSON",
            "Lays out a JSON document, indented or compact.",
            |input: Format, _| format(&input),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_finds_a_value_or_says_that_there_is_none() {
        let at = |pointer: &str| query(&Query { document: r#"{"a":[1,{"b":true}]}"#.into(), pointer: pointer.into() });
        assert_eq!(at("/a/1/b").ok().map(|found| found.value), Some(Value::Bool(true)));
        assert_eq!(at("/a/7").ok().map(|found| found.found), Some(false));
        assert!(at("a").is_err());
    }

    #[test]
    fn a_broken_document_is_an_error_with_its_place() {
        let error = format(&Format { document: "{\n]".into(), compact: true }).err().unwrap();
        assert!(error.contains("line 2"), "{error}");
    }
}
