//! What servers use of the machine, as the API shows it.

use fairlead_core::name::{ServerName, TenantName};
use fairlead_core::status::ServerPhase;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What servers use. Counters: whoever wants a rate looks twice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct UsageList {
    /// When this was found out.
    pub(crate) at: Timestamp,
    /// By tenant and name.
    pub(crate) servers: Vec<ServerUsage>,
}

/// What one server uses, with all of its workloads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ServerUsage {
    /// Its name.
    pub(crate) name: ServerName,
    /// The tenant that it belongs to.
    pub(crate) tenant: TenantName,
    /// What it does now.
    pub(crate) status: ServerPhase,
    /// Workloads that could be asked: one for each session of a stdio server, one for a server that listens, none for one that
    /// runs elsewhere.
    pub(crate) workloads: usize,
    /// Computing time of those that run, each since it began. It falls when one of them ends.
    pub(crate) cpu_nanos: u64,
    /// Memory that they hold.
    pub(crate) memory_bytes: u64,
    /// Processes, or threads where an engine counts those; a component is none.
    pub(crate) processes: u64,
    /// Sessions that the data plane keeps. A server that listens keeps its own.
    pub(crate) sessions: usize,
}
