//! What a person sees of a server's freshness: one status, first match wins, and all the facts of the requirement (F9).

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::eligibility::Ineligible;
use super::facts::{Attempt, Outcome};
use super::record::{CheckError, Direction, Found, Freshness, Hold};
use super::step::Moment;
use super::verdict::{Decision, HoldReason};
use crate::digest::Digest;

/// Where a server stands. The names of the seed are kept to the letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UpdateStatus {
    /// It is being taken back to what was well.
    RollingBack,
    /// An update is under way.
    Reinstalling,
    /// It is not looked after: see the reasons.
    NotEligible,
    /// Its check is off.
    Disabled,
    /// The last update failed, and there is nothing newer yet.
    RolloutFailed,
    /// It is being checked now.
    Checking,
    /// The last check failed.
    CheckFailed,
    /// Something newer is there: see the verdict.
    UpdateAvailable,
    /// What runs is what should run.
    UpToDate,
    /// Nobody has looked yet, or nobody could tell.
    Unknown,
}

/// Everything about the freshness of one server that is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UpdateView {
    /// Where it stands.
    pub status: UpdateStatus,
    /// Why it is not looked after.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ineligible: Vec<Ineligible>,
    /// Check for image updates.
    pub check: bool,
    /// Reinstall automatically.
    pub auto_reinstall: bool,
    /// When a check last succeeded.
    pub last_success: Option<Timestamp>,
    /// When a check last failed.
    pub last_failure: Option<Timestamp>,
    /// Why.
    pub last_error: Option<CheckError>,
    /// When a rollout last succeeded.
    pub last_reinstall: Option<Timestamp>,
    /// When the next check is due.
    pub next_check: Option<Timestamp>,
    /// What runs.
    pub running: Vec<Digest>,
    /// Replicas whose digest could not be read.
    pub running_unknown: u32,
    /// What the tag names.
    pub newest: Option<Digest>,
    /// The tag or the version of what runs, where it is known by one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running_version: Option<String>,
    /// That of what is newest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest_version: Option<String>,
    /// What is being put in place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Digest>,
    /// How far that is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<super::Phase>,
    /// Why nothing is done about something newer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<HoldReason>,
    /// That, in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// How the policy came to its verdict.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trace: Vec<String>,
    /// A person's no.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<Hold>,
    /// The last attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_attempt: Option<Attempt>,
    /// Going back has failed; a person has to act.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stuck: bool,
}

/// Makes the view of a record.
#[must_use]
pub fn view(record: &Freshness, at: &Moment<'_>) -> UpdateView {
    let (held, detail) = match record.check.verdict.as_ref().map(|verdict| &verdict.decision) {
        Some(Decision::Hold { reason, detail, .. }) => (Some(*reason), Some(detail.clone())),
        Some(Decision::Notify { detail, .. }) => (None, Some(detail.clone())),
        _ => (None, None),
    };
    let operation = record.operation.as_ref();
    UpdateView {
        status: status(record, at),
        ineligible: at.against.to_vec(),
        check: at.toggles.check,
        auto_reinstall: at.toggles.auto_reinstall,
        last_success: record.check.last_success,
        last_failure: record.check.last_failure,
        last_error: record.check.last_error.clone(),
        last_reinstall: record.last_reinstall,
        next_check: record.check.next,
        running: record.check.running.digests.clone(),
        running_unknown: record.check.running.unknown,
        newest: record.check.newest.clone(),
        running_version: record.check.running.digests.iter().find_map(|digest| version_of(record, digest)),
        newest_version: record.check.newest.as_ref().and_then(|digest| version_of(record, digest)),
        target: operation.map(|operation| operation.plan.pin.clone()),
        phase: operation.map(|operation| operation.phase),
        held,
        detail: detail.filter(|detail| !detail.is_empty()),
        trace: record.check.verdict.as_ref().map(|verdict| verdict.trace.clone()).unwrap_or_default(),
        hold: record.hold.clone(),
        last_attempt: record.attempts.first().cloned(),
        stuck: record.stuck,
    }
}

fn version_of(record: &Freshness, digest: &Digest) -> Option<String> {
    record.candidates.iter().find(|known| known.is(digest)).and_then(|known| known.tag.clone())
}

fn status(record: &Freshness, at: &Moment<'_>) -> UpdateStatus {
    if let Some(operation) = &record.operation {
        return match operation.direction {
            Direction::Back => UpdateStatus::RollingBack,
            Direction::Forward => UpdateStatus::Reinstalling,
        };
    }
    if at.against == [Ineligible::CheckOff] {
        return UpdateStatus::Disabled;
    }
    if !at.against.is_empty() {
        return UpdateStatus::NotEligible;
    }
    if failed_on_newest(record) {
        return UpdateStatus::RolloutFailed;
    }
    if record.lease.holder.is_some() && record.check.next.is_none_or(|next| next <= at.now) {
        return UpdateStatus::Checking;
    }
    let is_wanted = record.check.verdict.as_ref().is_some_and(|verdict| verdict.decision == Decision::UpToDate);
    match record.check.found {
        Found::Unknown => UpdateStatus::Unknown,
        // What the tag names is not what should run: a policy follows something else.
        Found::Stale if is_wanted => UpdateStatus::UpToDate,
        Found::Fresh => UpdateStatus::UpToDate,
        Found::Stale => UpdateStatus::UpdateAvailable,
        Found::Failed => UpdateStatus::CheckFailed,
    }
}

/// The digest whose update failed is still what the tag names.
fn failed_on_newest(record: &Freshness) -> bool {
    let failed = record.attempts.iter().find(|attempt| {
        matches!(
            attempt.outcome,
            Outcome::Succeeded | Outcome::RolloutFailed | Outcome::PreflightFailed | Outcome::ApplyFailed
        )
    });
    failed.is_some_and(|attempt| {
        attempt.outcome != Outcome::Succeeded
            && record.check.newest.as_ref().is_none_or(|newest| *newest == attempt.pin)
            && !record.check.running.digests.contains(&attempt.pin)
    })
}

impl Outcome {
    /// As it is written in documents and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InProgress => "in-progress",
            Self::Succeeded => "succeeded",
            Self::Cancelled => "cancelled",
            Self::PreflightFailed => "preflight-failed",
            Self::ApplyFailed => "apply-failed",
            Self::RolloutFailed => "rollout-failed",
            Self::Superseded => "superseded",
            Self::RolledBack => "rolled-back",
            Self::RollbackFailed => "rollback-failed",
        }
    }
}
