//! Strings inside JSON text, found without building a tree.
//!
//! A policy that looks at every string of a payload (redaction, scanning) would spend ten times as long on parsing into
//! values as on looking. And a value model is stricter than what passes on the wire: `1e999` or a lone surrogate must not
//! make a guard fail when neither concerns it. So this walks over the text, and reads nothing but strings.

use std::borrow::Cow;
use std::collections::HashSet;

use crate::Failure;

/// Deepest nesting that is read: the same bound as the host's.
const DEPTH_MAX: usize = 128;

/// An RFC 6901 pointer under construction.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pointer(String);

impl Pointer {
    /// The pointer to the whole payload.
    #[must_use]
    pub const fn root() -> Self {
        Self(String::new())
    }

    /// The pointer to a field of an object.
    #[must_use]
    pub fn key(mut self, key: &str) -> Self {
        self.push_key(key);
        self
    }

    /// The pointer to an element of an array.
    #[must_use]
    pub fn index(mut self, index: usize) -> Self {
        self.push_index(index);
        self
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn push_key(&mut self, key: &str) {
        self.0.push('/');
        for character in key.chars() {
            match character {
                '~' => self.0.push_str("~0"),
                '/' => self.0.push_str("~1"),
                other => self.0.push(other),
            }
        }
    }

    fn push_index(&mut self, index: usize) {
        self.0.push('/');
        self.0.push_str(&index.to_string());
    }
}

impl From<Pointer> for String {
    fn from(pointer: Pointer) -> Self {
        pointer.0
    }
}

impl std::fmt::Display for Pointer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Calls `visit` with the pointer and the decoded text of each string value, in order. Names of fields are not values.
///
/// A lone surrogate reads as U+FFFD. When an object has the same field twice, both are visited with the same pointer; see
/// [`duplicate_key`].
///
/// # Errors
/// When the text is not JSON or nested too deeply.
pub fn visit_strings(json: &str, mut visit: impl FnMut(&str, &str)) -> Result<(), Failure> {
    let mut pointer = Pointer::root();
    let mut scanner = Scanner { text: json, at: 0, visit: &mut visit, keys: None };
    scanner.value(&mut pointer, 0)?;
    scanner.end()
}

/// The pointer to an object that has the same field twice, if there is one.
///
/// A pointer names one of the two, and readers differ in which they take: a change at such a place protects nobody.
///
/// # Errors
/// When the text is not JSON or nested too deeply.
pub fn duplicate_key(json: &str) -> Result<Option<String>, Failure> {
    let mut pointer = Pointer::root();
    let mut scanner = Scanner { text: json, at: 0, visit: &mut |_: &str, _: &str| {}, keys: Some(None) };
    scanner.value(&mut pointer, 0)?;
    scanner.end()?;
    Ok(scanner.keys.flatten())
}

struct Scanner<'a, V> {
    text: &'a str,
    at: usize,
    visit: &'a mut V,
    /// `Some` looks for duplicate keys; inside, the first object that has one.
    keys: Option<Option<String>>,
}

impl<'a, V: FnMut(&str, &str)> Scanner<'a, V> {
    fn value(&mut self, pointer: &mut Pointer, depth: usize) -> Result<(), Failure> {
        if depth > DEPTH_MAX {
            return Err(Failure::internal(format!("JSON is nested deeper than {DEPTH_MAX}")));
        }
        match self.peek() {
            Some(b'{') => self.object(pointer, depth),
            Some(b'[') => self.array(pointer, depth),
            Some(b'"') => {
                let text = self.string()?;
                (self.visit)(pointer.as_str(), &text);
                Ok(())
            }
            _ => self.scalar(),
        }
    }

    fn object(&mut self, pointer: &mut Pointer, depth: usize) -> Result<(), Failure> {
        let mut seen = HashSet::new();
        let base = pointer.0.len();
        self.at += 1;
        if self.take(b'}') {
            return Ok(());
        }
        loop {
            self.peek();
            let key = self.string()?;
            if let Some(found @ None) = &mut self.keys
                && !seen.insert(key.clone().into_owned())
            {
                *found = Some(pointer.0.clone());
            }
            pointer.push_key(&key);
            self.expect(b':')?;
            self.value(pointer, depth + 1)?;
            pointer.0.truncate(base);
            if self.take(b'}') {
                return Ok(());
            }
            self.expect(b',')?;
        }
    }

    fn array(&mut self, pointer: &mut Pointer, depth: usize) -> Result<(), Failure> {
        let base = pointer.0.len();
        self.at += 1;
        if self.take(b']') {
            return Ok(());
        }
        for index in 0.. {
            pointer.push_index(index);
            self.value(pointer, depth + 1)?;
            pointer.0.truncate(base);
            if self.take(b']') {
                break;
            }
            self.expect(b',')?;
        }
        Ok(())
    }

    /// A string whose opening quote is next.
    fn string(&mut self) -> Result<Cow<'a, str>, Failure> {
        if self.byte() != Some(b'"') {
            return Err(self.invalid());
        }
        self.at += 1;
        let start = self.at;
        let mut escaped = false;
        loop {
            let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
            let skip = rest.iter().position(|byte| matches!(byte, b'"' | b'\\')).ok_or_else(|| self.invalid())?;
            self.at += skip;
            if self.byte() == Some(b'"') {
                break;
            }
            escaped = true;
            self.at += 2;
        }
        let raw = self.text.get(start..self.at).ok_or_else(|| self.invalid())?;
        self.at += 1;
        if escaped { unescape(raw).map(Cow::Owned).ok_or_else(|| self.invalid()) } else { Ok(Cow::Borrowed(raw)) }
    }

    /// A number, `true`, `false` or `null`. A number is passed, not judged.
    fn scalar(&mut self) -> Result<(), Failure> {
        let start = self.at;
        while self.byte().is_some_and(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.')) {
            self.at += 1;
        }
        match self.text.get(start..self.at) {
            Some("true" | "false" | "null") => Ok(()),
            Some(number) if number.starts_with(|first: char| first == '-' || first.is_ascii_digit()) => Ok(()),
            _ => Err(self.invalid()),
        }
    }

    fn end(&mut self) -> Result<(), Failure> {
        if self.peek().is_none() { Ok(()) } else { Err(self.invalid()) }
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// The next byte that is no white space.
    fn peek(&mut self) -> Option<u8> {
        while self.byte().is_some_and(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
        self.byte()
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, byte: u8) -> Result<(), Failure> {
        if self.take(byte) { Ok(()) } else { Err(self.invalid()) }
    }

    fn invalid(&self) -> Failure {
        Failure::internal(format!("not JSON at byte {}", self.at))
    }
}

/// Decodes the inside of a JSON string; none when an escape is not one.
fn unescape(raw: &str) -> Option<String> {
    let mut out = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((before, after)) = rest.split_once('\\') {
        out.push_str(before);
        let mut characters = after.chars();
        let escape = characters.next()?;
        rest = characters.as_str();
        out.push(match escape {
            '"' | '\\' | '/' => escape,
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => {
                let (high, tail) = hex4(rest)?;
                rest = tail;
                match (high, rest.strip_prefix("\\u").and_then(hex4)) {
                    (0xd800..=0xdbff, Some((low @ 0xdc00..=0xdfff, tail))) => {
                        rest = tail;
                        char::from_u32(0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00))?
                    }
                    _ => char::from_u32(high).unwrap_or(char::REPLACEMENT_CHARACTER),
                }
            }
            _ => return None,
        });
    }
    out.push_str(rest);
    Some(out)
}

fn hex4(text: &str) -> Option<(u32, &str)> {
    let (digits, rest) = text.split_at_checked(4)?;
    if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    u32::from_str_radix(digits, 16).ok().map(|value| (value, rest))
}

#[cfg(test)]
mod tests {
    use super::{Pointer, duplicate_key, visit_strings};
    use proptest::prelude::*;
    use serde_json::Value;

    fn strings(json: &str) -> Vec<(String, String)> {
        let mut found = Vec::new();
        visit_strings(json, |pointer, text| found.push((pointer.to_owned(), text.to_owned()))).unwrap();
        found
    }

    #[test]
    fn strings_are_visited_in_order_with_their_pointers() {
        let found = strings(r#" { "a/b" : ["x", 1e999, {"~": "y\n\ud83d\ude00"}], "c": null, "d": "\ud800!" } "#);
        let expected = [("/a~1b/0", "x"), ("/a~1b/2/~0", "y\n\u{1f600}"), ("/d", "\u{fffd}!")];
        assert_eq!(found, expected.map(|(pointer, text)| (pointer.to_owned(), text.to_owned())));
    }

    #[test]
    fn a_field_given_twice_is_noticed() {
        assert_eq!(duplicate_key(r#"{"a":[{"b":1,"b":2}]}"#).unwrap().as_deref(), Some("/a/0"));
        assert_eq!(duplicate_key(r#"{"a":{"b":1},"b":{"b":2}}"#).unwrap(), None);
        assert_eq!(duplicate_key("{\"a\":1,\"\\u0061\":2}").unwrap().as_deref(), Some(""));
    }

    #[test]
    fn what_is_not_json_is_an_error() {
        for text in [
            "",
            "{",
            "[1,",
            "{\"a\"}",
            "{a:1}",
            "\"",
            "\"\\",
            "[1] 2",
            "\"\\x\"",
            "\"\\u12g4\"",
            "[,]",
            "{,}",
            "nonsense",
            "[nul]",
        ] {
            assert!(visit_strings(text, |_, _| {}).is_err(), "{text}");
        }
        assert!(visit_strings(&"[".repeat(100_000), |_, _| {}).is_err());
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(5, 40, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map("[a~/\"\\\\\u{e9}]{0,3}", inner, 0..5)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn each_pointer_leads_to_its_string(value in value()) {
            fn count(value: &Value) -> usize {
                match value {
                    Value::String(_) => 1,
                    Value::Array(items) => items.iter().map(count).sum(),
                    Value::Object(fields) => fields.values().map(count).sum(),
                    _ => 0,
                }
            }
            let found = strings(&value.to_string());
            prop_assert_eq!(found.len(), count(&value));
            for (pointer, text) in found {
                prop_assert_eq!(value.pointer(&pointer).and_then(Value::as_str), Some(text.as_str()));
            }
            prop_assert_eq!(duplicate_key(&value.to_string()).unwrap(), None);
        }

        #[test]
        fn no_text_makes_it_panic(text in any::<String>(), json in "[\\[\\]{}:,\"\\\\u0-9a ]{0,40}") {
            let _ = visit_strings(&text, |_, _| {});
            let _ = visit_strings(&json, |_, _| {});
        }

        #[test]
        fn pointers_escape_what_must_be_escaped(key in any::<String>()) {
            let value = serde_json::json!({ key.clone(): ["x"] });
            let pointer = Pointer::root().key(&key).index(0);
            prop_assert_eq!(value.pointer(pointer.as_str()).and_then(Value::as_str), Some("x"));
        }
    }
}
