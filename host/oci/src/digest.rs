//! Digests: computed while content passes, compared when it has.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

/// Hashes content as it comes.
#[derive(Debug, Clone, Default)]
pub struct Hasher(Sha256);

impl Hasher {
    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// `sha256:` and the digest of everything.
    #[must_use]
    pub fn finish(self) -> String {
        self.0.finalize().iter().fold("sha256:".to_owned(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}

/// The digest of bytes that are there.
#[must_use]
pub fn digest_of(bytes: &[u8]) -> String {
    let mut hasher = Hasher::default();
    hasher.update(bytes);
    hasher.finish()
}

/// Whether a text is `sha256:` and 64 lower-case hexadecimal digits. Other algorithms are not read: content that nobody here
/// can check is content that nobody here takes.
#[must_use]
pub fn is_digest(text: &str) -> bool {
    let is_hex = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f');
    text.strip_prefix("sha256:").is_some_and(|hex| hex.len() == 64 && hex.bytes().all(is_hex))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_that_of_the_content() {
        let digest = digest_of(b"hello");
        assert_eq!(digest, "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824");
        assert!(is_digest(&digest) && !is_digest("sha256:2CF2") && !is_digest("sha512:00") && !is_digest(""));
    }
}
