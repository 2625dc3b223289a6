//! Registries and their entries, as they cross the API.

use std::collections::BTreeMap;

use fairlead_core::document::Difference;
use fairlead_core::name::{LayerName, RegistryName, ServerName, TenantName};
use fairlead_core::registry::EntryStatus;
use fairlead_core::server::ServerSpec;
use fairlead_registry::launch::Question;
use fairlead_registry::merge::Shadowed;
use fairlead_registry::review::{Standing, Step};
use fairlead_registry::spec::RegistrySpec;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A registry to add.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct CreateRegistry {
    /// Its tenant.
    #[serde(default)]
    pub(crate) tenant: TenantName,
    /// Its name.
    pub(crate) name: RegistryName,
    /// What it shall be.
    pub(crate) spec: RegistrySpec,
}

/// How to read a registry now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct RefreshRegistry {
    /// Its tenant.
    pub(crate) tenant: TenantName,
    /// From the beginning, whatever is known.
    pub(crate) whole: bool,
    /// Also when nothing comes where something was.
    pub(crate) accept_empty: bool,
}

/// A registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RegistryInfo {
    /// Its name.
    pub(crate) name: RegistryName,
    /// Its tenant.
    pub(crate) tenant: TenantName,
    /// Where its entries come from, in one line.
    pub(crate) source: String,
    /// What it shall be.
    pub(crate) spec: RegistrySpec,
    /// Entries of its last good copy.
    pub(crate) entries: usize,
    /// When that copy was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) synced: Option<Timestamp>,
    /// When it was last known to be what the source has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) checked: Option<Timestamp>,
    /// Why it could not be read when that was last tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
    /// How often in a row.
    pub(crate) failures: u32,
    /// Entries that were refused, the first of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) refused: Vec<String>,
    /// How many were.
    pub(crate) refused_count: usize,
    /// Entries that came through this catalogue before, and are not taken back: it reads one that reads it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) returned: usize,
    /// When it was added.
    pub(crate) created: Timestamp,
}

/// Registries, in their order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct RegistryList {
    /// The registries.
    pub(crate) registries: Vec<RegistryInfo>,
}

/// Which entries.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct EntryQuery {
    /// Whose catalogue.
    pub(crate) tenant: TenantName,
    /// Words to look for, ranked; without them entries come by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) search: Option<String>,
    /// Of this registry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) registry: Option<RegistryName>,
    /// Of this layer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) layer: Option<LayerName>,
    /// With this tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tag: Option<String>,
    /// That speaks `stdio`, `streamable-http` or `sse`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) transport: Option<String>,
    /// With a package of this type, or `remote`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) package_type: Option<String>,
    /// With these labels: `key=value,key=value`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) labels: Option<String>,
    /// All versions, and not only the newest.
    pub(crate) versions: bool,
    /// Entries that were taken back too.
    pub(crate) deleted: bool,
    /// At most so many; 100 are possible.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) limit: Option<usize>,
    /// Behind the page that named this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cursor: Option<String>,
}

/// One entry of a catalogue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EntryInfo {
    /// `namespace/name`.
    pub(crate) name: String,
    /// Its version.
    pub(crate) version: String,
    /// For display.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) title: String,
    /// What it is for.
    pub(crate) description: String,
    /// Whether it may be offered.
    pub(crate) status: EntryStatus,
    /// Whether it is the newest version.
    pub(crate) is_latest: bool,
    /// Where it comes from.
    pub(crate) registry: RegistryName,
    /// How far that is trusted.
    pub(crate) layer: LayerName,
    /// Whether it may run.
    pub(crate) may_run: bool,
    /// Labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) labels: BTreeMap<String, String>,
    /// Tags.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) tags: Vec<String>,
    /// How it can be spoken to.
    pub(crate) transports: Vec<String>,
    /// What it can be run from.
    pub(crate) package_types: Vec<String>,
    /// When it was published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) published: Option<Timestamp>,
    /// When it was changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) updated: Option<Timestamp>,
    /// Other registries that have the same name and version.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) shadowed: Vec<Shadowed>,
    /// How well it fits what was looked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) score: Option<f32>,
    /// Its `server.json`, where one entry is shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) server: Option<Value>,
    /// Other versions, the newest first, where one entry is shown.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) versions: Vec<String>,
    /// What it asks for when it is run, where one entry is shown.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) questions: Vec<Question>,
}

/// A page of entries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EntryList {
    /// The entries.
    pub(crate) entries: Vec<EntryInfo>,
    /// Where the next page is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) next_cursor: Option<String>,
    /// Entries in the whole catalogue.
    pub(crate) total: usize,
    /// When the registry that was read longest ago was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) oldest: Option<Timestamp>,
}

/// An entry that shall become a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct PlanLaunch {
    /// Whose catalogue.
    #[serde(default)]
    pub(crate) tenant: TenantName,
    /// `[namespace/]name[@version]`.
    pub(crate) entry: String,
    /// Of this registry alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) registry: Option<RegistryName>,
    /// `oci`, `npm`, `pypi`, `go` or `remote`; by default the most isolated there is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) way: Option<String>,
    /// Answers to what it asks: environment, headers, arguments, variables, by name. A secret is answered by its reference.
    #[serde(default)]
    pub(crate) answers: BTreeMap<String, String>,
}

/// What an entry becomes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LaunchPlan {
    /// Its name and version.
    pub(crate) entry: String,
    /// What it would be called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<ServerName>,
    /// The server; absent while something has to be answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) spec: Option<ServerSpec>,
    /// What has to be answered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) missing: Vec<Question>,
    /// What of the entry is not applied.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) notes: Vec<String>,
}

/// An entry that shall be trusted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct SubmitReview {
    /// Whose catalogue.
    #[serde(default)]
    pub(crate) tenant: TenantName,
    /// `[namespace/]name[@version]`.
    pub(crate) entry: String,
    /// What it is wanted for.
    #[serde(default)]
    pub(crate) reason: String,
}

/// What is decided about a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct DecideReview {
    /// Whose catalogue.
    #[serde(default)]
    pub(crate) tenant: TenantName,
    /// `approved`, `denied` or `revoked`.
    pub(crate) to: Standing,
    /// Why.
    #[serde(default)]
    pub(crate) reason: String,
}

/// A request, and what became of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ReviewInfo {
    /// Its number.
    pub(crate) id: u64,
    /// Name of the entry.
    pub(crate) name: String,
    /// Its version.
    pub(crate) version: String,
    /// Where it came from.
    pub(crate) registry: RegistryName,
    /// How far that was trusted.
    pub(crate) layer: LayerName,
    /// Where it stands.
    pub(crate) standing: Standing,
    /// What was done, by whom and why.
    pub(crate) steps: Vec<Step>,
    /// The version that was approved before, which it is held against.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) against: Option<String>,
    /// What differs from that, where one review is shown.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) differences: Vec<Difference>,
}

/// Reviews, the newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct ReviewList {
    /// The reviews.
    pub(crate) reviews: Vec<ReviewInfo>,
}

/// One step of a review.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AuditedStep {
    /// When.
    pub(crate) at: Timestamp,
    /// Number of the review.
    pub(crate) review: u64,
    /// Name of the entry.
    pub(crate) name: String,
    /// Its version.
    pub(crate) version: String,
    /// Where it came from.
    pub(crate) registry: RegistryName,
    /// Where the review stood then.
    pub(crate) to: Standing,
    /// Who, or which rule.
    pub(crate) by: String,
    /// Why, in their words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) reason: String,
}

/// All steps of all reviews, the first first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct ReviewAudit {
    /// The steps.
    pub(crate) steps: Vec<AuditedStep>,
}

/// The catalogue as a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ExportedCatalogue {
    /// The file.
    pub(crate) text: String,
    /// What the format cannot say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) lost: Vec<String>,
}

/// Of which tenant, in which format.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ExportQuery {
    /// Whose catalogue.
    pub(crate) tenant: TenantName,
    /// `official`, `upstream` or `toolhive`.
    pub(crate) format: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over references")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}
