//! `kill -9` of the daemon in the middle of everything: what was acknowledged is there afterwards and serves, what was
//! removed stays removed, and the store opens every time.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use fairlead_tests::limits::SETTLE;
use fairlead_tests::{Client, Daemon, Home, api, api_ok, eventually};
use http::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::scene::{create, server};

/// Kills. The issue asks for 50.
const ROUNDS: u64 = 50;

/// A round that was killed this late saw everything that a round can see.
const KILL_AFTER_MAX: Duration = Duration::from_millis(150);

/// Within this time a daemon opens its store and takes up its servers: it is killed there as well.
const START_MAX: Duration = Duration::from_millis(100);

/// Names that servers have; few, so that they are created, removed and created again.
const NAMES: u64 = 8;

/// What the test knows of one server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    /// Creation or start was acknowledged.
    Running,
    /// A stop was acknowledged.
    Stopped,
    /// Removal was acknowledged, or it never was.
    Absent,
    /// An operation was under way when the daemon was killed: either outcome is right, a third is not.
    InDoubt,
}

type Ledger = BTreeMap<String, Known>;

/// Numbers that look random and can be had again from the seed that the test prints.
struct Dice(u64);

impl Dice {
    fn throw(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_kills_at_random_points_lose_nothing_that_was_acknowledged() {
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos();
    println!("seed {seed}");
    let mut dice = Dice(u64::from(seed));
    let mut home = Home::new().unwrap();
    let mut ledger = Ledger::new();
    for round in 0..ROUNDS {
        if dice.throw(3) == 0 {
            home = Daemon::kill_while_starting(home, after(&mut dice, START_MAX)).await.unwrap();
        }
        let daemon = Daemon::start_in(home).await.unwrap();
        compare(&daemon, &mut ledger).await.with_context(|| format!("round {round}, {ledger:?}")).unwrap();
        let kill_after = after(&mut dice, KILL_AFTER_MAX);
        home = disturb(daemon, &mut ledger, &mut dice, kill_after).await;
    }
    let daemon = Daemon::start_in(home).await.unwrap();
    compare(&daemon, &mut ledger).await.unwrap();
}

/// A time below `most`.
fn after(dice: &mut Dice, most: Duration) -> Duration {
    Duration::from_micros(dice.throw(u64::try_from(most.as_micros()).unwrap()))
}

/// Looks whether the daemon knows what it acknowledged, and resolves what was in doubt.
async fn compare(daemon: &Daemon, ledger: &mut Ledger) -> Result<()> {
    let listed = api_ok(daemon.home(), Method::GET, "/workloads?all=true", None).await?;
    let listed = listed.pointer("/workloads").and_then(Value::as_array).context("a list of workloads")?;
    let desired = |name: &str| -> Option<Known> {
        let found = listed.iter().find(|workload| workload.get("name").and_then(Value::as_str) == Some(name))?;
        let is_stopped = found.get("desired").and_then(Value::as_str) == Some("stopped");
        Some(if is_stopped { Known::Stopped } else { Known::Running })
    };
    for workload in listed {
        let name = workload.get("name").and_then(Value::as_str).context("a name")?;
        ensure!(ledger.contains_key(name), "`{name}` was never created");
    }
    for (name, known) in ledger.iter_mut() {
        let found = desired(name).unwrap_or(Known::Absent);
        if *known == Known::InDoubt {
            *known = found;
        }
        ensure!(*known == found, "`{name}` is {found:?}, acknowledged was {known:?}");
        if *known == Known::Running {
            serves(&daemon.url(name)).await?;
        }
    }
    Ok(())
}

/// A client gets an answer. The endpoint may come up a moment after the daemon is ready.
async fn serves(url: &str) -> Result<()> {
    eventually(url, SETTLE, async || {
        let client = Client::connect(url).await?;
        ensure!(client.text("echo", json!({})).await? == "echo");
        Ok(())
    })
    .await
}

/// Uses the daemon in every way at once and kills it in the middle.
async fn disturb(daemon: Daemon, ledger: &mut Ledger, dice: &mut Dice, kill_after: Duration) -> Home {
    // One after the other, so that the ledger has at most one doubt; beside it, MCP clients keep everything busy.
    let mut load = JoinSet::new();
    for (name, _) in ledger.iter().filter(|(_, known)| **known == Known::Running) {
        let url = daemon.url(name);
        load.spawn(async move {
            while let Ok(client) = Client::connect(&url).await {
                for _ in 0..10 {
                    if client.call("echo", json!({})).await.is_err() {
                        return;
                    }
                }
            }
        });
    }
    // This is the point of the test: a time that nothing in the daemon can know.
    let kill = tokio::time::sleep(kill_after);
    tokio::pin!(kill);
    loop {
        let name = format!("server-{}", dice.throw(NAMES));
        let known = ledger.insert(name.clone(), Known::InDoubt).unwrap_or(Known::Absent);
        let choice = dice.throw(3);
        tokio::select! {
            biased;
            () = &mut kill => return daemon.kill().unwrap(),
            outcome = operate(daemon.home(), &name, known, choice) => {
                ledger.insert(name, outcome.unwrap());
            }
        }
    }
}

/// Changes one server and returns what was acknowledged.
async fn operate(home: &Home, name: &str, known: Known, choice: u64) -> Result<Known> {
    let path = format!("/workloads/{name}");
    Ok(match (known, choice) {
        (Known::Absent | Known::InDoubt, _) => {
            create(home, &server(name, &json!({}))).await?;
            Known::Running
        }
        (_, 0) => {
            api_ok(home, Method::DELETE, &path, None).await?;
            Known::Absent
        }
        (Known::Running, 1) => {
            api_ok(home, Method::POST, &format!("{path}/stop"), None).await?;
            Known::Stopped
        }
        (Known::Stopped, 1) => {
            api_ok(home, Method::POST, &format!("{path}/start"), None).await?;
            Known::Running
        }
        (known, _) => {
            ensure!(api(home, Method::GET, &path, None).await?.status == 200);
            known
        }
    })
}
