//! Applies a patch as the host does, on values: a test compares meaning, and that other bytes stay is the host's promise.

use serde_json::Value;

use crate::PatchOperation;

/// The patched payload, or why an operation leads nowhere.
pub(super) fn apply(payload: &mut Value, operations: &[PatchOperation]) -> Result<(), String> {
    operations.iter().try_for_each(|operation| one(payload, operation))
}

fn one(payload: &mut Value, operation: &PatchOperation) -> Result<(), String> {
    let pointer = operation.pointer.as_str();
    let value = match &operation.value {
        Some(text) => {
            Some(serde_json::from_str::<Value>(text).map_err(|error| format!("value for `{pointer}`: {error}"))?)
        }
        None => None,
    };
    let Some((parent, token)) = pointer.rsplit_once('/') else {
        *payload = value.ok_or("the whole payload cannot be removed")?;
        return Ok(());
    };
    let token = token.replace("~1", "/").replace("~0", "~");
    let parent = payload.pointer_mut(parent).ok_or_else(|| format!("`{pointer}` has no parent"))?;
    match (parent, value) {
        (Value::Object(fields), Some(value)) => {
            fields.insert(token, value);
        }
        (Value::Object(fields), None) => {
            fields.remove(&token).ok_or_else(|| format!("nothing at `{pointer}`"))?;
        }
        (Value::Array(items), Some(value)) if token == "-" => items.push(value),
        (Value::Array(items), value) => {
            let index = token.parse::<usize>().ok().filter(|index| *index < items.len());
            let index = index.ok_or_else(|| format!("no element at `{pointer}`"))?;
            match (items.get_mut(index), value) {
                (Some(item), Some(value)) => *item = value,
                _ => drop(items.remove(index)),
            }
        }
        _ => return Err(format!("the parent of `{pointer}` is no container")),
    }
    Ok(())
}
