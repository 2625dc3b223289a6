//! Tasks of the data plane that panic: an order for a fault, and what it takes with it.

use std::time::Duration;

use anyhow::ensure;
use fairlead_tests::limits::SETTLE;
use fairlead_tests::{Client, Daemon, Home, Setup, eventually};
use serde_json::json;
use tokio::time::Instant;

use super::table::Case;
use super::{acknowledged, furnish, serves};
use crate::scene::{SERVER, run_test_server};

/// The places where a fault can be ordered, and what the one who meets it is doing.
const POINTS: [(&str, &str); 6] = [
    ("accept", "echo"),
    ("connection", "echo"),
    ("exchange", "echo"),
    ("pipe-write", "echo"),
    ("pipe-read", "echo"),
    ("watch", "emit"),
];

#[tokio::test]
async fn a_task_that_panics_takes_its_own_work_with_it_and_no_other() {
    let home = Home::new().unwrap();
    let orders = home.path().join("faults");
    std::fs::create_dir(&orders).unwrap();
    // A backtrace would push what is looked for out of what is kept of its standard error.
    let env = [("FAIRLEAD_FAULTS", orders.to_str().unwrap()), ("RUST_BACKTRACE", "0")];
    let daemon = Daemon::start_set_up(home, &Setup { env: &env, ..Setup::default() }).await.unwrap();
    furnish(&daemon).await;
    run_test_server(&daemon.cli().unwrap(), "victim", &[], &[]).await;
    let before = acknowledged(daemon.home()).await.unwrap();
    let bystander = daemon.client(SERVER).await.unwrap();
    let mut longest = Duration::ZERO;
    for (point, tool) in POINTS {
        let met = daemon.client("victim").await.unwrap();
        let order = orders.join(point);
        std::fs::write(&order, "").unwrap();
        let begin = Instant::now();
        // What it is told depends on where it breaks: an error, a connection that ends, or, by the next one, nothing.
        let arguments = json!({"method": "notifications/tools/list_changed", "params": {}});
        let outcome = tokio::time::timeout(SETTLE, meet(&daemon, &met, point, tool, arguments)).await;
        assert!(outcome.is_ok(), "{point}: nobody waits for what will never come");
        eventually("the fault has happened", SETTLE, async || {
            ensure!(!order.exists(), "{point}");
            Ok(())
        })
        .await
        .unwrap();
        serves(&daemon.url("victim")).await;
        longest = longest.max(begin.elapsed());
        assert!(daemon.stderr().contains(&format!("a fault on purpose at `{point}`")), "{point}");
        assert_eq!(bystander.text("echo", json!({})).await.unwrap(), "echo", "{point}: others do not notice");
        assert_eq!(acknowledged(daemon.home()).await.unwrap(), before, "{point}");
    }
    let (_, status) = daemon.terminate().await.unwrap();
    assert!(status.success(), "{status}");
    Case::TaskPanics.recovered(longest);
}

/// Does what leads to the fault.
async fn meet(
    daemon: &Daemon,
    session: &Client,
    point: &str,
    tool: &str,
    arguments: serde_json::Value,
) -> anyhow::Result<()> {
    // Accepting belongs to no session, and a connection of the session may be open already.
    if matches!(point, "accept" | "connection") {
        let _ = daemon.client("victim").await;
        return Ok(());
    }
    session.call(tool, arguments).await.map(drop)
}

#[tokio::test]
async fn without_an_order_nothing_is_injected() {
    let daemon = Daemon::start().await.unwrap();
    run_test_server(&daemon.cli().unwrap(), SERVER, &[], &[]).await;
    // A file of the right name somewhere is no order.
    std::fs::write(daemon.home().path().join("exchange"), "").unwrap();
    assert_eq!(daemon.client(SERVER).await.unwrap().text("echo", json!({})).await.unwrap(), "echo");
    assert!(!daemon.stderr().contains("on purpose"), "{}", daemon.stderr());
}
