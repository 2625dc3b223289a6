//! RFC 6901 pointers on raw text.

use std::borrow::Cow;
use std::ops::Range;

use super::items::Items;
use super::scan::{Scanner, SyntaxError};
use super::text::key_is;

/// Why a pointer could not be followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PointerError {
    /// The pointer itself is wrong.
    #[error("`{0}` is no JSON pointer: it is empty or begins with `/`, and `~` stands only before `0` or `1`")]
    Malformed(String),
    /// The text is no JSON.
    #[error("text is not JSON")]
    Syntax(#[from] SyntaxError),
}

/// The JSON text at `pointer`, or `None` when nothing is there. An empty text holds nothing.
///
/// Reads only as far as it must to be sure: to the end of each container on the way. What stands after those is not checked.
///
/// # Errors
/// The pointer is malformed, or the text is no JSON as far as it was read.
pub fn find<'a>(text: &'a str, pointer: &str) -> Result<Option<&'a str>, PointerError> {
    let tokens = tokens(pointer)?;
    if text.is_empty() {
        return Ok(None);
    }
    let mut range = Scanner::new(text).value()?;
    for (depth, token) in tokens.iter().enumerate() {
        match lookup(text, range.start, depth, token)? {
            Some(inner) => range = inner,
            None => return Ok(None),
        }
    }
    Ok(text.get(range))
}

/// The value that `token` names in the container at `at`.
fn lookup(text: &str, at: usize, depth: usize, token: &str) -> Result<Option<Range<usize>>, SyntaxError> {
    let Some(mut items) = Items::enter(Scanner::inside(text, at, depth))? else { return Ok(None) };
    if !items.is_object() {
        let Some(wanted) = index(token) else { return Ok(None) };
        let mut position = 0;
        while let Some(item) = items.next_item()? {
            if position == wanted {
                return Ok(Some(item.value));
            }
            position += 1;
        }
        return Ok(None);
    }
    let mut found = None;
    while let Some(item) = items.next_item()? {
        if item.key.and_then(|key| text.get(key)).is_some_and(|key| key_is(key, token)) {
            found = Some(item.value);
        }
    }
    Ok(found)
}

/// The decoded reference tokens of a pointer.
pub(super) fn tokens(pointer: &str) -> Result<Vec<Cow<'_, str>>, PointerError> {
    if pointer.is_empty() {
        return Ok(Vec::new());
    }
    let Some(rest) = pointer.strip_prefix('/') else { return Err(PointerError::Malformed(pointer.to_owned())) };
    rest.split('/').map(|token| decode(token).ok_or_else(|| PointerError::Malformed(pointer.to_owned()))).collect()
}

fn decode(token: &str) -> Option<Cow<'_, str>> {
    if !token.contains('~') {
        return Some(Cow::Borrowed(token));
    }
    let mut parts = token.split('~');
    let mut out = parts.next()?.to_owned();
    for part in parts {
        let (character, rest) = match part.as_bytes().first()? {
            b'0' => ('~', part.strip_prefix('0')?),
            b'1' => ('/', part.strip_prefix('1')?),
            _ => return None,
        };
        out.push(character);
        out.push_str(rest);
    }
    Some(Cow::Owned(out))
}

/// The index that a token means in an array: digits without a leading zero.
pub(super) fn index(token: &str) -> Option<usize> {
    let plain = token == "0" || (!token.starts_with('0') && token.bytes().all(|byte| byte.is_ascii_digit()));
    if plain { token.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_rfc_hold() {
        let text = r#"{"foo": ["bar", "baz"], "": 0, "a/b": 1, "c%d": 2, "e^f": 3, "g|h": 4, "i\\j": 5, "k\"l": 6, " ": 7, "m~n": 8}"#;
        for (pointer, expected) in [
            ("", Some(text)),
            ("/foo", Some(r#"["bar", "baz"]"#)),
            ("/foo/0", Some("\"bar\"")),
            ("/", Some("0")),
            ("/a~1b", Some("1")),
            ("/c%d", Some("2")),
            ("/i\\j", Some("5")),
            ("/k\"l", Some("6")),
            ("/ ", Some("7")),
            ("/m~0n", Some("8")),
            ("/foo/2", None),
            ("/foo/-", None),
            ("/foo/00", None),
            ("/foo/0/x", None),
            ("/nothing", None),
        ] {
            assert_eq!(find(text, pointer), Ok(expected), "{pointer}");
        }
    }

    #[test]
    fn the_raw_slice_keeps_its_bytes() {
        let text = r#" {"n": 9007199254740993 , "x":{"e":1e2, "s":"\/\u00e9"} } "#;
        assert_eq!(find(text, "/n"), Ok(Some("9007199254740993")));
        assert_eq!(find(text, "/x/e"), Ok(Some("1e2")));
        assert_eq!(find(text, "/x/s"), Ok(Some(r#""\/\u00e9""#)));
    }

    #[test]
    fn keys_are_compared_by_what_they_mean_and_the_last_one_counts() {
        assert_eq!(find(r#"{"n\u0061me": 1}"#, "/name"), Ok(Some("1")));
        assert_eq!(find(r#"{"name": 1, "n\u0061me": 2}"#, "/name"), Ok(Some("2")));
    }

    #[test]
    fn nothing_is_found_in_an_empty_text() {
        assert_eq!(find("", ""), Ok(None));
        assert_eq!(find("", "/a"), Ok(None));
    }

    #[test]
    fn a_malformed_pointer_and_a_malformed_text_are_told_apart() {
        for pointer in ["a", "/~", "/~2", "/a~"] {
            assert_eq!(find("{}", pointer), Err(PointerError::Malformed(pointer.to_owned())));
        }
        assert!(matches!(find("{", "/a"), Err(PointerError::Syntax(_))));
    }
}
