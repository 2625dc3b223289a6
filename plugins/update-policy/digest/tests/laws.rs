//! What the policy promises.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a failed expectation fails the test")]

use fairlead_plugin::UpdatePolicy as _;
use fairlead_plugin::policy::{Candidate, Decision, Facts, Surface};
use fairlead_plugin::testing::facts::{candidate, facts};
use update_digest::{Config, Digest};

fn decide(facts: &Facts) -> Decision {
    Digest::decide(facts, &Config::default()).unwrap().decision
}

#[test]
fn what_the_tag_names_is_taken_and_nothing_else() {
    let mut facts = facts(1_000);
    assert!(matches!(decide(&facts), Decision::UpToDate));
    let named = Candidate { same_tag: true, ..candidate("sha256:new", 5) };
    facts.candidates = vec![candidate("sha256:other", 9), named];
    assert!(matches!(decide(&facts), Decision::Update(plan) if plan.pin == "sha256:new"));
}

#[test]
fn an_image_with_another_digest_and_the_same_content_is_no_update() {
    let mut facts = facts(1_000);
    let mut republished = Candidate { same_tag: true, ..candidate("sha256:index", 5) };
    republished.digests = vec!["sha256:running".to_owned()];
    facts.candidates = vec![republished];
    assert!(matches!(decide(&facts), Decision::UpToDate));
}

#[test]
fn what_breaks_calls_is_taken_only_by_whoever_said_so() {
    let mut facts = facts(1_000);
    let named = Candidate { same_tag: true, tool_surface: Surface::Breaking, ..candidate("sha256:new", 5) };
    facts.candidates = vec![named];
    assert!(matches!(decide(&facts), Decision::Hold(_)));
    let config: Config = fairlead_plugin::serde_json::from_str(r#"{"breaking": true}"#).unwrap();
    assert!(matches!(Digest::decide(&facts, &config).unwrap().decision, Decision::Update(_)));
}
