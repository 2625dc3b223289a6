//! What the policy promises.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a failed expectation fails the test")]

use fairlead_plugin::UpdatePolicy as _;
use fairlead_plugin::policy::{Candidate, Decision, Facts, Peer, Signal};
use fairlead_plugin::serde_json::json;
use fairlead_plugin::testing::facts::{candidate, facts};
use update_canary::{Canary, Config};

const MINUTE: u64 = 60_000;

fn decide(facts: &Facts) -> Decision {
    let config: Config = fairlead_plugin::serde_json::from_value(json!({"first": ["first"], "minutes": 30})).unwrap();
    Canary::decide(facts, &config).unwrap().decision
}

fn offered(first: Option<(&str, u64, Signal)>) -> Facts {
    let mut facts = facts(100 * MINUTE);
    facts.candidates = vec![Candidate { same_tag: true, ..candidate("sha256:new", 5) }];
    facts.peers = first
        .map(|(digest, since, health)| Peer {
            server: "first".to_owned(),
            digests: vec![digest.to_owned()],
            since: Some(since * MINUTE),
            health,
        })
        .into_iter()
        .collect();
    facts
}

#[test]
fn the_first_goes_at_once() {
    let mut facts = offered(None);
    facts.workload.server = "first".to_owned();
    assert!(matches!(decide(&facts), Decision::Update(_)));
}

#[test]
fn the_others_follow_when_it_has_been_well_for_a_while() {
    assert!(matches!(decide(&offered(Some(("sha256:new", 70, Signal::Good)))), Decision::Update(_)));
    let Decision::Hold(hold) = decide(&offered(Some(("sha256:new", 71, Signal::Good)))) else { panic!("no hold") };
    assert_eq!(hold.until, Some(101 * MINUTE));
}

#[test]
fn the_others_wait_for_one_that_is_missing_old_or_not_well() {
    for first in [
        None,
        Some(("sha256:running", 0, Signal::Good)),
        Some(("sha256:new", 0, Signal::Bad)),
        Some(("sha256:new", 0, Signal::Unknown)),
    ] {
        assert!(matches!(decide(&offered(first)), Decision::Hold(_)));
    }
}
