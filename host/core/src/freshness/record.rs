//! What is stored of one server's freshness. One record for each server, changed only by [`step`](super::step), written
//! only by compare-and-set.
//!
//! Two axes that never touch each other: what is newest ([`Check`]) and what is being changed ([`Operation`]). A peer keeps
//! both in one column; there a failed check forgets a rollout that is under way.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::facts::{Approval, Attempt, Candidate, Running, Trigger};
use super::verdict::{Plan, Verdict};
use crate::digest::Digest;

/// Grows with every grant of the lease, never falls. Whoever holds an older one is too late.
pub type Fence = u64;

/// Everything about the freshness of one server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Freshness {
    /// Counts writes: one that names another number than is stored is refused.
    pub revision: u64,
    /// Who works on it.
    pub lease: Lease,
    /// What is newest.
    pub check: Check,
    /// What is being changed.
    pub operation: Option<Operation>,
    /// Number of the last operation.
    pub operations: u64,
    /// What could run, newest first by `first_seen`.
    pub candidates: Vec<Candidate>,
    /// What was tried, newest first.
    pub attempts: Vec<Attempt>,
    /// Who said yes to what.
    pub approvals: Vec<Approval>,
    /// A person's no.
    pub hold: Option<Hold>,
    /// What ran here and was well, newest first.
    pub good: Vec<Digest>,
    /// When a rollout last succeeded.
    pub last_reinstall: Option<Timestamp>,
    /// Going back has failed: nothing happens by itself until a person acts.
    pub stuck: bool,
    /// What people are to be told. Taken away when that was done.
    pub outbox: Vec<Message>,
}

/// The right to work on one server, for a while.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lease {
    /// Of the last grant.
    pub fence: Fence,
    /// Who has it; nobody: free.
    pub holder: Option<String>,
    /// When it is free again whatever its holder does.
    pub expires: Option<Timestamp>,
}

/// What is newest, as far as is known.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Check {
    /// What the last one found.
    pub found: Found,
    /// What ran then.
    pub running: Running,
    /// What the tag named then.
    pub newest: Option<Digest>,
    /// When the last one was well.
    pub last_success: Option<Timestamp>,
    /// When the last one failed.
    pub last_failure: Option<Timestamp>,
    /// Why. Stays when a later one is well.
    pub last_error: Option<CheckError>,
    /// Failures in a row.
    pub failures: u32,
    /// When the next one is due; none: now.
    pub next: Option<Timestamp>,
    /// Why that one will be made, if not for its time.
    pub asked: Option<Trigger>,
    /// What the policy said of it.
    pub verdict: Option<Verdict>,
    /// Ask the policy again then.
    pub decide: Option<Timestamp>,
    /// The tag changed to what it had named before, at these times.
    pub flips: Vec<Timestamp>,
}

/// What a check found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Found {
    /// There was none yet, or it could not tell.
    #[default]
    Unknown,
    /// What runs is what the tag names.
    Fresh,
    /// There is something newer.
    Stale,
    /// It failed.
    Failed,
}

/// Why a check failed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CheckError {
    /// Its class, for alerts.
    pub class: ErrorClass,
    /// In a sentence, without secrets.
    pub message: String,
    /// When.
    pub at: Timestamp,
}

/// Classes of what goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorClass {
    /// The image is named by nothing that an OCI registry knows.
    LocalImage,
    /// The digest of what runs cannot be read.
    RunningDigestUnavailable,
    /// The OCI registry cannot be reached, or is broken.
    RegistryUnreachable,
    /// It does not let us in.
    RegistryAuth,
    /// It asks for patience.
    RegistryRateLimited,
    /// It has no such image.
    RegistryNotFound,
    /// It answers nonsense.
    RegistryProtocol,
    /// There is no image for this machine.
    PlatformMissing,
    /// The engine does not let us start a probe.
    ProbeDenied,
    /// The probe did not start in time.
    ProbeTimeout,
    /// The probe does not speak MCP.
    ProbeFailed,
    /// The policy is broken.
    PolicyError,
    /// The signature does not hold.
    SignatureRejected,
    /// Anything else.
    Other,
}

impl ErrorClass {
    /// Whether trying again soon may help by itself.
    #[must_use]
    pub fn is_transient(self) -> bool {
        matches!(self, Self::RegistryUnreachable | Self::RegistryRateLimited | Self::ProbeTimeout | Self::Other)
    }
}

/// Forward or back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// To something newer.
    Forward,
    /// To what was well before. Cannot be called off: half a rollback leaves a bad revision in place.
    Back,
}

/// How far an operation is. Each is stored before its effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Intended.
    Pending,
    /// The candidate is tried beside what runs.
    Preflight,
    /// It is being put in place.
    Applying,
    /// It is in place; whether it is well has to be seen.
    Verifying,
}

/// A change that is under way.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Operation {
    /// Unique within the server.
    pub id: u64,
    /// Forward or back.
    pub direction: Direction,
    /// How far.
    pub phase: Phase,
    /// To what, and how.
    pub plan: Plan,
    /// What ran before.
    pub previous: Option<Digest>,
    /// Revision of what was deployed when the intent was stored: if it is another one when the change is made, somebody
    /// else was there. A mark on the object would not do, for others may strip marks.
    pub base: u64,
    /// Why.
    pub trigger: Trigger,
    /// When the intent was stored.
    pub started: Timestamp,
    /// When it has failed.
    pub deadline: Option<Timestamp>,
    /// When to look again.
    pub next: Option<Timestamp>,
    /// How often it was looked at in its phase: trials that said nothing, and then, since it was put in place, looks at the rollout.
    pub looks: u32,
}

/// A person's no.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Hold {
    /// Whose.
    pub by: String,
    /// Why.
    pub reason: String,
    /// Until when; none: until they take it back.
    pub until: Option<Timestamp>,
}

/// Something that people are told once.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Message {
    /// The same news is told once: two messages with one topic are one.
    pub topic: String,
    /// In a sentence.
    pub text: String,
    /// It should not wait.
    pub urgent: bool,
    /// When it became so.
    pub at: Timestamp,
}

/// What is deployed: the object that an operation changes. Written by compare-and-set on its revision, so that two who
/// write at once are told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Deployed {
    /// Counts changes, those of people too.
    pub revision: u64,
    /// What is to run; none: whatever the reference means at the launch.
    pub pin: Option<Digest>,
    /// Which operation wrote this; none: a person did.
    pub mark: Option<Mark>,
}

/// The mark of an operation on what it changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mark {
    /// Which.
    pub operation: u64,
    /// The fence of whoever wrote it.
    pub fence: Fence,
}
