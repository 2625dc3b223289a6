//! The state machine, rule by rule; the names are those of the requirements and of the protocol's transitions.

use std::time::Duration;

use jiff::Timestamp;

use super::*;
use crate::digest::Digest;
use crate::limits::{
    APPROVALS_MAX, FLIPS_MAX, LEASE_TTL, QUARANTINES, ROLLOUT_DEADLINE, ROLLOUT_DEADLINE_MIN, TRIAL_PUT_OFF_MAX,
};

fn digest(number: u8) -> Digest {
    Digest::new(&format!("sha256:{number:064}")).unwrap()
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn moment(seconds: i64) -> Moment<'static> {
    Moment {
        now: at(seconds),
        since: at(0),
        toggles: UpdateToggles::for_new(),
        against: &[],
        interval: Duration::from_secs(900),
        spread: 500,
    }
}

fn candidate(number: u8) -> Candidate {
    serde_json::from_value(serde_json::json!({
        "pin": digest(number), "firstSeen": at(0), "lastSeen": at(0), "platform": "good",
    }))
    .unwrap()
}

fn running(numbers: &[u8]) -> Running {
    Running { digests: numbers.iter().map(|number| digest(*number)).collect(), ..Running::default() }
}

/// A record whose lease is ours, and our fence.
fn held() -> (Freshness, Fence) {
    acquire(&Freshness::default(), "us", at(0)).unwrap()
}

fn observed(runs: &[u8], newest: u8) -> Event {
    let observed =
        Observed { running: running(runs), newest: digest(newest), candidates: vec![candidate(newest)], news: None };
    Event::Observed(Box::new(observed))
}

fn decided(decision: Decision) -> Event {
    Event::Decided(Box::new(decision.into()), 0)
}

/// What runs is image 1, and image 2 is being put in place.
fn verifying() -> (Freshness, Fence) {
    let (record, fence) = held();
    let mut record = step(&record, fence, observed(&[1], 1), &moment(0)).unwrap();
    for event in [
        observed(&[1], 2),
        decided(Decision::Update(Plan::to(digest(2)))),
        Event::Begun,
        Event::Passed(Surface::Same),
        Event::Applied,
    ] {
        record = step(&record, fence, event, &moment(1)).unwrap();
    }
    (record, fence)
}

fn evidence(record: &Freshness, runs: u8, ready_since: Option<i64>) -> Evidence {
    let operation = record.operation.as_ref().unwrap().id;
    Evidence {
        mark: Some(Mark { operation, fence: record.lease.fence }),
        revision: 1,
        running: running(&[runs]),
        ready_since: ready_since.map(at),
        terminal: None,
    }
}

fn verified(evidence: Evidence) -> Event {
    Event::Verified(Box::new(evidence))
}

#[test]
fn a_lease_has_one_holder_until_it_runs_out() {
    let (record, fence) = held();
    assert!(acquire(&record, "them", at(59)).is_none());
    let (stolen, younger) = acquire(&record, "them", at(i64::try_from(LEASE_TTL.as_secs()).unwrap())).unwrap();
    assert!(younger > fence);
    assert_eq!(step(&stolen, fence, observed(&[1], 1), &moment(61)), Err(Refused::LeaseLost));
    assert_eq!(renew(&stolen, fence, at(61)), Err(Refused::LeaseLost));
    let released = step(&stolen, younger, Event::Released, &moment(62)).unwrap();
    assert!(acquire(&released, "us", at(62)).is_some());
}

#[test]
fn f7_something_newer_is_available_or_reinstalled_by_the_second_toggle() {
    let (record, fence) = held();
    let record = step(&record, fence, observed(&[1], 2), &moment(0)).unwrap();
    assert_eq!(todo(&record, &moment(0)), Todo::Decide);
    let update = || decided(Decision::Update(Plan::to(digest(2))));
    let off = Moment { toggles: UpdateToggles { check: true, auto_reinstall: false }, ..moment(0) };
    let told = step(&record, fence, update(), &off).unwrap();
    assert_eq!(view(&told, &off).status, UpdateStatus::UpdateAvailable);
    assert_eq!(told.outbox.len(), 1);
    let begun = step(&record, fence, update(), &moment(0)).unwrap();
    assert_eq!(view(&begun, &moment(0)).status, UpdateStatus::Reinstalling);
    assert_eq!(todo(&begun, &moment(0)), Todo::Begin);
}

#[test]
fn f8_a_rollout_is_complete_when_the_target_runs_and_is_well_for_long_enough() {
    let (record, fence) = verifying();
    let early = step(&record, fence, verified(evidence(&record, 2, Some(2))), &moment(3)).unwrap();
    assert_eq!(view(&early, &moment(3)).status, UpdateStatus::Reinstalling);
    assert_eq!(todo(&early, &moment(3)), Todo::Rest(Some(at(7))), "when it has been well for long enough");
    let done = step(&early, fence, verified(evidence(&early, 2, Some(2))), &moment(7)).unwrap();
    assert_eq!(done.operation, None);
    assert_eq!(done.last_outcome(), Some((&digest(2), Outcome::Succeeded)));
    assert_eq!(done.last_reinstall, Some(at(7)));
    assert_eq!(done.good, [digest(2), digest(1)]);
    let seen = step(&done, fence, observed(&[2], 2), &moment(8)).unwrap();
    assert_eq!(view(&seen, &moment(8)).status, UpdateStatus::UpToDate);
}

#[test]
fn f8_until_then_it_is_looked_at_again_after_a_doubling_pause() {
    let (mut record, fence) = verifying();
    let (mut now, mut pauses) = (1, Vec::new());
    for _ in 0..6 {
        record = step(&record, fence, verified(evidence(&record, 1, None)), &moment(now)).unwrap();
        let Todo::Rest(Some(next)) = todo(&record, &moment(now)) else { panic!("it does not wait") };
        pauses.push(next.as_second() - at(now).as_second());
        now += pauses.last().unwrap();
    }
    assert_eq!(pauses, [10, 20, 40, 60, 60, 60]);
}

#[test]
fn f8_a_rollout_that_is_not_well_in_time_has_failed_and_goes_back() {
    let (record, fence) = verifying();
    let failed = step(&record, fence, verified(evidence(&record, 1, None)), &moment(700)).unwrap();
    assert_eq!(failed.last_outcome(), Some((&digest(2), Outcome::RolloutFailed)));
    let back = failed.operation.as_ref().unwrap();
    assert_eq!((back.direction, &back.plan.pin), (Direction::Back, &digest(1)));
    assert_eq!(view(&failed, &moment(700)).status, UpdateStatus::RollingBack);
    let mut record = failed;
    for event in [Event::Begun, Event::Applied] {
        record = step(&record, fence, event, &moment(701)).unwrap();
    }
    let back = step(&record, fence, verified(evidence(&record, 1, Some(701))), &moment(710)).unwrap();
    assert_eq!(back.last_outcome().unwrap().1, Outcome::RolledBack);
    assert_eq!(view(&back, &moment(710)).status, UpdateStatus::RolloutFailed, "until there is something newer");
}

#[test]
fn a_rollback_that_fails_leaves_everything_to_a_person() {
    let (record, fence) = verifying();
    let mut record = step(&record, fence, verified(evidence(&record, 1, None)), &moment(700)).unwrap();
    for event in [Event::Begun, Event::Applied] {
        record = step(&record, fence, event, &moment(701)).unwrap();
    }
    let stuck = step(&record, fence, verified(evidence(&record, 2, None)), &moment(2_000)).unwrap();
    assert!(stuck.stuck && stuck.operation.is_none());
    let stale = step(&stuck, fence, observed(&[2], 3), &moment(2_001)).unwrap();
    let still = step(&stale, fence, decided(Decision::Update(Plan::to(digest(3)))), &moment(2_002)).unwrap();
    assert_eq!(still.operation, None);
    assert_eq!(view(&still, &moment(2_002)).held, Some(HoldReason::Frozen));
    let freed = command(&still, Event::Unheld, &moment(2_003)).unwrap();
    assert!(!freed.stuck);
}

#[test]
fn f9_a_failure_stays_visible_after_a_success() {
    let (record, fence) = held();
    let error = CheckError { class: ErrorClass::RegistryUnreachable, message: "no route".to_owned(), at: at(1) };
    let failed =
        step(&record, fence, Event::CheckFailed { error: error.clone(), retry_after: None }, &moment(1)).unwrap();
    assert_eq!(view(&failed, &moment(1)).status, UpdateStatus::CheckFailed);
    let well = step(&failed, fence, observed(&[1], 1), &moment(100)).unwrap();
    let view = view(&well, &moment(100));
    assert_eq!(view.status, UpdateStatus::UpToDate);
    assert_eq!((view.last_success, view.last_failure, view.last_error), (Some(at(100)), Some(at(1)), Some(error)));
    assert_eq!((view.running, view.newest), (vec![digest(1)], Some(digest(1))));
}

#[test]
fn a_failed_check_never_touches_an_operation() {
    let (record, fence) = verifying();
    let error = CheckError { class: ErrorClass::Other, message: String::new(), at: at(2) };
    let failed = step(&record, fence, Event::CheckFailed { error, retry_after: None }, &moment(2)).unwrap();
    assert_eq!(failed.operation, record.operation);
}

#[test]
fn what_an_oci_registry_asks_for_is_never_undercut() {
    let (record, fence) = held();
    for (class, retry_after) in [
        (ErrorClass::RegistryRateLimited, Duration::from_secs(7_200)),
        (ErrorClass::RegistryAuth, Duration::from_secs(100_000)),
    ] {
        let error = CheckError { class, message: String::new(), at: at(0) };
        let failed = step(&record, fence, Event::CheckFailed { error, retry_after: Some(retry_after) }, &moment(0));
        assert!(failed.unwrap().check.next.unwrap() >= after(at(0), retry_after));
    }
}

#[test]
fn a_live_operation_is_never_given_another_target() {
    let (record, fence) = verifying();
    let newer = step(&record, fence, observed(&[1], 3), &moment(2)).unwrap();
    let newer = step(&newer, fence, decided(Decision::Update(Plan::to(digest(3)))), &moment(2)).unwrap();
    assert_eq!(newer.operation, record.operation);
}

#[test]
fn a_toggle_that_is_turned_off_calls_off_what_has_touched_nothing() {
    let (record, fence) = held();
    let record = step(&record, fence, observed(&[1], 2), &moment(0)).unwrap();
    let record = step(&record, fence, decided(Decision::Update(Plan::to(digest(2)))), &moment(0)).unwrap();
    let off = Moment { toggles: UpdateToggles::default(), ..moment(1) };
    let cancelled = step(&record, fence, Event::Begun, &off).unwrap();
    assert_eq!(cancelled.last_outcome().unwrap().1, Outcome::Cancelled);
    assert_eq!(cancelled.operation, None);
}

#[test]
fn each_failure_of_a_digest_keeps_it_away_for_longer_and_the_fourth_for_good() {
    let (record, fence) = held();
    let mut record = step(&record, fence, observed(&[1], 2), &moment(0)).unwrap();
    let mut now = 0;
    let mut pauses = Vec::new();
    for _ in 0..4 {
        for event in [decided(Decision::Update(Plan::to(digest(2)))), Event::Begun] {
            record = step(&record, fence, event, &moment(now)).unwrap();
        }
        record = step(&record, fence, Event::NotPassed("no MCP".to_owned()), &moment(now)).unwrap();
        let until = record.candidates[0].quarantined_until.unwrap();
        pauses.push(if until == Timestamp::MAX { None } else { Some(until.as_second() - at(now).as_second()) });
        let again = step(&record, fence, decided(Decision::Update(Plan::to(digest(2)))), &moment(now + 1)).unwrap();
        assert_eq!(again.operation, None);
        now += pauses.last().unwrap().unwrap_or_default();
    }
    let expected: Vec<_> = QUARANTINES.iter().map(|pause| i64::try_from(pause.as_secs()).ok()).collect();
    assert_eq!(pauses, [expected, vec![None]].concat());
    let pardoned = command(&record, Event::Retried(digest(2)), &moment(now)).unwrap();
    assert_eq!(pardoned.candidates[0].quarantined_until, None);
}

#[test]
fn t9_a_tag_that_moves_to_and_fro_is_followed_no_more() {
    let (mut record, fence) = held();
    record = step(&record, fence, observed(&[1], 2), &moment(0)).unwrap();
    for flip in 0..=i64::try_from(FLIPS_MAX).unwrap() {
        let newest = if flip % 2 == 0 { 3 } else { 2 };
        record = step(&record, fence, observed(&[1], newest), &moment(10 + flip)).unwrap();
    }
    for flip in 0..2 {
        record = step(&record, fence, observed(&[1], 2 + flip), &moment(20 + i64::from(flip))).unwrap();
    }
    let held = step(&record, fence, decided(Decision::Update(Plan::to(digest(3)))), &moment(30)).unwrap();
    assert_eq!(held.operation, None);
    assert_eq!(view(&held, &moment(30)).held, Some(HoldReason::Ambiguous));
}

#[test]
fn t9_an_index_that_changed_without_our_platform_is_no_update() {
    let (record, fence) = held();
    let mut republished = candidate(9);
    republished.digests = vec![digest(9), digest(1)];
    let seen = Observed { running: running(&[1]), newest: digest(9), candidates: vec![republished], news: None };
    let record = step(&record, fence, Event::Observed(Box::new(seen)), &moment(0)).unwrap();
    assert_eq!(view(&record, &moment(0)).status, UpdateStatus::UpToDate);
}

/// Regression: the tag of a version is not moved, so whoever follows a range was never asked.
#[test]
fn a_version_above_is_put_to_the_policy_though_the_tag_names_what_runs() {
    let (record, fence) = held();
    let seen = |others: &[u8]| {
        let candidates = [1].iter().chain(others).map(|number| candidate(*number)).collect();
        Event::Observed(Box::new(Observed { running: running(&[1]), newest: digest(1), candidates, news: None }))
    };
    let alone = step(&record, fence, seen(&[]), &moment(0)).unwrap();
    assert_eq!((alone.check.found, todo(&alone, &moment(0))), (Found::Fresh, Todo::Rest(alone.check.next)));
    let more = step(&alone, fence, seen(&[2]), &moment(0)).unwrap();
    assert_eq!(todo(&more, &moment(0)), Todo::Decide);
    let content = step(&more, fence, decided(Decision::UpToDate), &moment(0)).unwrap();
    assert_eq!(view(&content, &moment(0)).status, UpdateStatus::UpToDate, "the policy wants none of them");
}

#[test]
fn what_became_another_elsewhere_is_told() {
    let (record, fence) = held();
    let news = Some(News { text: "it changed".to_owned(), urgent: true });
    let seen = Observed { running: running(&[2]), newest: digest(2), candidates: vec![candidate(2)], news };
    let record = step(&record, fence, Event::Observed(Box::new(seen)), &moment(0)).unwrap();
    assert_eq!(record.check.found, Found::Fresh);
    assert!(
        matches!(record.outbox.as_slice(), [told] if told.urgent && told.text == "it changed"),
        "{:?}",
        record.outbox
    );
}

#[test]
fn t13_what_cannot_be_read_is_not_up_to_date() {
    let (record, fence) = held();
    for (digests, unknown, expected) in [
        (vec![digest(1)], 1, Found::Unknown),
        (vec![], 0, Found::Unknown),
        (vec![digest(1), digest(2)], 0, Found::Stale),
        (vec![digest(2)], 0, Found::Fresh),
    ] {
        let running = Running { digests, unknown, ..Running::default() };
        let seen = Observed { running, newest: digest(2), candidates: vec![candidate(2)], news: None };
        let record = step(&record, fence, Event::Observed(Box::new(seen)), &moment(0)).unwrap();
        assert_eq!(record.check.found, expected);
    }
}

#[test]
fn t13_a_rollout_with_an_old_replica_is_not_done() {
    let (record, fence) = verifying();
    let mut seen = evidence(&record, 2, Some(2));
    seen.running = running(&[1, 2]);
    let next = step(&record, fence, verified(seen), &moment(100)).unwrap();
    assert!(next.operation.is_some());
}

#[test]
fn t16_what_a_person_changed_stands() {
    let (record, fence) = verifying();
    let mut seen = evidence(&record, 2, Some(2));
    seen.mark = None;
    let next = step(&record, fence, verified(seen), &moment(100)).unwrap();
    assert_eq!(next.last_outcome().unwrap().1, Outcome::Superseded);
    assert_eq!(next.candidates[0].failures, 0);
}

#[test]
fn what_a_person_went_back_from_does_not_come_by_itself() {
    let (record, fence) = verifying();
    let done = step(&record, fence, verified(evidence(&record, 2, Some(2))), &moment(7)).unwrap();
    let seen = step(&done, fence, observed(&[2], 2), &moment(8)).unwrap();
    let back = command(&seen, Event::RollBack(1), &moment(9)).unwrap();
    let operation = back.operation.as_ref().unwrap();
    assert_eq!((operation.direction, &operation.plan.pin), (Direction::Back, &digest(1)));
    let mut record = back;
    for event in [Event::Begun, Event::Applied] {
        record = step(&record, fence, event, &moment(10)).unwrap();
    }
    record = step(&record, fence, verified(evidence(&record, 1, Some(10))), &moment(20)).unwrap();
    record = step(&record, fence, observed(&[1], 2), &moment(21)).unwrap();
    record = step(&record, fence, decided(Decision::Update(Plan::to(digest(2)))), &moment(22)).unwrap();
    assert_eq!(record.operation, None);
    assert_eq!(view(&record, &moment(22)).held, Some(HoldReason::Quarantined));
}

/// What runs is image 1, and the trial of image 2 is due.
fn trying() -> (Freshness, Fence) {
    let (record, fence) = held();
    let mut record = step(&record, fence, observed(&[1], 2), &moment(0)).unwrap();
    for event in [decided(Decision::Update(Plan::to(digest(2)))), Event::Begun] {
        record = step(&record, fence, event, &moment(1)).unwrap();
    }
    (record, fence)
}

fn put_off() -> Event {
    Event::TrialPutOff("no room".to_owned())
}

#[test]
fn a_trial_that_is_put_off_is_made_again_after_a_doubling_pause_and_the_rollout_counts_anew() {
    let (mut record, fence) = trying();
    let (mut now, mut pauses) = (1, Vec::new());
    for _ in 0..6 {
        record = step(&record, fence, put_off(), &moment(now)).unwrap();
        let next = record.operation.as_ref().unwrap().next.unwrap();
        pauses.push(next.as_second() - at(now).as_second());
        now += pauses.last().unwrap();
    }
    assert_eq!(pauses, [60, 120, 240, 480, 900, 900]);
    for event in [Event::Passed(Surface::Same), Event::Applied] {
        record = step(&record, fence, event, &moment(now)).unwrap();
    }
    assert_eq!(record.operation.as_ref().unwrap().looks, 0);
}

/// Regression: an image that the OCI registry had collected kept the one that came after it away.
#[test]
fn a_trial_that_is_put_off_gives_way_to_what_is_newer() {
    let (record, fence) = trying();
    let waits = step(&record, fence, put_off(), &moment(2)).unwrap();
    // What the tag went back to is what runs: nothing newer.
    let back = step(&waits, fence, observed(&[1], 1), &moment(3)).unwrap();
    let still = step(&back, fence, put_off(), &moment(62)).unwrap();
    assert!(still.operation.is_some(), "{:?}", still.attempts);
    let newer = step(&still, fence, observed(&[1], 3), &moment(100)).unwrap();
    assert_eq!(newer.operation, still.operation, "seeing it alone changes nothing");
    let ended = step(&newer, fence, put_off(), &moment(200)).unwrap();
    assert_eq!((ended.operation.as_ref(), ended.last_outcome()), (None, Some((&digest(2), Outcome::Cancelled))));
    let why = ended.attempts[0].detail.clone().unwrap();
    assert!(why.contains("newer") && why.contains(digest(3).as_str()) && why.ends_with("no room"), "{why}");
    assert!(ended.candidates.iter().all(|candidate| candidate.failures == 0));
    assert_eq!(todo(&ended, &moment(200)), Todo::Decide);
    let next = step(&ended, fence, decided(Decision::Update(Plan::to(digest(3)))), &moment(200)).unwrap();
    assert_eq!(next.operation.unwrap().plan.pin, digest(3));
}

#[test]
fn a_trial_that_is_put_off_for_a_day_is_given_up_and_nobody_is_to_blame() {
    let longest = i64::try_from(TRIAL_PUT_OFF_MAX.as_secs()).unwrap();
    let (record, fence) = trying();
    let waits = step(&record, fence, put_off(), &moment(longest)).unwrap();
    let order = || Event::Ordered(Box::new(Plan::to(digest(2))), 0);
    assert!(command(&waits, order(), &moment(longest)).is_err(), "it is under way");
    let ended = step(&waits, fence, put_off(), &moment(longest + 1)).unwrap();
    assert_eq!((ended.operation.as_ref(), ended.last_outcome()), (None, Some((&digest(2), Outcome::Cancelled))));
    assert!(ended.attempts[0].detail.as_ref().unwrap().ends_with("no room"), "{:?}", ended.attempts);
    assert_eq!((ended.candidates[0].failures, ended.candidates[0].quarantined_until), (0, None));
    assert!(command(&ended, order(), &moment(longest + 1)).is_ok());
}

fn facts() -> Facts {
    Facts {
        now: at(0),
        seed: 0,
        interval_ms: 900_000,
        trigger: Trigger::Schedule,
        workload: WorkloadFacts {
            key: "default/a".to_owned(),
            tenant: "default".to_owned(),
            server: "a".to_owned(),
            group: None,
            labels: std::collections::BTreeMap::new(),
            created: at(0),
            sessions: 0,
        },
        running: running(&[1]),
        candidates: vec![candidate(2)],
        truncated: false,
        history: Vec::new(),
        approvals: Vec::new(),
        peers: Vec::new(),
        auto_reinstall: true,
        zone_offsets: Vec::new(),
        attributes: std::collections::BTreeMap::new(),
    }
}

#[test]
fn t20_a_policy_gets_nothing_that_the_host_does_not_allow() {
    let said = |decision: Decision, facts: &Facts| admit(decision.into(), facts).decision;
    let is_held = |decision: Decision, why: HoldReason| match decision {
        Decision::Hold { reason, .. } => assert_eq!(reason, why),
        other => panic!("{other:?}"),
    };
    is_held(said(Decision::Update(Plan::to(digest(7))), &facts()), HoldReason::PolicyError);
    let rollback = Decision::Rollback { pin: digest(2), detail: String::new() };
    is_held(said(rollback, &facts()), HoldReason::PolicyError);
    let again = Facts { running: running(&[2]), ..facts() };
    assert_eq!(
        said(Decision::Update(Plan::to(digest(2))), &again),
        Decision::UpToDate,
        "what runs is not installed again"
    );
    let mut bad = facts();
    bad.candidates[0].platform = Signal::Bad;
    is_held(said(Decision::Update(Plan::to(digest(2))), &bad), HoldReason::Unverified);
    let mut failed = facts();
    failed.candidates[0].quarantined_until = Some(at(1));
    is_held(said(Decision::Update(Plan::to(digest(2))), &failed), HoldReason::Quarantined);
    let off = Facts { auto_reinstall: false, ..facts() };
    assert!(matches!(said(Decision::Update(Plan::to(digest(2))), &off), Decision::Notify { .. }));
    let endless = Decision::Hold {
        reason: HoldReason::Other,
        detail: "a\u{7}b".repeat(1_000),
        pin: None,
        until: Some(at(1 << 30)),
    };
    let Decision::Hold { until, detail, .. } = said(endless, &facts()) else { panic!("no hold") };
    assert!(until.unwrap() < at(31 * 24 * 3600) && detail.len() <= 256 && !detail.contains('\u{7}'));
    let verdict = Verdict { decision: Decision::UpToDate, trace: vec!["x".repeat(10_000); 100] };
    let trace = admit(verdict, &facts()).trace;
    assert!(trace.len() == 32 && trace.iter().all(|line| line.len() <= 256));
}

#[test]
fn an_outer_policy_can_only_tighten() {
    let update = |deadline_ms| Verdict::from(Decision::Update(Plan { deadline_ms, ..Plan::to(digest(2)) }));
    let hold = |until| -> Verdict {
        Decision::Hold { reason: HoldReason::TooYoung, detail: String::new(), pin: None, until }.into()
    };
    let Decision::Update(plan) = tighten(update(100), update(50)).decision else { panic!("no update") };
    assert_eq!(plan.deadline_ms, 50);
    assert_eq!(tighten(update(1), hold(Some(at(5)))).decision, hold(Some(at(5))).decision);
    assert_eq!(tighten(hold(Some(at(5))), update(1)).decision, hold(Some(at(5))).decision);
    assert_eq!(tighten(hold(Some(at(5))), hold(Some(at(9)))).decision, hold(Some(at(9))).decision);
    assert!(matches!(tighten(update(1), Decision::UpToDate.into()).decision, Decision::Hold { .. }));
    assert_eq!(tighten(Decision::UpToDate.into(), update(1)).decision, Decision::UpToDate);
    assert_eq!(all_of(vec![update(9), hold(None), update(3)]).decision, hold(None).decision);
    assert!(matches!(any_of(vec![hold(None), update(3)]).decision, Decision::Update(_)));
    assert_eq!(any_of(vec![]).decision, Decision::UpToDate);
}

#[test]
fn time_in_which_nobody_looked_says_nothing_of_the_target() {
    let deadline = i64::try_from(ROLLOUT_DEADLINE.as_secs()).unwrap();
    let least = i64::try_from(ROLLOUT_DEADLINE_MIN.as_secs()).unwrap();
    let (record, fence) = verifying();
    // A machine that was off for a night: the engine that comes up has to launch it first.
    let morning = deadline * 50;
    let looks = |record: &Freshness, now: i64, ready_since| {
        let moment = Moment { since: at(morning), ..moment(now) };
        step(record, fence, verified(evidence(record, 2, ready_since)), &moment).unwrap()
    };
    let seen = looks(&record, morning, None);
    assert!(seen.operation.is_some(), "it had no time: {:?}", seen.attempts);
    let next = seen.operation.as_ref().unwrap().next.unwrap();
    assert!(next > at(morning) && next <= at(morning + least), "{next}");
    let well = looks(&seen, morning + 10, Some(morning + 2));
    assert_eq!(well.attempts[0].outcome, Outcome::Succeeded);
    // One that is not well then either has failed, and so has one that somebody looked at all the time.
    let failed = looks(&seen, morning + least, None);
    assert_eq!(failed.attempts.iter().find(|it| it.operation == 1).unwrap().outcome, Outcome::RolloutFailed);
    let watched = step(&record, fence, verified(evidence(&record, 2, None)), &moment(deadline + 1)).unwrap();
    assert_eq!(watched.attempts.iter().find(|it| it.operation == 1).unwrap().outcome, Outcome::RolloutFailed);
}

#[test]
fn each_person_says_yes_for_themselves_and_once() {
    let (record, fence) = held();
    let record = step(&record, fence, observed(&[1], 2), &moment(0)).unwrap();
    let says = |record: &Freshness, by: &str, now: i64| {
        let event = Event::Approved { pin: digest(2), by: by.to_owned(), expires: at(now + 100) };
        command(record, event, &moment(now)).unwrap()
    };
    let by = |record: &Freshness| record.approvals.iter().map(|approval| approval.by.clone()).collect::<Vec<_>>();
    let record = says(&says(&says(&record, "ann", 1), "bob", 2), "ann", 3);
    assert_eq!(by(&record), ["bob", "ann"], "the word of one took that of the other away");
    assert_eq!(by(&says(&record, "cid", 102)), ["ann", "cid"], "what has expired is no yes");
    let many = (0..=APPROVALS_MAX).fold(record, |record, at| says(&record, &format!("p{at}"), 4));
    assert_eq!(many.approvals.len(), APPROVALS_MAX);
}
