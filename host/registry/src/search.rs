//! Full-text search over the catalogue: ranked, by field, with prefixes and slips of the finger.
//!
//! An inverted index in memory, made anew with the catalogue in a fraction of the time that a synchronisation takes. Ranking is
//! BM25 over weighted fields: a word in a name says more than one in a description. The last word that was typed is taken as
//! the beginning of one, and a word that is in no entry as one that was meant to be another. An engine with files of its own
//! would bring sixty crates for a hundred thousand short texts that are in memory anyway (ADR 0025).

use std::collections::{BTreeMap, HashMap};

use fairlead_server_json::Document;

use crate::limits::{EXPANSIONS_MAX, FIELD_WORDS_MAX, QUERY_WORDS_MAX, WORD_CHARS_MAX};
use crate::merge::{Catalogue, Merged};

/// How much a word of each field says.
const NAME: f32 = 8.0;
const TITLE: f32 = 6.0;
const TAG: f32 = 4.0;
const TOOL: f32 = 2.0;
const DESCRIPTION: f32 = 1.0;

/// BM25: how soon a word that comes again stops saying more, and how much length counts.
const SATURATION: f32 = 1.2;
const LENGTH: f32 = 0.75;

/// What an inexact word is worth beside an exact one.
const PREFIX: f32 = 0.6;
const SLIP: f32 = 0.3;

/// One entry in which a word is.
#[derive(Debug, Clone, Copy)]
struct Posting {
    document: u32,
    weight: f32,
}

/// The index. Of each name the newest version is found: others have almost the same words.
#[derive(Debug, Default)]
pub struct Index {
    words: BTreeMap<Box<str>, Vec<Posting>>,
    /// Names, in the order of the catalogue.
    names: Vec<Box<str>>,
    lengths: Vec<f32>,
    average: f32,
}

/// Something that was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Hit<'a> {
    /// The entry: the newest version of its name.
    pub merged: &'a Merged,
    /// How well it fits, to be compared with others of the same question.
    pub score: f32,
}

impl Index {
    /// Indexes a catalogue.
    #[must_use]
    pub fn of(catalogue: &Catalogue) -> Self {
        let mut index = Self::default();
        let mut weights: HashMap<String, f32> = HashMap::new();
        for merged in catalogue.iter().filter(|merged| merged.is_latest) {
            let Ok(document) = u32::try_from(index.names.len()) else { break };
            fields(&merged.entry.name, &merged.entry.view(), &mut weights);
            let length: f32 = weights.values().sum();
            for (word, weight) in weights.drain() {
                index.words.entry(word.into_boxed_str()).or_default().push(Posting { document, weight });
            }
            index.names.push(merged.entry.name.as_str().into());
            index.lengths.push(length);
        }
        #[expect(clippy::cast_precision_loss, reason = "an average")]
        let count = index.lengths.len().max(1) as f32;
        index.average = index.lengths.iter().sum::<f32>() / count;
        index
    }

    /// How many entries are indexed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// What fits a text best, of what is wanted; nothing typed finds nothing.
    #[must_use]
    pub fn search<'a>(
        &self,
        catalogue: &'a Catalogue,
        text: &str,
        most: usize,
        wanted: &dyn Fn(&Merged) -> bool,
    ) -> Vec<Hit<'a>> {
        let mut typed = Vec::new();
        words(text, &mut |word| typed.push(word.to_owned()));
        typed.truncate(QUERY_WORDS_MAX);
        let mut scores: HashMap<u32, (f32, usize)> = HashMap::new();
        for (at, word) in typed.iter().enumerate() {
            let begun = at + 1 == typed.len() && !text.ends_with(char::is_whitespace);
            let mut best: HashMap<u32, f32> = HashMap::new();
            for (postings, worth) in self.expansions(word, begun) {
                let rarity = self.rarity(postings.len());
                for posting in postings {
                    let score = worth * rarity * self.saturated(*posting);
                    let known = best.entry(posting.document).or_insert(0.0);
                    *known = known.max(score);
                }
            }
            for (document, score) in best {
                let known = scores.entry(document).or_insert((0.0, 0));
                *known = (known.0 + score, known.1 + 1);
            }
        }
        // Entries with all the words come before those with some of them.
        let mut ranked: Vec<(usize, f32, u32)> =
            scores.into_iter().map(|(document, (score, fit))| (fit, score, document)).collect();
        ranked.sort_by(|one, other| (other.0.cmp(&one.0)).then(other.1.total_cmp(&one.1)).then(one.2.cmp(&other.2)));
        let found = ranked.into_iter().filter_map(|(_, score, document)| {
            let name = self.names.get(usize::try_from(document).ok()?)?;
            let merged = catalogue.latest(name)?;
            wanted(merged).then_some(Hit { merged, score })
        });
        found.take(most).collect()
    }

    /// The words of the index that a typed one may stand for, and what each is worth.
    fn expansions(&self, word: &str, begun: bool) -> Vec<(&Vec<Posting>, f32)> {
        let mut found: Vec<(&Vec<Posting>, f32)> =
            self.words.get(word).map(|postings| (postings, 1.0)).into_iter().collect();
        if begun && word.chars().count() >= 2 {
            let from = self.words.range::<str, _>((std::ops::Bound::Excluded(word), std::ops::Bound::Unbounded));
            let begins = from.take_while(|(known, _)| known.starts_with(word)).take(EXPANSIONS_MAX);
            found.extend(begins.map(|(_, postings)| (postings, PREFIX)));
        }
        if !found.is_empty() {
            return found;
        }
        let slips = match word.chars().count() {
            0..=3 => return found,
            4..=7 => 1,
            _ => 2,
        };
        let typed: Vec<char> = word.chars().collect();
        let mut row = Vec::new();
        let mut near: Vec<(usize, &Vec<Posting>)> = self
            .words
            .iter()
            .filter_map(|(known, postings)| Some((distance(&typed, known, slips, &mut row)?, postings)))
            .collect();
        near.sort_by_key(|(distance, postings)| (*distance, std::cmp::Reverse(postings.len())));
        near.truncate(EXPANSIONS_MAX);
        near.into_iter().map(|(distance, postings)| (postings, if distance == 1 { SLIP } else { SLIP / 2.0 })).collect()
    }

    #[expect(clippy::cast_precision_loss, reason = "counts of entries as weights")]
    fn rarity(&self, with: usize) -> f32 {
        let (all, with) = (self.names.len() as f32, with as f32);
        (1.0 + (all - with + 0.5) / (with + 0.5)).ln()
    }

    fn saturated(&self, posting: Posting) -> f32 {
        let place = usize::try_from(posting.document).unwrap_or(usize::MAX);
        let length = self.lengths.get(place).copied().unwrap_or(self.average) / self.average.max(f32::MIN_POSITIVE);
        let weight = posting.weight;
        weight * (SATURATION + 1.0) / (weight + SATURATION * (1.0 - LENGTH + LENGTH * length))
    }
}

/// The words of an entry and how much each says.
fn fields(name: &str, view: &Document, weights: &mut HashMap<String, f32>) {
    let mut add = |text: &str, weight: f32| {
        let mut left = FIELD_WORDS_MAX;
        words(text, &mut |word| {
            if left > 0 {
                left -= 1;
                *weights.entry(word.to_owned()).or_insert(0.0) += weight;
            }
        });
    };
    // The namespace says who, the rest what.
    let (namespace, rest) = name.split_once('/').unwrap_or(("", name));
    add(rest, NAME);
    add(namespace, DESCRIPTION);
    add(&view.title, TITLE);
    add(&view.description, DESCRIPTION);
    for tag in view.tags() {
        add(&tag, TAG);
    }
    for tool in view.tools() {
        add(&tool, TOOL);
    }
}

/// Words as they are typed and indexed: runs of letters and digits, in lower case, a change of case inside being a new word
/// beside the whole one (`GitHub` is found by `github` and by `hub`).
fn words(text: &str, each: &mut dyn FnMut(&str)) {
    for run in text.split(|c: char| !c.is_alphanumeric()).filter(|run| !run.is_empty()) {
        let whole: String = run.chars().take(WORD_CHARS_MAX).flat_map(char::to_lowercase).collect();
        each(&whole);
        let mut part = String::new();
        let mut lower = false;
        let mut parts = 0;
        for c in run.chars().take(WORD_CHARS_MAX) {
            if c.is_uppercase() && lower {
                parts += 1;
                each(&std::mem::take(&mut part));
            }
            lower = c.is_lowercase();
            part.extend(c.to_lowercase());
        }
        if parts > 0 {
            each(&part);
        }
    }
}

/// Characters to add, remove, replace or swap with their neighbour, when there are at most so many.
fn distance(typed: &[char], known: &str, most: usize, row: &mut Vec<usize>) -> Option<usize> {
    // In bytes a word is at least as long as in characters; most are plain.
    if known.len() + most < typed.len() || (known.is_ascii() && known.len() > typed.len() + most) {
        return None;
    }
    let known: Vec<char> = known.chars().collect();
    if known.len().abs_diff(typed.len()) > most {
        return None;
    }
    row.clear();
    row.extend(0..=typed.len());
    let mut above_that: Vec<usize> = Vec::new();
    for (at, c) in known.iter().enumerate() {
        let above = row.clone();
        let mut best = at + 1;
        if let Some(first) = row.first_mut() {
            *first = at + 1;
        }
        for (place, t) in typed.iter().enumerate() {
            let of = |row: &[usize], place: usize| row.get(place).copied().unwrap_or(usize::MAX / 2);
            let mut cost = of(&above, place) + usize::from(t != c);
            cost = cost.min(of(&above, place + 1) + 1).min(of(row, place) + 1);
            let swapped = at > 0 && place > 0 && known.get(at - 1) == Some(t) && typed.get(place - 1) == Some(c);
            if swapped {
                cost = cost.min(of(&above_that, place - 1) + 1);
            }
            if let Some(cell) = row.get_mut(place + 1) {
                *cell = cost;
            }
            best = best.min(cost);
        }
        if best > most {
            return None;
        }
        above_that = above;
    }
    row.last().copied().filter(|distance| *distance <= most)
}

#[cfg(test)]
mod tests;
