//! What the policy promises.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a failed expectation fails the test")]

use fairlead_plugin::UpdatePolicy as _;
use fairlead_plugin::policy::{Candidate, Decision, Facts, HoldReason};
use fairlead_plugin::serde_json::{self, json};
use fairlead_plugin::testing::facts::{approval, candidate, facts};
use update_approval::{Approval, Config};

fn config(value: serde_json::Value) -> Config {
    serde_json::from_value(value).unwrap()
}

fn offered() -> Facts {
    let mut facts = facts(1_000);
    facts.candidates = vec![Candidate { same_tag: true, ..candidate("sha256:new", 5) }];
    facts
}

fn is_taken(facts: &Facts, config: &Config) -> bool {
    match Approval::decide(facts, config).unwrap().decision {
        Decision::Update(_) => true,
        Decision::Hold(hold) => {
            assert_eq!(hold.reason, HoldReason::AwaitingApproval);
            false
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_yes_is_to_one_digest_and_for_a_while() {
    let config = config(json!({}));
    let mut facts = offered();
    assert!(!is_taken(&facts, &config));
    facts.approvals = vec![approval("sha256:other", "ann", 2_000)];
    assert!(!is_taken(&facts, &config));
    facts.approvals = vec![approval("sha256:new", "ann", 1_000)];
    assert!(!is_taken(&facts, &config), "it has expired");
    facts.approvals = vec![approval("sha256:new", "ann", 1_001)];
    assert!(is_taken(&facts, &config));
}

#[test]
fn as_many_different_people_as_were_asked_for() {
    let two = config(json!({"count": 2, "by": ["ann", "bob"]}));
    let mut facts = offered();
    facts.approvals = vec![approval("sha256:new", "ann", 2_000), approval("sha256:new", "ann", 2_000)];
    assert!(!is_taken(&facts, &two));
    facts.approvals.push(approval("sha256:new", "eve", 2_000));
    assert!(!is_taken(&facts, &two));
    facts.approvals.push(approval("sha256:new", "bob", 2_000));
    assert!(is_taken(&facts, &two));
}

#[test]
fn what_could_never_be_approved_is_refused() {
    assert!(Approval::validate(&config(json!({"count": 0}))).is_err());
    assert!(Approval::validate(&config(json!({"count": 2, "by": ["ann"]}))).is_err());
}
