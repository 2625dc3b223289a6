//! Durable state, as a port. A write is durable when its future is ready: nothing is acknowledged before that.

use std::collections::BTreeMap;
use std::path::PathBuf;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::BoxFuture;
use crate::name::{GroupName, PluginName, ServerKey, TenantName};
use crate::policy::{PolicyKey, PolicyRecord};
use crate::server::ServerSpec;
use crate::status::Desired;
use crate::tenant::{TenantRecord, TokenRecord};

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

/// A plugin that goes by a name, as somebody wants it to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PluginSpec {
    /// Where it comes from: a file of this machine, or an OCI reference.
    pub source: String,
    /// What it is: `sha256:` and the digest of the component. Nothing else goes by this name.
    pub digest: String,
}

/// A plugin that goes by a name, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginRecord {
    /// Its name.
    pub name: PluginName,
    /// For selection and display.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// As somebody wants it to be.
    pub spec: PluginSpec,
    /// Where the component lies.
    pub file: PathBuf,
    /// When it was installed.
    pub created: Timestamp,
}

/// A group that was created, whether or not a server is in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupRecord {
    /// Its tenant.
    pub tenant: TenantName,
    /// Its name.
    pub name: GroupName,
    /// When it was created.
    pub created: Timestamp,
}

/// One change of what is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// Creates or replaces a server.
    PutServer(Box<ServerRecord>),
    /// Removes a server.
    RemoveServer(ServerKey),
    /// Creates or replaces a tenant.
    PutTenant(TenantRecord),
    /// Removes a tenant.
    RemoveTenant(TenantName),
    /// Attaches a plugin, or changes how.
    PutPolicy(Box<PolicyRecord>),
    /// Takes a plugin out of a chain.
    RemovePolicy(PolicyKey),
    /// Creates a token.
    PutToken(TokenRecord),
    /// Withdraws a token.
    RemoveToken(String),
    /// Gives a name to a plugin.
    PutPlugin(PluginRecord),
    /// Takes the name away.
    RemovePlugin(PluginName),
    /// Creates a group.
    PutGroup(GroupRecord),
    /// Forgets a group.
    RemoveGroup {
        /// Its tenant.
        tenant: TenantName,
        /// Its name.
        name: GroupName,
    },
}

/// Tenants, their policies and tokens, and changes that go together.
pub trait PolicyStore: Send + Sync {
    /// All tenants that were declared, by name.
    fn tenants(&self) -> BoxFuture<'_, Result<Vec<TenantRecord>, StoreError>>;
    /// All attachments of the platform and of tenants.
    fn policies(&self) -> BoxFuture<'_, Result<Vec<PolicyRecord>, StoreError>>;
    /// All tokens.
    fn tokens(&self) -> BoxFuture<'_, Result<Vec<TokenRecord>, StoreError>>;
    /// All groups that were created.
    fn groups(&self) -> BoxFuture<'_, Result<Vec<GroupRecord>, StoreError>>;
    /// All plugins that go by a name.
    fn plugins(&self) -> BoxFuture<'_, Result<Vec<PluginRecord>, StoreError>>;
    /// Makes several changes as one: whenever the machine stops, all of them are there afterwards, or none.
    fn commit<'a>(&'a self, changes: &'a [Change]) -> BoxFuture<'a, Result<(), StoreError>>;
}
