//! Patches on raw text: each change is a splice, and no other byte moves.

use std::ops::Range;

use super::items::{Item, Items};
use super::pointer::{PointerError, find, index, tokens};
use super::scan::{Scanner, SyntaxError};
use super::text::key_is;
use super::{check, encode_string};
use crate::limits::PATCH_OPERATIONS_MAX;
use crate::middleware::PatchOperation;

/// Why a patch was not applied. Nothing of it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// More changes than [`PATCH_OPERATIONS_MAX`].
    #[error("{0} changes in one patch, at most {PATCH_OPERATIONS_MAX} are possible")]
    TooMany(usize),
    /// A pointer is malformed, or the text is no JSON.
    #[error(transparent)]
    Pointer(#[from] PointerError),
    /// A pointer leads nowhere: its parent is not there or is a scalar, the index lies outside, or there is nothing to
    /// remove.
    #[error("`{0}` leads nowhere")]
    Nowhere(String),
    /// The value to put somewhere is no JSON.
    #[error("the value for `{pointer}` is not JSON")]
    Value {
        /// Where it should go.
        pointer: String,
        /// What is wrong with it.
        #[source]
        source: SyntaxError,
    },
}

/// Applies the changes in order.
///
/// A value is put where the pointer leads: it takes the place of what is there, becomes a new member of an object, or with
/// `-` as last token a new last element of an array. Without a value, what is there is removed. The parent must exist, and
/// an index must lie inside its array.
///
/// # Errors
/// See [`PatchError`].
pub fn patch(text: &str, operations: &[PatchOperation]) -> Result<String, PatchError> {
    if operations.len() > PATCH_OPERATIONS_MAX {
        return Err(PatchError::TooMany(operations.len()));
    }
    let mut text = text.to_owned();
    for operation in operations {
        if let Some(value) = &operation.value {
            check(value).map_err(|source| PatchError::Value { pointer: operation.pointer.clone(), source })?;
        }
        text = apply(&text, operation)?;
    }
    Ok(text)
}

/// A range that is replaced by a text.
type Splice = (Range<usize>, String);

fn apply(text: &str, operation: &PatchOperation) -> Result<String, PatchError> {
    let PatchOperation { pointer, value } = operation;
    let nowhere = || PatchError::Nowhere(pointer.clone());
    let path = tokens(pointer)?;
    let Some(last) = path.last() else {
        return value.clone().ok_or_else(nowhere);
    };
    let parent_pointer = pointer.rsplit_once('/').map_or("", |(parent, _)| parent);
    let parent = find(text, parent_pointer)?.ok_or_else(nowhere)?;
    let start = parent.as_ptr() as usize - text.as_ptr() as usize;
    let items = Items::enter(Scanner::inside(text, start, path.len() - 1)).map_err(PointerError::from)?;
    let items = items.ok_or_else(nowhere)?;
    let splices = match (items.is_object(), value) {
        (true, Some(value)) => set_member(text, items, last, value),
        (true, None) => remove_items(items, |_, item| is_member(text, item, last)),
        (false, Some(value)) => set_element(items, last, value),
        (false, None) => {
            let wanted = index(last);
            remove_items(items, |position, _| Some(position) == wanted)
        }
    }
    .map_err(PointerError::from)?;
    splice(text, &splices.ok_or_else(nowhere)?).ok_or_else(nowhere)
}

fn is_member(text: &str, item: &Item, name: &str) -> bool {
    item.key.clone().and_then(|key| text.get(key)).is_some_and(|key| key_is(key, name))
}

/// Replaces the last member of this name and removes its earlier twins, or adds one.
fn set_member(text: &str, mut items: Items<'_>, name: &str, value: &str) -> Result<Option<Vec<Splice>>, SyntaxError> {
    let again = items.clone();
    let inside = items.at();
    let (mut twins, mut place, mut end) = (0_usize, None, None);
    while let Some(item) = items.next_item()? {
        if is_member(text, &item, name) {
            twins += 1;
            place = Some(item.value.clone());
        }
        end = Some(item.value.end);
    }
    Ok(Some(match (place, end) {
        (Some(place), _) => {
            let mut left = twins - 1;
            let mut splices = match left {
                0 => Vec::new(),
                _ => remove_items(again, |_, item| {
                    let remove = left > 0 && is_member(text, item, name);
                    left -= usize::from(remove);
                    remove
                })?
                .unwrap_or_default(),
            };
            splices.push((place, value.to_owned()));
            splices.sort_by_key(|(range, _)| range.start);
            splices
        }
        (None, Some(end)) => vec![(end..end, format!(",{}:{value}", encode_string(name)))],
        (None, None) => vec![(inside..inside, format!("{}:{value}", encode_string(name)))],
    }))
}

fn set_element(mut items: Items<'_>, token: &str, value: &str) -> Result<Option<Vec<Splice>>, SyntaxError> {
    let wanted = index(token);
    let inside = items.at();
    let (mut position, mut end) = (0, None);
    while let Some(item) = items.next_item()? {
        if Some(position) == wanted {
            return Ok(Some(vec![(item.value, value.to_owned())]));
        }
        position += 1;
        end = Some(item.value.end);
    }
    Ok((token == "-").then(|| match end {
        Some(end) => vec![(end..end, format!(",{value}"))],
        None => vec![(inside..inside, value.to_owned())],
    }))
}

/// Removes what `wanted` names, each with one comma; `None` when it names nothing.
fn remove_items(
    mut items: Items<'_>,
    mut wanted: impl FnMut(usize, &Item) -> bool,
) -> Result<Option<Vec<Splice>>, SyntaxError> {
    let mut splices: Vec<Splice> = Vec::new();
    // Removed items at the very beginning: they go together with the comma behind them, all others with the one before.
    let mut leading: Option<Range<usize>> = None;
    let mut kept_any = false;
    let (mut position, mut end) = (0, 0);
    while let Some(item) = items.next_item()? {
        if wanted(position, &item) {
            if kept_any {
                splices.push((end..item.value.end, String::new()));
            } else {
                let start = leading.map_or(item.start(), |range| range.start);
                leading = Some(start..item.value.end);
            }
        } else {
            if let Some(range) = leading.take() {
                splices.push((range.start..item.start(), String::new()));
            }
            kept_any = true;
        }
        position += 1;
        end = item.value.end;
    }
    if let Some(range) = leading {
        splices.push((range, String::new()));
    }
    Ok((!splices.is_empty()).then_some(splices))
}

/// Replaces ranges that are in order and do not overlap.
fn splice(text: &str, splices: &[Splice]) -> Option<String> {
    let added: usize = splices.iter().map(|(_, new)| new.len()).sum();
    let mut out = String::with_capacity(text.len() + added);
    let mut done = 0;
    for (range, new) in splices {
        out.push_str(text.get(done..range.start)?);
        out.push_str(new);
        done = range.end;
    }
    out.push_str(text.get(done..)?);
    Some(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn set(pointer: &str, value: &str) -> PatchOperation {
        PatchOperation { pointer: pointer.to_owned(), value: Some(value.to_owned()) }
    }

    fn remove(pointer: &str) -> PatchOperation {
        PatchOperation { pointer: pointer.to_owned(), value: None }
    }

    #[test]
    fn all_other_bytes_stay() {
        let text = r#" { "z" : 1e2 , "a":9007199254740993,"s":"\/\u00e9", "l" : [ 1 , 2 ] , "o":{ } } "#;
        for (operation, expected) in [
            (set("/a", "0"), r#" { "z" : 1e2 , "a":0,"s":"\/\u00e9", "l" : [ 1 , 2 ] , "o":{ } } "#),
            (set("/n/m", "0"), ""),
            (
                set("/o/m~1n", "[]"),
                r#" { "z" : 1e2 , "a":9007199254740993,"s":"\/\u00e9", "l" : [ 1 , 2 ] , "o":{"m/n":[] } } "#,
            ),
            (set("/l/-", "3"), r#" { "z" : 1e2 , "a":9007199254740993,"s":"\/\u00e9", "l" : [ 1 , 2,3 ] , "o":{ } } "#),
            (set("/l/2", "3"), ""),
            (
                set("/n", "0"),
                r#" { "z" : 1e2 , "a":9007199254740993,"s":"\/\u00e9", "l" : [ 1 , 2 ] , "o":{ },"n":0 } "#,
            ),
            (remove("/z"), r#" { "a":9007199254740993,"s":"\/\u00e9", "l" : [ 1 , 2 ] , "o":{ } } "#),
            (remove("/s"), r#" { "z" : 1e2 , "a":9007199254740993, "l" : [ 1 , 2 ] , "o":{ } } "#),
            (remove("/o"), r#" { "z" : 1e2 , "a":9007199254740993,"s":"\/\u00e9", "l" : [ 1 , 2 ] } "#),
            (remove("/l/0"), r#" { "z" : 1e2 , "a":9007199254740993,"s":"\/\u00e9", "l" : [ 2 ] , "o":{ } } "#),
            (remove("/n"), ""),
            (set("", "7"), "7"),
            (remove(""), ""),
        ] {
            let result = patch(text, std::slice::from_ref(&operation));
            if expected.is_empty() {
                assert_eq!(result, Err(PatchError::Nowhere(operation.pointer)));
            } else {
                assert_eq!(result.as_deref(), Ok(expected), "{operation:?}");
            }
        }
    }

    #[test]
    fn no_twin_of_a_key_survives_an_edit() {
        let text = r#"{"k":"secret","a":1,"\u006b":"secret","b":2,"k":"secret"}"#;
        assert_eq!(patch(text, &[set("/k", "0")]).unwrap(), r#"{"a":1,"b":2,"k":0}"#);
        assert_eq!(patch(text, &[remove("/k")]).unwrap(), r#"{"a":1,"b":2}"#);
        assert_eq!(patch(r#"{"k":1,"k":2}"#, &[remove("/k")]).unwrap(), "{}");
    }

    #[test]
    fn a_value_that_is_no_json_is_refused() {
        let error = patch("{}", &[set("/a", "1,\"b\":2")]).unwrap_err();
        assert!(matches!(error, PatchError::Value { .. }));
    }

    #[test]
    fn the_number_of_changes_is_bounded() {
        let many = vec![set("", "1"); PATCH_OPERATIONS_MAX + 1];
        assert_eq!(patch("{}", &many), Err(PatchError::TooMany(many.len())));
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[a-c/~\"é ]{0,3}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-c/~\"]{0,2}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    fn token() -> impl Strategy<Value = String> {
        prop_oneof!["[a-c/~\"]{0,2}", "[0-3]", Just("-".to_owned())]
            .prop_map(|token| token.replace('~', "~0").replace('/', "~1"))
    }

    /// The same on a tree, which is easy to see to be right.
    fn reference(mut root: Value, operation: &PatchOperation) -> Option<Value> {
        let value = operation.value.as_ref().map(|text| serde_json::from_str::<Value>(text).unwrap());
        let Some((parent, last)) = operation.pointer.rsplit_once('/') else { return value };
        let last = last.replace("~1", "/").replace("~0", "~");
        match (root.pointer_mut(parent)?, value) {
            (Value::Object(map), Some(value)) => {
                map.insert(last, value);
            }
            (Value::Object(map), None) => {
                map.remove(&last)?;
            }
            (Value::Array(list), Some(value)) if last == "-" => list.push(value),
            (Value::Array(list), Some(value)) => *list.get_mut(index(&last)?)? = value,
            (Value::Array(list), None) => {
                let at = index(&last).filter(|at| *at < list.len())?;
                list.remove(at);
            }
            _ => return None,
        }
        Some(root)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn a_patch_does_what_the_same_change_of_a_tree_does(
            root in value(),
            pretty in any::<bool>(),
            path in prop::collection::vec(token(), 0..4),
            new in prop::option::of(value()),
        ) {
            let text = if pretty { serde_json::to_string_pretty(&root) } else { serde_json::to_string(&root) }.unwrap();
            let pointer: String = path.iter().map(|token| format!("/{token}")).collect();
            let operation = PatchOperation { pointer: pointer.clone(), value: new.map(|new| new.to_string()) };
            let ours = patch(&text, std::slice::from_ref(&operation)).ok();
            let ours = ours.map(|text| serde_json::from_str::<Value>(&text).unwrap());
            prop_assert_eq!(ours, reference(root.clone(), &operation));
            let found = find(&text, &pointer).unwrap().map(|text| serde_json::from_str::<Value>(text).unwrap());
            prop_assert_eq!(found.as_ref(), root.pointer(&pointer));
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,40}", pointer in ".{0,8}", new in prop::option::of(".{0,8}")) {
            let _ = find(&text, &pointer);
            let _ = patch(&text, &[PatchOperation { pointer, value: new }]);
        }
    }

    #[test]
    fn changes_apply_in_order() {
        let operations = [set("/a", "{}"), set("/a/b", "[]"), set("/a/b/-", "1"), remove("/c")];
        let text = patch(&json!({"c": 0}).to_string(), &operations).unwrap();
        assert_eq!(text, r#"{"a":{"b":[1]}}"#);
    }
}
