//! OCI registries, as a port: what a reference names now, and with which credentials it may be asked.
//!
//! A credential belongs to one tenant, and what is learnt with it (tokens, answers) does too: an adapter keeps nothing under a
//! key without it.

use std::fmt;
use std::time::Duration;

use crate::BoxFuture;
use crate::image::ImageReference;
use crate::name::TenantName;

/// What a reference names at this moment. A hint until its content has been fetched by digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// `sha256:` and 64 hexadecimal digits.
    pub digest: String,
    /// Of the manifest or the index.
    pub media_type: String,
    /// Its length in bytes, where the registry says it.
    pub size: Option<u64>,
}

/// What somebody shows to a registry.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Credential {
    /// Nothing.
    Anonymous,
    /// A name and a password, or a token that is written like one.
    Password {
        /// The name.
        username: String,
        /// The password.
        password: String,
    },
    /// A token that is exchanged for others (OAuth 2 refresh token).
    IdentityToken(String),
    /// A token that is shown as it is.
    RegistryToken(String),
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Anonymous => "Anonymous",
            Self::Password { .. } => "Password(..)",
            Self::IdentityToken(_) => "IdentityToken(..)",
            Self::RegistryToken(_) => "RegistryToken(..)",
        })
    }
}

/// Why there is no credential although there should be one: never taken for "nobody logged in".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("credentials for `{registry}`: {reason}")]
pub struct CredentialError {
    /// The registry.
    pub registry: String,
    /// What went wrong, without anything of the credential.
    pub reason: String,
}

/// Finds credentials.
pub trait CredentialSource: Send + Sync {
    /// What `tenant` shows to `registry` (host, or host and port); [`Credential::Anonymous`] when it never logged in.
    fn find<'a>(
        &'a self,
        tenant: &'a TenantName,
        registry: &'a str,
    ) -> BoxFuture<'a, Result<Credential, CredentialError>>;
}

/// Why a registry gave no answer that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// It cannot be reached, or is broken.
    #[error("`{registry}` cannot be reached: {reason}")]
    Unreachable {
        /// The registry.
        registry: String,
        /// What happened.
        reason: String,
    },
    /// It does not let us.
    #[error("`{registry}` does not allow this: {reason}")]
    Denied {
        /// The registry.
        registry: String,
        /// What it said.
        reason: String,
    },
    /// It wants to be left alone.
    #[error("`{registry}` wants fewer requests")]
    RateLimited {
        /// The registry.
        registry: String,
        /// How long it wants to be left alone.
        retry_after: Option<Duration>,
    },
    /// There is no such thing there.
    #[error("`{reference}` is not there")]
    NotFound {
        /// What was looked for.
        reference: String,
    },
    /// It answered something that cannot be.
    #[error("`{registry}` answered something that cannot be: {reason}")]
    Protocol {
        /// The registry.
        registry: String,
        /// What is wrong.
        reason: String,
    },
    /// The content is not what its digest says.
    #[error("content of `{subject}` is not what its digest says: it was changed on the way or at its source")]
    Tampered {
        /// What was fetched.
        subject: String,
    },
    /// It is larger than what is taken.
    #[error("`{subject}` has more than {bytes_max} bytes")]
    TooLarge {
        /// What was fetched.
        subject: String,
        /// What is taken.
        bytes_max: u64,
    },
    /// There should be a credential and it cannot be had.
    #[error(transparent)]
    Credentials(#[from] CredentialError),
}

impl RegistryError {
    /// What to do about it.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => {
                "look at the network and at the name of the registry; what is installed goes on working"
            }
            Self::Denied { .. } => "log in with `docker login`, or look at what the account may do",
            Self::RateLimited { .. } => "wait, or log in: most registries allow more to those whom they know",
            Self::NotFound { .. } => {
                "look at the name and the tag; a registry also says so of what an account may not see"
            }
            Self::Protocol { .. } => "is it an OCI registry? A proxy in between may be what answered",
            Self::Tampered { .. } => "do not use it; tell whoever runs the registry, and pull again",
            Self::TooLarge { .. } => "is it the artifact that was meant?",
            Self::Credentials(_) => "repair the configuration of Docker, or log in anew",
        }
    }
}

/// Says what references name.
pub trait DigestResolver: Send + Sync {
    /// What the reference names now, asked for without fetching (and without what registries count as a pull).
    fn resolve<'a>(
        &'a self,
        tenant: &'a TenantName,
        reference: &'a ImageReference,
    ) -> BoxFuture<'a, Result<Resolved, RegistryError>>;
}
