//! One synchronisation: page after page of one source, checked, and put together with what is there already.
//!
//! The result is a whole new copy or an error, never something between. What a source could do to a catalogue ends here: it
//! loops, it never ends, it sends too much, it sends nonsense, it is suddenly empty. One bad entry is refused and told; a bad
//! page is an error, and the last good copy stays.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use fairlead_core::registry::{
    EntryStatus, PageRequest, RegistrySource, SourceAnswer, SourceEntry, SourceError, SourcePage, SourceSession,
};
use jiff::Timestamp;
use tokio::time::{Instant, timeout_at};

use crate::copy::{Copy, EntryKey, Position};
use crate::entry::{Entry, Refused};
use crate::limits::{
    CURSOR_BYTES_MAX, FULL_SYNC_EVERY, PAGE_ENTRIES, PAGE_TIME_MAX, PAGES_MAX, PROBLEMS_TOLD_MAX, REGISTRY_BYTES_MAX,
    REGISTRY_ENTRIES_MAX, SYNC_TIME_MAX,
};

/// How to synchronise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct How {
    /// From the beginning, whatever is known.
    pub whole: bool,
    /// Also when nothing comes where something was.
    pub accept_empty: bool,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Synced {
    /// Nothing changed.
    Unmodified,
    /// This is the new copy.
    Copy(Box<Copy>, Tally),
}

/// What a synchronisation changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Entries that are new or different.
    pub changed: usize,
    /// Entries that are gone.
    pub removed: usize,
    /// Pages that were read.
    pub pages: usize,
}

/// Why there is no new copy. The last one stays.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SyncError {
    /// The source said so, or is broken.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// Its pages lead back to themselves.
    #[error("its pages lead in a circle: after page {0} comes one that was there already")]
    Circle(usize),
    /// It goes on and on.
    #[error("it has more than {limit} {what}")]
    TooMuch {
        /// Of what.
        what: &'static str,
        /// How many are possible.
        limit: usize,
    },
    /// It gives nothing where there was something.
    #[error("it gives no entry, and the last copy has {0}; if that is meant, refresh with `--accept-empty`")]
    Empty(usize),
    /// It gives nothing that can be used.
    #[error("all of its {count} entries are refused; the first: {first}")]
    AllRefused {
        /// How many.
        count: usize,
        /// What is wrong with the first.
        first: String,
    },
    /// It asks again and again to start from the beginning.
    #[error("it asks to start from the beginning, from the beginning: {0}")]
    Resync(String),
}

/// Reads a source, after the copy before; `origin` names it and its configuration.
///
/// # Errors
/// There is no whole new copy.
pub async fn synchronise(
    source: &dyn RegistrySource,
    origin: &str,
    before: Option<&Copy>,
    now: Timestamp,
    how: How,
) -> Result<Synced, SyncError> {
    let until = Instant::now() + SYNC_TIME_MAX;
    let before = before.filter(|copy| copy.position.origin == origin);
    let mut session = within(until, source.open()).await?;
    let features = session.features();
    let position = before.map(|copy| &copy.position);
    let whole_is_due = position.and_then(|position| position.read_whole).is_none_or(|read| {
        now.duration_since(read) >= jiff::SignedDuration::try_from(FULL_SYNC_EVERY).unwrap_or_default()
    });
    let since = position.and_then(|position| position.checkpoint.clone());
    let since = since.filter(|_| features.incremental && !how.whole && (features.removals || !whole_is_due));
    let etag = position.and_then(|position| position.etag.clone()).filter(|_| !how.whole);
    let mut reading = Reading::new(before, since, etag, until);
    loop {
        match reading.pages(&mut *session).await? {
            Ended::Unmodified => return Ok(Synced::Unmodified),
            Ended::Last => return reading.finish(origin, before, now, how),
            Ended::Resync(reason) if reading.since.is_none() => return Err(SyncError::Resync(reason)),
            Ended::Resync(reason) => {
                tracing::info!(reason, "a registry is read from the beginning");
                reading = Reading::new(None, None, None, until);
            }
        }
    }
}

async fn within<T>(until: Instant, work: impl Future<Output = Result<T, SourceError>>) -> Result<T, SourceError> {
    let page = (Instant::now() + PAGE_TIME_MAX).min(until);
    timeout_at(page, work).await.unwrap_or(Err(SourceError::Deadline(PAGE_TIME_MAX.as_secs())))
}

enum Ended {
    Unmodified,
    Last,
    Resync(String),
}

/// What was read so far.
struct Reading {
    since: Option<String>,
    etag: Option<String>,
    until: Instant,
    entries: BTreeMap<EntryKey, Arc<Entry>>,
    bytes: usize,
    refused: Vec<Refused>,
    refused_count: usize,
    cursors: HashSet<String>,
    pages: usize,
    checkpoint: Option<String>,
    new_etag: Option<String>,
}

impl Reading {
    /// What changed is put upon what was there; what is read from the beginning starts with nothing.
    fn new(before: Option<&Copy>, since: Option<String>, etag: Option<String>, until: Instant) -> Self {
        let entries = before.filter(|_| since.is_some()).map(|copy| copy.entries.clone()).unwrap_or_default();
        let bytes = entries.values().map(|entry| entry.document.len()).sum();
        Self {
            since,
            etag,
            until,
            entries,
            bytes,
            refused: Vec::new(),
            refused_count: 0,
            cursors: HashSet::new(),
            pages: 0,
            checkpoint: None,
            new_etag: None,
        }
    }

    async fn pages(&mut self, session: &mut dyn SourceSession) -> Result<Ended, SyncError> {
        let mut cursor = None;
        loop {
            let request =
                PageRequest { cursor, since: self.since.clone(), limit: PAGE_ENTRIES, etag: self.etag.clone() };
            let page = match within(self.until, session.enumerate(&request)).await? {
                SourceAnswer::Unmodified if self.pages == 0 && self.etag.is_some() => return Ok(Ended::Unmodified),
                SourceAnswer::Unmodified => {
                    return Err(SourceError::Fault("says that nothing changed, and was not asked".to_owned()).into());
                }
                SourceAnswer::Resync(reason) => return Ok(Ended::Resync(reason)),
                SourceAnswer::Page(page) => page,
            };
            self.pages += 1;
            if self.pages > PAGES_MAX {
                return Err(SyncError::TooMuch { what: "pages", limit: PAGES_MAX });
            }
            cursor = self.take(page)?;
            let Some(next) = &cursor else { return Ok(Ended::Last) };
            if next.len() > CURSOR_BYTES_MAX {
                return Err(SyncError::TooMuch { what: "bytes in a cursor", limit: CURSOR_BYTES_MAX });
            }
            if !self.cursors.insert(next.clone()) {
                return Err(SyncError::Circle(self.pages));
            }
        }
    }

    /// Takes a page in; the cursor of the next one.
    fn take(&mut self, page: SourcePage) -> Result<Option<String>, SyncError> {
        for (name, version) in page.removed {
            match version {
                Some(version) => drop(self.entries.remove(&(name, version))),
                None => self.entries.retain(|(known, _), _| *known != name),
            }
        }
        for given in page.entries {
            self.entry(given)?;
        }
        if page.next.is_none() {
            let fits = |text: &String| text.len() <= CURSOR_BYTES_MAX;
            self.checkpoint = page.checkpoint.filter(fits);
            self.new_etag = page.etag.filter(fits);
        }
        Ok(page.next)
    }

    fn entry(&mut self, given: SourceEntry) -> Result<(), SyncError> {
        let entry = match Entry::admit(given) {
            Ok(entry) => entry,
            Err(refused) => {
                self.refused_count += 1;
                if self.refused.len() < PROBLEMS_TOLD_MAX {
                    self.refused.push(refused);
                }
                return Ok(());
            }
        };
        self.bytes += entry.document.len();
        let key = (entry.name.clone(), entry.version.clone());
        // The same content keeps the value that the catalogue holds already.
        match self.entries.get(&key) {
            Some(known) if **known == entry => {}
            _ => drop(self.entries.insert(key, Arc::new(entry))),
        }
        if self.entries.len() > REGISTRY_ENTRIES_MAX {
            return Err(SyncError::TooMuch { what: "entries", limit: REGISTRY_ENTRIES_MAX });
        }
        if self.bytes > REGISTRY_BYTES_MAX {
            return Err(SyncError::TooMuch { what: "bytes of documents", limit: REGISTRY_BYTES_MAX });
        }
        Ok(())
    }

    fn finish(self, origin: &str, before: Option<&Copy>, now: Timestamp, how: How) -> Result<Synced, SyncError> {
        let nothing = Copy::default();
        let old = before.unwrap_or(&nothing);
        if self.entries.is_empty() && self.refused_count > 0 {
            let first = self.refused.first().map(|refused| format!("{}: {}", refused.entry, refused.reason));
            return Err(SyncError::AllRefused { count: self.refused_count, first: first.unwrap_or_default() });
        }
        if self.entries.is_empty() && !old.entries.is_empty() && !how.accept_empty {
            return Err(SyncError::Empty(old.entries.len()));
        }
        let changed = self.entries.iter().filter(|(key, entry)| old.entries.get(*key) != Some(entry)).count();
        let removed = old.entries.keys().filter(|key| !self.entries.contains_key(*key)).count();
        let incremental = self.since.is_some();
        let position = Position {
            origin: origin.to_owned(),
            // A page of changes without a checkpoint of its own does not go back behind the one before.
            checkpoint: self.checkpoint.or(self.since),
            etag: self.new_etag,
            synced: Some(now),
            read_whole: if incremental { old.position.read_whole } else { Some(now) },
            refused: self.refused,
            refused_count: self.refused_count,
        };
        let tally = Tally { changed, removed, pages: self.pages };
        Ok(Synced::Copy(Box::new(Copy { position, entries: self.entries }), tally))
    }
}

/// How long until a source is asked again after so many failures in a row: at most its interval, so that one which comes back
/// is noticed.
#[must_use]
pub fn retry_after(failures: u32, interval: Duration) -> Duration {
    let first = Duration::from_secs(30);
    first.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1).min(16))).min(interval.max(first))
}

/// Whether an entry is one that is offered unless somebody asks for more.
#[must_use]
pub fn is_offered(entry: &Entry) -> bool {
    entry.status != EntryStatus::Deleted
}

#[cfg(test)]
mod tests;
