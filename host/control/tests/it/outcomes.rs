//! How updates end that do not go well.

use std::sync::atomic::Ordering;

use fairlead_core::freshness::*;

use crate::world::{BAD, HOUR, MUTE, SLOW, World, digest, key};

#[tokio::test(start_paused = true)]
async fn t14_each_kind_of_bad_image_ends_with_the_old_one_serving_and_is_tried_four_times_at_most() {
    for (image, first) in [
        (BAD, vec![(BAD, Outcome::RolloutFailed), (1, Outcome::RolledBack)]),
        (SLOW, vec![(SLOW, Outcome::RolloutFailed), (1, Outcome::RolledBack)]),
        (MUTE, vec![(MUTE, Outcome::PreflightFailed)]),
    ] {
        let world = World::new(&["a"]);
        world.runs_for(world.engine("one"), HOUR).await;
        *world.tag.lock() = image;
        world.runs_for(world.engine("two"), HOUR / 2).await;
        assert_eq!(world.outcomes("a")[..first.len()], first, "image {image}");
        world.runs_for(world.engine("three"), 100 * HOUR).await;
        assert_eq!(world.running("a"), 1, "image {image}");
        let tried = world.outcomes("a").iter().filter(|(tried, _)| *tried == image).count();
        assert_eq!(tried, 4, "image {image}: three quarantines, then never again");
        let view = world.engine("four").view(&key("a")).await.unwrap();
        assert_eq!(view.status, UpdateStatus::RolloutFailed, "image {image}");
    }
}

#[tokio::test(start_paused = true)]
async fn t14_a_way_back_begins_within_seconds_of_the_verdict() {
    let world = World::new(&["a"]);
    world.runs_for(world.engine("one"), HOUR).await;
    *world.tag.lock() = BAD;
    world.runs_for(world.engine("two"), HOUR / 2).await;
    let record = world.record("a");
    let (back, failed) = (&record.attempts[0], &record.attempts[1]);
    assert_eq!((back.outcome, failed.outcome), (Outcome::RolledBack, Outcome::RolloutFailed));
    assert_eq!(Some(back.started), failed.ended, "one write ends the one and intends the other");
    let took = back.ended.unwrap().duration_since(back.started).as_secs();
    assert!(took <= 30, "the way back took {took} s");
}

#[tokio::test(start_paused = true)]
async fn t15_a_way_back_that_fails_leaves_everything_to_a_person_and_says_so_once() {
    let world = World::new(&["a"]);
    world.runs_for(world.engine("one"), HOUR).await;
    world.old_is_gone.store(true, Ordering::SeqCst);
    *world.tag.lock() = BAD;
    world.runs_for(world.engine("two"), HOUR / 2).await;
    assert_eq!(world.outcomes("a"), [(BAD, Outcome::RolloutFailed), (1, Outcome::RollbackFailed)]);
    let writes = world.writes.lock().len();
    *world.tag.lock() = 2;
    world.runs_for(world.engine("three"), 24 * HOUR).await;
    assert_eq!(world.writes.lock().len(), writes, "nothing is changed by itself any more");
    assert_eq!(world.told.lock().iter().filter(|topic| topic.starts_with("stuck:")).count(), 1);
    let view = world.engine("four").view(&key("a")).await.unwrap();
    assert!(view.stuck);
    world.engine("four").command(&key("a"), Event::Unheld).await.unwrap();
    world.runs_for(world.engine("five"), HOUR).await;
    assert_eq!(world.running("a"), 2, "a person let it go on");
}

#[tokio::test(start_paused = true)]
async fn t10_what_is_applied_is_what_was_decided_wherever_the_tag_moves() {
    use crate::world::Interruption;
    let mut moved = 0;
    for call in 0.. {
        let world = World::new(&["a"]);
        world.runs_for(world.engine("before"), HOUR).await;
        *world.tag.lock() = 2;
        world.at_call(call, Interruption::Do(std::sync::Arc::new(|world: &World| *world.tag.lock() = 3)));
        world.run_for(1, HOUR / 2).await;
        if !world.came_to(call) || call > 400 {
            assert!(call > 40, "only {call} points");
            break;
        }
        world.run_for(1, HOUR / 2).await;
        let record = world.record("a");
        for (_, operation, pin) in world.writes.lock().iter() {
            let decided = record.attempts.iter().find(|attempt| attempt.operation == *operation).unwrap();
            assert_eq!(decided.pin, digest(*pin), "moved at {call}: another digest was applied than decided");
        }
        assert_eq!(world.running("a"), 3, "moved at {call}: in the end it is what the tag names");
        moved += usize::from(world.outcomes("a").len() == 2);
    }
    assert!(moved > 5, "only {moved} times the tag moved while an update was under way");
}
