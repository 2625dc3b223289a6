//! What listens on a port is taken over by the next daemon, when it is what that one would start.

use super::ports::answers;
use super::scene::{Bench, Started, launch, soon};
use super::*;

fn listening(bench: &Bench, mark: &str) -> Launch {
    Launch { port: Some(8080), mark: Some(mark.to_owned()), ..launch(bench.source(&["serve", "8080"])) }
}

async fn launched(runtime: &ContainerRuntime, launch: &Launch) -> Started {
    Started::from(soon(runtime.launch(launch)).await.unwrap())
}

async fn ended(bench: &Bench, runtime: &ContainerRuntime, started: Started) {
    soon(started.handle.stop(std::time::Duration::from_millis(100))).await;
    soon(runtime.settled()).await;
    assert_eq!(bench.left().await, [], "it goes with its porter");
}

#[tokio::test]
async fn a_server_that_listens_is_taken_over_as_it_runs() {
    let Some(bench) = Bench::new().await else { return };
    let alike = listening(&bench, "a");
    let id = bench.left_by_a_killed_daemon(&alike).await;
    let next = bench.another(&bench.home);
    assert!(soon(next.can_be_taken_over(&id)).await);
    assert!(!soon(bench.another("test-stranger").can_be_taken_over(&id)).await, "another home has another's labels");
    let started = launched(&next, &alike).await;
    assert!(started.handle.is_taken_over());
    assert_eq!(started.id, id, "it was not started again");
    answers(started.handle.address().unwrap()).await;
    let usage = soon(started.handle.usage()).await.unwrap();
    assert!(usage.memory_bytes > 0 && usage.cpu_nanos > 0 && usage.processes > 0, "{usage:?}");
    ended(&bench, &next, started).await;
}

#[tokio::test]
async fn a_server_that_was_launched_otherwise_is_ended_and_started_anew() {
    let Some(bench) = Bench::new().await else { return };
    let id = bench.left_by_a_killed_daemon(&listening(&bench, "a")).await;
    let next = bench.another(&bench.home);
    let started = launched(&next, &listening(&bench, "b")).await;
    assert!(!started.handle.is_taken_over());
    assert_ne!(started.id, id);
    assert!(bench.left().await.iter().all(|found| found.id != id), "two of one server never run beside each other");
    ended(&bench, &next, started).await;
}

#[tokio::test]
async fn a_porter_that_is_gone_is_replaced_and_its_server_goes_on() {
    let Some(bench) = Bench::new().await else { return };
    let alike = listening(&bench, "a");
    let id = bench.left_by_a_killed_daemon(&alike).await;
    let next = bench.another(&bench.home);
    for porter in bench.left().await.iter().filter(|found| porter::is_one(&found.name)) {
        assert!(soon(next.end_leftover(&porter.id)).await);
    }
    let started = launched(&next, &alike).await;
    assert_eq!((&started.id, started.handle.is_taken_over()), (&id, true));
    answers(started.handle.address().unwrap()).await;
    ended(&bench, &next, started).await;
}

#[tokio::test]
async fn what_a_server_may_take_over_is_no_stray() {
    let Some(bench) = Bench::new().await else { return };
    bench.left_by_a_killed_daemon(&listening(&bench, "a")).await;
    let next = bench.another(&bench.home);
    assert_eq!(soon(next.remove_strays(&|_| true)).await, []);
    assert!(!soon(next.remove_strays(&|_| false)).await.is_empty());
    assert_eq!(bench.left().await, []);
}
