//! The engine over a scripted world: what it does when all is well, and what it never does.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fairlead_core::freshness::*;
use tokio::time::Instant;

use crate::world::{BAD, HOUR, MUTE, World, digest, key, spawn};

#[tokio::test(start_paused = true)]
async fn what_is_newer_is_tried_put_in_place_and_confirmed() {
    let world = World::new(&["a"]);
    world.runs_for(world.engine("one"), HOUR).await;
    assert_eq!(world.running("a"), 1);
    *world.tag.lock() = 2;
    world.runs_for(world.engine("two"), HOUR).await;
    assert_eq!(world.running("a"), 2);
    assert_eq!(world.outcomes("a"), [(2, Outcome::Succeeded)]);
    assert_eq!(*world.writes.lock(), [(key("a"), 1, 2)]);
    let view = world.engine("three").view(&key("a")).await.unwrap();
    assert_eq!(view.status, UpdateStatus::UpToDate);
    assert!(view.last_reinstall.is_some() && view.last_success.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_candidate_that_fails_its_trial_touches_nothing_and_is_left_alone_for_a_while() {
    let world = World::new(&["a"]);
    world.runs_for(world.engine("one"), HOUR).await;
    *world.tag.lock() = MUTE;
    world.runs_for(world.engine("two"), HOUR / 4).await;
    assert_eq!(world.running("a"), 1);
    assert_eq!(world.outcomes("a"), [(MUTE, Outcome::PreflightFailed)]);
    world.runs_for(world.engine("three"), 100 * HOUR).await;
    assert_eq!(world.trials.load(Ordering::SeqCst), 4, "three quarantines, then never again");
    assert_eq!(*world.writes.lock(), []);
}

#[tokio::test(start_paused = true)]
async fn a_rollout_that_fails_goes_back_and_the_old_one_serves() {
    let world = World::new(&["a"]);
    world.runs_for(world.engine("one"), HOUR).await;
    *world.tag.lock() = BAD;
    world.runs_for(world.engine("two"), HOUR / 4).await;
    assert_eq!(world.running("a"), 1);
    assert_eq!(world.outcomes("a"), [(BAD, Outcome::RolloutFailed), (1, Outcome::RolledBack)]);
    assert!(world.told.lock().iter().any(|topic| topic.starts_with("failed:")));
}

#[tokio::test(start_paused = true)]
async fn t1_a_kill_at_any_call_ends_as_if_there_had_been_none() {
    for (target, expected) in
        [(2, vec![(2, Outcome::Succeeded)]), (BAD, vec![(BAD, Outcome::RolloutFailed), (1, Outcome::RolledBack)])]
    {
        for kill in 0.. {
            let world = World::new(&["a"]);
            world.runs_for(world.engine("before"), HOUR).await;
            *world.tag.lock() = target;
            if !world.runs_until_killed(kill, HOUR / 4).await {
                assert!(kill > 20, "only {kill} calls were seen");
                break;
            }
            let seen = Instant::now();
            let engine = world.engine("after");
            let work = spawn(Arc::clone(&engine).run());
            while world.outcomes("a").last().is_none_or(|(_, outcome)| *outcome == Outcome::InProgress)
                || world.outcomes("a").len() < expected.len()
            {
                tokio::time::sleep(Duration::from_secs(1)).await;
                assert!(seen.elapsed() < HOUR, "killed at {kill}: {:?}", world.outcomes("a"));
            }
            engine.stop();
            work.await.unwrap();
            assert_eq!(world.outcomes("a"), expected, "killed at {kill}");
            let writes = world.writes.lock().clone();
            let mut operations: Vec<_> = writes.iter().map(|(_, operation, _)| *operation).collect();
            operations.dedup();
            assert_eq!(operations.len(), writes.len(), "killed at {kill}: an operation was applied twice: {writes:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn t2_five_engines_on_one_store_make_each_change_once() {
    for latency in [0, 1, 7, 300, 3_000] {
        let world = World::new(&["a", "b", "c"]);
        world.runs_for(world.engine("before"), HOUR).await;
        *world.latency.lock() = vec![Duration::from_millis(latency)];
        *world.tag.lock() = 2;
        let engines: Vec<_> = (0..5).map(|number| world.engine(&format!("engine-{number}"))).collect();
        let work: Vec<_> = engines.iter().map(|engine| spawn(Arc::clone(engine).run())).collect();
        tokio::time::sleep(2 * HOUR).await;
        engines.iter().for_each(|engine| engine.stop());
        for work in work {
            work.await.unwrap();
        }
        for name in ["a", "b", "c"] {
            assert_eq!(world.outcomes(name), [(2, Outcome::Succeeded)], "latency {latency} ms");
        }
        assert_eq!(world.writes.lock().len(), 3, "latency {latency} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn t5_a_registry_that_is_down_is_asked_less_and_less_and_nothing_else_happens() {
    let world = World::new(&["a"]);
    world.runs_for(world.engine("one"), HOUR).await;
    let before = world.checks.load(Ordering::SeqCst);
    world.registry_down.store(true, Ordering::SeqCst);
    world.runs_for(world.engine("two"), 12 * HOUR).await;
    let asked = world.checks.load(Ordering::SeqCst) - before;
    assert!((10..25).contains(&asked), "{asked} checks in twelve hours");
    assert_eq!(world.record("a").check.found, Found::Failed);
    assert_eq!(*world.writes.lock(), []);
    world.registry_down.store(false, Ordering::SeqCst);
    world.runs_for(world.engine("three"), 2 * HOUR).await;
    assert_eq!(world.record("a").check.found, Found::Fresh);
}

#[tokio::test(start_paused = true)]
async fn t17_a_server_that_is_disabled_is_neither_checked_nor_changed() {
    let world = World::new(&["a"]);
    world.runs_for(world.engine("one"), HOUR).await;
    world.against.lock().push(Ineligible::Disabled);
    *world.tag.lock() = 2;
    let before = world.checks.load(Ordering::SeqCst);
    world.runs_for(world.engine("two"), 10 * HOUR).await;
    assert_eq!(world.checks.load(Ordering::SeqCst), before);
    assert_eq!(world.running("a"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_broken_policy_holds_and_says_so() {
    let world = World::new(&["a"]);
    *world.verdict.lock() = Some(Verdict::policy_error("it trapped"));
    world.runs_for(world.engine("one"), HOUR).await;
    *world.tag.lock() = 2;
    world.runs_for(world.engine("two"), HOUR).await;
    let view = world.engine("three").view(&key("a")).await.unwrap();
    assert_eq!((view.status, view.held), (UpdateStatus::UpdateAvailable, Some(HoldReason::PolicyError)));
    assert_eq!(world.running("a"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_hangs_keeps_nobody_waiting_who_asks_what_it_would_do() {
    let world = World::new(&["a"]);
    *world.verdict.lock() = Some(Decision::hold(HoldReason::TooYoung, "wait").into());
    world.runs_for(world.engine("one"), HOUR).await;
    *world.tag.lock() = 2;
    world.runs_for(world.engine("two"), HOUR).await;
    *world.latency.lock() = vec![HOUR];
    let forecast = world.engine("three").forecast(&key("a"), Trigger::Schedule, None).await.unwrap();
    assert!(matches!(&forecast.effect, Effect::Hold { reason: HoldReason::PolicyError, .. }), "{forecast:?}");
}

#[tokio::test(start_paused = true)]
async fn a_persons_order_is_carried_out_at_once_whatever_the_policy_says() {
    let world = World::new(&["a"]);
    *world.verdict.lock() = Some(Decision::hold(HoldReason::TooYoung, "wait").into());
    world.runs_for(world.engine("one"), HOUR).await;
    *world.tag.lock() = 2;
    world.runs_for(world.engine("two"), HOUR).await;
    let engine = world.engine("three");
    let order = Event::Ordered(Box::new(Plan::to(digest(2))), 0);
    engine.command(&key("a"), order).await.unwrap();
    world.runs_for(engine, HOUR / 12).await;
    assert_eq!(world.running("a"), 2);
}

#[tokio::test(start_paused = true)]
async fn checks_of_many_servers_are_spread_over_the_interval() {
    let names: Vec<String> = (0..200).map(|number| format!("s{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let world = World::new(&names);
    world.runs_for(world.engine("one"), HOUR * 8).await;
    let next: Vec<i64> = world.records.lock().values().map(|record| record.check.next.unwrap().as_second()).collect();
    let (first, last) = (next.iter().min().unwrap(), next.iter().max().unwrap());
    assert!(last - first > 600, "all are due within {} s", last - first);
    let checks = world.checks.load(Ordering::SeqCst) / names.len();
    assert!((30..=36).contains(&checks), "{checks} checks of each in eight hours");
}
