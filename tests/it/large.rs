//! A component as large as a guest in JavaScript or Python: compiled in a child of its own, while requests go on.

use std::time::{Duration, Instant};

use fairlead_tests::{Daemon, binary};
use serde_json::json;

/// Unsigned LEB128.
fn number(mut value: usize, to: &mut Vec<u8>) {
    loop {
        let byte = u8::try_from(value & 0x7f).unwrap();
        value >>= 7;
        if value == 0 {
            to.push(byte);
            return;
        }
        to.push(byte | 0x80);
    }
}

fn section(id: u8, content: &[u8], to: &mut Vec<u8>) {
    to.push(id);
    number(content.len(), to);
    to.extend_from_slice(content);
}

/// A component with `functions` functions of `steps` multiplications, which claims to be a middleware.
fn component(functions: usize, steps: usize) -> Vec<u8> {
    let mut module = b"\0asm\x01\0\0\0".to_vec();
    section(1, &[1, 0x60, 1, 0x7f, 1, 0x7f], &mut module);
    let mut types = Vec::new();
    number(functions, &mut types);
    types.extend(std::iter::repeat_n(0, functions));
    section(3, &types, &mut module);
    let mut code = Vec::new();
    number(functions, &mut code);
    for function in 0..functions {
        let mut body = vec![0];
        for step in 0..steps {
            // local.get 0, i32.const, i32.mul, local.set 0
            let constant = u8::try_from((function + step) % 60).unwrap();
            body.extend_from_slice(&[0x20, 0, 0x41, constant, 0x6c, 0x21, 0]);
        }
        body.extend_from_slice(&[0x20, 0, 0x0b]);
        number(body.len(), &mut code);
        code.extend_from_slice(&body);
    }
    section(10, &code, &mut module);
    let mut component = b"\0asm\x0d\0\x01\0".to_vec();
    section(1, &module, &mut component);
    // One instance, with nothing in it.
    section(5, &[1, 1, 0], &mut component);
    let mut exports = vec![2];
    for name in ["fairlead:types/manifest@0.1.0", "fairlead:middleware/hooks@0.1.0"] {
        exports.push(0);
        number(name.len(), &mut exports);
        exports.extend_from_slice(name.as_bytes());
        exports.extend_from_slice(&[5, 0, 0]);
    }
    section(11, &exports, &mut component);
    component
}

fn percentile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort_unstable();
    times.get((times.len() * percent / 100).min(times.len() - 1)).copied().unwrap()
}

#[tokio::test]
async fn a_component_of_fifteen_megabytes_is_compiled_beside_the_requests() {
    let daemon = Daemon::start().await.unwrap();
    let server = binary::test_server().unwrap();
    let filter = r#"tool-filter={"deny":["none"]}"#;
    let args = ["run", "--name", "guarded", "--plugin", filter, "--", server.to_str().unwrap()];
    daemon.cli().unwrap().ok(args).await.unwrap();
    let client = daemon.client("guarded").await.unwrap();
    let call = async || {
        let started = Instant::now();
        let answer = client.call("echo", json!({"message": "x"})).await.unwrap();
        assert!(answer.pointer("/result").is_some(), "{answer}");
        started.elapsed()
    };
    let mut before = Vec::new();
    for _ in 0..200 {
        before.push(call().await);
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("large.wasm");
    let bytes = component(20_000, 107);
    assert!((14_000_000..18_000_000).contains(&bytes.len()), "{}", bytes.len());
    std::fs::write(&path, &bytes).unwrap();
    let cli = daemon.cli().unwrap();
    let typed = path.to_str().unwrap();
    let server = server.to_str().unwrap();
    let args = ["run", "--name", "never", "--plugin", typed, "--", server];
    let loading = cli.run(args);
    tokio::pin!(loading);
    let (mut during, started) = (Vec::new(), Instant::now());
    let output = loop {
        tokio::select! {
            biased;
            output = &mut loading => break output.unwrap(),
            took = call() => during.push(took),
        }
    };
    let took = started.elapsed();
    assert!(output.code != Some(0) && output.stderr.contains("does not fit the contract"), "{}", output.stderr);
    let told = |times: &mut [Duration]| (percentile(times, 50), percentile(times, 99));
    let (calm, busy) = (told(&mut before), told(&mut during));
    eprintln!("compiled in {took:?}: p50 and p99 before {calm:?}, during {busy:?}, {} calls", during.len());
    assert!(during.len() > 20, "{} calls in {took:?}", during.len());
    // A request that waited for the compiler would have waited for seconds.
    assert!(busy.1 < took / 2 && busy.0 < Duration::from_millis(250), "{busy:?} while {took:?}");
}
