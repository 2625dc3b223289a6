//! Ports that somebody else takes: that of the daemon while it is down, and that of a server whose process was killed.

use anyhow::ensure;
use fairlead_tests::limits::SETTLE;
use fairlead_tests::process::{children, kill};
use fairlead_tests::{Client, Daemon, Home, Setup, binary, eventually};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::table::Case;
use super::{acknowledged, furnish, serves};
use crate::scene::SERVER;

/// Takes a port as soon as it can be had.
async fn steal(address: &str) -> TcpListener {
    eventually("the port can be had", SETTLE, async || Ok(TcpListener::bind(address).await?)).await.unwrap()
}

#[tokio::test]
async fn an_address_that_was_taken_keeps_the_daemon_down_and_costs_nothing() {
    let daemon = Daemon::start().await.unwrap();
    furnish(&daemon).await;
    let before = acknowledged(daemon.home()).await.unwrap();
    let address = daemon.address().to_owned();
    let home = daemon.kill().unwrap();
    let thief = steal(&address).await;
    let setup = Setup { address: &address, ..Setup::default() };
    let (home, said) = Daemon::refuse_to_start(home, &setup).await.unwrap();
    assert!(said.contains(&format!("listen on {address}")), "{said}");
    assert!(said.contains("another program has it"), "{said}");
    drop(thief);
    let begin = Instant::now();
    let daemon = Daemon::start_set_up(home, &setup).await.unwrap();
    serves(&daemon.url(SERVER)).await;
    let took = begin.elapsed();
    assert_eq!(daemon.address(), address, "clients find it where it was");
    assert_eq!(acknowledged(daemon.home()).await.unwrap(), before);
    Case::AddressTaken.recovered(took);
}

#[tokio::test]
async fn a_port_that_was_taken_is_waited_for_and_its_thief_is_sent_nothing() {
    let daemon = Daemon::start_in(Home::new().unwrap()).await.unwrap();
    let cli = daemon.cli().unwrap();
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let port = address.port().to_string();
    let program = binary::test_server().unwrap();
    let flags = ["run", "--name", SERVER, "--transport", "streamable-http", "--target-port", &port, "--"];
    cli.ok(flags.into_iter().chain([program.to_str().unwrap(), "--http", &port])).await.unwrap();
    let before = acknowledged(daemon.home()).await.unwrap();
    serves(&daemon.url(SERVER)).await;

    for process in children(daemon.pid()) {
        kill(process).unwrap();
    }
    let thief = steal(&address.to_string()).await;
    eventually("status names the port", SETTLE, async || {
        let now = cli.json(["status", SERVER]).await?;
        let reason = now["reason"].as_str().unwrap_or_default();
        ensure!(reason.contains(&format!("port {port} is taken by another process")), "{now}");
        Ok(())
    })
    .await
    .unwrap();
    let client = Client::new(&daemon.url(SERVER)).unwrap();
    assert!(client.initialize(json!({})).await.is_err(), "a stranger does not answer for it");
    // Whether somebody listens is looked at by connecting; not a byte is written.
    while let Ok(connected) = tokio::time::timeout(std::time::Duration::from_millis(1), thief.accept()).await {
        let (stream, _) = connected.unwrap();
        let mut byte = [0];
        assert!(!matches!(stream.try_read(&mut byte), Ok(1)), "something was sent to the stranger");
    }
    drop(thief);
    let begin = Instant::now();
    serves(&daemon.url(SERVER)).await;
    let took = begin.elapsed();
    assert_eq!(acknowledged(daemon.home()).await.unwrap(), before);
    Case::PortTaken.recovered(took);
}
