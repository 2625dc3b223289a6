//! From spawning a daemon to its first good answer, with a server that runs already, so that nothing but the daemon starts.

use std::fmt;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use fairlead_tests::{Home, binary};
use serde::Serialize;
use tokio::process::{Child, Command};

use crate::load::Load;
use crate::message::{self, Reply};
use crate::scene::{ECHO, Echo, Scene, first_party, free_port, this_program};
use crate::session::Session;
use crate::statistics::median;

/// Between two attempts to connect.
const TRY_EVERY: Duration = Duration::from_micros(200);

/// Longest wait for an answer.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// Medians, in milliseconds.
#[derive(Debug, Serialize)]
pub(crate) struct Figures {
    pub(crate) times: usize,
    pub(crate) floor_ms: f64,
    pub(crate) plain_ms: f64,
    pub(crate) three_plugins_ms: f64,
}

impl fmt::Display for Figures {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "first good answer after spawning, median of {}: floor {:.1} ms, a server {:.1} ms, with three plugins {:.1} ms",
            self.times, self.floor_ms, self.plain_ms, self.three_plugins_ms
        )
    }
}

/// Starts each that many times, in turn.
pub(crate) async fn run(times: usize) -> anyhow::Result<Figures> {
    let echo = Echo::start().await?;
    // Compiled once: what is measured is a start with a warm cache.
    let plain = prepared(&echo, "plain", Vec::new()).await?;
    let guarded = prepared(&echo, "guarded", first_party()).await?;
    let (mut floor_ms, mut plain_ms, mut three_ms) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..times {
        floor_ms.push(floor(&echo).await?);
        plain_ms.push(daemon(&plain, "plain").await?);
        three_ms.push(daemon(&guarded, "guarded").await?);
    }
    Ok(Figures { times, floor_ms: median(floor_ms), plain_ms: median(plain_ms), three_plugins_ms: median(three_ms) })
}

/// A home that has had a daemon with this server.
async fn prepared(echo: &Echo, name: &'static str, plugins: Vec<serde_json::Value>) -> anyhow::Result<Home> {
    let scene = Scene::start().await?;
    let target = scene.remote(name, echo, plugins).await?;
    Session::open(&target.load(1, 100)).await?.close().await?;
    let (home, status) = scene.daemon.terminate().await?;
    ensure!(status.success(), "the daemon ended with {status}");
    Ok(home)
}

async fn floor(echo: &Echo) -> anyhow::Result<f64> {
    let port = free_port()?.to_string();
    let mut command = Command::new(this_program()?);
    command.args(["serve-floor", "--to", &echo.address(), "--port", &port]);
    first_answer(command, &format!("127.0.0.1:{port}"), "/mcp").await
}

async fn daemon(home: &Home, name: &str) -> anyhow::Result<f64> {
    let address = format!("127.0.0.1:{}", free_port()?);
    let mut command = Command::new(binary::fairlead()?);
    command.args(["serve", "--address", &address]).env("FAIRLEAD_HOME", home.path());
    first_answer(command, &address, &format!("/s/{name}/mcp")).await
}

/// Milliseconds from spawning to the first good answer to a call.
async fn first_answer(mut command: Command, address: &str, path: &str) -> anyhow::Result<f64> {
    let load = Load { address: address.to_owned(), path: path.to_owned(), tool: ECHO, workers: 1, payload_bytes: 100 };
    let begin = Instant::now();
    let process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true).spawn();
    let mut process = process.with_context(|| format!("start {command:?}"))?;
    let answered = loop {
        match answer(&load).await {
            Ok(()) => break begin.elapsed(),
            Err(error) => ensure!(begin.elapsed() < ANSWER_MAX, "no answer: {error:#}"),
        }
        tokio::time::sleep(TRY_EVERY).await;
    };
    stop(&mut process).await?;
    Ok(answered.as_secs_f64() * 1e3)
}

async fn answer(load: &Load) -> anyhow::Result<()> {
    let mut session = Session::open(load).await?;
    let (_, body) = session.post(message::call(ECHO, 1, "first")).await?;
    Reply::check(&body, 1, "first").map_err(anyhow::Error::msg)?;
    Ok(())
}

/// Ends it as a service manager does: a daemon that is killed takes longer to start next time.
async fn stop(process: &mut Child) -> anyhow::Result<()> {
    let pid = process.id().context("a process that runs")?;
    let status = Command::new("kill").args(["-TERM", &pid.to_string()]).status().await.context("start kill")?;
    ensure!(status.success(), "kill: {status}");
    process.wait().await.context("wait for the process")?;
    Ok(())
}
