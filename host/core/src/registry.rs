//! Sources of MCP registries, as a port: whoever has a catalogue to read opens one and asks for its pages.
//!
//! A source only translates. When it is asked, for how long, what is kept of its answers and what is believed of them is
//! decided on this side of the port.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::BoxFuture;
use crate::image::ImageReference;

/// The annotation of a server that names the entry it came from: `name@version`.
pub const ANNOTATION_ENTRY: &str = "fairlead.dev/registry-entry";

/// Whether an entry may be offered, as in the official registry.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum EntryStatus {
    /// It may.
    #[default]
    Active,
    /// It may, and its publisher advises against it.
    Deprecated,
    /// It was taken back.
    Deleted,
}

impl EntryStatus {
    /// As the official registry writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Deprecated => "deprecated",
            Self::Deleted => "deleted",
        }
    }
}

/// What a registry says of one version of one server, as far as a server that runs is held against it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offered {
    /// `namespace/name`.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Whether it may be offered.
    pub status: EntryStatus,
    /// What it can be run from.
    pub offers: Vec<Offer>,
}

/// Something that an entry can be run from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Offer {
    /// An image.
    Image(ImageReference),
    /// A package that is made into an image first, by type and name: `npm x`.
    Package(String),
    /// A server elsewhere: its URL, with `{variables}`.
    Remote(String),
}

impl fmt::Display for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image(image) => write!(f, "the image `{}`", image.as_str()),
            Self::Package(package) => write!(f, "the package `{package}`"),
            Self::Remote(url) => write!(f, "the server at `{url}`"),
        }
    }
}

/// One version of one server, as a source gives it: not checked yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceEntry {
    /// `namespace/name`.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Whether it may be offered.
    pub status: EntryStatus,
    /// `server.json`, as its text.
    pub document: String,
    /// When it was published.
    pub published: Option<Timestamp>,
    /// When it was changed.
    pub updated: Option<Timestamp>,
    /// Whether the source calls it the newest.
    pub is_latest: bool,
    /// Labels that are no part of `server.json`.
    pub labels: BTreeMap<String, String>,
}

/// What a source can do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SourceFeatures {
    /// It can give what changed since a checkpoint.
    pub incremental: bool,
    /// It gives all versions, not only the newest.
    pub versions: bool,
    /// What changed names what was removed too.
    pub removals: bool,
}

/// What to fetch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PageRequest {
    /// From the page before; none starts.
    pub cursor: Option<String>,
    /// Only what changed after this checkpoint.
    pub since: Option<String>,
    /// The most entries that are wanted.
    pub limit: u32,
    /// Entity tag of the last complete synchronisation.
    pub etag: Option<String>,
}

/// One page.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SourcePage {
    /// Its entries.
    pub entries: Vec<SourceEntry>,
    /// Names, and versions of them, that are gone; without a version, all.
    pub removed: Vec<(String, Option<String>)>,
    /// Where the next page is; none: this was the last.
    pub next: Option<String>,
    /// What to pass as `since` next time.
    pub checkpoint: Option<String>,
    /// What to pass as `etag` next time.
    pub etag: Option<String>,
}

/// What a source answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceAnswer {
    /// Nothing changed since the entity tag.
    Unmodified,
    /// A page.
    Page(SourcePage),
    /// The checkpoint is not known any more: start again without one.
    Resync(String),
}

/// Why a source did not answer. It never empties a catalogue.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// Its configuration cannot be used.
    #[error("its configuration cannot be used: {0}")]
    Config(String),
    /// What it reads answered badly.
    #[error("what it reads answered badly: {0}")]
    Upstream(String),
    /// What it reads cannot be reached now.
    #[error("what it reads cannot be reached: {0}")]
    Unavailable(String),
    /// The source itself is broken.
    #[error("the source {0}")]
    Fault(String),
    /// It took too long.
    #[error("no answer within {0} s")]
    Deadline(u64),
}

/// Where entries come from. Opened anew for each synchronisation.
pub trait RegistrySource: Send + Sync {
    /// Begins a synchronisation.
    fn open(&self) -> BoxFuture<'_, Result<Box<dyn SourceSession>, SourceError>>;
}

/// One synchronisation.
pub trait SourceSession: Send {
    /// What it can do.
    fn features(&self) -> SourceFeatures;
    /// One page. The same request again gives the same entries.
    fn enumerate<'a>(&'a mut self, request: &'a PageRequest) -> BoxFuture<'a, Result<SourceAnswer, SourceError>>;
    /// Keeps, changes or drops one entry of another source.
    fn transform(&mut self, entry: SourceEntry) -> BoxFuture<'_, Result<Option<SourceEntry>, SourceError>>;
}
