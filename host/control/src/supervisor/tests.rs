//! The supervisor with processes that the test plays, on a clock that only moves when everybody waits.

use std::net::Ipv4Addr;
use std::sync::atomic::Ordering;

use fairlead_core::logs::LogSource;
use fairlead_core::workload::{Exit, LaunchError};
use jiff::Timestamp;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Notify;

use super::*;
use crate::fake::{FakeProcess, World, spec, stdio};
use crate::limits::LAUNCH_MAX;

const LONG: Duration = Duration::from_secs(600);

fn profile() -> ServerProfile {
    ServerProfile {
        protocol_version: "2025-11-25".to_owned(),
        name: "a".to_owned(),
        version: "1".to_owned(),
        capabilities: vec!["tools".to_owned()],
    }
}

fn started(world: &World) -> Arc<Supervisor> {
    let supervisor = Supervisor::spawn(world.config(stdio()));
    supervisor.start();
    supervisor
}

/// A session with its process.
async fn session(world: &World, supervisor: &Supervisor) -> (StdioConnection, FakeProcess) {
    let connection = supervisor.open_stdio().await.unwrap();
    (connection, world.runtime.next().await)
}

/// The process answers and the session reads it: it has come up.
async fn speak(connection: &mut StdioConnection, process: &mut FakeProcess) {
    process.say("{}").await;
    connection.stdout.read_exact(&mut [0; 2]).await.unwrap();
}

async fn phase(supervisor: &Supervisor, phase: ServerPhase) -> ServerStatus {
    phase_within(supervisor, phase, LONG).await
}

async fn phase_within(supervisor: &Supervisor, phase: ServerPhase, within: Duration) -> ServerStatus {
    let mut status = supervisor.status();
    let reached = status.wait_for(|status| status.phase == phase);
    timeout(within, reached).await.unwrap_or_else(|_| panic!("never {phase:?}")).unwrap().clone()
}

/// Waits until every workload has ended and its end was counted.
async fn at_rest(supervisor: &Supervisor) {
    timeout(LONG, supervisor.server.live.subscribe().wait_for(|live| *live == 0)).await.unwrap().unwrap();
}

// === Sessions ===

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

// === Failures ===

#[tokio::test(start_paused = true)]
async fn a_process_that_dies_without_a_word_closes_the_door_for_a_while() {
    let world = World::default();
    let supervisor = started(&world);
    let (_connection, mut process) = session(&world, &supervisor).await;
    process.complain("Error: no API key: hunter2\n").await;
    process.end(Exit::Code(1));

    let status = phase(&supervisor, ServerPhase::BackingOff).await;
    let reason = status.reason.unwrap();
    assert!(reason.starts_with("exited with status 1 after 0."), "{reason}");
    assert!(reason.ends_with(": Error: no API key: hunter2"), "{reason}");
    assert_eq!((status.restarts, status.retry_at), (1, Timestamp::from_second(1).ok()));

    let Err(Unavailable::BackingOff { reason, retry_after }) = supervisor.open_stdio().await else { panic!() };
    assert!(!reason.contains("hunter2"), "what a server writes is not for clients: {reason}");
    assert!(retry_after <= Duration::from_secs(1), "{retry_after:?}");
    assert_eq!(world.runtime.launches(), 1);

    let status = phase(&supervisor, ServerPhase::Starting).await;
    assert_eq!((status.restarts, status.retry_at), (1, None));
    assert!(supervisor.open_stdio().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_never_comes_up_is_given_up_and_started_again_by_a_person() {
    let world = World::default();
    let backoff = Backoff { failures_max: 3, ..Backoff::default() };
    let supervisor = Supervisor::spawn(SupervisorConfig { backoff, ..world.config(stdio()) });
    supervisor.start();
    for _ in 0..3 {
        phase(&supervisor, ServerPhase::Starting).await;
        let (_connection, mut process) = session(&world, &supervisor).await;
        process.end(Exit::Code(1));
        at_rest(&supervisor).await;
    }
    let status = phase(&supervisor, ServerPhase::Failed).await;
    assert!(status.reason.unwrap().ends_with("given up after 3 failures, `fairlead start a` tries again"));
    assert!(matches!(supervisor.open_stdio().await, Err(Unavailable::Failed(_))));
    supervisor.start();
    assert_eq!(supervisor.status().borrow().restarts, 0);
    assert!(supervisor.open_stdio().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_session_that_crashes_its_process_does_not_harm_the_others() {
    let world = World::default();
    let supervisor = started(&world);
    let (mut healthy, mut process) = session(&world, &supervisor).await;
    speak(&mut healthy, &mut process).await;
    supervisor.mark_ready(profile());
    for _ in 0..100 {
        let (mut connection, mut process) = session(&world, &supervisor).await;
        speak(&mut connection, &mut process).await;
        process.end(Exit::Signal(11));
        assert_eq!(connection.stdout.read(&mut [0; 8]).await.unwrap(), 0);
    }
    assert_eq!(supervisor.status().borrow().phase, ServerPhase::Running);
    assert!(!process.has_ended());
}

#[tokio::test(start_paused = true)]
async fn a_crash_is_seen_though_the_session_lets_go_as_soon_as_its_output_ends() {
    let world = World::default();
    let supervisor = started(&world);
    supervisor.mark_ready(profile());
    let (mut connection, mut process) = session(&world, &supervisor).await;
    speak(&mut connection, &mut process).await;
    process.end(Exit::Signal(11));
    assert_eq!(connection.stdout.read(&mut [0; 8]).await.unwrap(), 0);
    drop(connection);
    at_rest(&supervisor).await;
    let reason = supervisor.status().borrow().reason.clone();
    assert!(reason.as_ref().is_some_and(|reason| reason.starts_with("was ended by signal 11")), "{reason:?}");
}

#[tokio::test(start_paused = true)]
async fn a_last_answer_that_is_still_in_the_pipe_counts_as_having_come_up() {
    let world = World::default();
    let supervisor = started(&world);
    let (mut connection, mut process) = session(&world, &supervisor).await;
    process.say("{}").await;
    process.end(Exit::Code(1));
    // The exit is known before the answer is read.
    tokio::task::yield_now().await;
    connection.stdout.read_to_end(&mut Vec::new()).await.unwrap();
    at_rest(&supervisor).await;
    assert_eq!(supervisor.status().borrow().restarts, 0, "one crash, and no failure to come up");
}

#[tokio::test(start_paused = true)]
async fn a_session_that_its_server_ends_in_peace_is_no_failure() {
    let world = World::default();
    let supervisor = started(&world);
    supervisor.mark_ready(profile());
    for _ in 0..20 {
        let (mut connection, mut process) = session(&world, &supervisor).await;
        speak(&mut connection, &mut process).await;
        process.end(Exit::Code(0));
        drop(connection);
        at_rest(&supervisor).await;
    }
    let status = supervisor.status().borrow().clone();
    assert_eq!((status.phase, status.restarts, status.reason), (ServerPhase::Running, 0, None));
}

#[tokio::test(start_paused = true)]
async fn a_program_that_is_not_there_fails_at_once_with_the_remedy() {
    let world = World::default();
    let supervisor = started(&world);
    let what = "npx".to_owned();
    world.runtime.refuse(LaunchError::NotFound { what, hint: "is it installed?".to_owned() });
    let refused = supervisor.open_stdio().await.unwrap_err();
    assert_eq!(refused, Unavailable::Failed("its program cannot be started".to_owned()));
    let status = phase(&supervisor, ServerPhase::Failed).await;
    let expected = "`npx` was not found: is it installed?; `fairlead start a` tries again";
    assert!(status.reason.unwrap().starts_with(expected.split(';').next().unwrap()));
}

#[tokio::test(start_paused = true)]
async fn a_launch_that_takes_long_is_not_waited_for_and_one_that_never_ends_is_a_failure() {
    let world = World::default();
    let supervisor = started(&world);
    *world.runtime.held_up.lock() = Some(Arc::default());
    assert!(matches!(supervisor.open_stdio().await, Err(Unavailable::NotReady { .. })));
    assert_eq!(supervisor.status().borrow().phase, ServerPhase::Starting);
    phase_within(&supervisor, ServerPhase::BackingOff, LAUNCH_MAX).await;
    at_rest(&supervisor).await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_runs_and_does_not_answer_backs_off() {
    let world = World::default();
    let supervisor = started(&world);
    supervisor.mark_not_ready("did not answer `initialize` within 30 s");
    let status = phase(&supervisor, ServerPhase::BackingOff).await;
    assert_eq!(status.reason.as_deref(), Some("did not answer `initialize` within 30 s"));
}

#[tokio::test(start_paused = true)]
async fn what_a_server_said_of_itself_is_shown_once_it_is_ready() {
    let world = World::default();
    let supervisor = started(&world);
    assert_eq!(supervisor.status().borrow().phase, ServerPhase::Starting);
    supervisor.mark_ready(profile());
    let status = supervisor.status().borrow().clone();
    assert_eq!((status.phase, status.profile), (ServerPhase::Running, Some(profile())));
}

// === Stopping ===

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

// === Leftovers ===

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

// === Spares ===

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

// === Servers that speak HTTP (on the real clock: a socket does not wait for a paused one) ===

fn http(world: &World, port: u16) -> Arc<Supervisor> {
    let spec = spec(&format!(r#"{{"kind":"streamable-http","port":{port}}}"#));
    let backoff = Backoff { first: Duration::from_millis(1), ..Backoff::default() };
    let supervisor = Supervisor::spawn(SupervisorConfig { backoff, ..world.config(spec) });
    supervisor.start();
    supervisor
}

/// A port on which nobody listens until the socket does.
async fn port() -> (tokio::net::TcpSocket, u16) {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let port = socket.local_addr().unwrap().port();
    (socket, port)
}

#[tokio::test]
async fn an_http_server_is_launched_unasked_and_reached_once_its_port_is_open() {
    let (socket, port) = port().await;
    let world = World::default();
    let supervisor = http(&world, port);
    let mut process = world.runtime.next().await;
    process.say("listening soon\n").await;
    let mut endpoint = supervisor.http_endpoint();
    assert!(futures_util::poll!(&mut endpoint).is_pending());
    let _listener = socket.listen(8).unwrap();
    assert_eq!(endpoint.await, Ok(format!("http://127.0.0.1:{port}/mcp")));
    assert!(matches!(supervisor.open_stdio().await, Err(Unavailable::Failed(_))));
    tokio::join!(supervisor.stop(LONG), process.behave());
    assert_eq!(supervisor.http_endpoint().await, Err(Unavailable::Stopped));
    assert_eq!(world.logs.lines(&LogSource::Stdout), [(1, "listening soon".to_owned())]);
}

#[tokio::test]
async fn an_http_server_that_ends_is_brought_back_and_probed_again() {
    let (_socket, port) = port().await;
    let world = World::default();
    let supervisor = http(&world, port);
    for restarts in 1..=3 {
        let mut process = world.runtime.next().await;
        supervisor.mark_ready(profile());
        let mut status = supervisor.status();
        process.end(Exit::Code(0));
        let counted = status.wait_for(|status| status.restarts == restarts);
        timeout(LONG, counted).await.unwrap().unwrap();
        phase(&supervisor, ServerPhase::Starting).await;
    }
    let process = world.runtime.next().await;
    tokio::join!(supervisor.stop(LONG), process.behave());
}

#[tokio::test]
async fn an_http_server_that_does_not_answer_is_ended_and_launched_anew() {
    let (_socket, port) = port().await;
    let world = World::default();
    let supervisor = http(&world, port);
    let process = world.runtime.next().await;
    supervisor.mark_not_ready("no answer");
    process.behave().await;
    let process = world.runtime.next().await;
    tokio::join!(supervisor.stop(LONG), process.behave());
    assert_eq!(world.runtime.launches(), 2);
}

#[tokio::test]
async fn a_port_that_somebody_else_has_is_named() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let world = World::default();
    let supervisor = http(&world, port);
    let named = format!("port {port} is taken by another process");
    let mut status = supervisor.status();
    let named = status.wait_for(|status| status.reason.as_ref() == Some(&named));
    timeout(LONG, named).await.unwrap().unwrap();
    assert_eq!(world.runtime.launches(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_stdio_server_has_no_endpoint() {
    let supervisor = started(&World::default());
    assert!(matches!(supervisor.http_endpoint().await, Err(Unavailable::Failed(_))));
}

// === Whatever happens ===

#[derive(Debug, Clone)]
enum Act {
    Open,
    Speak(usize),
    LetGo(usize),
    End(usize, i32),
    Ready,
    Start,
    Stop,
    Wait(u64),
}

fn any_act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => Just(Act::Open),
        3 => (0..8_usize).prop_map(Act::Speak),
        2 => (0..8_usize).prop_map(Act::LetGo),
        4 => (0..8_usize, 0..2_i32).prop_map(|(which, code)| Act::End(which, code)),
        1 => Just(Act::Ready),
        1 => Just(Act::Start),
        1 => Just(Act::Stop),
        3 => (0..5_000_u64).prop_map(Act::Wait),
    ]
}

/// Plays a story and checks, at every launch, that it was let through.
async fn play(acts: Vec<Act>) {
    let world = World::default();
    let supervisor = started(&world);
    let mut sessions = Vec::new();
    for act in acts {
        match act {
            Act::Open => {
                let (closed, launches) = (supervisor.server.check().is_err(), world.runtime.launches());
                match supervisor.open_stdio().await {
                    Ok(connection) => sessions.push((Some(connection), world.runtime.next().await)),
                    Err(_) => assert_eq!(world.runtime.launches(), launches),
                }
                assert!(!closed || world.runtime.launches() == launches, "launched through a closed gate");
            }
            Act::Speak(which) => {
                if let Some((Some(connection), process)) = sessions.get_mut(which)
                    && !process.has_ended()
                {
                    speak(connection, process).await;
                }
            }
            Act::LetGo(which) => {
                if let Some((connection, _)) = sessions.get_mut(which) {
                    *connection = None;
                }
            }
            Act::End(which, code) => {
                if let Some((_, process)) = sessions.get_mut(which) {
                    process.end(Exit::Code(code));
                }
            }
            Act::Ready => supervisor.mark_ready(profile()),
            Act::Start => supervisor.start(),
            Act::Stop => drop(timeout(Duration::ZERO, supervisor.stop(Duration::from_secs(1))).await),
            Act::Wait(millis) => tokio::time::sleep(Duration::from_millis(millis)).await,
        }
    }
    supervisor.stop(Duration::from_secs(1)).await;
    let status = supervisor.status().borrow().clone();
    assert_eq!((status.phase, status.restarts, status.retry_at), (ServerPhase::Stopped, 0, None));
    assert!(sessions.iter().all(|(_, process)| process.has_ended()), "a process outlived its server");
    assert!(supervisor.shutdown(LONG).await, "a task outlived its supervisor");
    assert_eq!(supervisor.server.served.load(Ordering::Acquire), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn no_story_launches_through_a_closed_gate_or_leaves_anything_behind(
        acts in proptest::collection::vec(any_act(), 1..60),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(play(acts));
    }
}
