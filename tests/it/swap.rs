//! Hot swap: plugins are replaced while calls are under way; no call fails, none meets two revisions, and each is decided
//! by a revision that was current while it ran. (`xtask bench --swap` does the same a thousand times.)

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::{Context, Result, ensure};
use fairlead_tests::{Client, Daemon, api_ok};
use http::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::scene::{create, fixture, server};

const SWAPS: u64 = 100;
const CLIENTS: usize = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_swaps_under_load_lose_no_request_and_mix_no_revisions() {
    let daemon = Daemon::start().await.unwrap();
    let revision = |label: u64| fixture("stamp", &json!({"label": label.to_string()}));
    create(daemon.home(), &server("swapped", &json!({"plugins": [revision(0)]}))).await.unwrap();
    let state = Arc::new(State::default());
    let mut load = JoinSet::new();
    for _ in 0..CLIENTS {
        load.spawn(calls(daemon.client("swapped").await.unwrap(), Arc::clone(&state)));
    }
    for label in 1..=SWAPS {
        // The new revision may decide from the moment it is asked for, and the old one not after the answer.
        state.newest.store(label, Ordering::SeqCst);
        let plugins = json!({"plugins": [revision(label)]});
        api_ok(daemon.home(), Method::PUT, "/workloads/swapped/plugins", Some(&plugins)).await.unwrap();
        state.oldest.store(label, Ordering::SeqCst);
    }
    state.done.store(true, Ordering::SeqCst);
    let mut calls = 0;
    while let Some(client) = load.join_next().await {
        calls += client.unwrap().unwrap();
    }
    assert!(calls > SWAPS, "{calls} calls are no load");
}

/// Which revisions may decide now.
#[derive(Default)]
struct State {
    oldest: AtomicU64,
    newest: AtomicU64,
    done: AtomicBool,
}

async fn calls(client: Client, state: Arc<State>) -> Result<u64> {
    let mut calls = 0;
    while !state.done.load(Ordering::SeqCst) {
        let oldest = state.oldest.load(Ordering::SeqCst);
        let response = client.call("slow", json!({"steps": 1, "step_ms": calls % 3})).await?;
        let newest = state.newest.load(Ordering::SeqCst);
        let stamp = response.pointer("/result/_meta/stamp").and_then(Value::as_str);
        let stamp: u64 = stamp.with_context(|| format!("no stamp in {response}"))?.parse()?;
        ensure!((oldest..=newest).contains(&stamp), "{stamp} decided between {oldest} and {newest}");
        calls += 1;
    }
    Ok(calls)
}
