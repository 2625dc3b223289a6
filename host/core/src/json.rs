//! JSON text, looked into and patched in place: what nobody named keeps its bytes.
//!
//! No tree is built. A tree costs ten times the scan, and writing it back changes what nobody asked to change: integers
//! above 2^53, `1e2`, escapes, the order of keys. So everything here works on the text with one scanner that checks the
//! whole grammar as it goes, and an edit is a splice.
//!
//! Where an object names a key twice the last one counts, as in every parser that servers are written with. An edit
//! removes the earlier ones: a redacted value must not survive in a twin.

pub(crate) mod items;
mod patch;
mod pointer;
pub(crate) mod scan;
mod text;

pub use patch::{PatchError, patch};
pub use pointer::{PointerError, find};
pub use scan::{SyntaxError, SyntaxErrorKind};

use std::borrow::Cow;

/// Checks that `text` is one JSON value, no deeper than [`crate::limits::JSON_DEPTH_MAX`], and nothing else.
///
/// # Errors
/// It is not; the error says what is wrong and where.
pub fn check(text: &str) -> Result<(), SyntaxError> {
    scan::document(text).map(|_| ())
}

/// Decodes the JSON text of a string; `None` when it is not one. An escape that stands for half a character becomes
/// U+FFFD, because there is no text for it.
#[must_use]
pub fn decode_string(raw: &str) -> Option<Cow<'_, str>> {
    let inner = raw.strip_prefix('"')?.strip_suffix('"')?;
    if !inner.contains('\\') {
        return (!inner.contains('"')).then_some(Cow::Borrowed(inner));
    }
    text::unescape(inner).map(Cow::Owned)
}

/// Encodes a text as a JSON string.
#[must_use]
pub fn encode_string(text: &str) -> String {
    // Writing a `str` cannot fail; an empty string would be visible at once.
    serde_json::to_string(text).unwrap_or_else(|_| "\"\"".to_owned())
}

/// The items of the object or array in `text`, in order: the JSON text of each key (none in an array), and of each value.
/// A scalar has none; the walk ends where the text is no JSON.
pub fn each(text: &str) -> impl Iterator<Item = (Option<&str>, &str)> {
    let mut items = items::Items::enter(scan::Scanner::new(text)).ok().flatten();
    std::iter::from_fn(move || {
        let item = items.as_mut()?.next_item().ok().flatten()?;
        Some((item.key.and_then(|key| text.get(key)), text.get(item.value)?))
    })
}
