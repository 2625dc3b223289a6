//! Update policies: what the first-party ones decide in the real host, and what becomes of broken ones.

use std::sync::Arc;
use std::time::{Duration, Instant};

use fairlead_core::freshness::{Decision, Facts, HoldReason, UpdatePolicy};
use fairlead_wasm::AttachError;
use serde_json::{Value, json};

use crate::support::Host;

const RUNNING: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000001";
const NEW: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000002";

fn facts(now: &str) -> Facts {
    serde_json::from_value(json!({
        "now": now,
        "intervalMs": 900_000,
        "trigger": "schedule",
        "workload": {"key": "default/a", "tenant": "default", "server": "a", "created": "2026-01-01T00:00:00Z"},
        "running": {"reference": "registry.test/a:1.0.0", "digests": [RUNNING], "version": {"major": 1, "minor": 0, "patch": 0}},
        "candidates": [{
            "pin": NEW, "sameTag": true, "version": {"major": 1, "minor": 2, "patch": 0},
            "firstSeen": "2026-03-01T00:00:00Z", "lastSeen": "2026-03-01T00:00:00Z",
        }],
        "autoReinstall": true,
    }))
    .unwrap()
}

async fn policy(host: &Host, name: &str, config: Value) -> Result<Arc<dyn UpdatePolicy>, AttachError> {
    host.host.policy(&host.load(name).await, &config).await
}

async fn decide(host: &Host, name: &str, config: Value, now: &str) -> Decision {
    policy(host, name, config).await.unwrap().decide(&facts(now)).await.decision
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_party_policies_decide() {
    let host = Host::new();
    let now = "2026-03-02T00:00:00Z";
    let window =
        json!({"windows": [{"days": ["mon"], "from": "01:00", "to": "02:00"}], "time-zones": ["Europe/Vienna"]});
    for (name, config, taken) in [
        ("update-digest", json!({}), true),
        ("update-semver", json!({"range": "^1"}), true),
        ("update-semver", json!({"range": "~1.0"}), false),
        ("update-cooldown", json!({"hours": 24}), true),
        ("update-cooldown", json!({"hours": 25}), false),
        ("update-approval", json!({}), false),
        ("update-canary", json!({"first": ["a"], "minutes": 5}), true),
        ("update-canary", json!({"first": ["b"], "minutes": 5}), false),
        // One in the night in Vienna, in winter.
        ("update-window", window, true),
    ] {
        let decision = decide(&host, name, config.clone(), now).await;
        assert_eq!(matches!(decision, Decision::Update(_)), taken, "{name} {config}: {decision:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t21_a_window_keeps_to_the_hour_of_its_zone_over_both_changes_of_the_clock() {
    let host = Host::new();
    for (zone, summer) in [
        ("Europe/Vienna", true),
        ("America/New_York", true),
        ("Australia/Sydney", true),
        ("Asia/Kolkata", false),
        ("Pacific/Chatham", true),
    ] {
        let config = json!({"windows": [{"from": "12:00", "to": "13:00"}], "time-zones": [zone]});
        let policy = policy(&host, "update-window", config).await.unwrap();
        let mut hours = std::collections::BTreeSet::new();
        for month in 1..=12 {
            let noon: jiff::Zoned = format!("2026-{month:02}-15T12:30:00[{zone}]").parse().unwrap();
            hours.insert(noon.timestamp().as_second() % 86_400);
            for (minutes, taken) in [(0, true), (-31, false), (31, false)] {
                let at = noon.timestamp() + jiff::SignedDuration::from_mins(minutes);
                let decision = policy.decide(&facts(&at.to_string())).await.decision;
                assert_eq!(matches!(decision, Decision::Update(_)), taken, "{zone} {at}: {decision:?}");
            }
        }
        assert_eq!(hours.len() > 1, summer, "{zone}: {hours:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t20_a_broken_policy_holds_and_says_how_it_is_broken() {
    let host = Host::new();
    for (does, says) in [
        ("loop", "computed for longer than"),
        ("trap", "unreachable"),
        // Its allocator gives up when it gets no more, and that is a trap.
        ("allocate", "unreachable"),
        ("fail", "it cannot decide: the moon is full"),
        ("nonsense", "names `latest`, which is no digest"),
    ] {
        let policy = policy(&host, "broken-policy", json!({"does": does})).await.unwrap();
        let began = Instant::now();
        let decision = policy.decide(&facts("2026-03-02T00:00:00Z")).await.decision;
        let Decision::Hold { reason, detail, .. } = decision else { panic!("{does}: {decision:?}") };
        assert_eq!(reason, HoldReason::PolicyError);
        assert!(detail.contains(says), "{does}: {detail}");
        assert!(began.elapsed() < Duration::from_secs(20), "{does} took {:?}", began.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_facts_give_the_same_verdict() {
    let host = Host::new();
    let policy = policy(&host, "update-cooldown", json!({"hours": 100})).await.unwrap();
    let facts = facts("2026-03-02T00:00:00Z");
    let first = policy.decide(&facts).await;
    for _ in 0..200 {
        assert_eq!(policy.decide(&facts).await, first);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_policy_or_wrongly_configured_is_refused() {
    let host = Host::new();
    let kind = policy(&host, "tool-filter", json!({})).await.err().unwrap();
    assert!(matches!(kind, AttachError::Kind { .. }), "{kind}");
    for (name, config) in [
        ("update-semver", json!({"range": "not a range"})),
        ("update-semver", json!({})),
        ("update-window", json!({"windows": [{"from": "02:00", "to": "03:00"}], "time-zones": ["Mars/Base"]})),
    ] {
        assert!(policy(&host, name, config.clone()).await.is_err(), "{name} {config}");
    }
}
