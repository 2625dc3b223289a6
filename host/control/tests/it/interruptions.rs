//! Anything at any moment: an update is interrupted at every single call that the engine makes to the world.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fairlead_core::freshness::*;
use fairlead_core::limits::LEASE_TTL;
use jiff::SignedDuration;
use proptest::prelude::*;

use crate::world::{BAD, HOUR, Interruption, World, key};

/// A world that has settled, with something newer that was just pushed.
async fn about_to_update(target: u8) -> Arc<World> {
    let world = World::new(&["a"]);
    world.runs_for(world.engine("before"), HOUR).await;
    *world.tag.lock() = target;
    world
}

/// Once in this way; a bad image is tried again after its quarantine, and ends in the same way again.
fn assert_ends(world: &World, expected: &[(u8, Outcome)], context: &str) {
    let outcomes = world.outcomes("a");
    let again = if world.running("a") == 2 { outcomes.len() == expected.len() } else { true };
    assert!(again && !outcomes.is_empty(), "{context}: {outcomes:?}");
    for attempts in outcomes.chunks(expected.len()) {
        assert_eq!(attempts, expected, "{context}: {outcomes:?}");
    }
    world.assert_written_once(context);
}

fn ends() -> [(u8, Vec<(u8, Outcome)>); 2] {
    [(2, vec![(2, Outcome::Succeeded)]), (BAD, vec![(BAD, Outcome::RolloutFailed), (1, Outcome::RolledBack)])]
}

#[tokio::test(start_paused = true)]
async fn t1_a_second_kill_on_the_way_back_ends_as_if_there_had_been_none() {
    let mut seen = 0;
    for (target, expected) in ends() {
        for kill in (0..).step_by(3) {
            let world = about_to_update(target).await;
            if !world.runs_until_killed(kill, HOUR / 4).await {
                break;
            }
            // The next one is killed as well, somewhere else each time.
            let again = (kill * 7 + 3) % 40;
            world.runs_until_killed(again, HOUR / 4).await;
            world.run_for(1, HOUR / 2).await;
            assert_ends(&world, &expected, &format!("killed at {kill} and {again}"));
            seen += 1;
        }
    }
    assert!(seen > 20, "only {seen} pairs of kills");
}

#[tokio::test(start_paused = true)]
async fn t3_a_worker_that_stood_still_for_longer_than_its_lease_changes_nothing() {
    let (mut refused, mut points) = (0, 0);
    for (target, expected) in ends() {
        for call in 0.. {
            let world = about_to_update(target).await;
            world.at_call(call, Interruption::Freeze(Duration::from_secs(120)));
            world.run_for(2, HOUR / 2).await;
            if !world.came_to(call) {
                break;
            }
            assert_ends(&world, &expected, &format!("frozen at {call}"));
            refused += world.refused.load(Ordering::SeqCst);
            points += 1;
            if points % 400 == 0 {
                break;
            }
        }
    }
    assert!(refused > 0, "nobody was ever too late: the test does not bite");
    assert!(points > 40, "only {points} points");
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_is_alone_takes_the_lease_of_a_dead_one_at_once() {
    let mut taken = 0;
    for kill in (0..60).step_by(5) {
        for (alone, waits) in [(true, false), (false, true)] {
            let world = about_to_update(2).await;
            if !world.runs_until_killed(kill, HOUR / 4).await {
                continue;
            }
            let Freshness { lease, operation, .. } = world.record("a");
            // Whoever has nothing to do takes no lease.
            if lease.holder.as_deref() != Some("killed") || operation.is_none() {
                continue;
            }
            let next = if alone { world.engine_alone("next") } else { world.engine("next") };
            world.runs_for(next, LEASE_TTL / 6).await;
            let now = world.record("a").lease;
            assert_eq!(now.fence > lease.fence, alone, "killed at {kill}: a fence is raised by whoever takes a lease");
            assert_eq!(now.holder.as_deref() == Some("killed"), waits, "killed at {kill}");
            taken += usize::from(alone);
            world.run_for(1, HOUR / 2).await;
            assert_ends(&world, &[(2, Outcome::Succeeded)], &format!("killed at {kill}, alone: {alone}"));
        }
    }
    assert!(taken > 3, "only {taken} leases of a dead engine");
}

#[tokio::test(start_paused = true)]
async fn t12_a_clock_that_is_set_makes_no_second_rollout() {
    for minutes in [-10, 10] {
        let mut points = 0;
        for call in (0..).step_by(2) {
            let world = about_to_update(2).await;
            let set = move |world: &World| *world.skew.lock() = SignedDuration::from_mins(minutes);
            world.at_call(call, Interruption::Do(Arc::new(set)));
            world.run_for(2, HOUR).await;
            if !world.came_to(call) || points > 60 {
                break;
            }
            points += 1;
            let outcomes = world.outcomes("a");
            // A clock that jumps ahead may cut a rollout's time short: then it goes back, and tries again later.
            assert_eq!(world.running("a"), 2, "set by {minutes} min at {call}: {outcomes:?}");
            assert_eq!(outcomes.last(), Some(&(2, Outcome::Succeeded)), "set by {minutes} min at {call}");
            world.assert_written_once(&format!("set by {minutes} min at {call}"));
        }
        assert!(points > 15, "only {points} points");
    }
}

#[tokio::test(start_paused = true)]
async fn t16_what_a_person_writes_at_any_moment_is_never_overwritten_by_what_was_decided_before() {
    let mut superseded = 0;
    for call in 0.. {
        let world = about_to_update(2).await;
        let edit = |world: &World| {
            // They take the old image, and their tool strips every mark.
            let mut deployed = world.deployed.lock();
            let current = deployed.entry(key("a")).or_default();
            current.revision += 1;
            current.pin = Some(crate::world::digest(1));
            current.mark = None;
            world.edited.0.store(world.record("a").operations, Ordering::SeqCst);
            world.edited.1.store(world.writes.lock().len(), Ordering::SeqCst);
        };
        world.at_call(call, Interruption::Do(Arc::new(edit)));
        world.run_for(1, HOUR / 6).await;
        if !world.came_to(call) || call > 400 {
            assert!(call > 40, "only {call} points");
            break;
        }
        let (begun, before) = (world.edited.0.load(Ordering::SeqCst), world.edited.1.load(Ordering::SeqCst));
        let after: Vec<_> = world.writes.lock().iter().skip(before).cloned().collect();
        assert!(
            after.iter().all(|(_, operation, _)| *operation > begun),
            "edited at {call}: operation {begun} had begun before, and wrote after: {after:?}"
        );
        superseded += usize::from(world.outcomes("a").iter().any(|(_, outcome)| *outcome == Outcome::Superseded));
    }
    assert!(superseded > 5, "only {superseded} updates were superseded: the test does not bite");
}

#[tokio::test(start_paused = true)]
async fn t17_an_update_that_was_called_off_at_any_moment_writes_nothing_after() {
    let mut cancelled = 0;
    for against in [Ineligible::Disabled, Ineligible::CheckOff] {
        for call in 0.. {
            let world = about_to_update(2).await;
            let off = move |world: &World| {
                if against == Ineligible::CheckOff {
                    *world.toggles.lock() = UpdateToggles::default();
                }
                world.against.lock().push(against);
            };
            world.at_call(call, Interruption::Do(Arc::new(off)));
            world.run_for(2, HOUR / 4).await;
            if !world.came_to(call) || call > 300 {
                assert!(call > 30, "only {call} points");
                break;
            }
            let outcomes = world.outcomes("a");
            let writes = world.writes.lock().iter().filter(|(_, operation, _)| *operation > 0).count();
            match outcomes.last() {
                Some((2, Outcome::Cancelled)) => {
                    assert_eq!(writes, 0, "{against:?} at {call}: called off, and written all the same");
                    assert_eq!(world.running("a"), 1);
                    cancelled += 1;
                }
                Some((2, Outcome::Succeeded)) => assert_eq!(writes, 1, "{against:?} at {call}"),
                None => assert_eq!(writes, 0, "{against:?} at {call}"),
                other => panic!("{against:?} at {call}: {other:?}"),
            }
        }
    }
    assert!(cancelled > 5, "only {cancelled} were called off: the test does not bite");
}

proptest! {
    // Ten thousand by hand: `PROPTEST_CASES=10000`.
    #![proptest_config(ProptestConfig { max_shrink_iters: 200, ..ProptestConfig::with_cases(cases()) })]

    #[test]
    fn t2_no_interleaving_of_several_engines_makes_a_change_twice(
        engines in 2_usize..=5,
        bad in any::<bool>(),
        latency in proptest::collection::vec(0_u64..4_000, 1..40),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async move {
            let target = if bad { BAD } else { 2 };
            let world = about_to_update(target).await;
            *world.latency.lock() = latency.into_iter().map(Duration::from_millis).collect();
            world.run_for(engines, HOUR / 2).await;
            let (_, expected) = ends().into_iter().find(|(image, _)| *image == target).unwrap();
            assert_ends(&world, &expected, "several engines");
        });
    }
}

fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(200)
}
