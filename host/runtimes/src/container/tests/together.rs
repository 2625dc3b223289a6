//! Sessions of one server as processes of one container: a container once, pipes and ends for each.

use std::time::Duration;

use fairlead_core::image::Sessions;
use fairlead_core::workload::Exit;
use tokio::io::AsyncWriteExt;

use super::scene::{Bench, Started, launch, soon};
use super::*;

/// Long enough that a server that wants to end has ended.
const LONG: Duration = Duration::from_secs(20);

async fn start(bench: &Bench, args: &[&str]) -> Started {
    let mut source = bench.source(args);
    source.resources.sessions = Sessions::Together;
    bench.start_launch(&launch(source)).await
}

async fn echoes(started: &mut Started, line: &str) {
    started.stdin.as_mut().unwrap().write_all(line.as_bytes()).await.unwrap();
    assert_eq!(started.line().await, line);
}

#[tokio::test]
async fn sessions_of_one_launch_are_processes_of_one_container_and_end_apart() {
    let Some(bench) = Bench::new().await else { return };
    let mut one = start(&bench, &["echo"]).await;
    echoes(&mut one, "one\n").await;
    let mut two = start(&bench, &["echo"]).await;
    let mut three = start(&bench, &["echo"]).await;
    for (started, line) in [(&mut two, "two\n"), (&mut three, "three\n"), (&mut one, "again\n")] {
        echoes(started, line).await;
    }
    assert_eq!(bench.left().await.len(), 1, "one container for all");
    drop(one.stdin.take());
    assert_eq!(one.finished().await, (Exit::Code(0), String::new()));
    assert_eq!(soon(two.handle.stop(LONG)).await, Exit::Signal(15));
    echoes(&mut three, "still there\n").await;
    let other = bench.start(&["echo"]).await;
    assert_eq!(bench.left().await.len(), 2, "whoever wants a container has one");
    drop((three, two, other));
    bench.done().await;
}

#[tokio::test]
async fn many_that_begin_at_once_begin_one_container() {
    let Some(bench) = Bench::new().await else { return };
    let (mut one, mut two, mut three) =
        tokio::join!(start(&bench, &["echo"]), start(&bench, &["echo"]), start(&bench, &["echo"]));
    for started in [&mut one, &mut two, &mut three] {
        echoes(started, "here\n").await;
    }
    assert_eq!(bench.left().await.len(), 1);
    drop((one, two, three));
    bench.done().await;
}

#[tokio::test]
async fn outputs_are_kept_apart_and_whole_and_a_process_tells_how_it_ended() {
    use tokio::io::AsyncReadExt;

    let Some(bench) = Bench::new().await else { return };
    let mut keeper = start(&bench, &["echo"]).await;
    let mut started = start(&bench, &["both", "3000000"]).await;
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let read =
        async { tokio::try_join!(started.stdout.read_to_end(&mut stdout), started.stderr.read_to_end(&mut stderr)) };
    soon(read).await.unwrap();
    assert_eq!((stdout.len(), stderr.len()), (3_000_000, 3_000_000));
    assert!(stdout.iter().all(|&byte| byte == b'o') && stderr.iter().all(|&byte| byte == b'e'));
    assert_eq!(start(&bench, &["exit", "7"]).await.finished().await.0, Exit::Code(7));
    echoes(&mut keeper, "nobody else noticed\n").await;
    drop((started, keeper));
    bench.done().await;
}

#[tokio::test]
async fn a_reader_that_takes_its_time_holds_up_its_own_process_and_no_other() {
    use tokio::io::{AsyncBufReadExt, AsyncReadExt};

    let Some(bench) = Bench::new().await else { return };
    let mut source = bench.source(&["flood"]);
    source.resources.sessions = Sessions::Together;
    let mut slow = bench.start_launch(&launch(source.clone())).await;
    // stdout is not read; stderr tells when the server could write no more.
    let mut line = String::new();
    soon(slow.stderr.read_line(&mut line)).await.unwrap();
    let written: u64 = line.trim().parse().unwrap();
    assert!(written < 4 * 1024 * 1024, "{written} bytes went somewhere");
    // Another session of the same container.
    let mut beside = bench.start_launch(&launch(source)).await;
    let mut bytes = vec![0; 4 * 1024 * 1024];
    soon(beside.stdout.read_exact(&mut bytes)).await.unwrap();
    assert_eq!(bench.left().await.len(), 1);
    soon(slow.stdout.read_exact(&mut bytes)).await.unwrap();
    assert!(bytes.iter().all(|&byte| byte == b'x'));
    drop((slow, beside));
    bench.done().await;
}

#[tokio::test]
async fn a_process_that_does_not_listen_is_killed_after_its_grace_and_one_that_is_dropped_at_once() {
    let Some(bench) = Bench::new().await else { return };
    let mut stubborn = start(&bench, &["stubborn"]).await;
    assert_eq!(stubborn.line().await, "ready\n");
    let mut dropped = start(&bench, &["stubborn"]).await;
    assert_eq!(dropped.line().await, "ready\n");
    let grace = Duration::from_millis(500);
    let began = Instant::now();
    assert_eq!(soon(stubborn.handle.stop(grace)).await, Exit::Signal(9));
    assert!(began.elapsed() >= grace);
    drop(dropped);
    bench.done().await;
}

#[tokio::test]
async fn the_end_of_the_container_is_the_end_of_all_of_them_and_the_next_has_another() {
    let Some(bench) = Bench::new().await else { return };
    let (mut one, mut two) = (start(&bench, &["echo"]).await, start(&bench, &["echo"]).await);
    echoes(&mut one, "one\n").await;
    echoes(&mut two, "two\n").await;
    let id = bench.left().await.remove(0).id;
    let container = id.split(' ').nth(1).unwrap().to_owned();
    bench.engine.docker().kill_container(&container, None).await.unwrap();
    for started in [one, two] {
        assert_eq!(started.finished().await.0, Exit::Signal(9));
    }
    let mut next = start(&bench, &["echo"]).await;
    echoes(&mut next, "again\n").await;
    drop(next);
    bench.done().await;
}
