//! Long operations and builds, as the API shows them.

use super::super::problem::ProblemDocument;
use super::ImageInfo;
use fairlead_core::image::ImageReference;
use fairlead_core::image::PullPolicy;
use fairlead_core::name::ServerName;
use fairlead_core::name::TenantName;
use fairlead_core::package::PackageReference;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is done in an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum OperationKind {
    /// A server is created and comes up.
    Create,
    /// A server comes up.
    Start,
    /// A server is stopped.
    Stop,
    /// A server is stopped and comes up again.
    Restart,
    /// A server is stopped and forgotten.
    Remove,
    /// An image is built of a package.
    Build,
    /// Things are made as documents say.
    Apply,
}

impl OperationKind {
    /// Whether it can be given up half-way.
    #[must_use]
    pub(crate) fn can_be_cancelled(self) -> bool {
        !matches!(self, Self::Stop | Self::Remove)
    }
}

/// How an operation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum OperationState {
    /// It is under way.
    Running,
    /// It has done what it should.
    Succeeded,
    /// It has not.
    Failed,
    /// It was given up, and what it had begun was taken back.
    Cancelled,
}

/// How far something is that can be counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct OperationProgress {
    /// So much of it.
    pub(crate) done: u64,
    /// As far as is known so far.
    pub(crate) total: u64,
    /// What is counted: `bytes`, `steps`.
    pub(crate) unit: String,
}

/// Something that takes its time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OperationInfo {
    /// Its id.
    pub(crate) id: String,
    /// What is done.
    pub(crate) kind: OperationKind,
    /// The tenant of its server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tenant: Option<TenantName>,
    /// Its server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) server: Option<ServerName>,
    /// How it stands.
    pub(crate) state: OperationState,
    /// What is done now, in a few words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) stage: Option<String>,
    /// How far that is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) progress: Option<OperationProgress>,
    /// When it began.
    pub(crate) began: Timestamp,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ended: Option<Timestamp>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) problem: Option<ProblemDocument>,
    /// What came of it: what the same request answers when it is waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) result: Option<serde_json::Value>,
}

/// Operations.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct OperationList {
    /// Those under way and the last that ended, oldest first.
    pub(crate) operations: Vec<OperationInfo>,
}

/// Whose operations.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OperationQuery {
    /// Those of this tenant; not given: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tenant: Option<TenantName>,
}

/// An image to be built of a package.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct CreateBuild {
    /// The package.
    pub(crate) package: PackageReference,
    /// The image that it is built on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) base: Option<ImageReference>,
    /// When it is built.
    #[serde(default)]
    pub(crate) pull: PullPolicy,
    /// Name or address of the container engine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) engine: Option<String>,
    /// Another name for the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tag: Option<ImageReference>,
    /// Only tell the recipe, and build nothing.
    #[serde(default)]
    pub(crate) dry_run: bool,
}

/// An image that was built of a package.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Build {
    /// The package.
    pub(crate) package: PackageReference,
    /// Its version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) version: Option<String>,
    /// The image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) image: Option<ImageInfo>,
    /// Whether it was built just now, or was there already.
    pub(crate) fresh: bool,
    /// The recipe, when nothing was built.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) recipe: Option<String>,
}
