//! What the policy promises.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a failed expectation fails the test")]

use std::cmp::Ordering;

use fairlead_plugin::UpdatePolicy as _;
use fairlead_plugin::policy::{Decision, Facts};
use fairlead_plugin::serde_json::{self, json};
use fairlead_plugin::testing::facts::{candidate, facts, version};
use update_semver::{Config, Range, Semver, compare};

fn decide(running: &str, candidates: &[&str], config: serde_json::Value) -> Option<String> {
    let mut facts: Facts = facts(1_000);
    facts.running.version = Some(version(running));
    facts.candidates = candidates
        .iter()
        .map(|tag| {
            let mut candidate = candidate(if *tag == running { "sha256:running" } else { tag }, 5);
            candidate.version = Some(version(tag));
            candidate
        })
        .collect();
    let config: Config = serde_json::from_value(config).unwrap();
    match Semver::decide(&facts, &config).unwrap().decision {
        Decision::Update(plan) => Some(plan.pin),
        Decision::UpToDate | Decision::Hold(_) => None,
        other => panic!("{other:?}"),
    }
}

#[test]
fn ranges_mean_what_package_managers_mean() {
    for (range, inside, outside) in [
        ("*", &["0.0.0", "9.9.9"][..], &[][..]),
        ("1.x", &["1.0.0", "1.99.0"], &["0.9.0", "2.0.0"]),
        ("1.4", &["1.4.0", "1.4.9"], &["1.5.0", "1.3.9"]),
        ("1.4.2", &["1.4.2"], &["1.4.3", "1.4.1"]),
        ("^1.4", &["1.4.0", "1.9.0"], &["1.3.9", "2.0.0"]),
        ("^0.2.3", &["0.2.3", "0.2.9"], &["0.3.0", "0.2.2"]),
        ("^0.0.3", &["0.0.3"], &["0.0.4"]),
        ("~1.4.2", &["1.4.2", "1.4.9"], &["1.5.0", "1.4.1"]),
        ("~1", &["1.0.0", "1.9.0"], &["2.0.0"]),
        (">=1.2 <2", &["1.2.0", "1.99.99"], &["2.0.0", "1.1.9"]),
        (">1.2", &["1.3.0"], &["1.2.9"]),
        ("<=1.2", &["1.2.9", "0.0.1"], &["1.3.0"]),
        ("1.x || 3.x", &["1.0.0", "3.1.0"], &["2.0.0"]),
        ("v1.4.2", &["1.4.2"], &["1.4.3"]),
    ] {
        let read = Range::parse(range).unwrap();
        for text in inside {
            assert!(read.contains(&version(text)), "{text} in {range}");
        }
        for text in outside {
            assert!(!read.contains(&version(text)), "{text} not in {range}");
        }
    }
    for text in ["", "a", "1.2.3.4", "1.x.2", ">", "||", ">*", "1..2", "-1"] {
        assert!(Range::parse(text).is_err(), "{text}");
    }
}

#[test]
fn the_highest_in_the_range_is_taken_and_never_a_lower_one() {
    let range = json!({"range": "^1"});
    assert_eq!(decide("1.2.0", &["1.3.0", "1.10.0", "2.0.0", "1.9.0"], range.clone()), Some("1.10.0".to_owned()));
    assert_eq!(decide("1.10.0", &["1.10.0", "1.9.0"], range.clone()), None);
    assert_eq!(decide("2.0.0", &["1.9.0"], range), None);
}

#[test]
fn pre_releases_are_taken_where_they_are_wanted() {
    assert_eq!(decide("1.2.0", &["1.3.0-rc.1"], json!({"range": "^1"})), None);
    let wanted = json!({"range": "^1", "pre_releases": true});
    assert_eq!(decide("1.2.0", &["1.3.0-rc.1", "1.3.0-rc.2"], wanted), Some("1.3.0-rc.2".to_owned()));
}

#[test]
fn precedence_is_that_of_the_specification() {
    let order = [
        "1.0.0-alpha",
        "1.0.0-alpha.1",
        "1.0.0-alpha.beta",
        "1.0.0-beta",
        "1.0.0-beta.2",
        "1.0.0-beta.11",
        "1.0.0-rc.1",
        "1.0.0",
    ];
    for pair in order.windows(2) {
        assert_eq!(compare(&version(pair[0]), &version(pair[1])), Ordering::Less, "{pair:?}");
    }
}

#[test]
fn a_tag_that_is_no_version_is_followed_where_that_is_wanted() {
    let mut facts = facts(1_000);
    let mut newest = candidate("sha256:new", 5);
    newest.same_tag = true;
    facts.candidates = vec![newest];
    let decide = |config: serde_json::Value| {
        let config: Config = serde_json::from_value(config).unwrap();
        matches!(Semver::decide(&facts, &config).unwrap().decision, Decision::Update(_))
    };
    assert!(!decide(json!({"range": "*"})));
    assert!(decide(json!({"range": "*", "follow_other_tags": true})));
}
