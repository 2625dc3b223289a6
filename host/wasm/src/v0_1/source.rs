//! `fairlead:registry-source/source`: requests for pages go in, entries come out.
//!
//! What comes out is not believed here: texts have a bound, and that is all. Whether an entry is one is for the catalogue to say.

use fairlead_core::registry::{
    EntryStatus, PageRequest, SourceAnswer, SourceEntry, SourceError, SourceFeatures, SourcePage,
};
use jiff::Timestamp;
use wasmtime::component::{Component, InstancePre, Linker};
use wasmtime::{Result, Store};

use super::bindings::source::exports::fairlead::registry_source::source as wit;
use super::bindings::source::fairlead::types::types::Failure;
use crate::limits::FAULT_TEXT_BYTES_MAX;
use crate::state::State;
use crate::text::bounded;

/// A component that is linked and ready to be instantiated.
pub(crate) struct PreparedSource {
    pre: InstancePre<State>,
    indices: wit::GuestIndices,
}

/// The functions of one instance.
pub(crate) struct Source(wit::Guest);

type Answered<T> = Result<std::result::Result<T, SourceError>>;

impl PreparedSource {
    pub(crate) fn new(linker: &Linker<State>, component: &Component) -> Result<Self> {
        let pre = linker.instantiate_pre(component)?;
        let indices = wit::GuestIndices::new(&pre)?;
        Ok(Self { pre, indices })
    }

    pub(crate) async fn instantiate(&self, store: &mut Store<State>) -> Result<Source> {
        let instance = self.pre.instantiate_async(&mut *store).await?;
        Ok(Source(self.indices.load(&mut *store, &instance)?))
    }
}

impl Source {
    pub(crate) async fn configure(&self, store: &mut Store<State>, config: &str) -> Answered<SourceFeatures> {
        let answer = self.0.call_configure(store, config).await?;
        Ok(answer.map_err(failed).map(|features| SourceFeatures {
            incremental: features.contains(wit::Features::INCREMENTAL),
            versions: features.contains(wit::Features::VERSIONS),
            removals: features.contains(wit::Features::REMOVALS),
        }))
    }

    pub(crate) async fn enumerate(&self, store: &mut Store<State>, request: &PageRequest) -> Answered<SourceAnswer> {
        let PageRequest { cursor, since, limit, etag } = request.clone();
        let answer = self.0.call_enumerate(store, &wit::Request { cursor, since, limit, etag }).await?;
        Ok(answer.map_err(failed).map(|answer| match answer {
            wit::Answer::Unmodified => SourceAnswer::Unmodified,
            wit::Answer::Resync(reason) => SourceAnswer::Resync(bounded(reason, FAULT_TEXT_BYTES_MAX)),
            wit::Answer::Page(page) => SourceAnswer::Page(SourcePage {
                entries: page.entries.into_iter().map(lift).collect(),
                removed: page.removed,
                next: page.next,
                checkpoint: page.checkpoint,
                etag: page.etag,
            }),
        }))
    }

    pub(crate) async fn transform(
        &self,
        store: &mut Store<State>,
        entry: SourceEntry,
    ) -> Answered<Option<SourceEntry>> {
        let answer = self.0.call_transform(store, &lower(entry)).await?;
        Ok(answer.map_err(failed).map(|entry| entry.map(lift)))
    }
}

fn lift(entry: wit::Entry) -> SourceEntry {
    let time = |millis: Option<u64>| Timestamp::from_millisecond(i64::try_from(millis?).ok()?).ok();
    SourceEntry {
        name: entry.name,
        version: entry.version,
        status: match entry.status {
            wit::Status::Active => EntryStatus::Active,
            wit::Status::Deprecated => EntryStatus::Deprecated,
            wit::Status::Deleted => EntryStatus::Deleted,
        },
        document: entry.server_json,
        published: time(entry.published_ms),
        updated: time(entry.updated_ms),
        is_latest: entry.is_latest,
        labels: entry.attributes.into_iter().collect(),
    }
}

fn lower(entry: SourceEntry) -> wit::Entry {
    let millis = |time: Option<Timestamp>| u64::try_from(time?.as_millisecond()).ok();
    wit::Entry {
        status: match entry.status {
            EntryStatus::Active => wit::Status::Active,
            EntryStatus::Deprecated => wit::Status::Deprecated,
            EntryStatus::Deleted => wit::Status::Deleted,
        },
        published_ms: millis(entry.published),
        updated_ms: millis(entry.updated),
        is_latest: entry.is_latest,
        attributes: entry.labels.into_iter().collect(),
        name: entry.name,
        version: entry.version,
        server_json: entry.document,
    }
}

fn failed(failure: Failure) -> SourceError {
    let text = |text| bounded(text, FAULT_TEXT_BYTES_MAX);
    match failure {
        Failure::Config(reason) => SourceError::Config(text(reason)),
        Failure::Upstream(reason) => SourceError::Upstream(text(reason)),
        Failure::Unavailable(reason) => SourceError::Unavailable(text(reason)),
        Failure::Internal(reason) | Failure::Other(reason) => SourceError::Fault(format!("failed: {}", text(reason))),
    }
}
