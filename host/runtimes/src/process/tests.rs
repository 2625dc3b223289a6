//! With real processes. What has to be waited for is a line or the end of a pipe, which comes when its last holder is gone.

use std::path::Path;
use std::time::Duration;

use fairlead_core::workload::Exit;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::time::timeout;

use super::*;

/// Far more than any of these needs; a test that hits it has found something.
const PATIENCE: Duration = Duration::from_secs(30);

/// Long enough that a process that wants to end has ended.
const LONG: Duration = Duration::from_secs(20);

fn command(program: &str, args: &[&str]) -> Launch {
    let args = args.iter().map(|&arg| arg.to_owned()).collect();
    Launch {
        server: serde_json::from_str(r#"{"tenant":"default","name":"a"}"#).unwrap(),
        source: Source::Command { program: program.to_owned(), args, directory: None },
        env: [("GIVEN".to_owned(), "given".to_owned().into())].into(),
        port: None,
        mark: None,
    }
}

fn shell(script: &str) -> Launch {
    command("sh", &["-c", script])
}

struct Started {
    id: Option<String>,
    stdin: fairlead_core::workload::Stdin,
    lines: Lines<BufReader<fairlead_core::workload::Stdout>>,
    /// Held, or a shell that complains dies of it.
    _stderr: fairlead_core::workload::Stdout,
    handle: Box<dyn fairlead_core::workload::WorkloadHandle>,
}

impl Started {
    async fn line(&mut self) -> String {
        soon(self.lines.next_line()).await.unwrap().unwrap()
    }

    /// Waits until nobody holds the pipe: the process and all that it started are gone.
    async fn gone(&mut self) {
        while soon(self.lines.next_line()).await.unwrap().is_some() {}
    }
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("within the patience of the test")
}

async fn start(launch: Launch) -> Started {
    let Workload { id, stdin, stdout, stderr, handle } = ProcessRuntime::new().launch(&launch).await.unwrap();
    Started { id, stdin, lines: BufReader::new(stdout).lines(), _stderr: stderr, handle }
}

async fn refused(launch: Launch) -> LaunchError {
    ProcessRuntime::new().launch(&launch).await.unwrap_err()
}

#[tokio::test]
async fn a_status_is_reported_to_everyone_who_waits() {
    let process = start(shell("exit 7")).await;
    let (first, second) = soon(async { tokio::join!(process.handle.wait(), process.handle.wait()) }).await;
    assert_eq!((first, second), (Exit::Code(7), Exit::Code(7)));
    assert_eq!(soon(process.handle.wait()).await, Exit::Code(7));
    assert_eq!(soon(process.handle.stop(LONG)).await, Exit::Code(7), "stopping what has ended tells how it ended");
}

#[tokio::test]
async fn a_signal_is_reported_as_one() {
    assert_eq!(soon(start(shell("kill -9 $$")).await.handle.wait()).await, Exit::Signal(9));
}

#[tokio::test]
async fn the_three_pipes_are_apart() {
    let launch = shell("read line; echo out $line; echo err >&2");
    let mut workload = ProcessRuntime::new().launch(&launch).await.unwrap();
    workload.stdin.write_all(b"in\n").await.unwrap();
    let (mut out, mut err) = (String::new(), String::new());
    soon(workload.stdout.read_to_string(&mut out)).await.unwrap();
    soon(workload.stderr.read_to_string(&mut err)).await.unwrap();
    assert_eq!((out.as_str(), err.as_str()), ("out in\n", "err\n"));
}

#[tokio::test]
async fn closing_stdin_ends_a_process_that_reads_it() {
    let process = start(command("cat", &[])).await;
    drop(process.stdin);
    assert_eq!(soon(process.handle.wait()).await, Exit::Code(0));
}

#[tokio::test]
async fn stopping_ends_children_of_children_too() {
    let mut process = start(shell("sh -c 'sleep 1000 & sleep 1000' & echo up; wait")).await;
    assert_eq!(process.line().await, "up");
    assert_eq!(soon(process.handle.stop(LONG)).await, Exit::Signal(15));
    process.gone().await;
}

#[tokio::test]
async fn who_ignores_being_asked_is_killed() {
    let mut process = start(shell("trap '' TERM; echo up; while :; do sleep 1000; done")).await;
    assert_eq!(process.line().await, "up");
    assert_eq!(soon(process.handle.stop(Duration::from_millis(50))).await, Exit::Signal(9));
    process.gone().await;
}

#[tokio::test]
async fn who_is_asked_may_finish_what_it_does() {
    let mut process = start(shell("trap 'echo bye; exit 4' TERM; echo up; while :; do sleep 0.01; done")).await;
    assert_eq!(process.line().await, "up");
    assert_eq!(soon(process.handle.stop(LONG)).await, Exit::Code(4));
    assert_eq!(process.line().await, "bye");
}

#[tokio::test]
async fn a_shorter_grace_overrules_a_longer_one() {
    let mut process = start(shell("trap '' TERM; echo up; while :; do sleep 1000; done")).await;
    assert_eq!(process.line().await, "up");
    let (first, second) = soon(async {
        tokio::join!(process.handle.stop(PATIENCE * 100), process.handle.stop(Duration::from_millis(10)))
    })
    .await;
    assert_eq!((first, second), (Exit::Signal(9), Exit::Signal(9)));
}

#[tokio::test]
async fn dropping_the_handle_kills_the_whole_group() {
    let mut process = start(shell("trap '' TERM; sleep 1000 & echo up; sleep 1000")).await;
    assert_eq!(process.line().await, "up");
    process.handle = start(shell("exit 0")).await.handle;
    process.gone().await;
}

#[tokio::test]
async fn the_children_of_a_process_that_ends_by_itself_follow_it() {
    let mut process = start(shell("sleep 1000 & echo up; exit 3")).await;
    assert_eq!(process.line().await, "up");
    assert_eq!(soon(process.handle.wait()).await, Exit::Code(3));
    process.gone().await;
}

#[tokio::test]
async fn orphans_that_ignore_being_asked_are_killed() {
    let mut process = start(shell("trap '' TERM; sleep 1000 & echo up; exit 3")).await;
    assert_eq!(process.line().await, "up");
    assert_eq!(soon(process.handle.wait()).await, Exit::Code(3));
    process.gone().await;
}

#[tokio::test]
async fn an_ended_process_leaves_no_zombie() {
    let process = start(command("cat", &[])).await;
    let id: Identity = process.id.unwrap().parse().unwrap();
    assert_eq!(Identity::of(id.pid()).await, Some(id.clone()));
    drop(process.stdin);
    soon(process.handle.wait()).await;
    assert_ne!(Identity::of(id.pid()).await, Some(id));
}

#[tokio::test]
async fn a_leftover_is_ended_and_a_stranger_with_its_number_is_not() {
    let runtime = ProcessRuntime::new();
    let mut process = start(shell("sleep 1000 & echo up; read line; echo still here; wait")).await;
    assert_eq!(process.line().await, "up");
    let id = process.id.clone().unwrap();

    let earlier = format!("{id}0");
    assert!(!soon(runtime.end_leftover(&earlier)).await, "started at another time");
    process.stdin.write_all(b"\n").await.unwrap();
    assert_eq!(process.line().await, "still here");

    assert!(soon(runtime.end_leftover(&id)).await);
    process.gone().await;
    soon(process.handle.wait()).await;
    assert!(!soon(runtime.end_leftover(&id)).await, "it has ended");
    assert!(!soon(runtime.end_leftover("what is this")).await);
}

#[tokio::test]
async fn only_what_is_given_and_what_is_passed_on_reaches_the_process() {
    let mut process = start(command("env", &[])).await;
    let mut names = Vec::new();
    while let Some(line) = soon(process.lines.next_line()).await.unwrap() {
        names.push(line.split('=').next().unwrap().to_owned());
    }
    let given = [("GIVEN".to_owned(), "given".to_owned().into())].into();
    let expected = environment::of_workload(std::env::vars_os(), &given);
    let mut expected: Vec<_> = expected.into_keys().map(|name| name.into_string().unwrap()).collect();
    names.sort();
    expected.sort();
    assert_eq!(names, expected);
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some(), "there was something to hold back");
    assert!(!names.contains(&"CARGO_MANIFEST_DIR".to_owned()));
}

#[tokio::test]
async fn the_working_directory_is_the_one_that_was_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path().canonicalize().unwrap();
    let mut launch = command("pwd", &[]);
    let Source::Command { directory, .. } = &mut launch.source else { panic!("not a command") };
    *directory = Some(here.clone());
    assert_eq!(Path::new(&start(launch).await.line().await), here);
}

#[tokio::test]
async fn a_program_with_a_slash_is_taken_from_the_working_directory() {
    let directory = tempfile::tempdir().unwrap();
    script(directory.path(), "hello", "#!/bin/sh\necho hello\n", 0o755);
    let mut launch = command("./hello", &[]);
    let Source::Command { directory: given, .. } = &mut launch.source else { panic!("not a command") };
    *given = Some(directory.path().to_owned());
    assert_eq!(start(launch).await.line().await, "hello");
}

#[tokio::test]
async fn the_path_of_the_server_is_the_one_that_is_searched() {
    let directory = tempfile::tempdir().unwrap();
    script(directory.path(), "only-here", "#!/bin/sh\necho found\n", 0o755);
    let mut launch = command("only-here", &[]);
    assert!(matches!(refused(launch.clone()).await, LaunchError::NotFound { .. }));
    launch.env.insert("PATH".to_owned(), directory.path().to_str().unwrap().to_owned().into());
    assert_eq!(start(launch).await.line().await, "found");
}

#[tokio::test]
async fn what_is_not_there_is_named_with_a_remedy() {
    let LaunchError::NotFound { what, hint } = refused(command("no-such-program", &[])).await else { panic!() };
    assert_eq!(what, "no-such-program");
    assert!(hint.contains("is it installed?"), "{hint}");

    let mut launch = command("npx", &["-y", "x"]);
    launch.env.insert("PATH".to_owned(), "/nowhere".to_owned().into());
    let LaunchError::NotFound { hint, .. } = refused(launch).await else { panic!() };
    assert!(hint.contains("Node.js"), "{hint}");

    let LaunchError::NotFound { what, .. } = refused(command("/no/such", &[])).await else { panic!() };
    assert_eq!(what, "/no/such");

    let mut launch = command("sh", &[]);
    let Source::Command { directory, .. } = &mut launch.source else { panic!("not a command") };
    *directory = Some("/no/such".into());
    let LaunchError::NotFound { hint, .. } = refused(launch).await else { panic!() };
    assert!(hint.contains("working directory"), "{hint}");
}

#[tokio::test]
async fn what_cannot_be_started_says_why() {
    let directory = tempfile::tempdir().unwrap();
    let why = async |path: &Path| match refused(command(path.to_str().unwrap(), &[])).await {
        LaunchError::Start { source, .. } => source.to_string(),
        other => panic!("{other}"),
    };
    let plain = script(directory.path(), "plain", "#!/bin/sh\n", 0o644);
    assert!(why(&plain).await.contains("chmod +x"));
    let orphan = script(directory.path(), "orphan", "#!/no/such/interpreter\n", 0o755);
    assert!(why(&orphan).await.contains("interpreter"));
    assert!(why(directory.path()).await.contains("directory"));
}

#[tokio::test]
async fn a_component_is_somebody_elses_business() {
    let mut launch = command("sh", &[]);
    launch.source = Source::Wasm { path: "/a.wasm".into(), args: Vec::new() };
    assert!(!ProcessRuntime::new().supports(&launch.source));
    assert!(matches!(refused(launch).await, LaunchError::Unsupported(_)));
}

/// Written by a process of its own: a descriptor open for writing here would be inherited by what other tests start at that
/// moment, and the kernel refuses to execute a file that somebody may write.
fn script(directory: &Path, name: &str, text: &str, mode: u32) -> std::path::PathBuf {
    let path = directory.join(name);
    let written = std::process::Command::new("sh")
        .args(["-c", r#"printf %s "$2" > "$1" && chmod "$3" "$1""#, "sh"])
        .args([path.as_os_str(), text.as_ref(), format!("{mode:o}").as_ref()])
        .status();
    assert!(written.unwrap().success());
    path
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn what_a_process_uses_is_counted_with_its_children() {
    let mut process = start(shell("sh -c 'echo ready; while :; do :; done' & wait")).await;
    assert_eq!(process.line().await, "ready");
    let counted = async {
        loop {
            let usage = process.handle.usage().await.unwrap();
            // The one that waits has used next to nothing: this is its child.
            if usage.cpu_nanos >= 50_000_000 {
                return usage;
            }
            tokio::task::yield_now().await;
        }
    };
    let usage = soon(counted).await;
    assert!(usage.processes == 2 && usage.memory_bytes > 100_000, "{usage:?}");
    soon(process.handle.stop(LONG)).await;
    assert_eq!(process.handle.usage().await, None, "what has ended uses nothing");
}
