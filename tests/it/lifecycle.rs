//! The life of a server: run, list, status, logs, stop, start, rm; and what happens when it crashes or the daemon ends.

use anyhow::ensure;
use fairlead_tests::limits::SETTLE;
use fairlead_tests::packages::Packages;
use fairlead_tests::process::{children, is_alive, kill, pause};
use fairlead_tests::{Cli, Client, Daemon, Home, Setup, eventually};
use serde_json::{Value, json};

use crate::scene::{SERVER, daemon_with_server, free_port, run_test_server, try_test_server};

async fn status(cli: &Cli, name: &str) -> Value {
    cli.json(["status", name]).await.unwrap()
}

#[tokio::test]
async fn a_server_lives_from_run_to_rm() {
    let daemon = daemon_with_server(&["-e", "GREETING=hello"]).await;
    let cli = daemon.cli().unwrap();

    let now = status(&cli, SERVER).await;
    assert_eq!(now["status"], "running", "{now}");
    assert_eq!(now["url"], daemon.url(SERVER), "{now}");
    assert_eq!(now["profile"]["name"], "test-server", "{now}");
    let listed = cli.json(["list"]).await.unwrap();
    assert_eq!(listed[0]["name"], SERVER, "{listed}");

    let client = daemon.client(SERVER).await.unwrap();
    let environment = client.text("environment", json!({"name": "GREETING"})).await.unwrap();
    let environment: Value = serde_json::from_str(&environment).unwrap();
    assert_eq!(environment["value"], "hello");
    client.text("say", json!({"text": "the marker"})).await.unwrap();
    eventually("the log has what the server said", SETTLE, async || {
        let logs = cli.ok(["logs", SERVER]).await?;
        ensure!(logs.stdout.contains("the marker"), "{logs}");
        Ok(())
    })
    .await
    .unwrap();

    let process: u32 = client.text("process", json!({})).await.unwrap().parse().unwrap();
    cli.ok(["stop", SERVER]).await.unwrap();
    assert_eq!(status(&cli, SERVER).await["status"], "stopped");
    assert!(!is_alive(process), "a stopped server has no process");
    let refused = Client::new(&daemon.url(SERVER)).unwrap().request(&json!(1), "ping", json!({})).await.unwrap();
    assert!(refused.status.as_u16() >= 400, "a stopped server serves nobody: {}", refused.status);
    let listed = cli.json(["list"]).await.unwrap();
    assert_eq!(listed, json!([]), "what is stopped is listed with --all only");
    cli.ok(["stop", SERVER]).await.unwrap();

    cli.ok(["start", SERVER]).await.unwrap();
    assert_eq!(status(&cli, SERVER).await["status"], "running");
    assert_eq!(daemon.client(SERVER).await.unwrap().text("echo", json!({})).await.unwrap(), "echo");

    cli.ok(["rm", SERVER]).await.unwrap();
    assert_eq!(cli.json(["list", "--all"]).await.unwrap(), json!([]));
    let gone = Client::new(&daemon.url(SERVER)).unwrap().request(&json!(1), "ping", json!({})).await.unwrap();
    assert_eq!(gone.status, 404);
    run_test_server(&cli, SERVER, &[], &[]).await;
}

#[tokio::test]
async fn a_server_gets_the_environment_that_it_was_given_and_no_more() {
    let home = Home::new().unwrap();
    let cli = Cli::new(&home).unwrap().env("THE_USERS_SECRET", "hunter2");
    run_test_server(&cli, SERVER, &["-e", "GIVEN=yes"], &[]).await;
    let url = status(&cli, SERVER).await["url"].as_str().unwrap().to_owned();
    let client = Client::connect(&url).await.unwrap();
    let environment: Value = serde_json::from_str(&client.text("environment", json!({})).await.unwrap()).unwrap();
    let names = environment["names"].as_array().unwrap();
    assert!(names.contains(&json!("GIVEN")) && names.contains(&json!("PATH")), "{environment}");
    assert!(!names.contains(&json!("THE_USERS_SECRET")), "{environment}");
    assert!(!names.iter().any(|name| name.as_str().unwrap().starts_with("FAIRLEAD_")), "{environment}");
}

#[tokio::test]
async fn the_command_line_starts_the_daemon_that_it_needs_and_only_one() {
    let home = Home::new().unwrap();
    let cli = Cli::new(&home).unwrap();
    assert_eq!(cli.json(["list"]).await.unwrap(), json!([]));
    cli.ok(["version"]).await.unwrap();
    assert_eq!(home.daemon(), None, "looking starts nothing");
    tokio::join!(
        run_test_server(&cli, "one", &[], &[]),
        run_test_server(&cli, "two", &[], &[]),
        run_test_server(&cli, "three", &[], &[]),
    );
    let daemon = home.daemon().expect("a daemon");
    let listed = cli.json(["list"]).await.unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 3, "{listed}");
    assert_eq!(home.daemon(), Some(daemon), "it is still the same");
    cli.ok(["shutdown"]).await.unwrap();
    assert_eq!(home.daemon(), None);
    assert!(home.sockets().is_empty(), "it leaves no socket behind");
}

#[tokio::test]
async fn a_crash_is_told_by_status_and_the_next_client_gets_a_new_process() {
    let daemon = Daemon::start().await.unwrap();
    let cli = daemon.cli().unwrap();
    run_test_server(&cli, SERVER, &["--isolation", "shared"], &[]).await;
    let client = daemon.client(SERVER).await.unwrap();
    let first = client.text("process", json!({})).await.unwrap();
    let crash = client.call("crash", json!({"code": 3})).await.unwrap();
    assert!(crash["error"].is_object(), "{crash}");
    eventually("status tells of the crash", SETTLE, async || {
        let now = cli.json(["status", SERVER]).await?;
        ensure!(now["reason"].as_str().is_some_and(|reason| reason.contains("exited with status 3")), "{now}");
        Ok(())
    })
    .await
    .unwrap();
    let second = daemon.client(SERVER).await.unwrap().text("process", json!({})).await.unwrap();
    assert_ne!(first, second);
}

/// A server that listens on a port of this machine.
async fn run_listening(cli: &Cli, packages: &Packages) {
    let script = packages.script("servers/conformance.mjs").unwrap();
    let port = free_port().await.unwrap().to_string();
    let variable = format!("PORT={port}");
    let flags = ["run", "--name", SERVER, "--transport", "streamable-http", "--target-port", &port, "-e", &variable];
    cli.ok(flags.into_iter().chain(["--", "node", script.to_str().unwrap(), "http"])).await.unwrap();
}

#[tokio::test]
async fn a_server_that_listens_by_itself_is_brought_back_when_it_is_killed() {
    let Some(packages) = Packages::ready().await.unwrap() else { return };
    let daemon = Daemon::start().await.unwrap();
    let cli = daemon.cli().unwrap();
    run_listening(&cli, &packages).await;
    assert_eq!(daemon.client(SERVER).await.unwrap().tools().await.unwrap().len(), 29);
    for process in children(daemon.pid()) {
        kill(process).unwrap();
    }
    eventually("status tells of its end", SETTLE, async || {
        let now = cli.json(["status", SERVER]).await?;
        ensure!(now["restarts"] == 1, "{now}");
        ensure!(now["reason"].as_str().is_some_and(|reason| reason.contains("signal 9")), "{now}");
        Ok(())
    })
    .await
    .unwrap();
    eventually("it serves again", SETTLE, async || daemon.client(SERVER).await?.tools().await).await.unwrap();
}

#[tokio::test]
async fn a_server_that_listens_and_does_not_answer_any_more_is_launched_anew() {
    let Some(packages) = Packages::ready().await.unwrap() else { return };
    let setup = Setup { env: &[("FAIRLEAD_HEALTH_INTERVAL", "1s")], ..Setup::default() };
    let daemon = Daemon::start_set_up(Home::new().unwrap(), &setup).await.unwrap();
    let cli = daemon.cli().unwrap();
    run_listening(&cli, &packages).await;
    for process in children(daemon.pid()) {
        pause(process).unwrap();
    }
    eventually("status tells that it was silent", SETTLE, async || {
        let now = cli.json(["status", SERVER]).await?;
        ensure!(now["restarts"] == 1, "{now}");
        ensure!(now["reason"].as_str().is_some_and(|reason| reason.contains("does not answer any more")), "{now}");
        Ok(())
    })
    .await
    .unwrap();
    eventually("another serves", SETTLE, async || daemon.client(SERVER).await?.tools().await).await.unwrap();
    let log = cli.ok(["logs", SERVER]).await.unwrap().stdout;
    assert_eq!(log.matches("does not answer any more").count(), 1, "one that answers is left in peace: {log}");
}

#[tokio::test]
async fn a_server_that_crashes_again_and_again_is_given_more_and_more_time_and_then_up() {
    let daemon = Daemon::start().await.unwrap();
    let cli = daemon.cli().unwrap();
    run_test_server(&cli, SERVER, &["--isolation", "shared"], &["--brittle"]).await;
    let seen = eventually("it backs off", SETTLE, async || {
        // Each session that gets through to it kills it.
        if let Ok(client) = daemon.client(SERVER).await {
            let _ = client.ask("tools/list", json!({})).await;
        }
        let now = cli.json(["status", SERVER]).await?;
        ensure!(now["status"] == "backing-off" || now["status"] == "failed", "{now}");
        Ok(now)
    })
    .await
    .unwrap();
    assert!(seen["reason"].as_str().is_some_and(|reason| reason.contains('9')), "{seen}");
    let reply = Client::new(&daemon.url(SERVER)).unwrap();
    let reply = reply.initialize(json!({})).await.unwrap_err().to_string();
    assert!(reply.contains("-32603"), "the client is told, too: {reply}");
}

#[tokio::test]
async fn what_ran_before_the_daemon_ended_runs_after_it_starts_again() {
    let daemon = daemon_with_server(&["--isolation", "shared"]).await;
    let cli = daemon.cli().unwrap();
    run_test_server(&cli, "stopped", &[], &[]).await;
    cli.ok(["stop", "stopped"]).await.unwrap();
    let client = daemon.client(SERVER).await.unwrap();
    let process: u32 = client.text("process", json!({})).await.unwrap().parse().unwrap();

    let (home, status) = daemon.terminate().await.unwrap();
    assert!(status.success(), "{status}");
    assert!(!is_alive(process), "a daemon that ends in order leaves nothing behind");
    assert!(home.sockets().is_empty(), "nor a socket");

    let daemon = Daemon::start_in(home).await.unwrap();
    eventually("it serves again", SETTLE, async || daemon.client(SERVER).await?.text("echo", json!({})).await)
        .await
        .unwrap();
    let listed = daemon.cli().unwrap().json(["list", "--all"]).await.unwrap();
    let states = listed.as_array().unwrap().iter().map(|one| (&one["name"], &one["status"]));
    assert!(states.clone().any(|(name, status)| name == "stopped" && status == "stopped"), "{listed}");
    assert_eq!(states.count(), 2, "{listed}");
}

#[tokio::test]
async fn a_killed_daemon_leaves_no_process_after_the_next_start() {
    let daemon = daemon_with_server(&[]).await;
    let client = daemon.client(SERVER).await.unwrap();
    let process: u32 = client.text("process", json!({})).await.unwrap().parse().unwrap();
    let home = daemon.kill().unwrap();
    let daemon = Daemon::start_in(home).await.unwrap();
    eventually("the process of the earlier daemon is gone", SETTLE, async || {
        ensure!(!is_alive(process), "{process} is alive");
        Ok(())
    })
    .await
    .unwrap();
    drop(daemon);
}

#[tokio::test]
async fn logs_that_are_followed_come_as_they_are_written() {
    use tokio::io::{AsyncBufReadExt, BufReader};
    let daemon = daemon_with_server(&[]).await;
    let mut follow = daemon.cli().unwrap().command();
    follow.args(["logs", "--follow", SERVER]).stdout(std::process::Stdio::piped());
    let mut follow = follow.spawn().unwrap();
    let mut lines = BufReader::new(follow.stdout.take().unwrap()).lines();
    daemon.client(SERVER).await.unwrap().text("say", json!({"text": "now, not later"})).await.unwrap();
    let found = tokio::time::timeout(SETTLE, async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if line.contains("now, not later") {
                return true;
            }
        }
        false
    });
    assert!(found.await.expect("within the deadline"));
    follow.kill().await.unwrap();
}

#[tokio::test]
async fn a_server_that_never_answers_can_be_removed_while_it_is_waited_for() {
    let daemon = Daemon::start().await.unwrap();
    let cli = daemon.cli().unwrap();
    let patient = try_test_server(&cli, "mute", &[], &["--mute"]);
    let other = async {
        eventually("it is starting", SETTLE, async || {
            let now = cli.json(["status", "mute"]).await?;
            ensure!(now["status"] == "starting", "{now}");
            Ok(())
        })
        .await
        .unwrap();
        let processes = eventually("its process is there", SETTLE, async || {
            let processes = children(daemon.pid());
            ensure!(processes.len() == 1, "{processes:?}");
            Ok(processes)
        })
        .await
        .unwrap();
        cli.ok(["rm", "mute"]).await.unwrap();
        assert!(!is_alive(processes[0]));
    };
    let (attempt, ()) = tokio::time::timeout(SETTLE, async { tokio::join!(patient, other) }).await.unwrap();
    assert_eq!(attempt.code, Some(130), "whoever waited is told that it was given up: {attempt}");
    assert_eq!(cli.json(["list", "--all"]).await.unwrap(), json!([]));
}
