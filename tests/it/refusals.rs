//! Bad input: each is refused with an error that says what is wrong and what to do, and nothing is lost by it.

use std::path::Path;

use anyhow::Result;
use fairlead_tests::{Cli, Daemon, Home, Output, binary};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinSet;

use crate::scene::{SERVER, daemon_with_server, try_test_server};

/// A command that must fail and say all of this.
fn refused(output: &Output, says: &[&str]) {
    assert!(output.code.is_some_and(|code| code != 0), "accepted:\n{output}");
    assert_eq!(output.stdout, "", "what went wrong belongs on stderr:\n{output}");
    assert!(output.stderr.starts_with("error: "), "{output}");
    for text in says {
        assert!(output.stderr.contains(text), "does not say `{text}`:\n{output}");
    }
    assert!(!output.stderr.contains("panicked") && !output.stderr.contains("backtrace"), "{output}");
}

/// Nothing was lost: the server that was there serves, and nothing else is there.
async fn unharmed(daemon: &Daemon) {
    assert_eq!(daemon.client(SERVER).await.unwrap().text("echo", json!({})).await.unwrap(), "echo");
    let listed = daemon.cli().unwrap().json(["list", "--all"]).await.unwrap();
    let names = listed.as_array().unwrap().iter().map(|workload| &workload["name"]).collect::<Vec<_>>();
    assert_eq!(names, [SERVER], "{listed}");
}

#[tokio::test]
async fn a_file_that_is_no_plugin_is_refused_with_what_it_is() {
    let daemon = daemon_with_server(&[]).await;
    let cli = daemon.cli().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let text = directory.path().join("text.wasm");
    std::fs::write(&text, "no Wasm at all").unwrap();
    let cut = directory.path().join("cut.wasm");
    let whole = std::fs::read(binary::plugin("tool-filter").unwrap()).unwrap();
    std::fs::write(&cut, &whole[..whole.len() / 2]).unwrap();
    let absent = directory.path().join("absent.wasm");
    let fixture = |name: &str| binary::fixture(name).unwrap();
    for (path, says) in [
        (text.clone(), vec!["text.wasm", "component"]),
        (cut, vec!["cut.wasm"]),
        (absent, vec!["absent.wasm", "there is no plugin file"]),
        (fixture("not-a-component"), vec!["not-a-component.wasm", "core module", "component"]),
        (fixture("wrong-world"), vec!["wrong-world.wasm", "fairlead:"]),
        (fixture("wrong-version"), vec!["wrong-version.wasm", "0.9.0", "0.1"]),
    ] {
        let path = path.to_str().unwrap();
        let inspected = cli.run(["plugin", "inspect", path]).await.unwrap();
        refused(&inspected, &says);
        let attached = try_test_server(&cli, "attempt", &["--plugin", path], &[]).await;
        refused(&attached, &says);
    }
    let unknown = try_test_server(&cli, "attempt", &["--plugin", "tool-filer"], &[]).await;
    refused(&unknown, &["there is no plugin `tool-filer`", "target/plugins", "FAIRLEAD_PLUGIN_PATH"]);
    // As a server, too.
    for path in [text.to_str().unwrap(), fixture("not-a-component").to_str().unwrap()] {
        let output = cli.run(["run", "--name", "attempt", path]).await.unwrap();
        refused(&output, &["component"]);
    }
    unharmed(&daemon).await;
}

#[tokio::test]
async fn a_configuration_that_misses_its_schema_is_refused_with_place_and_reason() {
    let daemon = daemon_with_server(&[]).await;
    let cli = daemon.cli().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let config = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let stamp = binary::fixture("stamp").unwrap();
    for (plugin, path, says) in [
        (stamp.to_str().unwrap(), config("type.json", r#"{"label": 7}"#), vec!["/label", "string"]),
        (stamp.to_str().unwrap(), config("lacks.json", "{}"), vec!["label", "required"]),
        (stamp.to_str().unwrap(), config("extra.json", r#"{"label": "a", "lable": "b"}"#), vec!["lable"]),
        (stamp.to_str().unwrap(), config("broken.json", "{"), vec!["broken.json", "line 1"]),
        ("tool-filter", config("allow.json", r#"{"allow": "echo"}"#), vec!["/allow", "array"]),
    ] {
        let attachment = format!("{plugin}={}", path.display());
        let output = try_test_server(&cli, "attempt", &["--plugin", &attachment], &[]).await;
        refused(&output, &says);
    }
    let absent = try_test_server(&cli, "attempt", &["--plugin", "tool-filter=/no/such.json"], &[]).await;
    refused(&absent, &["/no/such.json"]);
    unharmed(&daemon).await;
}

#[tokio::test]
async fn a_name_that_is_taken_or_none_is_refused() {
    let daemon = daemon_with_server(&[]).await;
    let cli = daemon.cli().unwrap();
    refused(&try_test_server(&cli, SERVER, &[], &[]).await, &[SERVER, "already"]);
    refused(&try_test_server(&cli, "Not A Name", &[], &[]).await, &["Not A Name", "lower-case"]);
    refused(&try_test_server(&cli, &"x".repeat(64), &[], &[]).await, &["63"]);
    for command in ["status", "stop", "start", "rm", "logs"] {
        refused(&cli.run([command, "nobody"]).await.unwrap(), &["nobody"]);
    }
    // The same name is free in another tenant.
    crate::scene::run_test_server(&cli, SERVER, &["--tenant", "other"], &[]).await;
    cli.ok(["rm", SERVER, "--tenant", "other"]).await.unwrap();
    unharmed(&daemon).await;
}

#[tokio::test]
async fn a_server_that_cannot_start_is_refused_with_what_it_said() {
    let daemon = daemon_with_server(&[]).await;
    let cli = daemon.cli().unwrap();
    let absent = cli.run(["run", "--name", "attempt", "--", "no-such-program"]).await.unwrap();
    refused(&absent, &["no-such-program", "not found"]);
    let directory = tempfile::tempdir().unwrap();
    let inert = directory.path().join("inert");
    std::fs::write(&inert, "no program").unwrap();
    let inert = cli.run(["run", "--name", "attempt", "--", inert.to_str().unwrap()]).await.unwrap();
    refused(&inert, &["inert"]);
    // Its last words are the reason.
    let failing = try_test_server(&cli, "attempt", &[], &["--fail", "the-marker"]).await;
    refused(&failing, &["no such database: the-marker", "7"]);
    unharmed(&daemon).await;
}

#[tokio::test]
async fn an_unknown_flag_or_command_is_refused_with_the_one_that_was_meant() {
    let home = Home::new().unwrap();
    let cli = Cli::new(&home).unwrap();
    for (args, meant) in [
        (vec!["run", "--tenent", "a", "--", "x"], "--tenant"),
        (vec!["run", "--naem", "a", "--", "x"], "--name"),
        (vec!["list", "--formt", "json"], "--format"),
        (vec!["serve", "--adress", "127.0.0.1:0"], "--address"),
        (vec!["lst"], "list"),
        (vec!["plugin", "inspct", "x"], "inspect"),
    ] {
        let output = cli.run(&args).await.unwrap();
        refused(&output, &[meant]);
        assert_eq!(output.code, Some(2), "{output}");
    }
    assert!(home.sockets().is_empty(), "what is not understood starts no daemon");
}

#[tokio::test]
async fn a_port_that_is_taken_is_refused_with_its_number() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let home = Home::new().unwrap();
    let output = Cli::new(&home).unwrap().run(["serve", "--address", &address]).await.unwrap();
    refused(&output, &[&address, "in use"]);
    // A command that starts the daemon says so, too.
    let cli = Cli::new(&home).unwrap().env("FAIRLEAD_ADDRESS", &address);
    refused(&try_test_server(&cli, "attempt", &[], &[]).await, &[&address, "in use"]);
}

#[tokio::test]
async fn a_second_daemon_on_one_home_is_refused() {
    let daemon = daemon_with_server(&[]).await;
    let output = daemon.cli().unwrap().run(["serve", "--address", "127.0.0.1:0"]).await.unwrap();
    refused(&output, &[&daemon.pid().to_string()]);
    unharmed(&daemon).await;
}

#[tokio::test]
async fn a_daemon_of_another_version_is_not_talked_to() {
    let home = Home::new().unwrap();
    let run = home.path().join("run");
    std::fs::create_dir_all(&run).unwrap();
    let listener = UnixListener::bind(run.join("fairlead.sock")).unwrap();
    let mut other = JoinSet::new();
    other.spawn(play_daemon(listener, "99.0.0"));
    let output = Cli::new(&home).unwrap().run(["list"]).await.unwrap();
    refused(&output, &["99.0.0", env!("CARGO_PKG_VERSION")]);
}

/// Answers every request as a daemon of some version does.
async fn play_daemon(listener: UnixListener, version: &str) -> Result<()> {
    let info = json!({"version": version, "pid": 1, "address": "127.0.0.1:1", "socket": ""}).to_string();
    loop {
        let (mut stream, _) = listener.accept().await?;
        let mut request = [0; 4096];
        let _ = stream.read(&mut request).await?;
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            info.len()
        );
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(info.as_bytes()).await?;
    }
}

#[tokio::test]
async fn a_store_of_a_newer_schema_is_left_alone() {
    let daemon = daemon_with_server(&[]).await;
    let (home, status) = daemon.terminate().await.unwrap();
    assert!(status.success(), "{status}");
    let seal = home.path().join("state/store/seal.json");
    let mut content: serde_json::Value = serde_json::from_slice(&std::fs::read(&seal).unwrap()).unwrap();
    let schema = content["schema"].as_u64().unwrap();
    content["schema"] = json!(schema + 1);
    std::fs::write(&seal, content.to_string()).unwrap();
    let before = snapshot(&home.path().join("state/store"));
    let output = Cli::new(&home).unwrap().run(["serve", "--address", "127.0.0.1:0"]).await.unwrap();
    refused(&output, &["newer", &(schema + 1).to_string()]);
    assert_eq!(snapshot(&home.path().join("state/store")), before, "it was touched");

    // Undone, everything is there again.
    content["schema"] = json!(schema);
    std::fs::write(&seal, content.to_string()).unwrap();
    let daemon = Daemon::start_in(home).await.unwrap();
    unharmed(&daemon).await;
}

#[tokio::test]
async fn a_store_that_was_cut_off_is_not_mistaken_for_an_empty_one() {
    let daemon = daemon_with_server(&[]).await;
    let (home, _) = daemon.terminate().await.unwrap();
    let store = home.path().join("state/store");
    let database =
        snapshot(&store).into_iter().filter(|(name, _)| name.ends_with("db")).max_by_key(|(_, bytes)| bytes.len());
    let (name, bytes) = database.expect("a database file");
    // Only the front of the log is left: what the database itself takes for a clean, shorter log.
    for kept in [0, 16, bytes.len() / 1000] {
        std::fs::write(store.join(&name), &bytes[..kept]).unwrap();
        let output = Cli::new(&home).unwrap().run(["serve", "--address", "127.0.0.1:0"]).await.unwrap();
        refused(&output, &["damaged", "state/store"]);
    }
    std::fs::write(store.join(&name), &bytes).unwrap();
    let daemon = Daemon::start_in(home).await.unwrap();
    unharmed(&daemon).await;
}

/// Files below a directory, with their contents.
fn snapshot(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type().unwrap().is_dir() {
            let below = snapshot(&entry.path()).into_iter();
            files.extend(below.map(|(inner, bytes)| (format!("{name}/{inner}"), bytes)));
        } else {
            files.push((name, std::fs::read(entry.path()).unwrap()));
        }
    }
    files.sort();
    files
}
