//! Measures a catalogue of 100,000 generated entries: encoding, decoding, merging, indexing and searching, on one thread.
//!
//! `cargo run --release -p fairlead-registry --example measure [COUNT]`

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a tool of developers that fails loudly"
)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use fairlead_core::name::{LayerName, RegistryName};
use fairlead_core::registry::EntryStatus;
use fairlead_registry::copy::Copy;
use fairlead_registry::entry::Entry;
use fairlead_registry::merge::{Catalogue, Part};
use fairlead_registry::rules::Rules;
use fairlead_registry::search::Index;
use jiff::Timestamp;
use serde_json::json;

const SYLLABLES: [&str; 24] = [
    "wea", "ther", "git", "hub", "map", "data", "base", "mail", "cal", "end", "ar", "file", "sys", "tem", "log",
    "chat", "pay", "ment", "doc", "image", "search", "time", "note", "task",
];

/// Numbers that are spread and always the same.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % below
    }

    /// Small ones are common, large ones rare: the words of people.
    fn skewed(&mut self, below: usize) -> usize {
        let (a, b) = (self.next(below), self.next(below));
        a * b / below
    }

    fn word(&mut self) -> String {
        let syllables = 1 + self.next(3);
        (0..syllables).map(|_| SYLLABLES[self.skewed(SYLLABLES.len())]).collect()
    }
}

fn entry(at: usize, numbers: &mut Numbers) -> Entry {
    let (owner, name) = (numbers.word(), numbers.word());
    let name = format!("io.github.{owner}{}/{name}-{at}", numbers.skewed(5_000));
    let description: Vec<String> = (0..6 + numbers.next(10)).map(|_| numbers.word()).collect();
    let document = json!({
        "$schema": "https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json",
        "name": name, "version": "1.0.0", "title": numbers.word(), "description": description.join(" "),
        "repository": {"url": format!("https://github.com/{owner}/x"), "source": "github"},
        "packages": [{"registryType": "npm", "identifier": format!("@{owner}/{at}"), "version": "1.0.0", "transport": {"type": "stdio"},
            "environmentVariables": [{"name": "API_KEY", "description": "the key of the service", "isRequired": true, "isSecret": true}]}],
    });
    Entry {
        name,
        version: "1.0.0".to_owned(),
        status: EntryStatus::Active,
        published: None,
        updated: None,
        labels: BTreeMap::new(),
        document: document.to_string(),
    }
}

fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) / 1024
}

fn told<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let made = work();
    println!("{what:<28} {:>9.1} ms   {:>6} MiB resident", begun.elapsed().as_secs_f64() * 1e3, resident_mib());
    made
}

fn main() {
    let count = std::env::args().nth(1).map_or(100_000, |count| count.parse().unwrap());
    let mut numbers = Numbers(7);
    let copy = told("generate", || {
        let entries = (0..count).map(|at| entry(at, &mut numbers));
        let keyed = entries.map(|entry| ((entry.name.clone(), entry.version.clone()), Arc::new(entry)));
        Copy { entries: keyed.collect(), ..Copy::default() }
    });
    let bytes = told("encode", || copy.encode());
    println!("copy on disk                 {:>9.1} MiB", bytes.len() as f64 / 1024.0 / 1024.0);
    drop(copy);
    let copy = told("decode", || Copy::decode(&bytes).unwrap());
    drop(bytes);
    let rules = Rules::default();
    let part =
        Part { registry: RegistryName::new("r").unwrap(), layer: LayerName::community(), rules: &rules, copy: &copy };
    let catalogue = told("merge", || Catalogue::merge(&[part], &[LayerName::community()], Timestamp::UNIX_EPOCH));
    let index = told("index", || Index::of(&catalogue));
    for (what, questions) in [
        ("one word", (0..500).map(|_| format!("{} ", numbers.word())).collect::<Vec<_>>()),
        ("two words", (0..500).map(|_| format!("{} {}", numbers.word(), numbers.word())).collect()),
        ("a beginning", (0..500).map(|_| numbers.word().chars().take(3).collect()).collect()),
        ("a slip", (0..500).map(|_| format!("{}x{} ", numbers.word(), numbers.word())).collect()),
    ] {
        let mut times: Vec<f64> = questions
            .iter()
            .map(|question| {
                let begun = Instant::now();
                let hits = index.search(&catalogue, question, 20, &|_| true);
                std::hint::black_box(hits.len());
                begun.elapsed().as_secs_f64() * 1e3
            })
            .collect();
        times.sort_by(f64::total_cmp);
        println!("search {what:<21} p50 {:>6.2} ms   p99 {:>6.2} ms", times[250], times[495]);
    }
}
