//! Digests: the name of content that cannot be given to other content.
//!
//! What runs and what is applied is always named by one of these, never by a tag: between two looks a tag may have moved.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::checked::checked_text;

/// `sha256:` and 64 lower-case hexadecimal digits (OCI image specification, *Digests*).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct Digest(Arc<str>);

/// Why a text is no digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no digest: it is `sha256:` and 64 hexadecimal digits")]
pub struct DigestError {
    /// What was given.
    pub text: String,
}

impl Digest {
    /// Checks a text.
    ///
    /// # Errors
    /// It is not `sha256:` and 64 lower-case hexadecimal digits.
    pub fn new(text: &str) -> Result<Self, DigestError> {
        if is_sha256(text) { Ok(Self(text.into())) } else { Err(DigestError { text: text.to_owned() }) }
    }

    /// As text, with the algorithm.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether a text is `sha256:` and 64 lower-case hexadecimal digits.
#[must_use]
pub fn is_sha256(text: &str) -> bool {
    let is_hex = |b: u8| b.is_ascii_digit() || matches!(b, b'a'..=b'f');
    text.strip_prefix("sha256:").is_some_and(|hex| hex.len() == 64 && hex.bytes().all(is_hex))
}

checked_text!(Digest, DigestError);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_lower_case_sha256_is_a_digest() {
        let hex = "0123456789abcdef".repeat(4);
        assert_eq!(Digest::new(&format!("sha256:{hex}")).unwrap().as_str(), format!("sha256:{hex}"));
        for text in [
            "".to_owned(),
            hex.clone(),
            format!("sha512:{hex}"),
            format!("sha256:{}", hex.to_uppercase()),
            format!("sha256:{hex}0"),
            format!("sha256:{hex}").replace('0', "g"),
        ] {
            assert!(Digest::new(&text).is_err(), "{text}");
        }
    }
}
