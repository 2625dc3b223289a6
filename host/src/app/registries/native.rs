//! Sources that are no plugins, and what they share: files in the formats of registries, wherever they lie. A guest has no files,
//! speaks no git, and has no part in the credentials with which this machine fetches images.

use std::collections::BTreeMap;
use std::path::PathBuf;

use fairlead_core::BoxFuture;
use fairlead_core::registry::{
    EntryStatus, PageRequest, RegistrySource, SourceAnswer, SourceEntry, SourceError, SourceFeatures, SourcePage,
    SourceSession,
};
use fairlead_server_json::{Document, FormatError, Item, VIA, read};
use tokio::io::AsyncReadExt as _;

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
            let found = tokio::fs::metadata(&self.0).await.map_err(unread)?;
            if !found.is_file() {
                // A pipe would keep a thread until somebody writes, a device gives without end.
                return Err(SourceError::Upstream(format!("`{shown}` is no file")));
            }
            let file = tokio::fs::File::open(&self.0).await.map_err(unread)?;
            let mut text = String::new();
            // What it holds when it is read, and not what it held when somebody looked.
            let read = file.take(REGISTRY_FILE_BYTES_MAX + 1).read_to_string(&mut text).await.map_err(unread)?;
            if u64::try_from(read).unwrap_or(u64::MAX) > REGISTRY_FILE_BYTES_MAX {
                let text = format!("`{shown}` has more than {REGISTRY_FILE_BYTES_MAX} bytes");
                return Err(SourceError::Upstream(text));
            }
            let entries = entries(&text).map_err(|error| SourceError::Upstream(format!("`{shown}`: {error}")))?;
            Ok(SourceAnswer::Page(SourcePage { entries, ..SourcePage::default() }))
        })
    }

    fn transform(&mut self, entry: SourceEntry) -> BoxFuture<'_, Result<Option<SourceEntry>, SourceError>> {
        Box::pin(async { Ok(Some(entry)) })
    }
}

/// The entries of a text in one of the formats of registries. What is none is among them, with its place for a name, so that it is
/// refused and told like any other.
pub(super) fn entries(text: &str) -> Result<Vec<SourceEntry>, FormatError> {
    let (_, listing) = read(text)?;
    let refused = listing.refused.iter().map(|refused| nothing(&refused.pointer));
    Ok(listing.items.iter().map(entry).chain(refused).collect())
}

/// What is no entry, by its place.
pub(super) fn nothing(place: &str) -> SourceEntry {
    SourceEntry { name: place.to_owned(), ..entry(&Item::new("")) }
}

/// An item of a file, with what a registry said of it.
fn entry(item: &Item) -> SourceEntry {
    let document = Document::of(&item.document).unwrap_or_default();
    let standing = item.standing().unwrap_or_default();
    let time = |text: Option<String>| text.and_then(|text| text.parse().ok());
    let mut labels = BTreeMap::new();
    // What came by way of another Fairlead says so, in whatever file it arrives.
    labels.extend(item.via().map(|via| (VIA.to_owned(), via.join(","))));
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
        labels,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn what_is_no_file_is_told_and_not_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let pipe = directory.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        for path in [pipe, PathBuf::from("/dev/zero"), directory.path().to_owned()] {
            let mut session = FileSource::new(path.clone()).open().await.unwrap();
            let request = PageRequest { cursor: None, since: None, limit: 1, etag: None };
            let told = tokio::time::timeout(Duration::from_secs(5), session.enumerate(&request)).await;
            let told = told.expect("waited for").unwrap_err();
            assert!(told.to_string().contains("is no file"), "{}: {told}", path.display());
        }
    }
}
