//! What people write by hand: YAML, or JSON. Only here: everything behind the command line speaks JSON.
//!
//! serde-saphyr reads and writes it: it has no unsafe code, bounds what aliases may grow to, and refuses a key that is there
//! twice. (serde_yaml is archived; serde_norway continues it on a C library that was translated to unsafe Rust.)

use serde::de::DeserializeOwned;
use serde_json::Value;

/// Documents in a text, one after the other. Only `true` and `false` are truth values: a country is no `no`.
///
/// # Errors
/// The text is no YAML; the reason says where.
pub(crate) fn parse(text: &str) -> Result<Vec<Value>, String> {
    let options = serde_saphyr::options! { strict_booleans: true };
    serde_saphyr::from_multiple_with_options(text, options).map_err(|error| error.to_string())
}

/// The one value of a text. What begins like JSON and is JSON is read by its own parser, which says better what is wrong
/// with it.
///
/// # Errors
/// The text is neither, holds more than one document, or says what the type does not; the reason says where.
pub(crate) fn one<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    let value = if text.trim_start().starts_with(['{', '[']) {
        match serde_json::from_str::<Value>(text) {
            Ok(value) => value,
            // `{a: b}` is YAML, and no JSON.
            Err(error) => single(text).map_err(|_| error.to_string())?,
        }
    } else {
        single(text)?
    };
    serde_path_to_error::deserialize(value).map_err(|error| match error.path().to_string() {
        path if path == "." => error.inner().to_string(),
        path => format!("at `{path}`: {}", error.inner()),
    })
}

fn single(text: &str) -> Result<Value, String> {
    let mut values = parse(text)?.into_iter();
    match (values.next(), values.next()) {
        (Some(value), None) => Ok(value),
        (None, _) => Err("there is nothing in it".to_owned()),
        (Some(_), Some(_)) => Err("there is more than one document in it".to_owned()),
    }
}

/// One document.
///
/// # Errors
/// It cannot be written.
pub(crate) fn write(value: &Value) -> Result<String, String> {
    let text = serde_saphyr::to_string(value).map_err(|error| format!("write YAML: {error}"))?;
    Ok(if text.ends_with('\n') { text } else { text + "\n" })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn values() -> impl Strategy<Value = Value> {
        let text = prop_oneof![
            ".{0,12}",
            "[-:#?&*!|>'\"%@`{}\\[\\], \n\t]{0,8}",
            "(yes|no|on|off|true|false|null|~|1|0x1f|0o7|1e3|\\.nan|<<|=|---|2026-11-21)",
        ];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            text.clone().prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 16, 4, move |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map(text.clone(), inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_as_it_was(value in values()) {
            let document = json!({"a": value});
            let text = write(&document).unwrap();
            prop_assert_eq!(parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}")), [document]);
        }
    }

    #[test]
    fn several_documents_are_read_and_empty_ones_are_none() {
        assert_eq!(
            parse("a: no\n---\n# nothing\n---\nb: [1, x]\n").unwrap(),
            [json!({"a": "no"}), json!({"b": [1, "x"]})]
        );
        assert_eq!(parse("").unwrap(), Vec::<Value>::new());
    }

    #[test]
    fn json_and_yaml_of_one_value_are_read_alike_and_what_is_wrong_is_told_with_its_place() {
        #[derive(Debug, PartialEq, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Limits {
            requests: u64,
            #[serde(default)]
            by: Vec<String>,
        }
        let read = one::<Limits>;
        let same = Limits { requests: 3, by: vec!["tool".to_owned()] };
        for text in [r#"{"requests": 3, "by": ["tool"]}"#, "requests: 3\nby:\n- tool\n", "{requests: 3, by: [tool]}"] {
            assert_eq!(read(text).as_ref(), Ok(&same), "{text}");
        }
        assert!(read("requests: 3\nby: [1]\n").unwrap_err().starts_with("at `by[0]`: "));
        assert!(read(r#"{"requests": 3, "buy": []}"#).unwrap_err().contains("unknown field `buy`"));
        assert!(read(r#"{"requests": 3,"#).unwrap_err().contains("line 1"));
        assert!(read("").is_err() && read("requests: 1\n---\nrequests: 2\n").is_err());
    }

    #[test]
    fn what_is_there_twice_or_grows_without_end_is_refused() {
        assert!(parse("a: 1\na: 2\n").is_err());
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..10 {
            let inner = vec![format!("*a{}", level - 1); 10].join(", ");
            bomb += &format!("a{level}: &a{level} [{inner}]\n");
        }
        assert!(parse(&bomb).is_err());
        assert!(parse("a: [").unwrap_err().contains("line"));
    }
}
