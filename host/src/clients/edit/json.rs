//! JSON as editors write it: comments, trailing commas, whatever indentation.

use jsonc_parser::ParseOptions;
use jsonc_parser::cst::{CstInputValue, CstObject, CstRootNode};
use serde_json::Value;

use super::{Client, EditError, Entry};

pub(super) fn parse(text: &str) -> Result<Value, EditError> {
    let root = CstRootNode::parse(text, &ParseOptions::default()).map_err(syntax)?;
    Ok(root.to_serde_value().unwrap_or_default())
}

pub(super) fn set(client: &Client, text: &str, name: &str, entry: &Entry) -> Result<String, EditError> {
    let (root, servers) = servers(client, text)?;
    let input = input(entry);
    match servers.get(name) {
        Some(known) => known.set_value(input),
        None => drop(servers.append(name, input)),
    }
    let text = root.to_string();
    Ok(if text.ends_with('\n') { text } else { text + "\n" })
}

pub(super) fn remove(client: &Client, text: &str, name: &str) -> Result<String, EditError> {
    let (root, servers) = servers(client, text)?;
    if let Some(known) = servers.get(name) {
        known.remove();
    }
    Ok(root.to_string())
}

fn servers(client: &Client, text: &str) -> Result<(CstRootNode, CstObject), EditError> {
    let root = CstRootNode::parse(text, &ParseOptions::default()).map_err(syntax)?;
    let wrong = || EditError::Shape(client.at.join("."));
    let mut place = root.object_value_or_create().ok_or_else(wrong)?;
    for key in &client.at {
        place = place.object_value_or_create(key).ok_or_else(wrong)?;
    }
    Ok((root, place))
}

fn input(entry: &Entry) -> CstInputValue {
    CstInputValue::Object(entry.iter().map(|(key, value)| (key.clone(), scalar(value))).collect())
}

fn scalar(value: &Value) -> CstInputValue {
    match value {
        Value::Bool(value) => CstInputValue::Bool(*value),
        Value::Number(number) => CstInputValue::Number(number.to_string()),
        Value::String(text) => CstInputValue::String(text.clone()),
        Value::Null | Value::Array(_) | Value::Object(_) => CstInputValue::Null,
    }
}

fn syntax(error: jsonc_parser::errors::ParseError) -> EditError {
    EditError::Syntax(error.to_string())
}
