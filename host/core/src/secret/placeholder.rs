//! Placeholders: what somebody holds who may use a secret and not see it. The host puts the value in when the text leaves
//! for where it may go.
//!
//! A placeholder begins with a random key of its attachment: a text that somebody else sent is never taken for one.

use std::fmt;
use std::sync::Arc;

use memchr::memmem;

use super::SecretValue;

/// Placeholders of one attachment.
#[derive(Clone)]
pub struct Placeholders {
    /// What all of them begin with.
    mark: Arc<str>,
}

/// Ends a placeholder. No name of a secret has it.
const END: &str = "}}";

impl Placeholders {
    /// Placeholders that nobody else can write: `key` is random.
    #[must_use]
    pub fn new(key: [u8; 16]) -> Self {
        let key = u128::from_be_bytes(key);
        Self { mark: format!("{{{{fairlead-secret:{key:032x}:").into() }
    }

    /// What stands for the secret.
    #[must_use]
    pub fn of(&self, name: &str) -> String {
        format!("{}{name}{END}", self.mark)
    }

    /// Puts values in the place of placeholders; `None` when there are none. Values are taken as they are: what looks like a
    /// placeholder in one is not filled again.
    ///
    /// # Errors
    /// What `find` says.
    pub fn fill<E>(
        &self,
        text: &[u8],
        mut find: impl FnMut(&str) -> Result<SecretValue, E>,
    ) -> Result<Option<Vec<u8>>, E> {
        let mark = self.mark.as_bytes();
        let mut filled: Option<Vec<u8>> = None;
        let mut rest = text;
        while let Some((before, name, after)) = Self::next(mark, rest) {
            let filled = filled.get_or_insert_default();
            filled.extend_from_slice(before);
            filled.extend_from_slice(find(name)?.reveal());
            rest = after;
        }
        if let Some(filled) = &mut filled {
            filled.extend_from_slice(rest);
        }
        Ok(filled)
    }

    fn next<'a>(mark: &[u8], text: &'a [u8]) -> Option<(&'a [u8], &'a str, &'a [u8])> {
        let (before, behind) = text.split_at_checked(memmem::find(text, mark)?)?;
        let named = behind.get(mark.len()..)?;
        let (name, after) = named.split_at_checked(memmem::find(named, END.as_bytes())?)?;
        Some((before, std::str::from_utf8(name).ok()?, after.get(END.len()..)?))
    }
}

impl fmt::Debug for Placeholders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Placeholders(..)")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value(name: &str) -> Result<SecretValue, String> {
        match name {
            "key" => Ok(SecretValue::new(b"s3cret")),
            other => Err(other.to_owned()),
        }
    }

    #[test]
    fn a_placeholder_becomes_the_value_and_nothing_else_does() {
        let ours = Placeholders::new([7; 16]);
        let text = format!("Bearer {} and {}", ours.of("key"), ours.of("key"));
        assert_eq!(ours.fill(text.as_bytes(), value).unwrap().unwrap(), b"Bearer s3cret and s3cret");
        let theirs = Placeholders::new([8; 16]);
        assert_eq!(ours.fill(theirs.of("key").as_bytes(), value), Ok(None));
        assert_eq!(ours.fill(b"{{fairlead-secret:key}}", value), Ok(None));
        assert_eq!(ours.fill(ours.of("other").as_bytes(), value), Err("other".to_owned()));
    }

    #[test]
    fn a_value_that_looks_like_a_placeholder_stays_as_it_is() {
        let ours = Placeholders::new([7; 16]);
        let inner = ours.of("key");
        let once = |_: &str| Ok::<_, ()>(SecretValue::new(inner.as_bytes()));
        assert_eq!(ours.fill(inner.as_bytes(), once).unwrap().unwrap(), inner.as_bytes());
    }

    proptest! {
        #[test]
        fn text_around_placeholders_is_kept(before in "[^{]{0,20}", after in "[^{]{0,20}") {
            let ours = Placeholders::new([7; 16]);
            let text = format!("{before}{}{after}", ours.of("key"));
            let filled = ours.fill(text.as_bytes(), value).unwrap().unwrap();
            prop_assert_eq!(filled, format!("{before}s3cret{after}").into_bytes());
        }
    }
}
