//! What is known of entries, and what is to be asked: one question for an entry and a registry, however many servers name it.
//!
//! Pure but for the moment, which it is told. What a registry said counts until it says otherwise; where it says nothing, for
//! [`REGISTRY_ANSWER_KEEP`], so that one that is started anew changes nothing that anybody sees.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use tokio::time::Instant;

use super::{Answer, Answers, EntryName};
use crate::limits::{
    REGISTRY_ANSWER_KEEP, REGISTRY_ASK_AGAIN, REGISTRY_ASK_EVERY, REGISTRY_ROUND_ENTRIES_MAX, REGISTRY_ROUNDS_MAX,
};

/// A registry: its namespace and its name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct RegistryKey {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// How a registry stands. When that changes, it is asked again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Stand {
    /// Tells it from another of the same name.
    pub(crate) uid: String,
    pub(crate) generation: i64,
    /// Those of its pods that are ready, in order.
    pub(crate) pods: Vec<String>,
}

/// What is to be asked of a registry now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Round {
    pub(crate) registry: RegistryKey,
    pub(crate) stand: Stand,
    pub(crate) entries: Vec<EntryName>,
}

/// What was heard of one entry; `Err`: nothing, and why.
pub(crate) type Heard = (EntryName, Result<Answer, String>);

/// What is known of all entries.
#[derive(Debug, Default)]
pub(crate) struct Book {
    pages: BTreeMap<RegistryKey, Page>,
    /// Rounds that nobody has heard of yet, those of registries that are gone meanwhile as well.
    under_way: usize,
}

#[derive(Debug)]
struct Page {
    stand: Stand,
    entries: BTreeMap<EntryName, Known>,
    /// How often it was asked.
    rounds: u64,
    is_asked: bool,
}

#[derive(Debug)]
struct Known {
    shown: Option<Answer>,
    /// When it was said, if the registry said it.
    said: Option<Instant>,
    due: Instant,
}

impl Book {
    /// Makes it about these registries and entries. What nobody names any more is forgotten, what is new or stands otherwise is due.
    /// Gives the namespaces that have other registries than before.
    pub(crate) fn expect(
        &mut self,
        wanted: BTreeMap<RegistryKey, (Stand, BTreeSet<EntryName>)>,
        now: Instant,
    ) -> BTreeSet<String> {
        let gone = self.pages.keys().filter(|key| !wanted.contains_key(key));
        let new = wanted.keys().filter(|key| !self.pages.contains_key(key));
        let changed = gone.chain(new).map(|key| key.namespace.clone()).collect();
        self.pages.retain(|key, _| wanted.contains_key(key));
        for (key, (stand, entries)) in wanted {
            let is_other = |page: &&mut Page| page.stand.uid != stand.uid;
            if self.pages.get_mut(&key).as_ref().is_some_and(is_other) {
                self.pages.remove(&key);
            }
            let fresh = || Page { stand: stand.clone(), entries: BTreeMap::new(), rounds: 0, is_asked: false };
            let page = self.pages.entry(key).or_insert_with(fresh);
            page.entries.retain(|entry, _| entries.contains(entry));
            if page.stand != stand {
                page.stand = stand;
                page.entries.values_mut().for_each(|known| known.due = now);
            }
            for entry in entries {
                page.entries.entry(entry).or_insert(Known { shown: None, said: None, due: now });
            }
        }
        changed
    }

    /// The rounds that begin now, those first that have waited longest. A registry has one at a time.
    pub(crate) fn due(&mut self, now: Instant) -> Vec<Round> {
        let since = |page: &Page| page.entries.values().map(|known| known.due).min().filter(|due| *due <= now);
        let idle = self.pages.iter().filter(|(_, page)| !page.is_asked);
        let mut waiting: Vec<_> = idle.filter_map(|(key, page)| Some((since(page)?, key.clone()))).collect();
        waiting.sort();
        waiting.truncate(REGISTRY_ROUNDS_MAX.saturating_sub(self.under_way));
        let rounds = waiting.into_iter().filter_map(|(_, key)| self.pages.get_mut(&key)?.begin(&key, now));
        let rounds: Vec<Round> = rounds.collect();
        self.under_way = self.under_way.saturating_add(rounds.len());
        rounds
    }

    /// Learns what was heard in a round, which is over. Gives the entries of which something else is to be said than before.
    pub(crate) fn learn(&mut self, round: &Round, heard: Vec<Heard>, now: Instant) -> BTreeSet<EntryName> {
        let mut changed = BTreeSet::new();
        self.under_way = self.under_way.saturating_sub(1);
        let Some(page) = self.pages.get_mut(&round.registry).filter(|page| page.stand.uid == round.stand.uid) else {
            return changed;
        };
        page.is_asked = false;
        page.rounds = page.rounds.wrapping_add(1);
        let mut hasher = DefaultHasher::new();
        (&round.registry, page.rounds).hash(&mut hasher);
        let (seed, is_stale) = (hasher.finish(), page.stand != round.stand);
        for (entry, heard) in heard {
            let Some(known) = page.entries.get_mut(&entry) else { continue };
            let wait = if heard.is_ok() { REGISTRY_ASK_EVERY } else { REGISTRY_ASK_AGAIN };
            known.due = if is_stale { now } else { now + spread(wait, seed) };
            if known.learn(heard, now) {
                changed.insert(entry);
            }
        }
        changed
    }

    /// What these registries of a namespace say of an entry.
    pub(crate) fn answers(&self, namespace: &str, registries: Vec<String>, entry: &EntryName) -> Answers {
        let answer = |name: &String| {
            let key = RegistryKey { namespace: namespace.to_owned(), name: name.clone() };
            self.pages.get(&key)?.entries.get(entry)?.shown.clone()
        };
        registries.into_iter().map(|name| (name.clone(), answer(&name))).collect()
    }
}

impl Page {
    fn begin(&mut self, key: &RegistryKey, now: Instant) -> Option<Round> {
        // What is due soon is asked in the same conversation.
        let soon = now + REGISTRY_ASK_EVERY / 5;
        let mut due: Vec<_> = self.entries.iter().filter(|(_, known)| known.due <= soon).collect();
        due.sort_by_key(|(_, known)| known.due);
        let entries: Vec<_> =
            due.into_iter().take(REGISTRY_ROUND_ENTRIES_MAX).map(|(entry, _)| entry.clone()).collect();
        self.is_asked = !entries.is_empty();
        self.is_asked.then(|| Round { registry: key.clone(), stand: self.stand.clone(), entries })
    }
}

impl Known {
    /// Whether something else is to be said than before.
    fn learn(&mut self, heard: Result<Answer, String>, now: Instant) -> bool {
        let shown = match heard {
            Ok(answer) => {
                self.said = Some(now);
                answer
            }
            Err(_) if self.said.is_some_and(|said| now < said + REGISTRY_ANSWER_KEEP) => return false,
            Err(why) => {
                self.said = None;
                Answer::Unavailable(why)
            }
        };
        let before = self.shown.replace(shown);
        before != self.shown
    }
}

/// A wait of four to six fifths, so that not all registries are asked at the same moment.
fn spread(wait: Duration, seed: u64) -> Duration {
    let percent = u32::try_from(seed % 41).unwrap_or_default();
    wait.saturating_mul(80 + percent) / 100
}

#[cfg(test)]
mod tests;
