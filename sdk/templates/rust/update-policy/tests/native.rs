//! The policy as plain Rust, without Wasm and without a host: `cargo test`.

use fairlead_plugin::UpdatePolicy;
use fairlead_plugin::policy::{
    Candidate, Decision, Facts, HoldReason, Running, Signal, Surface, Trigger, Workload,
};
use fairlead_plugin::serde_json::{from_value, json};
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
        decide(&facts(100 * HOUR_MS, candidate("sha256:old"))),
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

/// A candidate that was first seen at the beginning of time.
fn candidate(pin: &str) -> Candidate {
    Candidate {
        tag: Some("latest".to_owned()),
        same_tag: true,
        version: None,
        pin: pin.to_owned(),
        digests: vec![pin.to_owned()],
        first_seen: 0,
        last_seen: 0,
        pushed: None,
        created_claimed: None,
        platform: Signal::Good,
        signature: Signal::Unknown,
        provenance: Signal::Unknown,
        tool_surface: Surface::Unknown,
        missing_settings: Vec::new(),
        failures: 0,
        quarantined_until: None,
        is_last_good: false,
        attributes: Vec::new(),
    }
}

fn facts(now: u64, candidate: Candidate) -> Facts {
    Facts {
        now,
        seed: 1,
        interval_ms: HOUR_MS,
        trigger: Trigger::Schedule,
        workload: Workload {
            key: "default/time".to_owned(),
            tenant: "default".to_owned(),
            server: "time".to_owned(),
            group: None,
            labels: Vec::new(),
            created: 0,
            sessions: 0,
        },
        running: Running {
            reference: "registry.example/time:latest".to_owned(),
            pinned: false,
            digests: vec!["sha256:old".to_owned()],
            version: None,
            since: Some(0),
            health: Signal::Good,
        },
        candidates: vec![candidate],
        truncated: false,
        history: Vec::new(),
        approvals: Vec::new(),
        peers: Vec::new(),
        auto_reinstall: true,
        zone_offsets: Vec::new(),
        attributes: Vec::new(),
    }
}
