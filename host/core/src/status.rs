//! What state a server is in, and which change is possible.

use jiff::Timestamp;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the user wants.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Desired {
    /// It should run; the daemon brings it back after a crash or restart.
    #[default]
    Running,
    /// It should not.
    Stopped,
}

/// What is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ServerPhase {
    /// Launched; has not answered `initialize` yet.
    Starting,
    /// Has answered.
    Running,
    /// Ended without being asked to; launched again after a while.
    BackingOff,
    /// Ended too often in a row; only a person starts it again.
    Failed,
    /// Being stopped.
    Stopping,
    /// Stopped because somebody wanted that.
    Stopped,
}

/// State of one server, as shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServerStatus {
    /// What is.
    pub phase: ServerPhase,
    /// Why, in a sentence that names the remedy where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Since when.
    pub since: Timestamp,
    /// Failures since the last healthy period or start: unwanted ends and failed launches that counted.
    pub restarts: u32,
    /// When it is launched again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<Timestamp>,
    /// What the server said of itself when it answered `initialize`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<ServerProfile>,
}

/// What a server said of itself in its answer to `initialize`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServerProfile {
    /// Revision of MCP.
    pub protocol_version: String,
    /// Name.
    pub name: String,
    /// Version.
    pub version: String,
    /// Names of its capabilities: `tools`, `resources`, …
    pub capabilities: Vec<String>,
}
