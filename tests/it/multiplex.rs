//! Replies go to the request that asked: whatever the ids, and whoever shares the process behind them.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use fairlead_tests::Client;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::scene::{SERVER, daemon_with_server};

/// Calls of each client.
const CALLS: u64 = 10_000;

/// Calls of one client that are under way at the same time.
const AT_ONCE: u64 = 64;

/// Two clients call with the same ids at the same time, each id once as a number and once as a string; every reply must
/// have the id it was asked with, type and all, and the payload of exactly that call.
async fn nothing_is_misdelivered(isolation: &str) {
    let daemon = daemon_with_server(&["--isolation", isolation]).await;
    let mut clients = JoinSet::new();
    for name in ["one", "two"] {
        let client = Arc::new(daemon.client(SERVER).await.unwrap());
        for lane in 0..AT_ONCE {
            clients.spawn(calls(Arc::clone(&client), name, lane));
        }
    }
    let mut answered = 0;
    while let Some(lane) = clients.join_next().await {
        answered += lane.unwrap().unwrap();
    }
    assert_eq!(answered, 2 * CALLS);
}

/// The calls of one lane: every `AT_ONCE`-th.
async fn calls(client: Arc<Client>, name: &str, lane: u64) -> Result<u64> {
    let mut answered = 0;
    for call in (lane..CALLS).step_by(usize::try_from(AT_ONCE)?) {
        // 0 and "0", 1 and "1", …
        let id = if call % 2 == 0 { json!(call / 2) } else { json!((call / 2).to_string()) };
        let payload = json!({"client": name, "call": call});
        let reply = client.request(&id, "tools/call", json!({"name": "echo", "arguments": payload})).await?;
        let response: Value = reply.response().await.with_context(|| format!("call {call} of {name}"))?;
        ensure!(response.get("id") == Some(&id), "asked with id {id}, answered with {response}");
        let given = response.pointer("/result/structuredContent");
        ensure!(given == Some(&payload), "asked with {payload}, answered with {response}");
        answered += 1;
    }
    Ok(answered)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_calls_each_of_two_clients_over_one_shared_process_find_their_way() {
    nothing_is_misdelivered("shared").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_calls_each_of_two_sessions_find_their_way() {
    nothing_is_misdelivered("session").await;
}

#[tokio::test]
async fn a_shared_server_is_one_process_and_an_isolated_one_is_one_per_session() {
    for (isolation, same) in [("shared", true), ("session", false)] {
        let daemon = daemon_with_server(&["--isolation", isolation]).await;
        let first = daemon.client(SERVER).await.unwrap().text("process", json!({})).await.unwrap();
        let second = daemon.client(SERVER).await.unwrap().text("process", json!({})).await.unwrap();
        assert_eq!(first == second, same, "{isolation}: processes {first} and {second}");
    }
}
