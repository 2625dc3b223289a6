//! The official conformance suite, in front of a server on the official SDK: once directly, then through Fairlead with
//! three plugins attached, from stdio and from streamable HTTP. Not one check may come out worse. There is no file of expected failures: the direct run is the expectation.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use fairlead_tests::Daemon;
use fairlead_tests::limits::{CONFORMANCE, READY};
use fairlead_tests::packages::Packages;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::scene::{create, free_port, guards};

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

/// Checks of the suite that a stdio server behind Fairlead does not reach, each with its reason. None of them is scored.
const OUT_OF_REACH: [(&str, &str); 6] = [
    // The tool asks its own transport to close the stream, which a stdio transport does not have.
    ("server-sse-polling", "server-sse-disconnect-resume"),
    ("server-sse-polling", "stream-closed"),
    // Streams cannot be resumed yet, so they are not primed for it.
    ("server-sse-polling", "incoming-sse-event"),
    ("server-sse-polling", "server-sse-priming-event"),
    ("server-sse-polling", "server-sse-retry-field"),
    // A reply that nothing precedes is sent as JSON, so that there is no stream to look at.
    ("server-sse-multiple-streams", "server-sse-streams-functional"),
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
    let port = free_port().await.unwrap();
    // Three plugins that look at everything and find nothing to do.
    let plugins = guards(&json!({"deny": ["no-such-tool"]}), 1_000_000);
    let stdio = json!({
        "source": {"kind": "command", "program": "node", "args": [script, "stdio"]},
        "plugins": plugins,
    });
    let http = json!({
        "plugins": plugins,
        "source": {"kind": "command", "program": "node", "args": [script, "http"]},
        "transport": {"kind": "streamable-http", "port": port},
        "env": {"PORT": port.to_string()},
    });
    let mut differences = Vec::new();
    for (name, spec, out_of_reach) in [("stdio", stdio, &OUT_OF_REACH[..]), ("http", http, &[][..])] {
        create(daemon.home(), &json!({"name": name, "spec": spec})).await.unwrap();
        let through = suite(&packages, &daemon.url(name)).await.unwrap();
        differences
            .extend(worse(&direct, &through, out_of_reach).into_iter().map(|check| format!("from {name}: {check}")));
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// Checks that came out worse, with both outcomes.
fn worse(direct: &Outcomes, through: &Outcomes, out_of_reach: &[(&str, &str)]) -> Vec<String> {
    let mut worse = Vec::new();
    for ((scenario, check), direct) in direct {
        let through = through.get(&(scenario.clone(), check.clone()));
        let is_expected = out_of_reach.contains(&(scenario.as_str(), check.as_str()));
        if !is_expected && through.is_none_or(|through| through < direct) {
            worse.push(format!("{scenario}, {check}: {direct:?} direct, {through:?} through Fairlead"));
        }
    }
    worse
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
