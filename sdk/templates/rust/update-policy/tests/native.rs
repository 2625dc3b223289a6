//! The policy as plain Rust, without Wasm and without a host: `cargo test`.

use fairlead_plugin::UpdatePolicy;
use fairlead_plugin::policy::{Candidate, Decision, Facts, HoldReason, Signal};
use fairlead_plugin::serde_json::{from_value, json};
use fairlead_plugin::testing::facts as kit;
use {{crate}}::{{type}};

const HOUR_MS: u64 = 60 * 60 * 1000;

fn decide(facts: &Facts) -> Decision {
    {{type}}::decide(facts, &from_value(json!({"age_hours": 24})).unwrap())
        .unwrap()
        .decision
}

#[test]
fn what_runs_is_up_to_date() {
    assert_eq!(
        decide(&facts(100 * HOUR_MS, candidate("sha256:running"))),
        Decision::UpToDate
    );
}

#[test]
fn a_young_candidate_waits_until_it_is_old_enough() {
    let Decision::Hold(hold) = decide(&facts(23 * HOUR_MS, candidate("sha256:new"))) else {
        panic!("no hold")
    };
    assert_eq!(
        (hold.reason, hold.until),
        (HoldReason::TooYoung, Some(24 * HOUR_MS))
    );
}

#[test]
fn an_old_enough_one_is_taken_unless_its_signature_is_bad() {
    let mut new = candidate("sha256:new");
    let Decision::Update(plan) = decide(&facts(24 * HOUR_MS, new.clone())) else {
        panic!("no update")
    };
    assert_eq!(plan.pin, "sha256:new");
    new.signature = Signal::Bad;
    assert!(matches!(
        decide(&facts(24 * HOUR_MS, new)),
        Decision::Hold(_)
    ));
}

/// What there is to decide at a time: something runs, and there is one candidate.
fn facts(now: u64, candidate: Candidate) -> Facts {
    Facts {
        candidates: vec![candidate],
        ..kit::facts(now)
    }
}

/// A candidate that was first seen at the beginning of time.
fn candidate(pin: &str) -> Candidate {
    Candidate {
        digests: vec![pin.to_owned()],
        ..kit::candidate(pin, 0)
    }
}
