//! `kill -9` of the daemon in the middle of updates: whatever step it was at, the next one goes on with it, nothing of a trial is
//! left, and the server answers each time.

use std::path::Path;
use std::time::Duration;

use anyhow::ensure;
use fairlead_tests::{Client, Daemon, Home, binary, eventually};
use serde_json::{Value, json};

/// Kills, unless `FAIRLEAD_KILLS` says otherwise: 200 by hand.
const KILLS: u64 = 20;

/// Servers that are updated at the same time.
const SERVERS: u64 = 2;

/// Longest life of a daemon. Compiling, a trial, a rollout and the five seconds that it must be well take longer together, so
/// most are killed in the middle of one.
const LIFE_MAX_MS: u64 = 3_000;

/// A daemon that comes up, and a component that has to be compiled first, because the kill came while it was.
const ANSWER: Duration = Duration::from_secs(60);

/// An update after the last kill, on a machine that compiles at the same time.
const UPDATE: Duration = Duration::from_secs(120);

/// A component that does the same and is another.
fn build(file: &Path, mark: u64) {
    let mut bytes = std::fs::read(binary::plugin("toolbox").unwrap()).unwrap();
    let mark = format!("{mark:08}");
    bytes.extend([0, 13, 4]);
    bytes.extend_from_slice(b"mark");
    bytes.extend_from_slice(mark.as_bytes());
    let new = file.with_extension("new");
    std::fs::write(&new, bytes).unwrap();
    std::fs::rename(new, file).unwrap();
}

async fn serves(url: &str) {
    let answers = eventually(url, ANSWER, async || {
        let client = Client::connect(url).await?;
        let said = client.call("text_stats", json!({"text": "still here"})).await;
        client.close().await?;
        let said = said?;
        ensure!(said.get("result").is_some(), "{said}");
        Ok(())
    });
    answers.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_in_the_middle_of_updates_leave_no_server_down_and_nothing_of_a_trial() {
    let kills = std::env::var("FAIRLEAD_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(KILLS);
    let directory = tempfile::tempdir().unwrap();
    let files: Vec<_> = (0..SERVERS).map(|n| directory.path().join(format!("s{n}.wasm"))).collect();
    let home = Home::new().unwrap();
    let config = home.path().join("config");
    std::fs::create_dir_all(&config).unwrap();
    std::fs::write(config.join("config.toml"), "image_update_interval = \"1s\"\n").unwrap();
    let mut daemon = Daemon::start_in(home).await.unwrap();
    for (n, file) in files.iter().enumerate() {
        build(file, 0);
        daemon.cli().unwrap().ok(["run", file.to_str().unwrap(), "--name", &format!("s{n}")]).await.unwrap();
    }
    let mut interrupted = 0;
    for kill in 1..=kills {
        // Each gets something newer, one after the other.
        let turn = usize::try_from(kill % SERVERS).unwrap();
        build(&files[turn], kill);
        tokio::time::sleep(Duration::from_millis(kill.wrapping_mul(7_919) % LIFE_MAX_MS)).await;
        for n in 0..SERVERS {
            let now = daemon.cli().unwrap().json(["update", "status", &format!("s{n}")]).await.unwrap();
            interrupted += u64::from(now["status"] == "reinstalling" || now["status"] == "rolling_back");
        }
        daemon = Daemon::start_in(daemon.kill().unwrap()).await.unwrap();
        for n in 0..SERVERS {
            serves(&daemon.url(&format!("s{n}"))).await;
        }
    }
    println!("{interrupted} updates were under way at {kills} kills");
    assert!(interrupted >= kills / 4, "only {interrupted} updates were under way: the test does not bite");
    for n in 0..SERVERS {
        let cli = daemon.cli().unwrap();
        let settled = eventually("all is up to date", UPDATE, async || {
            let now = cli.json(["update", "status", &format!("s{n}")]).await?;
            ensure!(now["status"] == "up_to_date" && now["running"] == json!([now["newest"]]), "{now:#}");
            tokio::time::sleep(Duration::from_millis(200)).await;
            Ok(now)
        });
        let now = settled.await.unwrap();
        let history = now["history"].as_array().unwrap();
        let open = history.iter().filter(|attempt| attempt["outcome"] == "in-progress").count();
        assert_eq!(open, 0, "{now:#}");
        let bad = history.iter().filter(|attempt| attempt["outcome"] != "succeeded").collect::<Vec<&Value>>();
        assert!(bad.is_empty(), "good ones failed: {bad:#?}");
        serves(&daemon.url(&format!("s{n}"))).await;
    }
}
