//! Durable state, as a port. A write is durable when its future is ready: nothing is acknowledged before that.

use jiff::Timestamp;

use serde::{Deserialize, Serialize};

use crate::BoxFuture;
use crate::name::ServerKey;
use crate::server::ServerSpec;
use crate::status::Desired;

/// A server as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerRecord {
    /// Tenant and name.
    pub key: ServerKey,
    /// As somebody wants it to be.
    pub spec: ServerSpec,
    /// Whether it should run.
    pub desired: Desired,
    /// When it was created.
    pub created: Timestamp,
}

/// A process that was started and not yet seen to end, so that the next start can end it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leftover {
    /// The server that it belongs to.
    pub key: ServerKey,
    /// What the runtime needs to recognise it beyond doubt (a process id alone is reused).
    pub workload: String,
}

/// Why the store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Reading, writing or flushing failed.
    #[error("{operation} the state store")]
    Io {
        /// What was tried, as a verb.
        operation: &'static str,
        /// What the database said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A record cannot be read.
    #[error("record `{key}` of the state store is damaged")]
    Damaged {
        /// Its key.
        key: String,
        /// Where.
        #[source]
        source: serde_json::Error,
    },
}

/// The state of the daemon.
pub trait Store: Send + Sync {
    /// All servers, by key.
    fn servers(&self) -> BoxFuture<'_, Result<Vec<ServerRecord>, StoreError>>;
    /// Creates or replaces a server.
    fn put_server<'a>(&'a self, record: &'a ServerRecord) -> BoxFuture<'a, Result<(), StoreError>>;
    /// Removes a server; removing what is not there is no error.
    fn remove_server<'a>(&'a self, key: &'a ServerKey) -> BoxFuture<'a, Result<(), StoreError>>;
    /// Remembers a started workload.
    fn put_leftover<'a>(&'a self, leftover: &'a Leftover) -> BoxFuture<'a, Result<(), StoreError>>;
    /// Forgets a workload that has ended.
    fn remove_leftover<'a>(&'a self, leftover: &'a Leftover) -> BoxFuture<'a, Result<(), StoreError>>;
    /// What an earlier daemon started and nobody saw end.
    fn leftovers(&self) -> BoxFuture<'_, Result<Vec<Leftover>, StoreError>>;
}
