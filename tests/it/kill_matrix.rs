//! The kill matrix: what happens to a machine, done to a daemon that serves; what was lost, which is never anything that
//! was acknowledged, and how long it took until it served again.
//!
//! The table of `docs/reference/recovery.md` is this one: each case compares its row with what it saw, and
//! `FAIRLEAD_RECOVERY=write` writes what was measured into it.

mod clock;
mod disk;
mod engine;
mod panics;
mod port;
mod table;

use anyhow::{Result, ensure};
use fairlead_tests::engine::ids;
use fairlead_tests::limits::SETTLE;
use fairlead_tests::process::{children, is_alive, kill};
use fairlead_tests::{Client, Daemon, Home, api_ok, eventually};
use http::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::containers::engine as engine_of;
use crate::scene::{SERVER, run_test_server};
use table::Case;

/// Servers that run and servers that were stopped, a group, a secret: all of it acknowledged.
async fn furnish(daemon: &Daemon) {
    let cli = daemon.cli().unwrap();
    cli.ok(["group", "create", "research"]).await.unwrap();
    run_test_server(&cli, SERVER, &["--isolation", "shared", "--label", "kept=yes", "--group", "research"], &[]).await;
    run_test_server(&cli, "stopped", &[], &[]).await;
    cli.ok(["stop", "stopped"]).await.unwrap();
    let secret = json!({"value": "hunter2"});
    api_ok(daemon.home(), Method::PUT, "/secrets/token", Some(&secret)).await.unwrap();
}

/// Everything that a daemon has acknowledged and still knows.
async fn acknowledged(home: &Home) -> Result<Value> {
    let listed = api_ok(home, Method::GET, "/workloads?all=true", None).await?;
    let mut known = Vec::new();
    for workload in listed["workloads"].as_array().into_iter().flatten() {
        let name = workload["name"].as_str().unwrap_or_default();
        let shown = api_ok(home, Method::GET, &format!("/workloads/{name}"), None).await?;
        let fields = ["name", "tenant", "desired", "labels", "group", "created", "spec"];
        known.push(fields.map(|field| shown[field].clone()));
    }
    let groups = api_ok(home, Method::GET, "/groups", None).await?;
    let secrets = api_ok(home, Method::GET, "/secrets", None).await?;
    Ok(json!({"servers": known, "groups": groups, "secrets": secrets}))
}

/// Waits until a new client gets an answer.
async fn serves(url: &str) -> Client {
    eventually(url, SETTLE, async || {
        let client = Client::connect(url).await?;
        ensure!(client.text("echo", json!({})).await? == "echo");
        Ok(client)
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn a_daemon_that_is_killed_comes_back_with_everything() {
    let daemon = Daemon::start().await.unwrap();
    furnish(&daemon).await;
    let before = acknowledged(daemon.home()).await.unwrap();
    let client = daemon.client(SERVER).await.unwrap();
    let process: u32 = client.text("process", json!({})).await.unwrap().parse().unwrap();
    let home = daemon.kill().unwrap();
    let begin = Instant::now();
    let daemon = Daemon::start_in(home).await.unwrap();
    serves(&daemon.url(SERVER)).await;
    let took = begin.elapsed();
    assert_eq!(acknowledged(daemon.home()).await.unwrap(), before);
    assert!(!is_alive(process), "what the first daemon had started does not stay behind");
    Case::DaemonKilled.recovered(took);
}

#[tokio::test]
async fn a_process_that_is_killed_is_brought_back() {
    let daemon = Daemon::start().await.unwrap();
    furnish(&daemon).await;
    let before = acknowledged(daemon.home()).await.unwrap();
    let waiting = daemon.client(SERVER).await.unwrap();
    let under_way = waiting.call("hang", json!({}));
    let murder = async {
        let process = eventually("it has a process", SETTLE, async || {
            let processes = children(daemon.pid());
            ensure!(!processes.is_empty());
            Ok(processes)
        });
        for process in process.await.unwrap() {
            kill(process).unwrap();
        }
        let begin = Instant::now();
        serves(&daemon.url(SERVER)).await;
        begin.elapsed()
    };
    let (told, took) = tokio::join!(under_way, murder);
    assert!(told.unwrap()["error"].is_object(), "whoever waited is told");
    assert_eq!(acknowledged(daemon.home()).await.unwrap(), before);
    Case::ProcessKilled.recovered(took);
}

#[tokio::test]
async fn containers_that_are_killed_are_brought_back() {
    let daemon = Daemon::start().await.unwrap();
    let cli = daemon.cli().unwrap();
    let Some(engine) = engine_of(&cli).await else { return };
    let image = engine.image.as_str();
    cli.ok(["run", image, "--name", "pipes", "--pull", "never"]).await.unwrap();
    let listens = ["--transport", "streamable-http", "--target-port", "8000", "--pull", "never"];
    cli.ok([&["run", image, "--name", "port"][..], &listens, &["--", "--http", "8000"]].concat()).await.unwrap();
    let before = acknowledged(daemon.home()).await.unwrap();
    let client = serves(&daemon.url("pipes")).await;
    serves(&daemon.url("port")).await;

    // Servers and porters alike.
    let killed = ids(&engine.containers(daemon.home()).await.unwrap());
    assert_eq!(killed.len(), 3, "two servers and a porter");
    for id in &killed {
        let _ = engine.ask(Method::POST, &format!("/containers/{id}/kill"), Default::default()).await;
    }
    let begin = Instant::now();
    serves(&daemon.url("pipes")).await;
    serves(&daemon.url("port")).await;
    let took = begin.elapsed();
    assert!(client.text("echo", json!({})).await.is_err(), "its session was with the container");
    assert_eq!(acknowledged(daemon.home()).await.unwrap(), before);
    eventually("what was killed is removed", SETTLE, async || {
        let left = ids(&engine.containers(daemon.home()).await?);
        ensure!(killed.iter().all(|id| !left.contains(id)), "{left:?}");
        Ok(())
    })
    .await
    .unwrap();
    cli.ok(["rm", "--all"]).await.unwrap();
    engine.done().await.unwrap();
    Case::ContainerKilled.recovered(took);
}
