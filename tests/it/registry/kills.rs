//! `kill -9` in the middle of reading a registry and of approving an entry: what is there afterwards is the old or the new, never half,
//! and what was answered is kept.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result};
use fairlead_tests::{Daemon, Home, api, api_ok};
use http::Method;
use serde_json::{Value, json};

use super::{entry, list, ok};

/// Kills, when nobody says otherwise; `FAIRLEAD_KILLS` says otherwise.
const KILLS: u64 = 12;

/// Entries of the registry.
const ENTRIES: usize = 300;

fn version(round: u64) -> String {
    format!("{round}.0.0")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_while_it_is_read_or_approved_leaves_the_old_or_the_new() -> Result<()> {
    let kills = std::env::var("FAIRLEAD_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(KILLS);
    let home = Home::new()?;
    let file = home.path().join("servers.json");
    let of =
        |round: u64| list(&(0..ENTRIES).map(|at| entry(&format!("a.b/c{at}"), &version(round))).collect::<Vec<_>>());
    std::fs::write(&file, of(0))?;
    let daemon = Daemon::start_in(home).await?;
    let _ = ok(&daemon.cli()?, &["registry", "add", "mine", file.to_str().context("a path")?]).await;
    // What is approved has no image, so that nobody is asked for digests.
    let offered: Vec<Value> = (0..kills)
        .map(|at| {
            json!({"name": format!("x.y/r{at}"), "version": "1.0.0", "description": "d",
            "remotes": [{"type": "streamable-http", "url": "https://example.test/mcp"}]})
        })
        .collect();
    let source = json!({"kind": "plugin", "plugin": "source-static", "config": {"servers": offered}});
    let body = json!({"name": "offered", "spec": {"source": source}});
    let _ = api_ok(daemon.home(), Method::POST, "/registries", Some(&body)).await?;
    for at in 0..kills {
        let body = json!({"entry": format!("x.y/r{at}"), "reason": "please"});
        let _ = api_ok(daemon.home(), Method::POST, "/registry/reviews", Some(&body)).await?;
    }
    let mut home = daemon.kill()?;
    let mut promised = BTreeSet::new();
    for round in 1..=kills {
        std::fs::write(&file, of(round))?;
        let daemon = Daemon::start_in(home).await?;
        // Not by the command line: it would start another daemon for the one that is gone.
        let (refresh, approve) = (json!({"tenant": "default"}), json!({"to": "approved"}));
        let reading = api(daemon.home(), Method::POST, "/registries/mine/refresh", Some(&refresh));
        let path = format!("/registry/reviews/{round}");
        let approving = api(daemon.home(), Method::POST, &path, Some(&approve));
        // Early, in the middle, late: a write takes some milliseconds, wherever it begins.
        let (_, approved) = tokio::join!(
            tokio::time::timeout(Duration::from_millis(round * 7 % 60), reading),
            tokio::time::timeout(Duration::from_millis(round * 5 % 40), approving)
        );
        if approved.is_ok_and(|answer| answer.is_ok_and(|answer| answer.status == 200)) {
            promised.insert(round);
        }
        home = daemon.kill()?;
        let copy = std::fs::read_to_string(super::copy_of(&home))?;
        let versions: BTreeSet<_> = copy
            .lines()
            .skip(1)
            .filter_map(|line| serde_json::from_str::<Value>(line).unwrap()["version"].as_str().map(str::to_owned))
            .collect();
        assert_eq!((versions.len(), copy.lines().count()), (1, ENTRIES + 2), "after kill {round}: {versions:?}");
    }
    let daemon = Daemon::start_in(home).await?;
    let cli = daemon.cli()?;
    let listed = ok(&cli, &["registry", "list"]).await;
    assert_eq!(listed[0]["entries"], ENTRIES, "{listed}");
    let mut standing = BTreeSet::new();
    for review in ok(&cli, &["registry", "review"]).await.as_array().context("reviews")? {
        let id = review["id"].as_u64().context("a number")?;
        let walked: Vec<_> =
            review["steps"].as_array().context("steps")?.iter().filter_map(|it| it["to"].as_str()).collect();
        assert!(walked == ["requested"] || walked == ["requested", "approved"], "review {id} walked {walked:?}");
        if walked.len() == 2 {
            standing.insert(id);
        }
    }
    assert!(promised.is_subset(&standing), "what was answered is kept: {promised:?} of {standing:?}");
    let trusted = ok(&cli, &["search", "--registry", "approved"]).await;
    assert_eq!(trusted.as_array().map_or(0, Vec::len), standing.len().min(20), "{trusted}");
    let audit = ok(&cli, &["registry", "audit"]).await;
    assert_eq!(audit.as_array().map_or(0, Vec::len), usize::try_from(kills)? + standing.len());
    Ok(())
}
