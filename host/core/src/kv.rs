//! State of plugins, as a port. Synchronous: an access is a memory operation, and the write behind it is the adapter's.

use std::time::Duration;

use crate::name::{AttachmentName, TenantName};

/// Whose state: nobody can name another's.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KvScope {
    /// The tenant.
    pub tenant: TenantName,
    /// Where the plugin is attached, so that two servers never share state: `platform`, `tenant`, or `server/<name>`.
    pub place: String,
    /// The attachment.
    pub attachment: AttachmentName,
}

/// A value and its version; versions of one key only grow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KvEntry {
    /// The value.
    pub value: Vec<u8>,
    /// Its version.
    pub version: u64,
}

/// Why a call did nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KvError {
    /// The quota of the scope is used up.
    #[error("quota of {bytes_max} bytes is used up")]
    Quota {
        /// The quota.
        bytes_max: u64,
    },
    /// Key or value too long.
    #[error("key or value is too large")]
    TooLarge,
    /// `increment` of something that is no counter.
    #[error("value is not a counter")]
    WrongType,
    /// The store cannot be used now.
    #[error("store is unavailable: {0}")]
    Unavailable(String),
}

/// Plugin state. A time to live starts anew with each write, but not with `increment` of a live counter.
pub trait KvStore: Send + Sync {
    /// Reads a value.
    ///
    /// # Errors
    /// The store cannot be used.
    fn get(&self, scope: &KvScope, key: &str) -> Result<Option<KvEntry>, KvError>;
    /// Writes a value and returns its version.
    ///
    /// # Errors
    /// Too large, quota, or the store cannot be used.
    fn set(&self, scope: &KvScope, key: &str, value: &[u8], ttl: Option<Duration>) -> Result<u64, KvError>;
    /// Writes only if the version is still `expected` (`None`: only if there is no value); `None` when somebody was first.
    ///
    /// # Errors
    /// Too large, quota, or the store cannot be used.
    fn compare_and_set(
        &self,
        scope: &KvScope,
        key: &str,
        expected: Option<u64>,
        value: &[u8],
        ttl: Option<Duration>,
    ) -> Result<Option<u64>, KvError>;
    /// Adds to a counter and returns the sum.
    ///
    /// # Errors
    /// Not a counter, quota, or the store cannot be used.
    fn increment(&self, scope: &KvScope, key: &str, by: i64, ttl: Option<Duration>) -> Result<i64, KvError>;
    /// Removes a value.
    ///
    /// # Errors
    /// The store cannot be used.
    fn delete(&self, scope: &KvScope, key: &str) -> Result<(), KvError>;
    /// One page of keys with a prefix, in order, after `after`.
    ///
    /// # Errors
    /// The store cannot be used.
    fn keys(&self, scope: &KvScope, prefix: &str, after: Option<&str>, limit: u32) -> Result<Vec<String>, KvError>;
}
