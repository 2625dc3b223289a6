//! How the tools of a candidate differ from those of what runs: what a client could notice, and nothing else.
//!
//! A description is for a model to read and may become better; a tool that is gone, or that asks for other arguments, makes
//! calls fail that worked yesterday.

use std::collections::BTreeMap;

use serde_json::Value;

use super::facts::Surface;

/// A tool, as far as calls depend on it.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolShape {
    /// Its name.
    pub name: String,
    /// JSON Schema of its arguments.
    pub input: Value,
}

/// Compares what a server offered with what it would offer.
#[must_use]
pub fn compare(before: &[ToolShape], after: &[ToolShape]) -> Surface {
    let later: BTreeMap<&str, &Value> = after.iter().map(|tool| (tool.name.as_str(), &tool.input)).collect();
    let mut grown = after.len() > before.len();
    for tool in before {
        match later.get(tool.name.as_str()) {
            Some(input) if says(input) == says(&tool.input) => {}
            Some(input) if accepts_as_before(&tool.input, input) => grown = true,
            _ => return Surface::Breaking,
        }
    }
    if grown { Surface::Additive } else { Surface::Same }
}

/// Whatever was accepted is accepted still: the same arguments with the same schemas, and new ones that nobody must give.
fn accepts_as_before(before: &Value, after: &Value) -> bool {
    let (Some(before), Some(after)) = (says(before), says(after)) else { return false };
    let rest = |schema: &BTreeMap<String, Value>| {
        let mut rest = schema.clone();
        rest.remove("properties");
        rest.remove("required");
        rest
    };
    let properties = |schema: &BTreeMap<String, Value>| {
        schema.get("properties").and_then(Value::as_object).cloned().unwrap_or_default()
    };
    let required = |schema: &BTreeMap<String, Value>| -> Vec<Value> {
        schema.get("required").and_then(Value::as_array).cloned().unwrap_or_default()
    };
    let (old, new) = (properties(&before), properties(&after));
    rest(&before) == rest(&after)
        && old.iter().all(|(name, schema)| new.get(name).is_some_and(|now| says(now) == says(schema)))
        && required(&after).iter().all(|name| required(&before).contains(name))
}

/// A schema without what is said to people only.
fn says(schema: &Value) -> Option<BTreeMap<String, Value>> {
    const PROSE: [&str; 4] = ["title", "description", "examples", "$comment"];
    let object = schema.as_object()?;
    let told = object.iter().filter(|(name, _)| !PROSE.contains(&name.as_str()));
    Some(told.map(|(name, value)| (name.clone(), value.clone())).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tool(name: &str, input: Value) -> ToolShape {
        ToolShape { name: name.to_owned(), input }
    }

    #[test]
    fn only_what_makes_calls_fail_is_breaking() {
        let schema = json!({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]});
        let before = [tool("t", schema.clone())];
        let with = |input: Value| compare(&before, &[tool("t", input)]);
        assert_eq!(compare(&before, &before), Surface::Same);
        assert_eq!(compare(&before, &[]), Surface::Breaking);
        assert_eq!(compare(&before, &[tool("u", schema.clone())]), Surface::Breaking);
        assert_eq!(compare(&before, &[tool("t", schema.clone()), tool("u", json!({}))]), Surface::Additive);
        let mut told = schema.clone();
        told["description"] = json!("better words");
        assert_eq!(with(told), Surface::Same);
        let mut optional = schema.clone();
        optional["properties"]["b"] = json!({"type": "number"});
        assert_eq!(with(optional.clone()), Surface::Additive);
        optional["required"] = json!(["a", "b"]);
        assert_eq!(with(optional), Surface::Breaking);
        let mut other = schema.clone();
        other["properties"]["a"]["type"] = json!("number");
        assert_eq!(with(other), Surface::Breaking);
        let mut gone = schema;
        gone["properties"] = json!({});
        assert_eq!(with(gone), Surface::Breaking);
    }
}
