//! Many registries, one catalogue: merged by name and version, the more trusted first, with what lost still in sight.
//!
//! Of two entries with the same name and version the one in the higher layer wins, then the one of the registry that stands
//! first. If both say the same it is a duplicate, and if not a conflict; both are shown. The newest version is found among all
//! of a name, whichever registries they come from, because a registry that has only old ones does not know.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fairlead_core::name::{LayerName, RegistryName};
use fairlead_core::registry::EntryStatus;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::copy::{Copy, EntryKey};
use crate::entry::Entry;
use crate::rules::Rules;
use crate::version::newer;

/// One registry, as it takes part.
#[derive(Debug, Clone)]
pub struct Part<'a> {
    /// Its name.
    pub registry: RegistryName,
    /// How far it is trusted.
    pub layer: LayerName,
    /// Its rules.
    pub rules: &'a Rules,
    /// What it held.
    pub copy: &'a Copy,
    /// What this catalogue is called when entries travel: what came through it before comes back, and is left out. Two catalogues
    /// that read each other would keep what both have forgotten alive otherwise.
    pub here: &'a str,
}

/// The same name and version, from a registry that did not win.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Shadowed {
    /// The registry.
    pub registry: RegistryName,
    /// Its layer.
    pub layer: LayerName,
    /// Whether it says something else.
    pub conflict: bool,
}

/// An entry of the catalogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merged {
    /// The entry.
    pub entry: Arc<Entry>,
    /// Where it comes from.
    pub registry: RegistryName,
    /// How far that is trusted.
    pub layer: LayerName,
    /// Whether it is the newest version of its name.
    pub is_latest: bool,
    /// Who else has it.
    pub shadowed: Vec<Shadowed>,
}

/// All entries, by name and version.
#[derive(Debug, Clone, Default)]
pub struct Catalogue {
    entries: BTreeMap<EntryKey, Merged>,
}

impl Catalogue {
    /// Merges. `layers` is the order of trust, the most trusted first; a layer that is not in it comes last.
    #[must_use]
    pub fn merge(parts: &[Part<'_>], layers: &[LayerName], now: Timestamp) -> Self {
        let rank = |layer: &LayerName| layers.iter().position(|known| known == layer).unwrap_or(layers.len());
        let mut order: Vec<(usize, &Part<'_>)> = parts.iter().enumerate().collect();
        order.sort_by_key(|(at, part)| (rank(&part.layer), *at));
        let mut entries: BTreeMap<EntryKey, Merged> = BTreeMap::new();
        for (_, part) in order {
            for entry in part.copy.entries.values().filter(|entry| !returns(entry, part.here)) {
                let ruled = if part.rules.is_empty() {
                    Arc::clone(entry)
                } else {
                    match part.rules.apply(entry, now) {
                        Some(ruled) => Arc::new(ruled),
                        None => continue,
                    }
                };
                place(&mut entries, part, ruled);
            }
        }
        let mut catalogue = Self { entries };
        catalogue.mark_latest();
        catalogue
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// All of them, by name and version.
    pub fn iter(&self) -> impl Iterator<Item = &Merged> {
        self.entries.values()
    }

    /// Those behind a place in the order of names and versions.
    pub fn after(&self, place: Option<EntryKey>) -> impl Iterator<Item = &Merged> {
        use std::ops::Bound::{Excluded, Unbounded};
        self.entries.range((place.map_or(Unbounded, Excluded), Unbounded)).map(|(_, merged)| merged)
    }

    /// One version.
    #[must_use]
    pub fn get(&self, name: &str, version: &str) -> Option<&Merged> {
        self.entries.get(&(name.to_owned(), version.to_owned()))
    }

    /// The newest version.
    #[must_use]
    pub fn latest(&self, name: &str) -> Option<&Merged> {
        self.of(name).find(|merged| merged.is_latest)
    }

    /// All versions of a name, the newest first.
    #[must_use]
    pub fn versions(&self, name: &str) -> Vec<&Merged> {
        let mut versions: Vec<&Merged> = self.of(name).collect();
        versions.sort_by(|one, other| age_order(&other.entry, &one.entry));
        versions
    }

    fn of<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a Merged> + use<'a> {
        let name = name.to_owned();
        let from = self.entries.range((name.clone(), String::new())..).map(|(_, merged)| merged);
        from.take_while(move |merged| merged.entry.name == name)
    }

    /// Names that end in `/name`, or in that without regard to case; for people who type the part they remember.
    #[must_use]
    pub fn by_short_name(&self, short: &str) -> Vec<&str> {
        let names: BTreeSet<&str> = self.entries.keys().map(|(name, _)| name.as_str()).collect();
        let fits = |name: &&str| name.rsplit('/').next().is_some_and(|last| last.eq_ignore_ascii_case(short));
        names.into_iter().filter(fits).collect()
    }

    fn mark_latest(&mut self) {
        let mut newest: BTreeMap<&str, (&EntryKey, &Merged)> = BTreeMap::new();
        for (key, merged) in &self.entries {
            let offered = |merged: &Merged| merged.entry.status != EntryStatus::Deleted;
            newest
                .entry(&merged.entry.name)
                .and_modify(|best| {
                    // One that can be had is newer than any that cannot.
                    let order =
                        (offered(best.1).cmp(&offered(merged))).then_with(|| age_order(&best.1.entry, &merged.entry));
                    if order.is_lt() {
                        *best = (key, merged);
                    }
                })
                .or_insert((key, merged));
        }
        let newest: Vec<EntryKey> = newest.into_values().map(|(key, _)| key.clone()).collect();
        for key in newest {
            if let Some(merged) = self.entries.get_mut(&key) {
                merged.is_latest = true;
            }
        }
    }
}

/// Whether an entry was given away by the catalogue that gets it now.
#[must_use]
pub fn returns(entry: &Entry, here: &str) -> bool {
    entry.via.iter().any(|through| through == here)
}

fn age_order(one: &Entry, other: &Entry) -> std::cmp::Ordering {
    newer((&one.version, one.published), (&other.version, other.published))
}

fn place(entries: &mut BTreeMap<EntryKey, Merged>, part: &Part<'_>, entry: Arc<Entry>) {
    let key = (entry.name.clone(), entry.version.clone());
    match entries.get_mut(&key) {
        None => {
            let merged = Merged {
                entry,
                registry: part.registry.clone(),
                layer: part.layer.clone(),
                is_latest: false,
                shadowed: Vec::new(),
            };
            entries.insert(key, merged);
        }
        // A rule that renames can make two entries of one registry the same: that is a conflict like any other.
        Some(winner) => winner.shadowed.push(Shadowed {
            registry: part.registry.clone(),
            layer: part.layer.clone(),
            conflict: winner.entry.document != entry.document && winner.entry.fingerprint() != entry.fingerprint(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::copy::Position;
    use crate::entry::sample;

    fn copy(entries: impl IntoIterator<Item = Entry>) -> Copy {
        let keyed = entries.into_iter().map(|entry| ((entry.name.clone(), entry.version.clone()), Arc::new(entry)));
        Copy { position: Position::default(), entries: keyed.collect() }
    }

    fn layer(name: &str) -> LayerName {
        LayerName::new(name).unwrap()
    }

    fn part<'a>(name: &str, of: &str, rules: &'a Rules, copy: &'a Copy) -> Part<'a> {
        Part { registry: RegistryName::new(name).unwrap(), layer: layer(of), rules, copy, here: "here" }
    }

    fn with_document(mut entry: Entry, extra: &str) -> Entry {
        entry.document = format!(r#"{{"name":"{}","version":"{}","x":"{extra}"}}"#, entry.name, entry.version);
        entry
    }

    #[test]
    fn the_more_trusted_wins_and_what_lost_is_shown() {
        let rules = Rules::default();
        let community =
            copy([with_document(sample("a/x", "1.0.0"), "theirs"), sample("a/y", "1.0.0"), sample("a/x", "2.0.0")]);
        let trusted = copy([with_document(sample("a/x", "1.0.0"), "ours"), sample("a/y", "1.0.0")]);
        let parts = [part("c", "community", &rules, &community), part("t", "trusted", &rules, &trusted)];
        let catalogue = Catalogue::merge(&parts, &[layer("trusted"), layer("community")], Timestamp::UNIX_EPOCH);
        let x = catalogue.get("a/x", "1.0.0").unwrap();
        assert_eq!((x.registry.as_str(), x.shadowed[0].registry.as_str(), x.shadowed[0].conflict), ("t", "c", true));
        assert!(!catalogue.get("a/y", "1.0.0").unwrap().shadowed[0].conflict);
        assert_eq!(catalogue.latest("a/x").unwrap().entry.version, "2.0.0");
        let versions: Vec<_> = catalogue.versions("a/x").iter().map(|merged| merged.entry.version.as_str()).collect();
        assert_eq!(versions, ["2.0.0", "1.0.0"]);
        assert_eq!(catalogue.by_short_name("X"), ["a/x"]);
    }

    #[test]
    fn a_version_that_was_taken_back_is_not_the_newest_while_there_is_another() {
        let rules = Rules::default();
        let mut gone = sample("a/x", "2.0.0");
        gone.status = EntryStatus::Deleted;
        let one = copy([sample("a/x", "1.0.0"), gone]);
        let catalogue = Catalogue::merge(&[part("c", "l", &rules, &one)], &[], Timestamp::UNIX_EPOCH);
        assert_eq!(catalogue.latest("a/x").unwrap().entry.version, "1.0.0");
    }

    #[test]
    fn what_was_given_away_is_not_taken_back() {
        let rules = Rules::default();
        let mut back = sample("a/x", "1.0.0");
        back.via = vec!["here".to_owned(), "there".to_owned()];
        let mut other = sample("a/y", "1.0.0");
        other.via = vec!["there".to_owned()];
        let one = copy([back, other]);
        let catalogue = Catalogue::merge(&[part("c", "l", &rules, &one)], &[], Timestamp::UNIX_EPOCH);
        assert_eq!(catalogue.iter().map(|merged| merged.entry.name.as_str()).collect::<Vec<_>>(), ["a/y"]);
    }

    proptest! {
        #[test]
        fn every_entry_of_every_part_is_in_the_catalogue_once_and_every_name_has_one_newest(
            parts in proptest::collection::vec((proptest::collection::btree_set("[ab]/[ab]@[0-3]", 0..6), 0..3_usize), 0..4),
        ) {
            let names = ["trusted", "reviewed", "unknown"];
            let rules = Rules::default();
            let copies: Vec<(Copy, usize)> = parts.iter().map(|(keys, layer)| {
                (copy(keys.iter().map(|key| { let (name, version) = key.split_once('@').unwrap(); sample(name, version) })), *layer)
            }).collect();
            let given: Vec<_> = copies.iter().enumerate().map(|(at, (copy, layer))| part(&format!("r{at}"), names[*layer], &rules, copy)).collect();
            let layers = [layer("trusted"), layer("reviewed")];
            let catalogue = Catalogue::merge(&given, &layers, Timestamp::UNIX_EPOCH);
            let all: BTreeSet<_> = parts.iter().flat_map(|(keys, _)| keys).collect();
            prop_assert_eq!(catalogue.len(), all.len());
            let seen: usize = catalogue.iter().map(|merged| 1 + merged.shadowed.len()).sum();
            prop_assert_eq!(seen, parts.iter().map(|(keys, _)| keys.len()).sum::<usize>());
            for name in catalogue.iter().map(|merged| merged.entry.name.clone()).collect::<BTreeSet<_>>() {
                prop_assert_eq!(catalogue.of(&name).filter(|merged| merged.is_latest).count(), 1);
            }
            let rank = |layer: &LayerName| layers.iter().position(|known| known == layer).unwrap_or(2);
            for merged in catalogue.iter() {
                prop_assert!(merged.shadowed.iter().all(|lost| rank(&merged.layer) <= rank(&lost.layer)));
            }
        }
    }
}
