//! Who vouches for an image: as a port, and what is done when nobody does.
//!
//! A signature is of a digest, and what is asked about is the digest that is going to run. Whoever asked about a tag would
//! learn something about an image that the tag may have left a moment later.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::BoxFuture;
use crate::digest::Digest;
use crate::image::ImageReference;
use crate::name::TenantName;
use crate::oci::RegistryError;

/// What is done about signatures of images.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ImageVerification {
    /// Nobody looks.
    Disabled,
    /// Where keys are known for an image, its signature is looked for; the image runs all the same, and what is wrong is said.
    #[default]
    Warn,
    /// Nothing runs that was not signed with a key that is known for it.
    Enabled,
}

impl ImageVerification {
    /// What holds for one server: it chooses, but cannot choose less than everybody must.
    #[must_use]
    pub fn of_server(everybody: Self, server: Option<Self>) -> Self {
        match everybody {
            Self::Enabled => Self::Enabled,
            _ => server.unwrap_or(everybody),
        }
    }
}

/// Why nobody vouches for an image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// Nobody was named whose word would count.
    #[error("no key is known for `{repository}`")]
    NoKey {
        /// The repository.
        repository: String,
    },
    /// The engine does not know by which digest a registry has the image: it was built here, or loaded from a file.
    #[error("`{reference}` came from no registry, and what is not there cannot be signed there")]
    NoDigest {
        /// The image.
        reference: String,
    },
    /// The registry has no signature of it.
    #[error("`{repository}@{digest}` is not signed")]
    NotSigned {
        /// The repository.
        repository: String,
        /// The digest.
        digest: Digest,
    },
    /// There are signatures, and none is by a key that is known for it, of this digest.
    #[error("`{repository}@{digest}` is signed, but not with a key that is known for it ({reason})")]
    NotTrusted {
        /// The repository.
        repository: String,
        /// The digest.
        digest: Digest,
        /// What is wrong with the signature that came closest.
        reason: &'static str,
    },
    /// The registry does not say.
    #[error("ask for signatures")]
    Registry(#[from] RegistryError),
}

/// Says who vouches for what.
pub trait ImageVerifier: Send + Sync {
    /// The name of a key, known for this repository, with which exactly this digest was signed; without a digest, nothing
    /// was.
    fn verify<'a>(
        &'a self,
        tenant: &'a TenantName,
        image: &'a ImageReference,
        digest: Option<&'a Digest>,
    ) -> BoxFuture<'a, Result<String, SignatureError>>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_may_want_more_and_never_less_than_everybody_must() {
        use ImageVerification::{Disabled, Enabled, Warn};
        for server in [None, Some(Disabled), Some(Warn), Some(Enabled)] {
            assert_eq!(ImageVerification::of_server(Enabled, server), Enabled);
            assert_eq!(ImageVerification::of_server(Warn, server), server.unwrap_or(Warn));
        }
    }
}
