//! The official conformance suite, both eras of it, in front of servers on the official TypeScript and Python SDKs: once
//! directly, then through Fairlead with three plugins attached, from stdio, from streamable HTTP, and over HTTP spread over two
//! data planes that share their sessions, and once more across the eras: the older set in front of a server that speaks only the
//! newer one. Not one check may come out worse. There is no file of expected failures: the direct run is the expectation.

use std::collections::BTreeMap;
use std::io::{Read as _, Seek as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail, ensure};
use fairlead_tests::limits::{CONFORMANCE, READY};
use fairlead_tests::packages::Packages;
use fairlead_tests::pod::{Balancer, Pod, Redis, link};
use fairlead_tests::{Daemon, eventually};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::scene::{create, free_port, guards};

/// The revisions whose requirements are asked for: the newest with a handshake, and the newest without.
const LEGACY: &str = "2025-11-25";
const MODERN: &str = "2026-07-28";

/// Fewer checks than this, and a run has not really run.
const CHECKS_MIN: usize = 60;

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

/// Checks of the older set that a stdio server behind Fairlead does not reach, each with its reason. None of them is scored.
const OUT_OF_REACH: [(&str, &str); 2] = [
    // The tool asks its own transport to close the stream in the middle of the call, which a stdio transport cannot.
    ("server-sse-polling", "server-sse-disconnect-resume"),
    // What is answered at once is sent as JSON, so that there is no stream to look at.
    ("server-sse-multiple-streams", "server-sse-streams-functional"),
];

/// A server on one of the SDKs.
struct Reference<'a> {
    packages: &'a Packages,
    program: PathBuf,
    script: PathBuf,
}

/// Behind two data planes as in pods that share sessions in a Redis, each request at whichever of them.
const SPREAD: &str = "spread";

/// Those two, and all around them.
struct Spread {
    balancer: Balancer,
    _pods: [Pod; 2],
    _redis: Redis,
    _server: Child,
}

/// One server behind Fairlead: how it is started, the era that it is held to, and the sets that are asked of it.
type Case = (&'static str, &'static str, &'static [&'static str]);

#[tokio::test]
async fn no_check_of_the_conformance_suite_comes_out_worse_than_direct_in_front_of_typescript() {
    let Some(packages) = Packages::ready().await.unwrap() else { return };
    let script = packages.script("servers/conformance.mjs").unwrap();
    let reference = Reference { packages: &packages, program: "node".into(), script };
    let cases: [Case; 5] = [
        ("stdio", "", &[LEGACY, MODERN]),
        ("http", "", &[LEGACY, MODERN]),
        ("stdio", "modern", &[LEGACY]),
        ("http", "modern", &[LEGACY]),
        (SPREAD, "", &[LEGACY, MODERN]),
    ];
    reference.compare(&cases).await.unwrap();
}

#[tokio::test]
async fn no_check_of_the_conformance_suite_comes_out_worse_than_direct_in_front_of_python() {
    let Some(packages) = Packages::ready().await.unwrap() else { return };
    let script = packages.script("servers/conformance.py").unwrap();
    let reference = Reference { packages: &packages, program: packages.python(), script };
    let cases: [Case; 2] = [("stdio", "", &[LEGACY, MODERN]), ("http", "", &[LEGACY, MODERN])];
    reference.compare(&cases).await.unwrap();
}

impl Reference<'_> {
    /// Runs both sets directly and each case through Fairlead. An error names every check that came out worse.
    async fn compare(&self, cases: &[Case]) -> Result<()> {
        let (mut server, url) = self.direct().await?;
        let legacy = suite(self.packages, &url, LEGACY).await?;
        let modern = suite(self.packages, &url, MODERN).await?;
        server.kill().await?;
        for direct in [&legacy, &modern] {
            ensure!(direct.len() > CHECKS_MIN, "the suite ran {} checks only", direct.len());
            // The tasks of the newest revision are an extension that the SDKs do not have.
            let failed = direct
                .iter()
                .filter(|((scenario, _), outcome)| **outcome == Outcome::Failed && !scenario.starts_with("tasks-"));
            let failed: Vec<_> = failed.collect();
            ensure!(failed.is_empty(), "the reference itself fails: {failed:?}");
        }
        let daemon = Daemon::start().await?;
        let mut differences = Vec::new();
        for (how, era, sets) in cases {
            let name = format!("{how}{era}");
            if *how == SPREAD {
                let Some(spread) = self.spread().await? else { continue };
                for (set, direct) in sets.iter().zip([&legacy, &modern]) {
                    let worse = worse(direct, &suite(self.packages, spread.balancer.url(), set).await?, &[]);
                    differences.extend(worse.into_iter().map(|check| format!("{set} from {name}: {check}")));
                }
                continue;
            }
            create(daemon.home(), &json!({"name": name, "spec": self.server(how, era).await?})).await?;
            for set in *sets {
                let through = suite(self.packages, &daemon.url(&name), set).await?;
                let (direct, is_bridged) = (if *set == LEGACY { &legacy } else { &modern }, name != "http");
                let out_of_reach = if is_bridged && *set == LEGACY { &OUT_OF_REACH[..] } else { &[] };
                let worse = worse(direct, &through, out_of_reach);
                differences.extend(worse.into_iter().map(|check| format!("{set} from {name}: {check}")));
            }
        }
        ensure!(differences.is_empty(), "{}", differences.join("\n"));
        Ok(())
    }

    /// The server as the API takes it, behind three plugins that look at everything and find nothing to do.
    async fn server(&self, how: &str, era: &str) -> Result<Value> {
        let mut env = json!({"ERA": era});
        let mut transport = json!({"kind": "stdio"});
        if how == "http" {
            let port = free_port().await?;
            env["PORT"] = json!(port.to_string());
            transport = json!({"kind": "streamable-http", "port": port});
        }
        let source = json!({"kind": "command", "program": self.program, "args": [self.script, how]});
        let plugins = guards(&json!({"deny": ["no-such-tool"]}), 1_000_000);
        Ok(json!({"source": source, "transport": transport, "env": env, "plugins": plugins}))
    }

    /// Starts it over HTTP behind two data planes with the same three plugins; `None` where there is no Redis.
    async fn spread(&self) -> Result<Option<Spread>> {
        let Some(redis) = Redis::start(free_port().await?).await? else { return Ok(None) };
        let (server, url) = self.direct().await?;
        let origin = url.trim_end_matches("/mcp");
        let mut chain = Vec::new();
        for guard in guards(&json!({"deny": ["no-such-tool"]}), 1_000_000).as_array().context("guards")? {
            chain.push(link(guard).await?);
        }
        let transport = json!({"kind": "streamable-http", "port": 1, "path": "/mcp"});
        let config = json!({
            "server": {"tenant": "default", "name": "spread"},
            "upstream": {"kind": "service", "origin": origin, "transport": transport},
            "chain": chain,
            "sessionStorage": redis.storage(),
        });
        let env = redis.env();
        let pods = [Pod::start_with(&config, &[], &env).await?, Pod::start_with(&config, &[], &env).await?];
        Ok(Some(Spread { balancer: Balancer::before(&pods).await?, _pods: pods, _redis: redis, _server: server }))
    }

    /// Starts it over HTTP, with nothing between. What it says about each error that the suite asks it for goes to a file,
    /// and is told when it does not start.
    async fn direct(&self) -> Result<(Child, String)> {
        let mut log = tempfile::tempfile()?;
        let mut server = Command::new(&self.program)
            .arg(&self.script)
            .arg("http")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log.try_clone()?)
            .kill_on_drop(true)
            .spawn()?;
        let stdout = server.stdout.take().context("stdout is piped")?;
        let line = tokio::time::timeout(READY, BufReader::new(stdout).lines().next_line()).await??;
        let Some(line) = line else {
            let mut said = String::new();
            log.rewind()?;
            log.read_to_string(&mut said)?;
            bail!("the reference server ended: {said}");
        };
        let ready: Value = serde_json::from_str(&line)?;
        let port = ready.get("port").and_then(Value::as_u64).context("a port")?;
        let address = format!("127.0.0.1:{port}");
        eventually("the reference listens", READY, async || Ok(TcpStream::connect(&address).await.map(drop)?)).await?;
        Ok((server, format!("http://{address}/mcp")))
    }
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

/// Runs the suite against an endpoint.
async fn suite(packages: &Packages, url: &str, requirements: &str) -> Result<Outcomes> {
    let results = tempfile::tempdir()?;
    let mut command = Command::new(packages.node());
    command
        .arg(packages.program("conformance"))
        .args(["server", "--url", url, "--requirements", requirements, "-o"])
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
