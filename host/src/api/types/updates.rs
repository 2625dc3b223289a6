//! Freshness of servers, as it crosses the API.

use fairlead_core::digest::Digest;
use fairlead_core::freshness::{Approval, Attempt, Candidate, Composition, Forecast, UpdateView};
use fairlead_core::name::{ServerName, TenantName};
use fairlead_core::plugin::AttachmentSpec;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

/// Everything about the freshness of a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct UpdateInfo {
    /// Its tenant.
    pub(crate) tenant: TenantName,
    /// Its name.
    pub(crate) server: ServerName,
    /// Where it stands.
    #[serde(flatten)]
    pub(crate) view: UpdateView,
    /// What could run, newest first.
    pub(crate) candidates: Vec<Candidate>,
    /// What was tried, newest first.
    pub(crate) history: Vec<Attempt>,
    /// Who said yes to what.
    pub(crate) approvals: Vec<Approval>,
}

/// Freshness of servers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct UpdateList {
    /// By tenant and name.
    pub(crate) servers: Vec<UpdateInfo>,
}

/// What would be done about servers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct UpdatePlan {
    /// By tenant and name.
    pub(crate) servers: Vec<Forecast>,
}

/// When.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PlanQuery {
    /// The tenant.
    #[serde(default)]
    pub(crate) tenant: TenantName,
    /// As if it were then; not given: now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) at: Option<Timestamp>,
}

/// Which digest; not given: what is newest.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UpdateTarget {
    /// One that is offered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) digest: Option<Digest>,
}

/// A person's yes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ApproveUpdate {
    /// To what; not given: what is newest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) digest: Option<Digest>,
    /// Whose; of who comes with a token it is the token's, whatever is said here.
    pub(crate) by: String,
}

/// A person's no.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct HoldUpdate {
    /// Whose; of who comes with a token it is the token's, whatever is said here.
    pub(crate) by: String,
    /// Why.
    #[serde(default)]
    pub(crate) reason: String,
    /// Until when; not given: until it is taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) until: Option<Timestamp>,
}

/// What is to be changed of a server while it runs. Something has to be.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct PatchWorkload {
    /// How it is kept fresh; what is not named stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) updates: Option<UpdatePatch>,
    /// Its own update policies from now on, outermost first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) update_policies: Option<Vec<AttachmentSpec>>,
}

/// How a server is kept fresh, as far as it is to be changed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct UpdatePatch {
    /// Check for image updates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) check: Option<bool>,
    /// Reinstall automatically.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) auto_reinstall: Option<bool>,
    /// The old one is stopped before the new one is started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) single_instance: Option<bool>,
    /// A person is to reinstall it; nothing is checked until it was restarted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) manual_reinstall: Option<bool>,
    /// How its own policies decide together; null: the innermost chooses, and all must agree.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    pub(crate) compose: Option<Option<Composition>>,
}

/// Null is something that is said.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<Composition>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// Something that happened to an update.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct UpdateEvent {
    /// Of which tenant.
    pub(crate) tenant: TenantName,
    /// Of which server.
    pub(crate) server: ServerName,
    /// The same for the same news, which may be told twice.
    pub(crate) topic: String,
    /// In a sentence.
    pub(crate) text: String,
    /// It should not wait.
    pub(crate) urgent: bool,
    /// When.
    pub(crate) at: Timestamp,
}
