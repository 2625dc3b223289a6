//! The client scenarios of the official conformance suite with Fairlead in the middle: the suite plays the server and judges
//! what the official client sends it, which comes through a chain of three plugins. `auth/*` is not asked: a client that
//! authenticates does so to Fairlead, not through it.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use fairlead_tests::limits::CONFORMANCE;
use fairlead_tests::packages::Packages;
use fairlead_tests::{Daemon, binary};
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::task::JoinSet;

/// Each scenario with the revision it is asked for, and the checks that pass when nothing stands between. All do.
const SCENARIOS: [(&str, &str, usize); 13] = [
    ("initialize", "2025-11-25", 1),
    ("tools_call", "2025-11-25", 2),
    ("elicitation-sep1034-client-defaults", "2025-11-25", 5),
    ("sse-retry", "2025-11-25", 3),
    ("json-schema-2020-12-preservation", "2025-11-25", 9),
    ("tools_call", "2026-07-28", 2),
    ("request-metadata", "2026-07-28", 8),
    ("sep-2322-client-request-state", "2026-07-28", 5),
    ("http-standard-headers", "2026-07-28", 9),
    ("http-custom-headers", "2026-07-28", 18),
    ("http-invalid-tool-headers", "2026-07-28", 12),
    ("json-schema-ref-no-deref", "2026-07-28", 1),
    ("json-schema-2020-12-preservation", "2026-07-28", 9),
];

/// `fairlead run` with three plugins that look at everything and find nothing to do.
fn run() -> Result<Vec<String>> {
    let plugin = |name: &str| Ok::<_, anyhow::Error>(binary::plugin(name)?.display().to_string());
    let filter = format!("{}={}", plugin("tool-filter")?, json!({"deny": ["no-such-tool"]}));
    let rate = json!({"requests": 1_000_000, "per": "1h", "by": ["session", "tool"]});
    let rate = format!("{}={rate}", plugin("rate-limit")?);
    let fairlead = binary::fairlead()?.display().to_string();
    let words =
        [&fairlead, "run", "--plugin", &filter, "--plugin", &rate, "--plugin", &plugin("redact")?, "--grant", "kv"];
    Ok(words.map(str::to_owned).to_vec())
}

#[tokio::test]
async fn what_the_official_client_sends_is_as_conformant_as_without_fairlead() {
    let Some(packages) = Packages::ready().await.unwrap() else { return };
    let daemon = Daemon::start().await.unwrap();
    let between = json!(run().unwrap()).to_string();
    let mut scenarios = JoinSet::new();
    for (scenario, revision, passing) in SCENARIOS {
        let (packages, between) = (packages.clone(), between.clone());
        let home = daemon.home().path().to_owned();
        scenarios.spawn(async move {
            let judged = judge(&packages, scenario, revision, &between, &home).await;
            (scenario, revision, passing, judged)
        });
    }
    let mut worse = Vec::new();
    while let Some(judged) = scenarios.join_next().await {
        let (scenario, revision, passing, checks) = judged.unwrap();
        match checks {
            Err(error) => worse.push(format!("{scenario} of {revision}: {error:#}")),
            Ok(checks) => {
                let passed = checks.iter().filter(|check| check["status"] == "SUCCESS").count();
                let bad = checks.iter().filter(|check| check["status"] == "FAILURE" || check["status"] == "WARNING");
                worse.extend(bad.map(|check| format!("{scenario} of {revision}: {check}")));
                if passed < passing {
                    worse.push(format!("{scenario} of {revision}: {passed} checks passed, {passing} directly"));
                }
            }
        }
    }
    assert!(worse.is_empty(), "{}", worse.join("\n"));
}

/// Runs one scenario and returns its checks. `between` is the command that puts Fairlead before the suite's server.
async fn judge(packages: &Packages, scenario: &str, revision: &str, between: &str, home: &Path) -> Result<Vec<Value>> {
    let results = tempfile::tempdir()?;
    let client = packages.script("clients/conformance.mjs")?;
    let command = format!("{} {}", packages.node().display(), client.display());
    let mut suite = Command::new(packages.node());
    suite
        .arg(packages.program("conformance"))
        .args(["client", "--scenario", scenario, "--spec-version", revision, "--command", &command, "-o"])
        .arg(results.path())
        .envs([("FAIRLEAD_BETWEEN", between.as_ref()), ("FAIRLEAD_HOME", home.as_os_str())])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let output = tokio::time::timeout(CONFORMANCE, suite.output()).await.context("the suite does not end")??;
    // Its status is that of the checks, which are looked at one by one.
    let said = || format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let directory = std::fs::read_dir(results.path())?.next().with_context(|| format!("no results: {}", said()))??;
    let checks: Vec<Value> = serde_json::from_slice(&std::fs::read(directory.path().join("checks.json"))?)?;
    ensure!(!checks.is_empty(), "no checks: {}", said());
    Ok(checks)
}
