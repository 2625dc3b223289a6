//! Full-text search over the catalogue: ranked, by field, with prefixes and slips of the finger.
//!
//! An inverted index in memory, made anew with the catalogue in a fraction of the time that a synchronisation takes. Ranking is
//! BM25 over weighted fields: a word in a name says more than one in a description. The last word that was typed is taken as
//! the beginning of one, and a word that is in no entry as one that was meant to be another. An engine with files of its own
//! would bring sixty crates for a hundred thousand short texts that are in memory anyway (ADR 0025).

mod distance;
mod score;

use std::collections::{BTreeMap, BinaryHeap, HashMap};

use fairlead_server_json::Document;

use crate::limits::{EXPANSIONS_MAX, FIELD_WORDS_MAX, QUERY_WORDS_MAX, WORD_CHARS_MAX};
use crate::merge::{Catalogue, Merged};
use distance::{Letters, Rows, distance};
use score::Scores;

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

/// One entry in which a word is, and how much it says there; how rare the word is comes on top.
#[derive(Debug, Clone, Copy)]
struct Posting {
    document: u32,
    weight: f32,
}

/// One word of the catalogue.
#[derive(Debug)]
struct Word {
    text: Box<str>,
    letters: Letters,
    postings: Vec<Posting>,
}

/// The index. Of each name the newest version is found: others have almost the same words.
#[derive(Debug, Default)]
pub struct Index {
    /// In the order of their texts.
    words: Vec<Word>,
    /// Names, in the order of the catalogue.
    names: Vec<Box<str>>,
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
        let mut names = Vec::new();
        let mut lengths: Vec<f32> = Vec::new();
        let mut words: BTreeMap<Box<str>, Vec<Posting>> = BTreeMap::new();
        let mut weights: HashMap<String, f32> = HashMap::new();
        for merged in catalogue.iter().filter(|merged| merged.is_latest) {
            let Ok(document) = u32::try_from(names.len()) else { break };
            fields(&merged.entry.name, &merged.entry.view(), &mut weights);
            lengths.push(weights.values().sum());
            for (word, weight) in weights.drain() {
                words.entry(word.into_boxed_str()).or_default().push(Posting { document, weight });
            }
            names.push(merged.entry.name.as_str().into());
        }
        #[expect(clippy::cast_precision_loss, reason = "an average")]
        let average = (lengths.iter().sum::<f32>() / lengths.len().max(1) as f32).max(f32::MIN_POSITIVE);
        let words = words.into_iter().map(|(text, mut postings)| {
            for posting in &mut postings {
                let length = usize::try_from(posting.document).ok().and_then(|place| lengths.get(place));
                posting.weight = saturated(posting.weight, length.map_or(1.0, |length| length / average));
            }
            postings.shrink_to_fit();
            Word { letters: Letters::of(&text), text, postings }
        });
        Self { words: words.collect(), names }
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
        let mut scores = Scores::of(self.names.len());
        for (at, word) in typed.iter().enumerate() {
            let begun = at + 1 == typed.len() && !text.ends_with(char::is_whitespace);
            for (postings, worth) in self.expansions(word, begun) {
                let worth = worth * self.rarity(postings.len());
                for posting in postings {
                    scores.add(posting.document, worth * posting.weight);
                }
            }
            scores.end_word();
        }
        // Few of what fits are asked for: they are taken from the top, and the rest is never put in order.
        let mut ranked = BinaryHeap::from(scores.ranked());
        let best_first = std::iter::from_fn(|| ranked.pop());
        let found = best_first.filter_map(|ranked| {
            let name = self.names.get(usize::try_from(ranked.document()).ok()?)?;
            let merged = catalogue.latest(name)?;
            wanted(merged).then_some(Hit { merged, score: ranked.score })
        });
        found.take(most).collect()
    }

    /// The words of the index that a typed one may stand for, and what each is worth.
    fn expansions(&self, word: &str, begun: bool) -> Vec<(&[Posting], f32)> {
        let mut from = self.words.iter().skip(self.words.partition_point(|known| &*known.text < word)).peekable();
        let exact = from.next_if(|known| &*known.text == word);
        let mut found: Vec<(&[Posting], f32)> = exact.map(|known| (&*known.postings, 1.0)).into_iter().collect();
        if begun && word.chars().count() >= 2 {
            let begins = from.take_while(|known| known.text.starts_with(word)).take(EXPANSIONS_MAX);
            found.extend(begins.map(|known| (&*known.postings, PREFIX)));
        }
        if !found.is_empty() {
            return found;
        }
        let slips = match word.chars().count() {
            0..=3 => return found,
            4..=7 => 1,
            _ => 2,
        };
        let (typed, letters): (Vec<char>, Letters) = (word.chars().collect(), Letters::of(word));
        let mut rows = Rows::default();
        let mut near: Vec<(usize, &[Posting])> = self
            .words
            .iter()
            .filter(|known| known.letters.may_be(letters, slips))
            .filter_map(|known| Some((distance(&typed, &known.text, slips, &mut rows)?, &*known.postings)))
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
}

/// What a word says of an entry that is `length` times as long as others.
fn saturated(weight: f32, length: f32) -> f32 {
    weight * (SATURATION + 1.0) / (weight + SATURATION * (1.0 - LENGTH + LENGTH * length))
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

#[cfg(test)]
mod tests;
