//! Sessions of stdio servers: a process each, ended when nobody wants it.

use super::*;

#[tokio::test(start_paused = true)]
async fn each_session_has_a_process_of_its_own_and_bytes_pass_both_ways() {
    let world = World::default();
    let supervisor = started(&world);
    let (mut first, mut one) = session(&world, &supervisor).await;
    let (_second, two) = session(&world, &supervisor).await;
    first.stdin.write_all(b"ping").await.unwrap();
    let mut read = [0; 4];
    one.stdin.read_exact(&mut read).await.unwrap();
    assert_eq!(&read, b"ping");
    speak(&mut first, &mut one).await;
    assert_eq!(world.runtime.launches(), 2);
    assert!(!one.has_ended() && !two.has_ended());
}

#[tokio::test(start_paused = true)]
async fn an_unwanted_process_is_left_to_end_by_itself_after_its_stdin_was_closed() {
    let world = World::default();
    let supervisor = started(&world);
    let (connection, mut process) = session(&world, &supervisor).await;
    drop(connection);
    process.stdin_closed().await;
    process.end(Exit::Code(1));
    at_rest(&supervisor).await;
    let status = supervisor.status().borrow().clone();
    assert_eq!((status.phase, status.restarts, status.reason), (ServerPhase::Starting, 0, None));
}

#[tokio::test(start_paused = true)]
async fn a_process_that_does_not_mind_is_asked_and_then_killed() {
    let world = World::default();
    let supervisor = started(&world);
    let (connection, mut process) = session(&world, &supervisor).await;
    let begin = Instant::now();
    drop(connection);
    process.stdin_closed().await;
    process.asked().await;
    assert_eq!(begin.elapsed().as_secs(), STDIN_GRACE.as_secs());
    at_rest(&supervisor).await;
    assert!(process.has_ended() && begin.elapsed() >= STDIN_GRACE + STOP_GRACE);
    assert_eq!(supervisor.status().borrow().restarts, 0, "we ended it");
}

#[tokio::test(start_paused = true)]
async fn closing_stdin_first_is_the_polite_way_out() {
    let world = World::default();
    let supervisor = started(&world);
    let (mut connection, mut process) = session(&world, &supervisor).await;
    connection.stdin.shutdown().await.unwrap();
    process.stdin_closed().await;
    process.end(Exit::Code(3));
    at_rest(&supervisor).await;
    assert_eq!(supervisor.status().borrow().restarts, 0);
    drop(connection);
}

#[tokio::test(start_paused = true)]
async fn sessions_have_a_cap_and_an_ended_one_makes_room() {
    let world = World::default();
    let supervisor = Supervisor::spawn(SupervisorConfig { sessions_max: 1, ..world.config(stdio()) });
    supervisor.start();
    let (connection, process) = session(&world, &supervisor).await;
    assert_eq!(supervisor.open_stdio().await.unwrap_err(), Unavailable::SessionLimit(1));
    drop(connection);
    process.behave().await;
    at_rest(&supervisor).await;
    assert!(supervisor.open_stdio().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn who_goes_away_during_the_launch_leaves_no_process() {
    let world = World::default();
    let supervisor = started(&world);
    let hold_up = Arc::new(Notify::new());
    *world.runtime.held_up.lock() = Some(Arc::clone(&hold_up));
    assert!(timeout(Duration::from_secs(1), supervisor.open_stdio()).await.is_err());
    hold_up.notify_one();
    world.runtime.next().await.behave().await;
    at_rest(&supervisor).await;
    assert_eq!(world.store.names(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn what_a_process_complains_of_is_logged_under_its_number() {
    let world = World::default();
    let supervisor = started(&world);
    let (_first, mut one) = session(&world, &supervisor).await;
    let (_second, mut two) = session(&world, &supervisor).await;
    two.complain("from two\n").await;
    two.end(Exit::Code(0));
    one.complain("from one\nand no line break").await;
    one.end(Exit::Code(0));
    at_rest(&supervisor).await;
    let mut lines = world.logs.lines(&LogSource::Stderr);
    lines.sort();
    let expected = [(1, "and no line break"), (1, "from one"), (2, "from two")];
    assert_eq!(lines, expected.map(|(number, text)| (number, text.to_owned())));
}

#[tokio::test(start_paused = true)]
async fn a_workload_is_written_down_before_it_is_handed_out_and_struck_out_after_its_end() {
    let world = World::default();
    let supervisor = started(&world);
    let (connection, process) = session(&world, &supervisor).await;
    assert_eq!(world.store.names(), ["fake:fake 1"]);
    drop(connection);
    process.behave().await;
    at_rest(&supervisor).await;
    assert_eq!(world.store.names(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_broken_costs_no_session() {
    let world = World::default();
    world.store.broken.store(true, Ordering::Release);
    let supervisor = started(&world);
    let (connection, process) = session(&world, &supervisor).await;
    drop(connection);
    process.behave().await;
    at_rest(&supervisor).await;
}

#[tokio::test(start_paused = true)]
async fn a_spare_is_launched_once_the_server_runs_and_replaced_when_taken() {
    let world = World::default();
    let supervisor = Supervisor::spawn(SupervisorConfig { spares: 1, ..world.config(stdio()) });
    supervisor.start();
    assert_eq!(world.runtime.launches(), 0);
    supervisor.mark_ready(profile());
    let mut spare = world.runtime.next().await;
    at_shelf(&supervisor).await;
    let mut connection = supervisor.open_stdio().await.unwrap();
    speak(&mut connection, &mut spare).await;
    let next = world.runtime.next().await;
    at_shelf(&supervisor).await;
    assert_eq!(world.runtime.launches(), 2);
    tokio::join!(supervisor.stop(LONG), spare.behave(), next.behave());
    assert_eq!(supervisor.status().borrow().phase, ServerPhase::Stopped);
}

#[tokio::test(start_paused = true)]
async fn a_spare_that_has_ended_is_not_handed_out() {
    let world = World::default();
    let supervisor = Supervisor::spawn(SupervisorConfig { spares: 1, ..world.config(stdio()) });
    supervisor.start();
    supervisor.mark_ready(profile());
    let mut tired = world.runtime.next().await;
    at_shelf(&supervisor).await;
    tokio::time::advance(LONG).await;
    tired.end(Exit::Code(0));
    at_rest(&supervisor).await;
    let (mut connection, mut process) = session(&world, &supervisor).await;
    speak(&mut connection, &mut process).await;
}

/// Waits until a spare lies on the shelf.
async fn at_shelf(supervisor: &Supervisor) {
    while supervisor.server.spares.count() == 0 {
        tokio::task::yield_now().await;
    }
}
