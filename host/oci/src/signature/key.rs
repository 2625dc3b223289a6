//! Public keys, as `cosign generate-key-pair` and `openssl` write them.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA256_ASN1, ED25519, UnparsedPublicKey, VerificationAlgorithm,
};

/// A key that signatures are checked with.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    kind: Kind,
    bytes: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    P256,
    P384,
    Ed25519,
}

/// Why a text is no key that can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// It is no public key in PEM.
    #[error("it is no public key in PEM: one begins with `-----BEGIN PUBLIC KEY-----`")]
    NotPem,
    /// It is one of a kind that is not supported.
    #[error("it is of a kind that is not supported: P-256, P-384 and Ed25519 are")]
    Unsupported,
}

/// How a key of each kind begins (RFC 5480, RFC 8410): the DER around it never differs, so that it is compared and not parsed.
const PREFIXES: [(Kind, &[u8], usize); 3] = [
    (
        Kind::P256,
        &[
            0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48,
            0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
        ],
        65,
    ),
    (
        Kind::P384,
        &[
            0x30, 0x76, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b, 0x81, 0x04,
            0x00, 0x22, 0x03, 0x62, 0x00,
        ],
        97,
    ),
    (Kind::Ed25519, &[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00], 32),
];

impl PublicKey {
    /// Reads a key.
    ///
    /// # Errors
    /// It is none, or of a kind that is not supported.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        let inner = text.split_once("-----BEGIN PUBLIC KEY-----").ok_or(KeyError::NotPem)?.1;
        let (inner, _) = inner.split_once("-----END PUBLIC KEY-----").ok_or(KeyError::NotPem)?;
        let compact: String = inner.split_ascii_whitespace().collect();
        let der = STANDARD.decode(compact).map_err(|_| KeyError::NotPem)?;
        let known = PREFIXES.iter().find_map(|(kind, prefix, length)| {
            let bytes = der.strip_prefix(*prefix).filter(|bytes| bytes.len() == *length)?;
            Some(Self { kind: *kind, bytes: bytes.to_vec() })
        });
        known.ok_or(KeyError::Unsupported)
    }

    /// Whether this signature of this message was made with it.
    #[must_use]
    pub fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        let algorithm: &'static dyn VerificationAlgorithm = match self.kind {
            Kind::P256 => &ECDSA_P256_SHA256_ASN1,
            // cosign hashes with SHA-256 whatever the curve is.
            Kind::P384 => &ECDSA_P384_SHA256_ASN1,
            Kind::Ed25519 => &ED25519,
        };
        UnparsedPublicKey::new(algorithm, &self.bytes).verify(message, signature).is_ok()
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublicKey").field("kind", &self.kind).finish_non_exhaustive()
    }
}
