//! What differs between two JSON values, exactly: putting the differences into the one gives the other.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One place at which two values differ.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Difference {
    /// RFC 6901 pointer; empty: the whole.
    pub pointer: String,
    /// What is there; nothing: it is new.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub before: Option<Value>,
    /// What shall be there; nothing: it goes.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub after: Option<Value>,
}

/// A `null` that is there is a value, not the lack of one.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// All places at which two values differ, in the order of the document. Lists of different length differ as a whole: which
/// element became which is a guess, and a wrong one would be read as the truth.
#[must_use]
pub fn differences(before: &Value, after: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    compare(before, after, &mut String::new(), &mut found);
    found
}

fn compare(before: &Value, after: &Value, pointer: &mut String, found: &mut Vec<Difference>) {
    match (before, after) {
        (Value::Object(old), Value::Object(new)) => {
            let added = new.keys().filter(|name| !old.contains_key(*name));
            for name in old.keys().chain(added) {
                let length = pointer.len();
                pointer.push('/');
                pointer.push_str(&name.replace('~', "~0").replace('/', "~1"));
                match (old.get(name), new.get(name)) {
                    (Some(before), Some(after)) => compare(before, after, pointer, found),
                    (before, after) => found.push(Difference {
                        pointer: pointer.clone(),
                        before: before.cloned(),
                        after: after.cloned(),
                    }),
                }
                pointer.truncate(length);
            }
        }
        (Value::Array(old), Value::Array(new)) if old.len() == new.len() => {
            for (at, (before, after)) in old.iter().zip(new).enumerate() {
                let length = pointer.len();
                pointer.push_str(&format!("/{at}"));
                compare(before, after, pointer, found);
                pointer.truncate(length);
            }
        }
        _ if before == after => {}
        _ => found.push(Difference {
            pointer: pointer.clone(),
            before: Some(before.clone()),
            after: Some(after.clone()),
        }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            "[a-c/~]{0,3}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map("[a-c/~]{1,2}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    /// Puts a difference in, after making sure that what it says was there is there.
    fn put(value: &mut Value, difference: &Difference) {
        let Some((parent, name)) = difference.pointer.rsplit_once('/') else {
            assert_eq!(Some(&*value), difference.before.as_ref());
            *value = difference.after.clone().unwrap();
            return;
        };
        let name = name.replace("~1", "/").replace("~0", "~");
        match value.pointer_mut(parent).unwrap() {
            Value::Object(map) => {
                assert_eq!(map.get(&name), difference.before.as_ref());
                match &difference.after {
                    Some(after) => map.insert(name, after.clone()),
                    None => map.remove(&name),
                };
            }
            Value::Array(array) => {
                let at: usize = name.parse().unwrap();
                assert_eq!(Some(&array[at]), difference.before.as_ref());
                array[at] = difference.after.clone().unwrap();
            }
            other => panic!("{other}"),
        }
    }

    proptest! {
        #[test]
        fn the_differences_put_into_the_one_give_the_other(before in values(), after in values()) {
            let found = differences(&before, &after);
            prop_assert_eq!(found.is_empty(), before == after);
            let mut value = before;
            for difference in &found {
                put(&mut value, difference);
            }
            prop_assert_eq!(value, after);
        }

        #[test]
        fn a_difference_is_the_same_after_it_was_sent(before in values(), after in values()) {
            for difference in differences(&before, &after) {
                let sent = serde_json::to_string(&difference).unwrap();
                prop_assert_eq!(serde_json::from_str::<Difference>(&sent).unwrap(), difference);
            }
        }
    }

    #[test]
    fn a_difference_names_its_place() {
        let found = differences(&json!({"a": [1, {"b/c": 2}], "d": 1}), &json!({"a": [1, {"b/c": 3}], "e": null}));
        let places: Vec<_> = found.iter().map(|difference| difference.pointer.as_str()).collect();
        assert_eq!(places, ["/a/1/b~1c", "/d", "/e"]);
    }
}
