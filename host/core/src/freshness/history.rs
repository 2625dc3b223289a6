//! What happened to one server, as a document: what `update plan --replay` asks the policies about.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::facts::{Approval, Attempt, Candidate, Outcome};
use super::record::Freshness;
use super::verdict::Decision;
use crate::digest::Digest;

/// Everything that a policy could have known of one server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UpdateHistory {
    /// What ran at its beginning; none: it is not known any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<Digest>,
    /// What appeared, and when.
    #[serde(default)]
    pub candidates: Vec<Candidate>,
    /// What was tried, and how it ended; newest first.
    #[serde(default)]
    pub attempts: Vec<Attempt>,
    /// Who said yes to what.
    #[serde(default)]
    pub approvals: Vec<Approval>,
}

impl From<&Freshness> for UpdateHistory {
    fn from(record: &Freshness) -> Self {
        Self {
            first: record.good.last().or(record.check.running.digests.first()).cloned(),
            candidates: record.candidates.clone(),
            attempts: record.attempts.clone(),
            approvals: record.approvals.clone(),
        }
    }
}

/// What a replay came to at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Replayed {
    /// When.
    pub at: Timestamp,
    /// What was decided.
    pub decision: Decision,
    /// How.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trace: Vec<String>,
    /// How the update ended that followed, as far as the history knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
}

/// What would have happened.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Replay {
    /// Each decision that differs from the one before it.
    pub decisions: Vec<Replayed>,
    /// What runs at the end.
    pub running: Vec<Digest>,
    /// The history is longer than what is replayed at once.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
}
