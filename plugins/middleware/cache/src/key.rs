//! The key of a result: what was asked, of whom, and for whom the answer is.
//!
//! Two requests have the same key only if they mean the same: fields in any order, strings in any spelling, but numbers
//! as they are written, for what a server makes of `1.0` is its own business. What stands in `_meta` belongs to one
//! exchange (progress token, trace) and does not count. The parts are hashed with their lengths, so that no part can pose
//! as another, and by SHA-256, so that no caller can find two requests that meet.

use std::collections::BTreeMap;

use fairlead_plugin::Message;
use fairlead_plugin::serde_json;
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

/// Deepest nesting of `params` that is looked at; each level costs a pass over what is inside.
const DEPTH_MAX: usize = 16;

/// Longest `params` that are looked at: who sends more does not ask the same twice.
const PARAMS_BYTES_MAX: u64 = 64 * 1024;

/// Fields of `params` that make a request one of a kind: an answer to the server's question, or a task.
const NEVER: [&str; 3] = ["inputResponses", "requestState", "task"];

/// The keys under which the answer to one request may lie.
#[derive(Debug)]
pub(crate) struct Keys {
    /// Whoever asks the same; none when nobody can be told from anybody.
    pub(crate) private: Option<String>,
    /// All who ask it.
    pub(crate) public: String,
}

/// The keys of a request; none when its answer must not be kept.
pub(crate) fn of(message: &Message<'_>) -> Option<Keys> {
    if message.size() > PARAMS_BYTES_MAX {
        return None;
    }
    let params = canonical_params(&message.read())?;
    let context = message.context();
    let mut asked = Sha256::new();
    for part in [Some(context.server()), context.protocol_version(), Some(message.method().to_owned()), Some(params)] {
        add(&mut asked, part.as_deref());
    }
    let (identity, session) = (context.identity(), context.session());
    let private = (identity.is_some() || session.is_some()).then(|| {
        let mut key = asked.clone();
        add(&mut key, Some("private"));
        add(&mut key, identity.as_deref());
        add(&mut key, session.as_deref());
        hex(&key.finalize())
    });
    add(&mut asked, Some("public"));
    Some(Keys { private, public: hex(&asked.finalize()) })
}

fn add(hash: &mut Sha256, part: Option<&str>) {
    match part {
        Some(part) => {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        None => hash.update(u64::MAX.to_le_bytes()),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `params` in the one form that all spellings of it have; none when its answer must not be kept.
fn canonical_params(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    if text == "null" {
        return Some("{}".to_owned());
    }
    let mut fields = fields(text)?;
    if NEVER.iter().any(|name| fields.contains_key(*name)) {
        return None;
    }
    fields.remove("_meta");
    write_object(&fields, &mut out, 0)?;
    Some(out)
}

/// The fields of an object in order; none when it is none, or has one twice.
fn fields(text: &str) -> Option<BTreeMap<String, &RawValue>> {
    if fairlead_plugin::duplicate_key(text).ok()?.is_some() {
        return None;
    }
    serde_json::from_str(text).ok()
}

fn write_object(fields: &BTreeMap<String, &RawValue>, out: &mut String, depth: usize) -> Option<()> {
    out.push('{');
    for (at, (name, value)) in fields.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        out.push_str(&serde_json::to_string(name).ok()?);
        out.push(':');
        write(value.get(), out, depth + 1)?;
    }
    out.push('}');
    Some(())
}

fn write(text: &str, out: &mut String, depth: usize) -> Option<()> {
    if depth > DEPTH_MAX {
        return None;
    }
    match text.as_bytes().first()? {
        b'{' => write_object(&serde_json::from_str(text).ok()?, out, depth)?,
        b'[' => {
            let items: Vec<&RawValue> = serde_json::from_str(text).ok()?;
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                write(item.get(), out, depth + 1)?;
            }
            out.push(']');
        }
        b'"' => out.push_str(&serde_json::to_string(&serde_json::from_str::<String>(text).ok()?).ok()?),
        _ => out.push_str(text),
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::canonical_params;
    use fairlead_plugin::prelude::{Value, json};
    use proptest::prelude::*;

    #[test]
    fn spellings_of_the_same_meet_and_others_do_not() {
        let canonical = canonical_params(r#"{"b":[1, "é"],"a":{"y":null,"x":true}}"#).unwrap();
        for same in [
            r#"{"a":{"x":true,"y":null},"b":[1,"\u00e9"]}"#,
            r#" { "_meta" : {"progressToken": 7}, "b" : [ 1 , "é" ] , "a":{"y":null, "x":true } } "#,
        ] {
            assert_eq!(canonical_params(same).unwrap(), canonical, "{same}");
        }
        for other in [r#"{"b":[1.0,"é"],"a":{"y":null,"x":true}}"#, r#"{"b":["é",1],"a":{"y":null,"x":true}}"#, "{}"]
        {
            assert_ne!(canonical_params(other).unwrap(), canonical, "{other}");
        }
    }

    #[test]
    fn what_cannot_be_told_apart_safely_has_no_key() {
        for text in [
            "[]",
            "7",
            "{",
            r#"{"a":1,"a":2}"#,
            r#"{"a":{"b":1,"\u0062":2}}"#,
            r#"{"uri":"x","inputResponses":{}}"#,
            r#"{"uri":"x","requestState":"s"}"#,
            r#"{"name":"x","task":{}}"#,
            r#"{"a":"\ud800"}"#,
            &format!("{{\"a\":{}{}}}", "[".repeat(100), "]".repeat(100)),
        ] {
            assert_eq!(canonical_params(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn the_canonical_form_means_the_same_and_is_its_own(
            fields in prop::collection::btree_map(".{0,4}", prop_oneof![
                any::<i64>().prop_map(Value::from), any::<String>().prop_map(Value::from), Just(json!([null, {"b": 1, "a": "x"}])),
            ], 0..6)
        ) {
            let mut value = json!(fields);
            for name in ["_meta", "task", "inputResponses", "requestState"] {
                value.as_object_mut().unwrap().remove(name);
            }
            let canonical = canonical_params(&value.to_string()).unwrap();
            prop_assert_eq!(&serde_json::from_str::<Value>(&canonical).unwrap(), &value);
            prop_assert_eq!(canonical_params(&canonical).unwrap(), canonical);
        }
    }
}
