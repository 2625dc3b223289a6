//! Stopping: asked, then made to; from anywhere, twice, and on top of a start.

use super::*;

#[tokio::test(start_paused = true)]
async fn stopping_closes_the_stdin_of_every_session_though_somebody_holds_it() {
    let world = World::default();
    let supervisor = started(&world);
    let (mut connection, process) = session(&world, &supervisor).await;
    tokio::join!(supervisor.stop(LONG), process.behave());
    assert_eq!(supervisor.status().borrow().phase, ServerPhase::Stopped);
    assert!(connection.stdin.write_all(b"late").await.is_err());
    assert_eq!(supervisor.open_stdio().await.unwrap_err(), Unavailable::Stopped);
    assert_eq!(world.store.names(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn what_does_not_end_by_the_deadline_is_killed() {
    let world = World::default();
    let supervisor = started(&world);
    let (_connection, process) = session(&world, &supervisor).await;
    let begin = Instant::now();
    supervisor.stop(Duration::from_secs(1)).await;
    assert_eq!(supervisor.status().borrow().phase, ServerPhase::Stopped);
    assert!(process.was_killed());
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
}

#[tokio::test(start_paused = true)]
async fn stopping_twice_is_stopping_once_and_stopping_the_stopped_is_nothing() {
    let world = World::default();
    let supervisor = started(&world);
    let (_connection, process) = session(&world, &supervisor).await;
    tokio::join!(supervisor.stop(LONG), supervisor.stop(LONG), process.behave());
    supervisor.stop(LONG).await;
    assert_eq!(supervisor.status().borrow().phase, ServerPhase::Stopped);
}

#[tokio::test(start_paused = true)]
async fn a_start_during_a_stop_waits_for_its_end() {
    let world = World::default();
    let supervisor = started(&world);
    let (_connection, process) = session(&world, &supervisor).await;
    let stop = supervisor.stop(LONG);
    let start = async {
        phase(&supervisor, ServerPhase::Stopping).await;
        supervisor.start();
        assert_eq!(supervisor.open_stdio().await.unwrap_err(), Unavailable::Stopped);
        process.behave().await;
    };
    tokio::join!(stop, start);
    phase(&supervisor, ServerPhase::Starting).await;
    let (_connection, process) = session(&world, &supervisor).await;
    assert!(!process.has_ended(), "what is launched now belongs to the new life");
}

#[tokio::test(start_paused = true)]
async fn an_abandoned_stop_stops_all_the_same() {
    let world = World::default();
    let supervisor = started(&world);
    let (_connection, process) = session(&world, &supervisor).await;
    assert!(timeout(Duration::ZERO, supervisor.stop(LONG)).await.is_err());
    process.behave().await;
    phase(&supervisor, ServerPhase::Stopped).await;
}

#[tokio::test(start_paused = true)]
async fn shutting_down_leaves_no_task() {
    let world = World::default();
    let supervisor = started(&world);
    let (_connection, process) = session(&world, &supervisor).await;
    let (done, ()) = tokio::join!(supervisor.shutdown(LONG), process.behave());
    assert!(done);
    supervisor.start();
    assert_eq!(supervisor.status().borrow().phase, ServerPhase::Stopped, "for good");
}

#[tokio::test(start_paused = true)]
async fn shutting_down_does_not_wait_for_the_stubborn() {
    let world = World::default();
    let supervisor = started(&world);
    let (_connection, process) = session(&world, &supervisor).await;
    assert!(supervisor.shutdown(Duration::from_millis(100)).await);
    assert!(process.was_killed());
}

#[tokio::test(start_paused = true)]
async fn a_dropped_supervisor_ends_its_workloads() {
    let world = World::default();
    let supervisor = started(&world);
    let (_connection, mut process) = session(&world, &supervisor).await;
    drop(supervisor);
    process.stdin_closed().await;
}
