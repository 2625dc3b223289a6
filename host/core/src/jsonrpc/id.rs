//! Ids and progress tokens: compared by what they mean, kept as they were written.

use crate::json::decode_string;

/// Largest integer that a double holds without doubt: what a JavaScript peer gives back unchanged.
const SAFE_INTEGER: u64 = (1 << 53) - 1;

/// What an id or a progress token means. `5` and `"5"` differ; `"a"` and `"\u0061"` do not, because a peer that decodes and
/// encodes turns one into the other.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum IdKey {
    /// An integer.
    Integer(i64),
    /// A number that is no such integer, as written.
    Number(Box<str>),
    /// A string, decoded.
    Text(Box<str>),
}

impl IdKey {
    /// The key of the JSON text of an id; `None` when it is neither a string nor a number.
    #[must_use]
    pub fn of(raw: &str) -> Option<Self> {
        match raw.as_bytes().first()? {
            b'"' => decode_string(raw).map(|text| Self::Text(text.into())),
            b'-' | b'0'..=b'9' => Some(raw.parse().map_or_else(|_| Self::Number(raw.into()), Self::Integer)),
            _ => None,
        }
    }

    /// Whether any peer gives this text back byte for byte: an integer that fits a double and is written plainly, or a
    /// string without escapes.
    #[must_use]
    pub fn is_portable(raw: &str) -> bool {
        match raw.as_bytes().first() {
            Some(b'"') => !raw.contains('\\'),
            _ => raw != "-0" && raw.parse::<i64>().is_ok_and(|number| number.unsigned_abs() <= SAFE_INTEGER),
        }
    }
}

/// Whether this JSON text may be the id of a request: a string, or a number without fraction and exponent.
pub(super) fn is_request_id(raw: &str) -> bool {
    match raw.as_bytes().first() {
        Some(b'"') => true,
        Some(b'-' | b'0'..=b'9') => !raw.bytes().any(|byte| matches!(byte, b'.' | b'e' | b'E')),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_and_a_string_are_never_the_same_id() {
        assert_ne!(IdKey::of("5"), IdKey::of("\"5\""));
        assert_eq!(IdKey::of("\"\\u0061\""), IdKey::of("\"a\""));
        assert_ne!(IdKey::of("9007199254740993"), IdKey::of("9007199254740992"));
        assert_ne!(IdKey::of("18446744073709551615"), IdKey::of("18446744073709551614"));
        assert_eq!(IdKey::of("null"), None);
    }

    #[test]
    fn only_what_every_peer_gives_back_is_portable() {
        for raw in ["0", "-1", "9007199254740991", "\"a/|b\"", "\"é\""] {
            assert!(IdKey::is_portable(raw), "{raw}");
        }
        for raw in ["9007199254740992", "-0", "1e2", "1.0", "\"\\u0061\"", "18446744073709551616"] {
            assert!(!IdKey::is_portable(raw), "{raw}");
        }
    }
}
