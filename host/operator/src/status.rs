//! What is said about a server or a registry: phases, conditions and reasons, and how a condition changes.
//!
//! The words are an interface: alerts, dashboards and `kubectl wait` are written against them. Those about replicas and
//! sessions are the words that people know from the operator they come from.

use fairlead_core::freshness::UpdateView;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::limits::MESSAGE_BYTES_MAX;

/// Where a server stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Phase {
    /// Not all of it is there yet.
    #[default]
    Pending,
    /// It answers.
    Ready,
    /// It cannot come up as it is.
    Failed,
    /// It is being removed.
    Terminating,
    /// It was asked to have no replicas.
    Stopped,
}

/// What a condition is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum ConditionType {
    /// Whether clients are answered.
    Ready,
    /// Whether the document can be read: what a schema cannot check is checked by the operator.
    SpecValid,
    /// Whether `podTemplateSpec` is a pod template.
    PodTemplateValid,
    /// Whether the permission profile can be enforced in a cluster.
    PermissionProfileValid,
    /// Whether every plugin of the chain is known by its digest.
    PluginsResolved,
    /// Whether replicas were held at one because the server speaks over stdio.
    StdioReplicaCapped,
    /// Whether several replicas do not share their sessions.
    SessionStorageWarning,
    /// Whether a registry server may ask the cluster who its clients are.
    ReviewsGranted,
    /// Whether a server is what the registry entry says that it came from.
    RegistryEntryApproved,
}

/// Whether it is so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Truth {
    /// It is.
    True,
    /// It is not.
    False,
    /// Nobody knows.
    Unknown,
}

impl From<bool> for Truth {
    fn from(truth: bool) -> Self {
        if truth { Self::True } else { Self::False }
    }
}

/// Why, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[expect(missing_docs, reason = "each is the word for what its name says; the message of a condition tells more")]
pub enum Reason {
    Ready,
    NotReady,
    Stopped,
    SpecIsValid,
    SpecIsInvalid,
    ValidPodTemplateSpec,
    InvalidPodTemplateSpec,
    PermissionProfileEnforced,
    PermissionProfileNotEnforceable,
    AllPluginsResolved,
    PluginNotFound,
    StdioTransportCapAt1,
    StdioReplicaCapNotActive,
    SessionStorageMissingForReplicas,
    SessionStorageConfigured,
    SessionStorageWarningNotApplicable,
    ReviewerBound,
    ReviewerBoundByOthers,
    ReviewsNotApplicable,
    EntryApproved,
    EntryNotFound,
    EntryWithdrawn,
    EntryDiffers,
    RegistryUnavailable,
    NoRegistry,
}

/// One thing that is or is not so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What it is about.
    #[serde(rename = "type")]
    pub kind: ConditionType,
    /// Whether it is so.
    pub status: Truth,
    /// Why, in one word.
    pub reason: Reason,
    /// Why, in one sentence.
    #[serde(default)]
    pub message: String,
    /// Of which generation of the document this is said.
    #[serde(default)]
    pub observed_generation: i64,
    /// Since when it is so, or not so.
    pub last_transition_time: String,
}

/// What came of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RequestOutcome {
    /// It was done.
    Done,
    /// It was not, and the message says why.
    Refused,
    /// It was said what would be done.
    Planned,
}

/// A request about updates that was answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RequestStatus {
    /// Its id.
    pub id: String,
    /// What came of it.
    pub outcome: RequestOutcome,
    /// Why, in one sentence.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// When it was answered.
    pub at: Timestamp,
}

/// `status` of an `MCPServer`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ServerStatus {
    /// Where it stands.
    pub phase: Phase,
    /// The same, in one sentence.
    pub message: String,
    /// Where clients find it.
    pub url: String,
    /// The image of the server.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub image: String,
    /// Replicas of the proxy that there are.
    pub replicas: i32,
    /// Replicas of the proxy that answer.
    pub ready_replicas: i32,
    /// Replicas of the server that run.
    pub backend_ready_replicas: i32,
    /// The pods of the proxy, as a label selector: for autoscalers.
    pub selector: String,
    /// The generation of the document that all of this is said of.
    pub observed_generation: i64,
    /// How fresh it is; absent where nobody looks after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub updates: Option<UpdateView>,
    /// What came of the last request about its updates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub update_request: Option<RequestStatus>,
    /// What is so and what is not.
    pub conditions: Vec<Condition>,
}

/// `status` of an `MCPRegistry`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RegistryStatus {
    /// Where it stands.
    pub phase: Phase,
    /// The same, in one sentence.
    pub message: String,
    /// Where clients find it.
    pub url: String,
    /// How many registries it reads.
    pub registries: i32,
    /// Replicas that there are.
    pub replicas: i32,
    /// Replicas that answer.
    pub ready_replicas: i32,
    /// The generation of the document that all of this is said of.
    pub observed_generation: i64,
    /// What is so and what is not.
    pub conditions: Vec<Condition>,
}

/// What every status says.
pub(crate) trait Status: PartialEq + Serialize {
    /// Where the object stands, the same in one sentence, and why.
    fn standing(&self) -> Standing<'_>;
}

/// Where an object stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Standing<'a> {
    pub(crate) phase: Phase,
    pub(crate) message: &'a str,
    pub(crate) conditions: &'a [Condition],
}

impl Status for ServerStatus {
    fn standing(&self) -> Standing<'_> {
        Standing { phase: self.phase, message: &self.message, conditions: &self.conditions }
    }
}

impl Status for RegistryStatus {
    fn standing(&self) -> Standing<'_> {
        Standing { phase: self.phase, message: &self.message, conditions: &self.conditions }
    }
}

/// What is said of a condition, before it is known since when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What it is about.
    pub kind: ConditionType,
    /// Whether it is so.
    pub status: Truth,
    /// Why, in one word.
    pub reason: Reason,
    /// Why, in one sentence.
    pub message: String,
}

impl Finding {
    /// A finding.
    pub fn new(kind: ConditionType, status: impl Into<Truth>, reason: Reason, message: impl Into<String>) -> Self {
        Self { kind, status: status.into(), reason, message: shortened(message.into()) }
    }

    /// The condition that it makes of one that was there: the time changes only when the truth does.
    #[must_use]
    pub fn since(self, before: &[Condition], generation: i64, now: Timestamp) -> Condition {
        let before = before.iter().find(|condition| condition.kind == self.kind && condition.status == self.status);
        Condition {
            kind: self.kind,
            status: self.status,
            reason: self.reason,
            message: self.message,
            observed_generation: generation,
            last_transition_time: before.map_or_else(|| moment(now), |before| before.last_transition_time.clone()),
        }
    }
}

/// To the second, as Kubernetes writes it.
fn moment(now: Timestamp) -> String {
    now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

pub(crate) fn shortened(mut message: String) -> String {
    if message.len() > MESSAGE_BYTES_MAX {
        let end = (0..=MESSAGE_BYTES_MAX).rev().find(|at| message.is_char_boundary(*at)).unwrap_or_default();
        message.truncate(end);
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(status: bool, message: &str) -> Finding {
        Finding::new(ConditionType::Ready, status, if status { Reason::Ready } else { Reason::NotReady }, message)
    }

    #[test]
    fn the_time_of_a_condition_changes_only_with_its_truth() {
        let at = |secs| Timestamp::from_second(secs).unwrap();
        let first = finding(false, "a").since(&[], 1, at(0));
        assert_eq!(first.last_transition_time, "1970-01-01T00:00:00Z");
        let same = finding(false, "b").since(std::slice::from_ref(&first), 2, at(60));
        assert_eq!((same.last_transition_time.as_str(), same.message.as_str()), ("1970-01-01T00:00:00Z", "b"));
        let other = finding(true, "c").since(&[same], 2, at(60));
        assert_eq!(other.last_transition_time, "1970-01-01T00:01:00Z");
    }

    #[test]
    fn a_long_message_ends_at_a_character() {
        let long = finding(true, &"é".repeat(MESSAGE_BYTES_MAX));
        assert_eq!(long.message.len(), MESSAGE_BYTES_MAX);
        assert!(finding(true, &format!("x{}", "é".repeat(MESSAGE_BYTES_MAX))).message.len() < MESSAGE_BYTES_MAX);
    }
}
