//! What entries come to while a question is read, word by word: an array over all entries and a list of those that were met.

use std::cmp::Ordering;

/// The sums.
pub(super) struct Scores {
    entries: Vec<Score>,
    /// Met by the word that is being read.
    now: Vec<u32>,
    /// Met by any.
    met: Vec<u32>,
}

#[derive(Clone, Copy, Default)]
struct Score {
    /// The best of what this word may stand for.
    best: f32,
    sum: f32,
    words: u8,
}

impl Scores {
    pub(super) fn of(entries: usize) -> Self {
        Self { entries: vec![Score::default(); entries], now: Vec::new(), met: Vec::new() }
    }

    /// A word, or what it may stand for, is in an entry.
    pub(super) fn add(&mut self, document: u32, score: f32) {
        let Some(known) = entry(&mut self.entries, document) else { return };
        if known.best == 0.0 {
            self.now.push(document);
        }
        known.best = known.best.max(score);
    }

    /// What comes now is another word.
    pub(super) fn end_word(&mut self) {
        for document in self.now.drain(..) {
            let Some(known) = entry(&mut self.entries, document) else { continue };
            if known.words == 0 {
                self.met.push(document);
            }
            known.sum += std::mem::take(&mut known.best);
            known.words = known.words.saturating_add(1);
        }
    }

    /// All entries that were met, in no order.
    pub(super) fn ranked(mut self) -> Vec<Ranked> {
        let met = self.met.into_iter().filter_map(|document| {
            let Score { sum, words, .. } = *entry(&mut self.entries, document)?;
            Some(Ranked { words, score: sum, before: u32::MAX - document })
        });
        met.collect()
    }
}

fn entry(entries: &mut [Score], document: u32) -> Option<&mut Score> {
    entries.get_mut(usize::try_from(document).ok()?)
}

/// An entry and how well it fits. Entries with all the words come before those with some of them.
#[derive(Debug, PartialEq)]
pub(super) struct Ranked {
    words: u8,
    pub(super) score: f32,
    /// Larger for what comes earlier in the catalogue.
    before: u32,
}

impl Ranked {
    pub(super) fn document(&self) -> u32 {
        u32::MAX - self.before
    }
}

impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> Ordering {
        let score = self.score.total_cmp(&other.score);
        self.words.cmp(&other.words).then(score).then(self.before.cmp(&other.before))
    }
}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Eq for Ranked {}
