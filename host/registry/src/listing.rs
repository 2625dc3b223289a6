//! Pages of the catalogue: what the APIs list, in a stable order, with a cursor that outlives a synchronisation.
//!
//! The order is that of names and versions, and a cursor is the place of the last entry in it. What is added or removed
//! meanwhile neither repeats nor skips an entry that was there all along. Any text is a place in that order, so there is no cursor
//! that is none: the description of the official API knows no refusal of one.

use std::collections::BTreeMap;

use fairlead_core::name::{LayerName, RegistryName};
use fairlead_core::registry::EntryStatus;
use jiff::Timestamp;

use crate::copy::EntryKey;
use crate::limits::{LISTING_DEFAULT, LISTING_MAX};
use crate::merge::{Catalogue, Merged};

/// What is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    /// Behind this place.
    pub cursor: Option<String>,
    /// At most so many.
    pub limit: Option<usize>,
    /// Part of the name or the description, without regard to case.
    pub search: Option<String>,
    /// Changed since then; entries that were taken back are among them.
    pub updated_since: Option<Timestamp>,
    /// `latest`, or one version.
    pub version: Option<String>,
    /// Entries that were taken back too.
    pub include_deleted: bool,
    /// From this registry.
    pub registry: Option<RegistryName>,
    /// In one of these layers; empty: all.
    pub layers: Vec<LayerName>,
    /// With this tag.
    pub tag: Option<String>,
    /// That speaks so.
    pub transport: Option<String>,
    /// With a package of this type, or `remote`.
    pub package_type: Option<String>,
    /// With all of these labels.
    pub labels: BTreeMap<String, String>,
}

/// One page.
#[derive(Debug, Default)]
pub struct Listing<'a> {
    /// Its entries.
    pub entries: Vec<&'a Merged>,
    /// Where the next one is.
    pub next: Option<String>,
}

impl Query {
    /// Whether an entry is wanted.
    #[must_use]
    pub fn wants(&self, merged: &Merged) -> bool {
        let entry = &merged.entry;
        let shown = self.include_deleted || self.updated_since.is_some() || entry.status != EntryStatus::Deleted;
        let version = match self.version.as_deref() {
            None => true,
            Some("latest") => merged.is_latest,
            Some(version) => entry.version == version,
        };
        let changed = entry.updated.or(entry.published);
        shown
            && version
            && self.updated_since.is_none_or(|since| changed.is_none_or(|changed| changed >= since))
            && self.registry.as_ref().is_none_or(|registry| *registry == merged.registry)
            && (self.layers.is_empty() || self.layers.contains(&merged.layer))
            && self.labels.iter().all(|(label, value)| entry.labels.get(label) == Some(value))
            && self.says(merged)
    }

    /// Whether documents have to be read to answer: of all entries, when few are wanted.
    #[must_use]
    pub fn reads_documents(&self) -> bool {
        self.search.is_some() || self.tag.is_some() || self.transport.is_some() || self.package_type.is_some()
    }

    /// What needs the document to be read comes last.
    fn says(&self, merged: &Merged) -> bool {
        if !self.reads_documents() {
            return true;
        }
        let view = merged.entry.view();
        let contains = |text: &str, part: &str| text.to_lowercase().contains(&part.to_lowercase());
        self.search.as_ref().is_none_or(|part| {
            contains(&merged.entry.name, part) || contains(&view.description, part) || contains(&view.title, part)
        }) && self.tag.as_ref().is_none_or(|tag| view.tags().contains(tag))
            && self.transport.as_ref().is_none_or(|it| view.transports().contains(&it.as_str()))
            && self.package_type.as_ref().is_none_or(|it| view.package_types().contains(&it.as_str()))
    }

    /// The page that is wanted.
    #[must_use]
    pub fn page<'a>(&self, catalogue: &'a Catalogue) -> Listing<'a> {
        let limit = self.limit.unwrap_or(LISTING_DEFAULT).clamp(1, LISTING_MAX);
        let place = self.cursor.as_deref().map(place);
        let mut wanted = catalogue.after(place).filter(|merged| self.wants(merged));
        let entries: Vec<&Merged> = wanted.by_ref().take(limit).collect();
        let next = match (entries.last(), wanted.next()) {
            (Some(last), Some(_)) => Some(format!("{}:{}", last.entry.name, last.entry.version)),
            _ => None,
        };
        Listing { entries, next }
    }
}

/// `name:version`, as the official registry writes them.
fn place(cursor: &str) -> EntryKey {
    let (name, version) = cursor.split_once(':').unwrap_or((cursor, ""));
    (name.to_owned(), version.to_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::copy::{Copy, Position};
    use crate::entry::{Entry, sample};
    use crate::merge::Part;
    use crate::rules::Rules;

    fn catalogue(entries: impl IntoIterator<Item = Entry>) -> Catalogue {
        let keyed = entries.into_iter().map(|entry| ((entry.name.clone(), entry.version.clone()), Arc::new(entry)));
        let copy = Copy { position: Position::default(), entries: keyed.collect() };
        let rules = Rules::default();
        let part = Part {
            registry: RegistryName::new("r").unwrap(),
            layer: LayerName::new("l").unwrap(),
            rules: &rules,
            copy: &copy,
            here: "here",
        };
        Catalogue::merge(&[part], &[], Timestamp::UNIX_EPOCH)
    }

    fn keys(listing: &Listing<'_>) -> Vec<String> {
        listing.entries.iter().map(|merged| format!("{}:{}", merged.entry.name, merged.entry.version)).collect()
    }

    #[test]
    fn what_was_taken_back_is_shown_to_those_who_ask_and_to_those_who_follow() {
        let mut gone = sample("a/b", "2.0.0");
        gone.status = EntryStatus::Deleted;
        let catalogue = catalogue([sample("a/b", "1.0.0"), gone]);
        let found = |query: Query| keys(&query.page(&catalogue));
        assert_eq!(found(Query::default()), ["a/b:1.0.0"]);
        assert_eq!(found(Query { include_deleted: true, ..Query::default() }).len(), 2);
        assert_eq!(found(Query { updated_since: Some(Timestamp::UNIX_EPOCH), ..Query::default() }).len(), 2);
        assert_eq!(found(Query { version: Some("latest".to_owned()), ..Query::default() }), ["a/b:1.0.0"]);
        assert_eq!(found(Query { search: Some("SERVES a".to_owned()), ..Query::default() }), ["a/b:1.0.0"]);
    }

    #[test]
    fn every_text_is_a_place_to_go_on_from() {
        let catalogue = catalogue([sample("a/b", "1"), sample("c/d", "1")]);
        for (cursor, found) in [("", 2), ("b", 1), ("a/b:1", 1), ("a/b:0", 2), ("\u{fffd}", 0), ("c/d:1", 0)] {
            let query = Query { cursor: Some(cursor.to_owned()), ..Query::default() };
            assert_eq!(query.page(&catalogue).entries.len(), found, "{cursor}");
        }
    }

    proptest! {
        #[test]
        fn pages_hold_everything_once_whatever_comes_and_goes_meanwhile(
            stays in proptest::collection::btree_set("[a-c]/[a-c]{1,2}", 1..12),
            comes in proptest::collection::btree_set("[a-c]/[a-c]{1,2}", 0..6),
            limit in 1_usize..4,
        ) {
            let before = catalogue(stays.iter().map(|name| sample(name, "1")));
            let after = catalogue(stays.union(&comes).map(|name| sample(name, "1")));
            let mut seen = Vec::new();
            let mut cursor = None;
            for turn in 0.. {
                let query = Query { cursor, limit: Some(limit), ..Query::default() };
                let listing = query.page(if turn == 0 { &before } else { &after });
                seen.extend(keys(&listing));
                cursor = listing.next;
                if cursor.is_none() { break; }
            }
            let mut sorted = seen.clone();
            sorted.sort();
            sorted.dedup();
            prop_assert_eq!(&sorted, &seen, "in order, and none twice");
            // A catalogue that had one page when it was asked was told whole.
            if stays.len() > limit {
                let all = stays.iter().all(|name| seen.contains(&format!("{name}:1")));
                prop_assert!(all);
            }
        }
    }
}
