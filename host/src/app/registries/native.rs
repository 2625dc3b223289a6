//! The one source that is no plugin: a file of this machine. A guest has no files, and needs none for this.

use std::path::PathBuf;

use fairlead_core::BoxFuture;
use fairlead_core::registry::{
    EntryStatus, PageRequest, RegistrySource, SourceAnswer, SourceEntry, SourceError, SourceFeatures, SourcePage,
    SourceSession,
};
use fairlead_server_json::{Document, Item, read};

use crate::limits::REGISTRY_FILE_BYTES_MAX;

/// A file in one of the formats of registries.
pub(crate) struct FileSource {
    path: PathBuf,
}

impl FileSource {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path }
    }
}

impl RegistrySource for FileSource {
    fn open(&self) -> BoxFuture<'_, Result<Box<dyn SourceSession>, SourceError>> {
        Box::pin(async { Ok(Box::new(Reading(self.path.clone())) as Box<dyn SourceSession>) })
    }
}

struct Reading(PathBuf);

impl SourceSession for Reading {
    fn features(&self) -> SourceFeatures {
        SourceFeatures { versions: true, ..SourceFeatures::default() }
    }

    fn enumerate<'a>(&'a mut self, _: &'a PageRequest) -> BoxFuture<'a, Result<SourceAnswer, SourceError>> {
        Box::pin(async {
            let shown = self.0.display();
            let unread = |error: std::io::Error| SourceError::Unavailable(format!("`{shown}`: {error}"));
            let size = tokio::fs::metadata(&self.0).await.map_err(unread)?.len();
            if size > REGISTRY_FILE_BYTES_MAX {
                let text = format!("`{shown}` has {size} bytes, at most {REGISTRY_FILE_BYTES_MAX} are read");
                return Err(SourceError::Upstream(text));
            }
            let text = tokio::fs::read_to_string(&self.0).await.map_err(unread)?;
            let (_, listing) = read(&text).map_err(|error| SourceError::Upstream(format!("`{shown}`: {error}")))?;
            let entries = listing.items.iter().map(entry).collect();
            Ok(SourceAnswer::Page(SourcePage { entries, ..SourcePage::default() }))
        })
    }

    fn transform(&mut self, entry: SourceEntry) -> BoxFuture<'_, Result<Option<SourceEntry>, SourceError>> {
        Box::pin(async { Ok(Some(entry)) })
    }
}

/// An item of a file, with what a registry said of it.
pub(crate) fn entry(item: &Item) -> SourceEntry {
    let document = Document::of(&item.document).unwrap_or_default();
    let standing = item.standing().unwrap_or_default();
    let time = |text: Option<String>| text.and_then(|text| text.parse().ok());
    SourceEntry {
        name: document.name,
        version: document.version,
        status: match standing.status.as_str() {
            "deleted" => EntryStatus::Deleted,
            "deprecated" => EntryStatus::Deprecated,
            _ => EntryStatus::Active,
        },
        document: item.document.clone(),
        published: time(standing.published_at),
        updated: time(standing.updated_at),
        is_latest: standing.is_latest,
        labels: std::collections::BTreeMap::new(),
    }
}
