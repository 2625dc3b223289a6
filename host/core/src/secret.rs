//! Secrets, as a port: a plugin names one, the host finds it, and nobody prints it.

use std::fmt;
use std::sync::Arc;

use crate::name::TenantName;

/// The value of a secret. It has no text form, so that it cannot get into a log by accident.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretValue(Arc<[u8]>);

impl SecretValue {
    /// Takes a value.
    #[must_use]
    pub fn new(value: &[u8]) -> Self {
        Self(value.into())
    }

    /// The value, for whoever has the right to it.
    #[must_use]
    pub fn reveal(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretValue(..)")
    }
}

/// Why a secret cannot be had now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("secrets are unavailable: {0}")]
pub struct SecretError(pub String);

/// Finds secrets. Synchronous: an adapter keeps what it serves in memory.
pub trait SecretSource: Send + Sync {
    /// The secret of this tenant with this name; `None` when there is none.
    ///
    /// # Errors
    /// The source cannot be used now.
    fn open(&self, tenant: &TenantName, name: &str) -> Result<Option<SecretValue>, SecretError>;
}
