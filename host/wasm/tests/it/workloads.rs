//! Components that run as servers.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use fairlead_core::name::{ServerKey, ServerName, TenantName};
use fairlead_core::server::Source;
use fairlead_core::workload::{Exit, Launch, LaunchError, Workload, WorkloadRuntime};
use fairlead_wasm::WasmWorkloads;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

use crate::support::{Host, chain, guest};

const GRACE: Duration = Duration::from_secs(10);

fn launch(path: &Path) -> Launch {
    Launch {
        server: ServerKey { tenant: TenantName::default(), name: ServerName::new("s").unwrap() },
        source: Source::Wasm { path: path.to_path_buf(), args: vec![] },
        env: BTreeMap::new(),
        port: None,
        mark: None,
    }
}

async fn start(runtime: &WasmWorkloads, path: &Path) -> Workload {
    runtime.launch(&launch(path)).await.unwrap()
}

/// A program in WebAssembly text, as a file.
fn program(directory: &Path, body: &str) -> std::path::PathBuf {
    let path = directory.join("program.wasm");
    let text = format!(
        r#"(component
            (core module $m
                (memory (export "memory") 1)
                (func (export "run") (result i32) {body}))
            (core instance $i (instantiate $m))
            (func $run (result (result)) (canon lift (core func $i "run")))
            (instance $cli (export "run" (func $run)))
            (export "wasi:cli/run@0.2.6" (instance $cli)))"#
    );
    std::fs::write(&path, wat::parse_str(text).unwrap()).unwrap();
    path
}

#[tokio::test]
async fn a_server_answers_on_its_streams_and_ends_with_its_input() {
    let host = Host::new();
    let runtime = WasmWorkloads::new(host.host);
    let mut workload = start(&runtime, &guest("toolbox")).await;
    let initialize = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}});
    workload.stdin.write_all(format!("{initialize}\n").as_bytes()).await.unwrap();
    let mut lines = BufReader::new(workload.stdout).lines();
    let line = tokio::time::timeout(GRACE, lines.next_line()).await.unwrap().unwrap().unwrap();
    let answer: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(answer["id"], 1);
    assert!(answer["result"]["serverInfo"]["name"].is_string(), "{answer}");
    let usage = workload.handle.usage().await.unwrap();
    assert!(usage.cpu_nanos > 0 && usage.memory_bytes >= 64 * 1024 && usage.processes == 0, "{usage:?}");
    drop(workload.stdin);
    assert_eq!(workload.handle.stop(GRACE).await, Exit::Code(0));
    assert_eq!(workload.handle.wait().await, Exit::Code(0));
    assert_eq!(workload.handle.usage().await, None, "what has ended uses nothing");
}

#[tokio::test]
async fn a_program_that_never_ends_shares_its_thread_and_is_ended_by_force() {
    let host = Host::new();
    let runtime = WasmWorkloads::new(host.host);
    let directory = tempfile::tempdir().unwrap();
    let path = program(directory.path(), "(loop $l (br $l)) (unreachable)");
    let mut workload = start(&runtime, &path).await;
    assert_eq!(workload.handle.stop(Duration::from_millis(20)).await, Exit::Signal(9));
    let mut rest = Vec::new();
    assert_eq!(workload.stdout.read_to_end(&mut rest).await.unwrap(), 0);
}

#[tokio::test]
async fn letting_go_of_a_program_ends_it() {
    let host = Host::new();
    let runtime = WasmWorkloads::new(host.host);
    let directory = tempfile::tempdir().unwrap();
    let path = program(directory.path(), "(loop $l (br $l)) (unreachable)");
    let Workload { handle, mut stdout, stderr, stdin, .. } = start(&runtime, &path).await;
    drop((handle, stderr, stdin));
    let mut rest = Vec::new();
    tokio::time::timeout(GRACE, stdout.read_to_end(&mut rest)).await.unwrap().unwrap();
}

#[tokio::test]
async fn how_a_program_ended_is_told() {
    let host = Host::new();
    let runtime = WasmWorkloads::new(host.host);
    let directory = tempfile::tempdir().unwrap();
    for (body, exit) in [
        ("(i32.const 0)", Exit::Code(0)),
        ("(i32.const 1)", Exit::Code(1)),
        ("(unreachable)", Exit::Fault("trapped: wasm trap: wasm `unreachable` instruction executed".to_owned())),
        (
            "(drop (memory.grow (i32.const 8192))) (unreachable)",
            Exit::Fault("wanted more than 268435456 bytes of memory".to_owned()),
        ),
    ] {
        let workload = start(&runtime, &program(directory.path(), body)).await;
        assert_eq!(workload.handle.wait().await, exit, "{body}");
    }
}

#[tokio::test]
async fn what_is_no_program_is_not_started_and_says_why() {
    let host = Host::new();
    let runtime = WasmWorkloads::new(host.host);
    let error = runtime.launch(&launch(Path::new("/nowhere.wasm"))).await.unwrap_err();
    assert!(matches!(error, LaunchError::NotFound { .. }));
    let error = runtime.launch(&launch(&guest("noop"))).await.unwrap_err();
    let LaunchError::Start { source, .. } = error else { panic!("{error:?}") };
    assert!(chain(&*source).contains("is a middleware, but a program"), "{source}");
    assert!(!runtime.supports(&Source::Command { program: "x".to_owned(), args: vec![], directory: None }));
}
