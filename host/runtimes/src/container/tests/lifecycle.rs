//! Pipes, ends, and that nothing stays behind whatever happens.

use std::time::Duration;

use fairlead_core::image::ImageReference;
use fairlead_core::workload::Exit;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};

use super::scene::{Bench, PATIENCE, Relay, Started, launch, soon};
use super::*;

/// Long enough that a server that wants to end has ended.
const LONG: Duration = Duration::from_secs(20);

#[tokio::test]
async fn what_is_written_comes_back_and_the_end_of_stdin_ends_the_server() {
    let Some(bench) = Bench::new().await else { return };
    let mut started = bench.start(&["echo"]).await;
    for line in ["one\n", "two\n"] {
        started.stdin.as_mut().unwrap().write_all(line.as_bytes()).await.unwrap();
        assert_eq!(started.line().await, line);
    }
    drop(started.stdin.take());
    let mut stderr = String::new();
    soon(started.stderr.read_to_string(&mut stderr)).await.unwrap();
    assert_eq!(stderr, "stdin ended\n");
    assert_eq!(soon(started.handle.wait()).await, Exit::Code(0));
    assert_eq!(soon(started.handle.wait()).await, Exit::Code(0), "as often as one asks");
    bench.done().await;
}

#[tokio::test]
async fn shutting_stdin_down_is_its_end_as_well() {
    let Some(bench) = Bench::new().await else { return };
    let mut started = bench.start(&["echo"]).await;
    let stdin = started.stdin.as_mut().unwrap();
    stdin.write_all(b"last\n").await.unwrap();
    soon(stdin.shutdown()).await.unwrap();
    assert_eq!(started.finished().await, (Exit::Code(0), "last\n".to_owned()));
    bench.done().await;
}

#[tokio::test]
async fn the_outputs_are_kept_apart_and_whole() {
    let Some(bench) = Bench::new().await else { return };
    let mut started = bench.start(&["both", "3000000"]).await;
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let read =
        async { tokio::try_join!(started.stdout.read_to_end(&mut stdout), started.stderr.read_to_end(&mut stderr)) };
    soon(read).await.unwrap();
    assert_eq!((stdout.len(), stderr.len()), (3_000_000, 3_000_000));
    assert!(stdout.iter().all(|&byte| byte == b'o') && stderr.iter().all(|&byte| byte == b'e'));
    drop(started);
    bench.done().await;
}

#[tokio::test]
async fn a_reader_that_takes_its_time_holds_the_server_up_and_its_stderr_not() {
    let Some(bench) = Bench::new().await else { return };
    let mut started = bench.start(&["flood"]).await;
    // stdout is not read; stderr tells when the server could write no more.
    let mut line = String::new();
    soon(started.stderr.read_line(&mut line)).await.unwrap();
    let written: u64 = line.trim().parse().unwrap();
    assert!(written < 16 * 1024 * 1024, "{written} bytes went somewhere");
    let mut bytes = vec![0; 4 * 1024 * 1024];
    soon(started.stdout.read_exact(&mut bytes)).await.unwrap();
    assert!(bytes.iter().all(|&byte| byte == b'x'));
    drop(started);
    bench.done().await;
}

#[tokio::test]
async fn a_server_tells_how_it_ended() {
    let Some(bench) = Bench::new().await else { return };
    assert_eq!(bench.start(&["exit", "0"]).await.finished().await.0, Exit::Code(0));
    assert_eq!(bench.start(&["exit", "7"]).await.finished().await.0, Exit::Code(7));
    bench.done().await;
}

#[tokio::test]
async fn a_server_that_is_asked_to_end_is_not_killed() {
    let Some(bench) = Bench::new().await else { return };
    let started = bench.start(&["echo"]).await;
    let began = Instant::now();
    assert_eq!(soon(started.handle.stop(LONG)).await, Exit::Signal(15));
    assert!(began.elapsed() < LONG, "it did not have to be killed");
    bench.done().await;
}

#[tokio::test]
async fn a_server_that_does_not_listen_is_killed_after_its_grace() {
    let Some(bench) = Bench::new().await else { return };
    let mut started = bench.start(&["stubborn"]).await;
    assert_eq!(started.line().await, "ready\n");
    let grace = Duration::from_millis(500);
    let began = Instant::now();
    assert_eq!(soon(started.handle.stop(grace)).await, Exit::Signal(9));
    assert!(began.elapsed() >= grace);
    bench.done().await;
}

#[tokio::test]
async fn a_second_stop_shortens_the_grace() {
    let Some(bench) = Bench::new().await else { return };
    let mut started = bench.start(&["stubborn"]).await;
    started.line().await;
    let patient = started.handle.stop(PATIENCE * 10);
    let impatient = started.handle.stop(Duration::from_millis(10));
    assert_eq!(soon(async { tokio::join!(patient, impatient) }).await, (Exit::Signal(9), Exit::Signal(9)));
    bench.done().await;
}

#[tokio::test]
async fn dropping_a_server_ends_it_and_leaves_nothing() {
    let Some(bench) = Bench::new().await else { return };
    let mut started = bench.start(&["stubborn"]).await;
    started.line().await;
    let inspected = bench.inspect(&started).await;
    let volume = inspected.mounts.unwrap().into_iter().find_map(|mount| mount.name).expect("the image has a volume");
    drop(started);
    soon(bench.runtime.settled()).await;
    assert!(bench.engine.docker().inspect_volume(&volume).await.is_err(), "the anonymous volume went with it");
    bench.done().await;
}

#[tokio::test]
async fn a_launch_that_is_given_up_leaves_nothing() {
    let Some(bench) = Bench::new().await else { return };
    let launch = launch(bench.source(&["stubborn"]));
    let began = Instant::now();
    drop(soon(bench.runtime.launch(&launch)).await.unwrap());
    let whole = began.elapsed();
    // Given up at eight points on the way.
    for part in 0..8 {
        let _ = tokio::time::timeout(whole * part / 8, bench.runtime.launch(&launch)).await;
    }
    bench.done().await;
}

#[tokio::test]
async fn a_command_that_the_image_does_not_have_is_a_clear_end() {
    let Some(bench) = Bench::new().await else { return };
    let mut source = bench.source(&[]);
    source.command = vec!["/is-not-there".to_owned()];
    // With an init the container starts and the init cannot; without one the engine refuses. Both are told.
    match soon(bench.runtime.launch(&launch(source))).await {
        Ok(workload) => assert_eq!(Started::from(workload).finished().await.0, Exit::Code(127)),
        Err(error) => assert!(error.to_string().contains("fairlead-fixture"), "{error}"),
    }
    bench.done().await;
}

#[tokio::test]
async fn an_image_that_is_not_there_and_may_not_be_pulled_is_told() {
    let Some(bench) = Bench::new().await else { return };
    let mut source = bench.source(&["echo"]);
    source.reference = ImageReference::new("fairlead-test/is-not-there:1").unwrap();
    let error = soon(bench.runtime.launch(&launch(source))).await.unwrap_err();
    let LaunchError::NotFound { what, hint } = &error else { panic!("{error}") };
    assert_eq!(what, "fairlead-test/is-not-there:1");
    assert!(hint.contains("its pull policy is `never`"), "{hint}");
}

#[tokio::test]
async fn a_leftover_is_found_and_ended_by_the_next_daemon_and_by_no_other() {
    let Some(bench) = Bench::new().await else { return };
    let mut started = bench.start(&["stubborn"]).await;
    started.line().await;
    let stranger = bench.another("test-stranger");
    assert!(!soon(stranger.end_leftover(&started.id)).await, "another home has another's labels");
    let next = bench.another(&bench.home);
    let found = soon(next.found()).await;
    let [found] = &found[..] else { panic!("{found:?}") };
    assert_eq!(found.id, started.id);
    assert_eq!(found.server.as_ref().unwrap().to_string(), "default/fixture");
    assert!(found.running && !found.minded);
    assert!(bench.left().await[0].minded);
    assert!(soon(next.end_leftover(&started.id)).await);
    assert!(!soon(next.end_leftover(&started.id)).await, "it is gone");
    assert_eq!(bench.left().await, []);
    // The daemon that minded it hears of it.
    soon(started.handle.wait()).await;
    assert!(!soon(next.end_leftover("12 boot/34")).await, "an id of another runtime is nobody's");
}

#[tokio::test]
async fn strays_are_removed_and_what_is_minded_stays() {
    let Some(bench) = Bench::new().await else { return };
    let one = bench.start(&["echo"]).await;
    let next = bench.another(&bench.home);
    let removed = soon(next.remove_strays(&|_| true)).await;
    assert_eq!(removed.iter().map(|found| &found.id).collect::<Vec<_>>(), [&one.id]);
    let two = bench.start(&["echo"]).await;
    assert_eq!(soon(bench.runtime.remove_strays(&|_| true)).await, []);
    assert_eq!(bench.left().await.len(), 1);
    drop((one, two));
    bench.done().await;
}

#[tokio::test]
async fn an_engine_that_is_away_for_a_moment_ends_no_server() {
    let Some(bench) = Bench::new().await else { return };
    let mut relay = Relay::new(bench.engine.socket());
    let Some(relayed) = Bench::on(relay.surroundings()).await else { return };
    let mut started = relayed.start(&["stubborn"]).await;
    started.line().await;
    relay.cut().await;
    // The pipes are gone with the connection, and say so.
    let mut rest = String::new();
    soon(started.stdout.read_to_string(&mut rest)).await.unwrap();
    relay.open();
    assert!(bench.inspect(&started).await.state.unwrap().running.unwrap());
    assert_eq!(soon(started.handle.stop(Duration::from_millis(100))).await, Exit::Signal(9));
    relayed.done().await;
}

#[tokio::test]
async fn an_engine_that_stays_away_is_told_and_what_it_kept_is_found_later() {
    let Some(bench) = Bench::new().await else { return };
    let mut relay = Relay::new(bench.engine.socket());
    let Some(relayed) = Bench::on(relay.surroundings()).await else { return };
    let mut started = relayed.start(&["stubborn"]).await;
    started.line().await;
    relay.cut().await;
    tokio::time::pause();
    let exit = started.handle.wait().await;
    assert!(matches!(&exit, Exit::Fault(fault) if fault.contains("went away")), "{exit}");
    let error = relayed.runtime.launch(&launch(relayed.source(&["echo"]))).await.unwrap_err();
    let LaunchError::Away { source, .. } = &error else { panic!("{error:?}") };
    let error = source.downcast_ref::<ContainerError>().unwrap();
    assert!(error.is_connection() && error.hint().is_some(), "{error}");
    tokio::time::resume();
    relay.open();
    // What it kept is removed once it is back.
    soon(relayed.runtime.settled()).await;
    relayed.done().await;
}
