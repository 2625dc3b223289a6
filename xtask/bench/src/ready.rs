//! How long `run` takes beyond what the server itself takes: from the moment that the program in the container has begun to
//! listen until somebody is told that it runs, which is when it has answered `initialize` through the proxy.
//!
//! The program says on standard error when it was ready, by the clock of this machine, which a container shares.

use std::fmt;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use fairlead_tests::engine::Engine;
use fairlead_tests::limits::SETTLE;
use fairlead_tests::{Daemon, Home, api_ok, binary, eventually};
use http::Method;
use serde::Serialize;
use serde_json::{Value, json};

use crate::scene::this_program;
use crate::statistics::median;

/// What stands before the time in the line that the server writes when it is ready.
const READY: &str = "ready at ";

/// Every kind that was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Figures(Vec<Figure>);

/// One kind of server.
#[derive(Debug, Serialize)]
struct Figure {
    name: &'static str,
    /// `run`, from the request to its answer.
    run_ms: f64,
    /// Of that, after the program was ready; all of it where nothing but Fairlead runs.
    added_ms: f64,
    added_max_ms: f64,
    /// The first `initialize` of a client after it.
    client_ms: f64,
    /// What it has to be at most.
    aim_ms: Option<f64>,
}

/// One round.
struct Round {
    run: Duration,
    added: Duration,
    client: Duration,
}

/// Says when this program is ready: for who measures it from outside.
pub(crate) fn announce() {
    eprintln!("{READY}{}", since_epoch().as_nanos());
}

/// Measures so many rounds of each kind.
pub(crate) async fn run(rounds: usize) -> anyhow::Result<Figures> {
    let daemon = Daemon::start_in(Home::new()?).await?;
    let program = this_program()?;
    let mut figures = Vec::new();
    let wasm = json!({"source": {"kind": "wasm", "path": binary::plugin("toolbox")?}});
    figures.push(figure(&daemon, "wasm component, cached", rounds, &wasm, Some(100.0)).await?);
    let process = json!({"source": {"kind": "command", "program": program, "args": ["serve-stdio"]}});
    figures.push(figure(&daemon, "process, stdio", rounds, &process, None).await?);
    let Some(engine) = Engine::found(&daemon.cli()?, &program).await? else { return Ok(Figures(figures)) };
    let image = |args: &[&str]| json!({"kind": "image", "reference": engine.image, "args": args, "pull": "never"});
    let stdio = json!({"source": image(&["serve-stdio"])});
    figures.push(figure(&daemon, "cached image, stdio", rounds, &stdio, Some(300.0)).await?);
    let http = json!({
        "source": image(&["serve-http", "--port", "8000"]),
        "transport": {"kind": "streamable-http", "port": 8000, "path": "/mcp"},
    });
    figures.push(figure(&daemon, "cached image, streamable HTTP", rounds, &http, Some(300.0)).await?);
    daemon.terminate().await?;
    engine.done().await?;
    Ok(Figures(figures))
}

async fn figure(
    daemon: &Daemon,
    name: &'static str,
    rounds: usize,
    spec: &Value,
    aim_ms: Option<f64>,
) -> anyhow::Result<Figure> {
    // The first fills caches, of compiled components and of the engine.
    round(daemon, spec).await?;
    let mut seen = Vec::new();
    for _ in 0..rounds {
        seen.push(round(daemon, spec).await?);
    }
    let ms = |duration: Duration| duration.as_secs_f64() * 1e3;
    Ok(Figure {
        name,
        run_ms: median(seen.iter().map(|round| ms(round.run))),
        added_ms: median(seen.iter().map(|round| ms(round.added))),
        added_max_ms: seen.iter().map(|round| ms(round.added)).fold(f64::NAN, f64::max),
        client_ms: median(seen.iter().map(|round| ms(round.client))),
        aim_ms,
    })
}

async fn round(daemon: &Daemon, spec: &Value) -> anyhow::Result<Round> {
    let body = json!({"name": "measured", "spec": spec});
    let begin = Instant::now();
    api_ok(daemon.home(), Method::POST, "/workloads", Some(&body)).await?;
    let (run, answered) = (begin.elapsed(), since_epoch());
    let begin = Instant::now();
    let client = daemon.client("measured").await?;
    let round = Round { run, added: run, client: begin.elapsed() };
    drop(client);
    let has_program = spec.pointer("/source/kind").is_none_or(|kind| kind != "wasm");
    let added = if has_program { answered.saturating_sub(first_ready(daemon).await?) } else { run };
    api_ok(daemon.home(), Method::DELETE, "/workloads/measured", None).await?;
    Ok(Round { added, ..round })
}

/// When the first program of the server was ready: the one that `run` asked.
async fn first_ready(daemon: &Daemon) -> anyhow::Result<Duration> {
    eventually("the server has said when it was ready", SETTLE, async || {
        let logs = daemon.cli()?.ok(["logs", "measured"]).await?;
        let line = logs.stdout.lines().find_map(|line| line.split_once(READY)).context("no such line")?;
        Ok(Duration::from_nanos(line.1.trim().parse().context("nanoseconds")?))
    })
    .await
}

fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

impl fmt::Display for Figures {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (run, all, added, client) = ("run, until it answers", "in all", "after it was ready", "a client then");
        writeln!(out, "{run:<34} {all:>10} {added:>22} {client:>18}")?;
        for figure in &self.0 {
            let aim = figure.aim_ms.map_or(String::new(), |aim| {
                format!("<= {aim:.0} ms {}", if figure.added_max_ms <= aim { "held" } else { "MISSED" })
            });
            writeln!(
                out,
                "  {:<32} {:>7.1} ms {:>10.1} ms (max {:>5.1}) {:>12.1} ms   {aim}",
                figure.name, figure.run_ms, figure.added_ms, figure.added_max_ms, figure.client_ms
            )?;
        }
        Ok(())
    }
}
