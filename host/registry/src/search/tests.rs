//! What is found, in what order, and with which slips of the finger.

use std::sync::Arc;

use fairlead_core::name::{LayerName, RegistryName};
use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::copy::{Copy, Position};
use crate::entry::{Entry, sample};
use crate::merge::Part;
use crate::rules::Rules;

fn entry(name: &str, title: &str, description: &str) -> Entry {
    let mut entry = sample(name, "1.0.0");
    entry.document = json!({"name": name, "version": "1.0.0", "title": title, "description": description}).to_string();
    entry
}

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

fn some() -> Catalogue {
    catalogue([
        entry("io.github.acme/weather", "Weather", "Forecasts for every place"),
        entry("io.github.acme/maps", "Maps", "Places, routes and the weather on the way"),
        entry("com.example/GitHubIssues", "Issues", "Reads and writes issues"),
        entry("com.example/postgres", "PostgreSQL", "Queries a database"),
    ])
}

fn found(text: &str) -> Vec<String> {
    let catalogue = some();
    let index = Index::of(&catalogue);
    index.search(&catalogue, text, 10, &|_| true).iter().map(|hit| hit.merged.entry.name.clone()).collect()
}

#[test]
fn a_word_in_a_name_says_more_than_one_in_a_description() {
    assert_eq!(found("weather"), ["io.github.acme/weather", "io.github.acme/maps"]);
}

#[test]
fn the_last_word_may_be_the_beginning_of_one() {
    assert_eq!(found("post"), ["com.example/postgres"]);
    assert_eq!(found("weather fore")[0], "io.github.acme/weather");
    assert!(found("post ").is_empty(), "a word that was ended is a whole one");
}

#[test]
fn a_slip_of_the_finger_finds_what_was_meant() {
    for slip in ["wether", "waether", "weathre", "weatherr", "postgers", "possgress"] {
        assert!(!found(slip).is_empty(), "{slip}");
    }
    assert!(found("xyz").is_empty());
    assert!(found("").is_empty());
}

#[test]
fn a_part_of_a_name_in_mixed_case_is_a_word() {
    assert_eq!(found("hub"), ["com.example/GitHubIssues"]);
    assert_eq!(found("githubissues"), ["com.example/GitHubIssues"]);
}

#[test]
fn entries_with_all_words_come_before_those_with_some() {
    assert_eq!(found("routes weather")[0], "io.github.acme/maps");
}

fn plain_distance(one: &[char], other: &[char]) -> usize {
    let mut table = vec![vec![0; other.len() + 1]; one.len() + 1];
    for i in 0..=one.len() {
        for j in 0..=other.len() {
            table[i][j] = if i == 0 || j == 0 {
                i.max(j)
            } else {
                let mut cost = (table[i - 1][j] + 1).min(table[i][j - 1] + 1);
                cost = cost.min(table[i - 1][j - 1] + usize::from(one[i - 1] != other[j - 1]));
                if i > 1 && j > 1 && one[i - 1] == other[j - 2] && one[i - 2] == other[j - 1] {
                    cost = cost.min(table[i - 2][j - 2] + 1);
                }
                cost
            };
        }
    }
    table[one.len()][other.len()]
}

proptest! {
    #[test]
    fn the_distance_is_that_of_the_plain_table(one in "[abé]{0,7}", other in "[abé]{0,7}", most in 0_u8..3) {
        let typed: Vec<char> = one.chars().collect();
        let plain = plain_distance(&typed, &other.chars().collect::<Vec<_>>());
        let is_near = plain <= usize::from(most);
        prop_assert_eq!(distance(&typed, &other, most, &mut Rows::default()), is_near.then_some(plain));
        prop_assert!(!is_near || Letters::of(&one).may_be(Letters::of(&other), most), "a look spares no near one");
    }

    #[test]
    fn every_entry_is_found_by_its_own_name(names in proptest::collection::btree_set("[a-c]/[a-d]{2,6}", 1..12)) {
        let catalogue = catalogue(names.iter().map(|name| sample(name, "1")));
        let index = Index::of(&catalogue);
        for name in &names {
            let word = name.split_once('/').unwrap().1;
            let hits = index.search(&catalogue, word, 100, &|_| true);
            prop_assert!(hits.iter().any(|hit| hit.merged.entry.name == *name), "{}", name);
        }
    }
}
