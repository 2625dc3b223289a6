//! Arguments of tools that a client repeats in headers (`x-mcp-header`), so that whoever stands between can route by them
//! without reading the body.
//!
//! A header that says something else than the body would let the two be told apart: what routes sees one request, what
//! executes another. So both sides are compared, and after a middleware has changed an argument its header is made anew.

use std::borrow::Cow;
use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::json::{decode_string, each, find};
use crate::limits::{JSON_DEPTH_MAX, MIRRORS_MAX};

/// What stands before the name in a header.
pub const PREFIX: &str = "mcp-param-";

const SENTINEL: (&str, &str) = ("=?base64?", "?=");

/// One argument that is repeated in a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// Name of the header, in lower case.
    pub header: Box<str>,
    /// JSON pointer of the argument within `params.arguments`.
    pub pointer: Box<str>,
}

impl Mirror {
    /// What the header has to say for these `params` (JSON text); `None` when there must be none.
    #[must_use]
    pub fn value(&self, params: &str) -> Option<String> {
        let raw = find(params, &format!("/arguments{}", self.pointer)).ok().flatten()?;
        match raw.as_bytes().first()? {
            b'"' => decode_string(raw).map(Cow::into_owned),
            b'n' | b'{' | b'[' => None,
            _ => Some(raw.to_owned()),
        }
    }

    /// Whether a header says what the arguments say. Numbers are compared as numbers.
    #[must_use]
    pub fn agrees(&self, params: &str, header: Option<&str>) -> bool {
        match (self.value(params), header) {
            (None, None) => true,
            (Some(value), Some(header)) => {
                let header = decode(header);
                header.as_deref() == Some(&value) || header.is_some_and(|header| same_number(&header, &value))
            }
            _ => false,
        }
    }
}

fn same_number(one: &str, other: &str) -> bool {
    match (one.parse::<i128>(), other.parse::<i128>()) {
        (Ok(one), Ok(other)) => one == other,
        // Beyond what a double holds exactly, only the same text is the same number.
        _ => matches!((one.parse::<f64>(), other.parse::<f64>()), (Ok(one), Ok(other))
            if one.to_bits() == other.to_bits() && one.abs() <= 9_007_199_254_740_991.0),
    }
}

/// The text of a header as it stands on the wire: encoded when it is no plain text.
#[must_use]
pub fn encode(text: &str) -> String {
    let plain = text.bytes().all(|byte| (0x20..=0x7e).contains(&byte))
        && text.trim() == text
        && !(text.starts_with(SENTINEL.0) && text.ends_with(SENTINEL.1));
    if plain { text.to_owned() } else { format!("{}{}{}", SENTINEL.0, STANDARD.encode(text), SENTINEL.1) }
}

/// The text that a header stands for; `None` when it is encoded and cannot be decoded.
#[must_use]
pub fn decode(header: &str) -> Option<Cow<'_, str>> {
    let header = header.trim_matches([' ', '\t']);
    match header.strip_prefix(SENTINEL.0).and_then(|rest| rest.strip_suffix(SENTINEL.1)) {
        None => Some(Cow::Borrowed(header)),
        Some(encoded) => String::from_utf8(STANDARD.decode(encoded).ok()?).ok().map(Cow::Owned),
    }
}

/// The mirrors of the tools in a result of `tools/list` (JSON text), by tool. A tool without any is not in it. What is
/// no such result yields nothing.
#[must_use]
pub fn mirrors_of(result: &str) -> HashMap<Box<str>, Vec<Mirror>> {
    let mut found = HashMap::new();
    if !result.contains("x-mcp-header") {
        return found;
    }
    let Some(tools) = find(result, "/tools").ok().flatten() else { return found };
    for (_, tool) in each(tools) {
        let name = find(tool, "/name").ok().flatten().and_then(decode_string);
        let schema = find(tool, "/inputSchema").ok().flatten();
        let (Some(name), Some(schema)) = (name, schema) else { continue };
        let mut mirrors = Vec::new();
        collect(schema, "", 0, &mut mirrors);
        if !mirrors.is_empty() {
            found.insert(name.into_owned().into_boxed_str(), mirrors);
        }
    }
    found
}

/// Follows `properties` only: a header stands for the one value at its path.
fn collect(schema: &str, path: &str, depth: usize, mirrors: &mut Vec<Mirror>) {
    let Some(properties) = find(schema, "/properties").ok().flatten() else { return };
    if depth >= JSON_DEPTH_MAX {
        return;
    }
    for (key, property) in each(properties) {
        let Some(key) = key.and_then(decode_string) else { continue };
        let pointer = format!("{path}/{}", key.replace('~', "~0").replace('/', "~1"));
        let header = find(property, "/x-mcp-header").ok().flatten().and_then(decode_string);
        if let Some(header) = header.filter(|header| is_token(header))
            && mirrors.len() < MIRRORS_MAX
        {
            let header = format!("{PREFIX}{}", header.to_ascii_lowercase()).into_boxed_str();
            mirrors.push(Mirror { header, pointer: pointer.clone().into_boxed_str() });
        }
        collect(property, &pointer, depth + 1, mirrors);
    }
}

/// Whether a text can be part of a header's name.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIST: &str = r#"{"tools":[{"name":"plain","inputSchema":{"type":"object"}},{"name":"sql","inputSchema":{
        "properties":{"region":{"type":"string","x-mcp-header":"Region"},"o":{"properties":{"a/b":{"x-mcp-header":"Deep"}}},
        "bad":{"x-mcp-header":"not a token"}}}}]}"#;

    #[test]
    fn annotations_are_found_at_their_paths() {
        let found = mirrors_of(LIST);
        let mirror = |header: &str, pointer: &str| Mirror { header: header.into(), pointer: pointer.into() };
        assert_eq!(found.len(), 1);
        assert_eq!(found["sql"], [mirror("mcp-param-region", "/region"), mirror("mcp-param-deep", "/o/a~1b")]);
        assert!(mirrors_of("x-mcp-header").is_empty());
    }

    #[test]
    fn a_header_agrees_when_it_says_what_the_argument_says() {
        let mirror = Mirror { header: "mcp-param-x".into(), pointer: "/x".into() };
        for (argument, header, agrees) in [
            ("\"eu\"", Some("eu"), true),
            ("\"eu\"", Some(" eu\t"), true),
            ("\"eu\"", Some("us"), false),
            ("\"eu\"", None, false),
            ("null", None, true),
            ("null", Some("null"), false),
            ("42", Some("42.0"), true),
            ("42", Some("43"), false),
            ("9007199254740993", Some("9007199254740992"), false),
            ("true", Some("true"), true),
            ("\"é\"", Some("=?base64?w6k=?="), true),
            ("\"é\"", Some("=?base64?!!?="), false),
        ] {
            let params = format!(r#"{{"arguments":{{"x":{argument}}}}}"#);
            assert_eq!(mirror.agrees(&params, header), agrees, "{argument} {header:?}");
        }
        assert!(mirror.agrees("{}", None));
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded_again_and_is_fit_for_a_header(text in "\\PC{0,20}|=\\?base64\\?.{0,5}\\?=|[ \\t\\n]{0,3}") {
            let header = encode(&text);
            prop_assert!(header.bytes().all(|byte| (0x20..=0x7e).contains(&byte)));
            prop_assert_eq!(decode(&header).unwrap(), text);
        }
    }
}
