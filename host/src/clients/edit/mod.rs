//! Changing one entry of somebody's configuration: text in, text out, and everything else as it was, comments and all.
//!
//! Whatever a format's editor does is checked before it counts: the new text must say what the old one said, with the entry
//! there or gone. A file in which that cannot be done (an exotic YAML, say) is refused and stays as it is.

mod json;
mod toml;
mod yaml;

use serde_json::{Map, Value};

use super::table::{Client, Entry, Format, Shape, object};

/// Why a file is not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EditError {
    /// It is not what it should be.
    #[error("it cannot be read: {0}")]
    Syntax(String),
    /// Something else stands where servers should.
    #[error("`{0}` is not what servers stand in")]
    Shape(String),
    /// It is written in a way that cannot be changed without touching the rest.
    #[error("it cannot be changed without touching the rest of it")]
    TooExotic,
}

/// What the file has under a name; `None` when nothing.
///
/// # Errors
/// It cannot be read.
pub(crate) fn get(client: &Client, text: &str, name: &str) -> Result<Option<Value>, EditError> {
    Ok(find(client, &parse(client.format, text)?, name).cloned())
}

/// The text with an entry under a name, new or changed.
///
/// # Errors
/// It cannot be read, or not be changed without harm.
pub(crate) fn set(client: &Client, text: &str, name: &str, entry: &Entry) -> Result<String, EditError> {
    let before = parse(client.format, text)?;
    let mut expected = before.clone();
    put(client, &mut expected, name, Some(Value::Object(object(entry))))?;
    if expected == before {
        return Ok(text.to_owned());
    }
    let new = match client.format {
        Format::Json => json::set(client, text, name, entry)?,
        Format::Toml => toml::set(client, text, name, entry)?,
        // What stands there is replaced as a whole.
        Format::Yaml if find(client, &before, name).is_some() => {
            yaml::set(client, &yaml::remove(client, text, name)?, name, entry)?
        }
        Format::Yaml => yaml::set(client, text, name, entry)?,
    };
    checked(client, new, &expected)
}

/// The text without the entry of a name.
///
/// # Errors
/// It cannot be read, or not be changed without harm.
pub(crate) fn remove(client: &Client, text: &str, name: &str) -> Result<String, EditError> {
    let before = parse(client.format, text)?;
    if find(client, &before, name).is_none() {
        return Ok(text.to_owned());
    }
    let mut expected = before;
    put(client, &mut expected, name, None)?;
    let new = match client.format {
        Format::Json => json::remove(client, text, name)?,
        Format::Toml => toml::remove(client, text, name)?,
        Format::Yaml => yaml::remove(client, text, name)?,
    };
    checked(client, new, &expected)
}

fn checked(client: &Client, new: String, expected: &Value) -> Result<String, EditError> {
    let found = parse(client.format, &new).map_err(|_| EditError::TooExotic)?;
    if same(client, found, expected.clone()) { Ok(new) } else { Err(EditError::TooExotic) }
}

/// A list may have got its entry at another place, and what holds no server any more may stay or go.
fn same(client: &Client, mut found: Value, mut expected: Value) -> bool {
    for value in [&mut found, &mut expected] {
        if let (Shape::List, Some(Value::Array(list))) = (client.shape, container(client, value)) {
            list.sort_by_key(ToString::to_string);
        }
        without_empty(client, value);
    }
    found == expected
}

fn container<'a>(client: &Client, value: &'a mut Value) -> Option<&'a mut Value> {
    client.at.iter().try_fold(value, |value, key| value.get_mut(key))
}

fn without_empty(client: &Client, value: &mut Value) {
    for depth in (0..client.at.len()).rev() {
        let (Some(path), Some(key)) = (client.at.get(..depth), client.at.get(depth)) else { return };
        let Some(Value::Object(parent)) = path.iter().try_fold(&mut *value, |value, key| value.get_mut(key)) else {
            return;
        };
        let is_empty = parent.get(key).is_some_and(|value| match value {
            Value::Null => true,
            Value::Array(list) => list.is_empty(),
            Value::Object(map) => map.is_empty(),
            _ => false,
        });
        if is_empty {
            parent.remove(key);
        }
    }
}

fn parse(format: Format, text: &str) -> Result<Value, EditError> {
    let value = match format {
        Format::Json => json::parse(text),
        Format::Toml => toml::parse(text),
        Format::Yaml => yaml::parse(text),
    }?;
    match value {
        Value::Null => Ok(Value::Object(Map::new())),
        Value::Object(_) => Ok(value),
        _ => Err(EditError::Syntax("it is not a table of settings".to_owned())),
    }
}

fn find<'a>(client: &Client, value: &'a Value, name: &str) -> Option<&'a Value> {
    let container = client.at.iter().try_fold(value, |value, key| value.get(key))?;
    match client.shape {
        Shape::Map => container.get(name),
        Shape::List => container.as_array()?.iter().find(|entry| is_named(entry, name)),
    }
}

fn is_named(entry: &Value, name: &str) -> bool {
    entry.get("name").and_then(Value::as_str) == Some(name)
}

/// The same on values, as a measure of what an editor did.
fn put(client: &Client, value: &mut Value, name: &str, entry: Option<Value>) -> Result<(), EditError> {
    let mut place = value;
    let last = client.at.len().saturating_sub(1);
    for (at, key) in client.at.iter().enumerate() {
        let wrong = || EditError::Shape(client.at.join("."));
        let empty = || match client.shape {
            Shape::List if at == last => Value::Array(Vec::new()),
            _ => Value::Object(Map::new()),
        };
        place = place.as_object_mut().ok_or_else(wrong)?.entry(key.clone()).or_insert_with(empty);
        // A key without a value is how YAML writes an empty one.
        if place.is_null() {
            *place = empty();
        }
    }
    match (client.shape, place, entry) {
        (Shape::Map, Value::Object(map), Some(entry)) => drop(map.insert(name.to_owned(), entry)),
        (Shape::Map, Value::Object(map), None) => drop(map.remove(name)),
        (Shape::List, Value::Array(list), entry) => {
            list.retain(|known| !is_named(known, name));
            list.extend(entry);
        }
        _ => return Err(EditError::Shape(client.at.join("."))),
    }
    Ok(())
}

#[cfg(test)]
mod tests;
