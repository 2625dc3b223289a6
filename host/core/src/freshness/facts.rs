//! What is known of one server when it is asked whether it should be updated: the input of an update policy, as values.
//!
//! Nothing here is fetched by a policy, so a decision can be replayed from its facts (`fairlead:update-policy/policy`,
//! record `facts`). Three times tell when a candidate appeared, and their names say how far each can be trusted.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;

/// Evidence. What is not known is not good.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Signal {
    /// Nobody looked, or nobody could tell.
    #[default]
    Unknown,
    /// Looked at and found right.
    Good,
    /// Looked at and found wrong.
    Bad,
}

/// How the tools of a candidate differ from those of the running revision.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Surface {
    /// Not compared.
    #[default]
    Unknown,
    /// Not at all.
    Same,
    /// Something was added, nothing taken away.
    Additive,
    /// A tool is gone, or asks for other arguments.
    Breaking,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It has not.
    InProgress,
    /// The target runs and is well.
    Succeeded,
    /// Called off before it touched anything.
    Cancelled,
    /// The candidate did not pass its trial; nothing was touched.
    PreflightFailed,
    /// The target could not be put in place.
    ApplyFailed,
    /// The target was put in place and was not well.
    RolloutFailed,
    /// Somebody changed the server meanwhile; their change stands.
    Superseded,
    /// The earlier revision is back.
    RolledBack,
    /// The earlier revision did not come back.
    RollbackFailed,
}

/// Why the question is asked now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Trigger {
    /// Its time has come.
    Schedule,
    /// Somebody outside said that something is new.
    Webhook,
    /// A person asked.
    Operator,
    /// An earlier try did not end well.
    Retry,
}

/// A semantic version; 64 bits because dates are used as versions too.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Version {
    /// First number.
    pub major: u64,
    /// Second number.
    pub minor: u64,
    /// Third number.
    pub patch: u64,
    /// After `-`; empty: a release.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub pre: String,
    /// After `+`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub build: String,
}

/// The server that is asked about: the unit that rolls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WorkloadFacts {
    /// Tenant and name.
    pub key: String,
    /// Its tenant.
    pub tenant: String,
    /// Its name.
    pub server: String,
    /// Its group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Its labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// When it was created.
    pub created: Timestamp,
    /// How many sessions it has now.
    #[serde(default)]
    pub sessions: u32,
}

/// What runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Running {
    /// What is followed, as it was written.
    pub reference: String,
    /// The person who wrote it named a digest: it is fresh by definition.
    #[serde(default)]
    pub pinned: bool,
    /// Union over the live replicas.
    #[serde(default)]
    pub digests: Vec<Digest>,
    /// Live replicas whose digest could not be read. Unknown is not equal.
    #[serde(default)]
    pub unknown: u32,
    /// Its version, when the reference names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Version>,
    /// Since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Whether it is well.
    #[serde(default)]
    pub health: Signal,
}

/// Something that could run instead.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Candidate {
    /// The tag under which it was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// It is what the followed tag names now.
    #[serde(default)]
    pub same_tag: bool,
    /// The version that its tag names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Version>,
    /// What would be written after `@`: the only thing that a decision may name.
    pub pin: Digest,
    /// Index, platform and configuration digests that mean the same image.
    #[serde(default)]
    pub digests: Vec<Digest>,
    /// Recorded here: trusted.
    pub first_seen: Timestamp,
    /// Recorded here.
    pub last_seen: Timestamp,
    /// Said by the OCI registry: half trusted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pushed: Option<Timestamp>,
    /// Said by the publisher: a claim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_claimed: Option<Timestamp>,
    /// Whether there is one for this machine.
    #[serde(default)]
    pub platform: Signal,
    /// Whether its signature holds.
    #[serde(default)]
    pub signature: Signal,
    /// Whether its provenance holds.
    #[serde(default)]
    pub provenance: Signal,
    /// How its tools differ.
    #[serde(default)]
    pub surface: Surface,
    /// Names of required settings that the server lacks; never values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing_settings: Vec<String>,
    /// Rollouts of it that failed here.
    #[serde(default)]
    pub failures: u32,
    /// Not to be tried again before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quarantined_until: Option<Timestamp>,
    /// It ran here before and was well.
    #[serde(default)]
    pub is_last_good: bool,
    /// Where the contract grows.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
}

impl Candidate {
    /// Whether a digest means this image.
    #[must_use]
    pub fn is(&self, digest: &Digest) -> bool {
        self.pin == *digest || self.digests.contains(digest)
    }
}

/// One attempt to change what runs.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Attempt {
    /// Number of the operation, unique within the server.
    pub operation: u64,
    /// What was to run.
    pub pin: Digest,
    /// Why it began.
    pub trigger: Trigger,
    /// How it ended.
    pub outcome: Outcome,
    /// In a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// When it began.
    pub started: Timestamp,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
}

/// A person's yes to one digest.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Approval {
    /// To what.
    pub pin: Digest,
    /// Whose.
    pub by: String,
    /// Given then.
    pub at: Timestamp,
    /// Worth nothing after.
    pub expires: Timestamp,
}

/// Another server of the same group: what a canary looks at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Peer {
    /// Its name.
    pub server: String,
    /// What it runs.
    #[serde(default)]
    pub digests: Vec<Digest>,
    /// Since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Whether it is well.
    #[serde(default)]
    pub health: Signal,
}

/// Everything that a policy is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Facts {
    /// Now.
    pub now: Timestamp,
    /// Stable for (server, newest candidate): in place of chance.
    #[serde(default)]
    pub seed: u64,
    /// Milliseconds between two checks.
    pub interval_ms: u64,
    /// Why the question is asked.
    pub trigger: Trigger,
    /// About whom.
    pub workload: WorkloadFacts,
    /// What runs.
    pub running: Running,
    /// What could run, newest first by `first_seen`.
    #[serde(default)]
    pub candidates: Vec<Candidate>,
    /// There were more.
    #[serde(default)]
    pub truncated: bool,
    /// What was tried, newest first.
    #[serde(default)]
    pub history: Vec<Attempt>,
    /// Who said yes to what.
    #[serde(default)]
    pub approvals: Vec<Approval>,
    /// The others of its group.
    #[serde(default)]
    pub peers: Vec<Peer>,
    /// False: an update becomes a notice.
    pub auto_reinstall: bool,
    /// Minutes to add to UTC now, for each time zone that the configuration names under `time-zones`.
    #[serde(default)]
    pub zone_offsets: Vec<(String, i32)>,
    /// Where the contract grows.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
}
