//! What sessions see of an update (T22 of the tests T1 to T25 of updates; the others are in `host/control/tests/it` and beside this
//! file, by the same names): nothing. They go on where they began, and new ones land on the new one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail, ensure};
use fairlead_tests::Client;
use serde_json::json;
use tokio::task::JoinSet;

use crate::freshness::{Images, SERVER, last, reaches, runs};

/// Sessions that are open when something newer comes.
const SESSIONS: usize = 100;

/// Progress of one call, and the pause before each.
const STEPS: u64 = 3;
const STEP_MS: u64 = 200;

/// A session with one call after the other, each with its progress, none of which may fail; at its end, who served it.
async fn lives(client: Client, over: Arc<AtomicBool>) -> Result<(usize, String)> {
    let mut calls = 0;
    while !over.load(Ordering::Relaxed) {
        let (id, token) = (json!(client.id()), json!(format!("p{calls}")));
        let params = json!({"name": "slow", "arguments": {"steps": STEPS, "step_ms": STEP_MS}, "_meta": {"progressToken": token}});
        let mut reply = client.request(&id, "tools/call", params).await?;
        if !reply.is_stream() {
            let status = reply.status;
            bail!("HTTP {status}: {}", reply.text().await?);
        }
        let mut progress = 0;
        let answer = loop {
            let message = reply.message().await?.context("a stream without an answer")?;
            if message["method"] != "notifications/progress" {
                break message;
            }
            ensure!(message["params"]["progressToken"] == token, "somebody else's: {message}");
            progress += 1;
        };
        ensure!(answer["id"] == id && answer["result"]["content"][0]["text"] == "done", "{answer}");
        ensure!(progress == STEPS, "{progress} times progress");
        calls += 1;
    }
    let version = client.text("environment", json!({"name": "VERSION"})).await?;
    client.close().await?;
    Ok((calls, version))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t22_a_hundred_sessions_live_through_an_update_and_new_ones_land_on_the_new_one() {
    let Some(images) = Images::ready().await else { return };
    let one = images.push("one", &[], &[]).await;
    images.cli.ok(["run", &images.reference(), "--name", SERVER, "--isolation", "shared"]).await.unwrap();
    reaches(&images.cli, "the first check", |now| now["status"] == "up_to_date").await;
    let before = images.daemon.client(SERVER).await.unwrap();
    let tools = before.tools().await.unwrap();
    let (over, mut sessions) = (Arc::<AtomicBool>::default(), JoinSet::new());
    for _ in 0..SESSIONS {
        let client = images.daemon.client(SERVER).await.unwrap();
        sessions.spawn(lives(client, Arc::clone(&over)));
    }

    let two = images.push("two", &[], &[]).await;
    reaches(&images.cli, "it is switched", |now| runs(now, &two)).await;
    assert!(images.version().await.unwrap().contains("two"));
    over.store(true, Ordering::Relaxed);
    let mut calls = 0;
    while let Some(session) = sessions.join_next().await {
        let (of_this, version) = session.unwrap().unwrap();
        assert!(version.contains("one"), "a session stays where it began: {version}");
        calls += of_this;
    }
    assert!(calls > 2 * SESSIONS, "{calls} calls");
    let after = images.daemon.client(SERVER).await.unwrap();
    assert_eq!(after.tools().await.unwrap(), tools);
    reaches(&images.cli, "it is confirmed", |now| last(now, &two, "succeeded") && now["status"] == "up_to_date").await;
    images.end(&[&one, &two]).await;
}
