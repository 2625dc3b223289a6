//! What the policy promises.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a failed expectation fails the test")]

use fairlead_plugin::UpdatePolicy as _;
use fairlead_plugin::policy::{Candidate, Decision, Facts, HoldReason};
use fairlead_plugin::serde_json::json;
use fairlead_plugin::testing::facts::{candidate, facts};
use update_cooldown::{Config, Cooldown};

const HOUR: u64 = 3_600_000;

fn decide(facts: &Facts) -> Decision {
    let config: Config = fairlead_plugin::serde_json::from_value(json!({"hours": 24})).unwrap();
    Cooldown::decide(facts, &config).unwrap().decision
}

fn offered(ages: &[(&str, u64)], now: u64) -> Facts {
    let mut facts = facts(now);
    facts.candidates = ages.iter().map(|(pin, age)| candidate(pin, now - age * HOUR)).collect();
    if let Some(newest) = facts.candidates.first_mut() {
        *newest = Candidate { same_tag: true, ..newest.clone() };
    }
    facts
}

#[test]
fn what_is_too_young_waits_until_it_is_not() {
    let facts = offered(&[("sha256:new", 1)], 1_000 * HOUR);
    let Decision::Hold(hold) = decide(&facts) else { panic!("no hold") };
    assert_eq!(hold.reason, HoldReason::TooYoung);
    assert_eq!(hold.until, Some(1_023 * HOUR));
    let facts = offered(&[("sha256:new", 24)], 1_000 * HOUR);
    assert!(matches!(decide(&facts), Decision::Update(_)));
}

#[test]
fn the_newest_that_is_old_enough_is_taken_though_a_younger_one_is_there() {
    let facts = offered(&[("sha256:c", 2), ("sha256:b", 30), ("sha256:a", 60), ("sha256:running", 90)], 1_000 * HOUR);
    assert!(matches!(decide(&facts), Decision::Update(plan) if plan.pin == "sha256:b"));
}

#[test]
fn what_was_seen_before_what_runs_is_no_update() {
    let facts = offered(&[("sha256:c", 2), ("sha256:running", 30), ("sha256:a", 60)], 1_000 * HOUR);
    assert!(matches!(decide(&facts), Decision::Hold(_)));
}
