//! A server from an image: run, used through the proxy, stopped, started, removed; and nothing of it stays on the engine.
//! What a container may do is proven where it is decided, in `host/runtimes`.

use anyhow::ensure;
use fairlead_tests::engine::{Engine, ids};
use fairlead_tests::limits::SETTLE;
use fairlead_tests::{Cli, Daemon, Home, binary, eventually};
use serde_json::json;

use crate::scene::{SERVER, create};

/// The engine of this machine, with the test server as an image.
pub(crate) async fn engine(cli: &Cli) -> Option<Engine> {
    Engine::found(cli, &binary::test_server().unwrap()).await.unwrap()
}

#[tokio::test]
async fn a_server_in_a_container_lives_from_run_to_rm_and_leaves_nothing() {
    let daemon = Daemon::start().await.unwrap();
    let cli = daemon.cli().unwrap();
    let Some(engine) = engine(&cli).await else { return };
    cli.ok(["run", &engine.image, "--name", SERVER, "--pull", "never", "--memory", "128m", "-e", "GREETING=hello"])
        .await
        .unwrap();

    let now = cli.json(["status", SERVER]).await.unwrap();
    assert_eq!(now["status"], "running", "{now}");
    assert_eq!(now["image"]["reference"], engine.image, "{now}");
    assert!(now["image"]["id"].as_str().unwrap().starts_with("sha256:"), "{now}");
    let address = format!("unix://{}", engine.socket.display());
    assert_eq!(now["image"]["engineAddress"], address, "{now}");
    assert_eq!(now["spec"]["source"]["engine"], address, "it stays on its engine: {now}");

    let client = daemon.client(SERVER).await.unwrap();
    let environment = client.text("environment", json!({"name": "GREETING"})).await.unwrap();
    assert!(environment.contains("hello"), "{environment}");
    assert!(!engine.containers(daemon.home()).await.unwrap().is_empty(), "it runs on that engine");

    cli.ok(["stop", SERVER]).await.unwrap();
    gone(&engine, daemon.home()).await;
    cli.ok(["start", SERVER]).await.unwrap();
    assert_eq!(daemon.client(SERVER).await.unwrap().text("echo", json!({})).await.unwrap(), "echo");

    cli.ok(["rm", SERVER]).await.unwrap();
    gone(&engine, daemon.home()).await;
    engine.done().await.unwrap();
}

#[tokio::test]
async fn a_killed_daemon_leaves_no_container_after_the_next_start() {
    let daemon = Daemon::start().await.unwrap();
    let cli = daemon.cli().unwrap();
    let Some(engine) = engine(&cli).await else { return };
    cli.ok(["run", &engine.image, "--name", SERVER, "--pull", "never"]).await.unwrap();
    let client = daemon.client(SERVER).await.unwrap();
    let before = ids(&engine.containers(daemon.home()).await.unwrap());
    assert!(!before.is_empty());
    let daemon = Daemon::start_in(daemon.kill().unwrap()).await.unwrap();
    drop(client);
    eventually("the containers of the earlier daemon are gone", SETTLE, async || {
        let now = ids(&engine.containers(daemon.home()).await?);
        ensure!(before.iter().all(|id| !now.contains(id)), "{now:?}");
        Ok(())
    })
    .await
    .unwrap();
    eventually("it serves again", SETTLE, async || daemon.client(SERVER).await).await.unwrap();
    let (home, status) = daemon.terminate().await.unwrap();
    assert!(status.success(), "{status}");
    let left = engine.containers(&home).await.unwrap();
    assert_eq!(ids(&left), Vec::<String>::new(), "a daemon that ends in order leaves nothing");
    engine.done().await.unwrap();
}

#[tokio::test]
async fn many_containers_come_up_eight_at_a_time_and_in_order() {
    const COUNT: usize = 12;
    const AT_ONCE: usize = 8;
    let daemon = Daemon::start().await.unwrap();
    let Some(engine) = engine(&daemon.cli().unwrap()).await else { return };
    let source = json!({"kind": "image", "reference": engine.image, "pull": "never"});
    let mut wanted = tokio::task::JoinSet::new();
    for number in 0..COUNT {
        let name = format!("many-{number:02}");
        let body = json!({"name": name, "desired": "stopped", "spec": {"source": source, "isolation": "shared"}});
        create(daemon.home(), &body).await.unwrap();
        let start = daemon.cli().unwrap();
        wanted.spawn(async move { start.run(["start", &name]).await });
    }
    let all = async |daemon: &Daemon, field: &str, value: &str| {
        eventually("every server is as it should be", SETTLE, async || {
            let servers = daemon.cli()?.json(["list", "--all"]).await?;
            let are = servers.as_array().unwrap().iter().filter(|server| server[field] == value).count();
            ensure!(are == COUNT, "{servers}");
            Ok(())
        })
        .await
        .unwrap();
    };
    // It is stored that they are to run; most of them do not come so far.
    all(&daemon, "desired", "running").await;
    let (home, _) = daemon.terminate().await.unwrap();
    let since = Engine::now().unwrap();
    let daemon = Daemon::start_in(home).await.unwrap();
    all(&daemon, "status", "running").await;
    let starts = engine.starts(daemon.home(), &since).await.unwrap();
    assert!(starts.at_once_max <= AT_ONCE, "{starts:?}");
    assert!(starts.at_once_max > 1, "one after the other would take long: {starts:?}");
    assert_eq!(starts.displaced_max, 0, "{starts:?}");
    let (home, _) = daemon.terminate().await.unwrap();
    gone(&engine, &home).await;
    engine.done().await.unwrap();
}

#[tokio::test]
async fn an_image_that_cannot_be_had_is_said_and_no_server_stays() {
    let daemon = Daemon::start().await.unwrap();
    let cli = daemon.cli().unwrap();
    let Some(engine) = engine(&cli).await else { return };
    let absent = cli.run(["run", "fairlead-test-absent:1", "--pull", "never"]).await.unwrap();
    assert_eq!(absent.code, Some(1), "{absent}");
    assert!(absent.stderr.contains("its pull policy is `never`"), "{absent}");
    assert!(absent.stderr.contains("hint:"), "{absent}");
    let run = daemon.home().path().join("run").display().to_string();
    let profile = daemon.home().path().join("profile.json");
    std::fs::write(&profile, json!({"read": [run]}).to_string()).unwrap();
    let profile = profile.to_str().unwrap();
    let refused = cli.run(["run", &engine.image, "--permission-profile", profile]).await.unwrap();
    assert_eq!(refused.code, Some(1), "the daemon's own files are never mounted: {refused}");
    assert_eq!(cli.json(["list", "--all"]).await.unwrap(), json!([]));
    engine.done().await.unwrap();
}

#[tokio::test]
async fn without_an_engine_there_is_a_hint_and_doctor_says_where_it_looked() {
    let daemon = Daemon::start().await.unwrap();
    let cli = daemon.cli().unwrap();
    let elsewhere = cli.run(["run", "a", "--engine", "unix:///nowhere/engine.sock"]).await.unwrap();
    assert_eq!(elsewhere.code, Some(1), "{elsewhere}");
    assert!(elsewhere.stderr.contains("hint:"), "{elsewhere}");
    let report = cli.json(["doctor"]).await.unwrap();
    let daemon = report["checks"].as_array().unwrap().iter().find(|check| check["name"] == "daemon").unwrap();
    assert_eq!(daemon["verdict"], "good", "{report}");
    assert!(!report["engines"].as_array().unwrap().is_empty(), "{report}");
}

async fn gone(engine: &Engine, home: &Home) {
    eventually("no container is left", SETTLE, async || {
        let left = ids(&engine.containers(home).await?);
        ensure!(left.is_empty(), "{left:?}");
        Ok(())
    })
    .await
    .unwrap();
}
