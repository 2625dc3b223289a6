//! Policies that were put together: who is asked about what, and what comes of a broken one.

use std::collections::BTreeMap;
use std::sync::Arc;

use fairlead_control::freshness::Rule;
use fairlead_core::BoxFuture;
use fairlead_core::freshness::*;
use fairlead_core::name::AttachmentName;
use jiff::Timestamp;
use parking_lot::Mutex;

use crate::world::digest;

type Says = Box<dyn Fn(&Facts) -> Decision + Send + Sync>;

/// A policy of one function, which remembers about which candidates it was asked.
struct Scripted {
    says: Says,
    asked: Mutex<Vec<usize>>,
}

impl UpdatePolicy for Scripted {
    fn decide<'a>(&'a self, facts: &'a Facts) -> BoxFuture<'a, Verdict> {
        Box::pin(async move {
            self.asked.lock().push(facts.candidates.len());
            (self.says)(facts).into()
        })
    }
}

fn policy(says: impl Fn(&Facts) -> Decision + Send + Sync + 'static) -> Arc<Scripted> {
    Arc::new(Scripted { says: Box::new(says), asked: Mutex::default() })
}

fn facts() -> Facts {
    let candidate = |number: u8| serde_json::json!({"pin": digest(number), "firstSeen": 0_i64, "lastSeen": 0_i64});
    let epoch = Timestamp::UNIX_EPOCH;
    let candidates: Vec<_> = [4, 3, 2, 1]
        .map(candidate)
        .into_iter()
        .map(|mut value| {
            value["firstSeen"] = serde_json::json!(epoch);
            value["lastSeen"] = serde_json::json!(epoch);
            value
        })
        .collect();
    serde_json::from_value(serde_json::json!({
        "now": epoch, "intervalMs": 900_000, "trigger": "schedule", "autoReinstall": true,
        "workload": {"key": "default/a", "tenant": "default", "server": "a", "created": epoch},
        "running": {"reference": "a:1", "digests": [digest(1)]},
        "candidates": candidates,
    }))
    .unwrap()
}

fn bound(written: serde_json::Value, policies: &[(&str, Arc<Scripted>)]) -> Rule {
    let attached: BTreeMap<AttachmentName, Arc<dyn UpdatePolicy>> = policies
        .iter()
        .map(|(name, policy)| (AttachmentName::new(name).unwrap(), Arc::clone(policy) as Arc<dyn UpdatePolicy>))
        .collect();
    Rule::bind(&serde_json::from_value(written).unwrap(), &attached).unwrap()
}

fn newest(facts: &Facts) -> Decision {
    match facts.candidates.iter().find(|known| !facts.running.digests.contains(&known.pin)) {
        Some(candidate) => Decision::Update(Plan::to(candidate.pin.clone())),
        None => Decision::UpToDate,
    }
}

#[tokio::test]
async fn in_all_of_the_first_chooses_and_the_others_are_asked_about_that_one_alone() {
    let chooses = policy(|_| Decision::Update(Plan::to(digest(2))));
    let gate = policy(newest);
    let rule =
        bound(serde_json::json!({"allOf": ["a", "b"]}), &[("a", Arc::clone(&chooses)), ("b", Arc::clone(&gate))]);
    let Decision::Update(plan) = rule.decide(&facts()).await.decision else { panic!("no update") };
    assert_eq!(plan.pin, digest(2), "the gate would have chosen another, and was not asked to choose");
    assert_eq!(
        (chooses.asked.lock().clone(), gate.asked.lock().clone()),
        (vec![4], vec![2]),
        "the chosen and the running"
    );
}

#[tokio::test]
async fn a_hold_anywhere_in_all_of_holds_and_nobody_is_asked_when_there_is_nothing_to_do() {
    let no = || policy(|_| Decision::hold(HoldReason::OutsideWindow, "not now"));
    for order in [["a", "b"], ["b", "a"]] {
        let rule = bound(serde_json::json!({ "allOf": order }), &[("a", policy(newest)), ("b", no())]);
        assert!(matches!(
            rule.decide(&facts()).await.decision,
            Decision::Hold { reason: HoldReason::OutsideWindow, .. }
        ));
    }
    let gate = no();
    let rule = bound(
        serde_json::json!({"allOf": ["a", "b"]}),
        &[("a", policy(|_| Decision::UpToDate)), ("b", Arc::clone(&gate))],
    );
    assert_eq!(rule.decide(&facts()).await.decision, Decision::UpToDate);
    assert!(gate.asked.lock().is_empty());
}

#[tokio::test]
async fn a_broken_policy_holds_in_all_of_and_counts_for_nothing_in_any_of() {
    let broken = || policy(|_| Verdict::policy_error("it trapped").decision);
    let both = || [("a", broken()), ("b", policy(newest))];
    let all = bound(serde_json::json!({"allOf": ["b", "a"]}), &both()).decide(&facts()).await.decision;
    assert!(matches!(all, Decision::Hold { reason: HoldReason::PolicyError, .. }));
    let any = bound(serde_json::json!({"anyOf": ["a", "b"]}), &both()).decide(&facts()).await.decision;
    assert!(matches!(any, Decision::Update(_)));
}

#[tokio::test]
async fn a_tree_decides_from_its_leaves() {
    // In the window, and either old enough or approved.
    let decide = |window: bool, old: bool, approved: bool| async move {
        let if_so =
            |yes: bool| policy(move |facts| if yes { newest(facts) } else { Decision::hold(HoldReason::Other, "no") });
        let written = serde_json::json!({"allOf": [{"anyOf": ["old", "approved"]}, "window"]});
        let rule = bound(written, &[("window", if_so(window)), ("old", if_so(old)), ("approved", if_so(approved))]);
        matches!(rule.decide(&facts()).await.decision, Decision::Update(_))
    };
    for case in 0..8_u8 {
        let (window, old, approved) = (case & 1 > 0, case & 2 > 0, case & 4 > 0);
        assert_eq!(decide(window, old, approved).await, window && (old || approved), "{window} {old} {approved}");
    }
}

#[tokio::test]
async fn what_an_outer_owner_says_can_only_tighten() {
    let rule = |says: fn(&Facts) -> Decision| Rule::Policy(policy(says));
    let hold: fn(&Facts) -> Decision = |_| Decision::hold(HoldReason::Frozen, "no");
    let layered = Rule::layered(vec![rule(newest), rule(hold)]).unwrap();
    assert!(matches!(layered.decide(&facts()).await.decision, Decision::Hold { .. }));
    let layered = Rule::layered(vec![rule(hold), rule(newest)]).unwrap();
    assert!(matches!(layered.decide(&facts()).await.decision, Decision::Hold { .. }), "the platform cannot loosen");
    assert!(Rule::layered(Vec::new()).is_none());
}
