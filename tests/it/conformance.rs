//! The official conformance suite, in front of a server on the official SDK: once directly, once through Fairlead from
//! stdio. Not one check may come out worse. There is no file of expected failures: the direct run is the expectation.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use fairlead_tests::Daemon;
use fairlead_tests::limits::{CONFORMANCE, READY};
use fairlead_tests::packages::Packages;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// The revision whose requirements are asked for: the newest with a handshake.
const REQUIREMENTS: &str = "2025-11-25";

/// How a check ended, the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    Failed,
    Warned,
    Informed,
    Passed,
}

/// Outcome by scenario and check. A check that a scenario makes several times counts with its worst outcome.
type Outcomes = BTreeMap<(String, String), Outcome>;

/// Checks that a stdio server behind a bridge cannot reach, each with its reason.
const OUT_OF_REACH: [(&str, &str); 1] = [
    // The tool asks its own transport to close the stream, which a stdio transport does not have.
    ("server-sse-polling", "server-sse-disconnect-resume"),
];

#[tokio::test]
async fn no_check_of_the_conformance_suite_comes_out_worse_than_direct() {
    let Some(packages) = Packages::ready().await.unwrap() else { return };
    let (mut server, url) = direct(&packages).await.unwrap();
    let direct = suite(&packages, &url).await.unwrap();
    server.kill().await.unwrap();
    assert!(direct.len() > 60, "the suite ran {} checks only", direct.len());
    let failed = direct.iter().filter(|(_, outcome)| **outcome == Outcome::Failed).collect::<Vec<_>>();
    assert!(failed.is_empty(), "the reference itself fails: {failed:?}");

    let daemon = Daemon::start().await.unwrap();
    let script = packages.script("servers/conformance.mjs").unwrap();
    let cli = daemon.cli().unwrap();
    cli.ok(["run", "--name", "conformance", "--", "node", script.to_str().unwrap(), "stdio"]).await.unwrap();
    let through = suite(&packages, &daemon.url("conformance")).await.unwrap();
    let worse = direct
        .iter()
        .filter(|((scenario, check), _)| !OUT_OF_REACH.contains(&(scenario.as_str(), check.as_str())))
        .filter_map(|(check, direct)| {
            let through = through.get(check).copied();
            (through.is_none_or(|through| through < *direct))
                .then(|| format!("{check:?}: {direct:?}, through Fairlead {through:?}"))
        })
        .collect::<Vec<_>>();
    assert!(worse.is_empty(), "{}", worse.join("\n"));
}

/// Starts the reference server over HTTP.
async fn direct(packages: &Packages) -> Result<(Child, String)> {
    let mut server = Command::new("node")
        .arg(packages.script("servers/conformance.mjs")?)
        .arg("http")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let stdout = server.stdout.take().context("stdout is piped")?;
    let line = tokio::time::timeout(READY, BufReader::new(stdout).lines().next_line()).await??;
    let ready: Value = serde_json::from_str(&line.context("the reference server ended")?)?;
    let port = ready.get("port").and_then(Value::as_u64).context("a port")?;
    Ok((server, format!("http://127.0.0.1:{port}/mcp")))
}

/// Runs the suite against an endpoint.
async fn suite(packages: &Packages, url: &str) -> Result<Outcomes> {
    let results = tempfile::tempdir()?;
    let mut command = Command::new(packages.node());
    command
        .arg(packages.program("conformance"))
        .args(["server", "--url", url, "--requirements", REQUIREMENTS, "-o"])
        .arg(results.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let output = tokio::time::timeout(CONFORMANCE, command.output()).await.context("the suite does not end")??;
    // Its status is that of the checks, which are looked at one by one.
    let outcomes = outcomes(results.path())?;
    ensure!(!outcomes.is_empty(), "the suite left no results: {}", String::from_utf8_lossy(&output.stderr));
    Ok(outcomes)
}

fn outcomes(results: &Path) -> Result<Outcomes> {
    let mut outcomes = Outcomes::new();
    for entry in std::fs::read_dir(results)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // server-<scenario>-2026-11-21T09-21-23-328Z
        let scenario = name.strip_prefix("server-").unwrap_or(&name);
        let scenario =
            scenario.get(..scenario.len().saturating_sub("-2026-11-21T09-21-23-328Z".len())).unwrap_or(scenario);
        let checks: Vec<Value> = serde_json::from_slice(&std::fs::read(entry.path().join("checks.json"))?)?;
        for check in checks {
            let outcome = match check["status"].as_str().unwrap_or_default() {
                "SUCCESS" => Outcome::Passed,
                "INFO" | "SKIPPED" => Outcome::Informed,
                "WARNING" => Outcome::Warned,
                _ => Outcome::Failed,
            };
            let id = check["id"].as_str().unwrap_or_default().to_owned();
            let worst = outcomes.entry((scenario.to_owned(), id)).or_insert(outcome);
            *worst = outcome.min(*worst);
        }
    }
    Ok(outcomes)
}
