//! Measures Fairlead: the proxy side by side with no proxy, the plugin host by itself, and hot swap under load.
//!
//! Run it with `cargo xtask bench`, which builds what it needs. The load generator and the servers behind the proxy are our
//! own, so that every reply is checked and nothing but the proxy differs between two targets.

mod floor;
mod load;
mod message;
mod micro;
mod process;
mod report;
mod rounds;
mod scene;
mod statistics;
mod swap;
mod upstream;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Parser, Subcommand};

use report::{Machine, Proxy, Report};
use rounds::{Case, Effort};
use scene::{Echo, Floor, Scene, noop};

#[derive(Parser)]
#[command(name = "fairlead-bench")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measure, print a table, write JSON.
    Run(Run),
    /// The echo server over streamable HTTP.
    #[command(hide = true)]
    ServeHttp {
        /// 0: a free one.
        #[arg(long, default_value_t = 0)]
        port: u16,
    },
    /// The hop that everything is compared with.
    #[command(hide = true)]
    ServeFloor {
        /// `127.0.0.1:port` of the server behind it.
        #[arg(long)]
        to: String,
    },
    /// The echo server over stdio.
    #[command(hide = true)]
    ServeStdio,
}

#[derive(clap::Args)]
struct Run {
    /// Where the JSON goes.
    #[arg(long)]
    output: PathBuf,
    /// A smoke run: one short round, few swaps. Its figures mean nothing.
    #[arg(long)]
    quick: bool,
    /// Only hot swaps under load.
    #[arg(long, conflicts_with = "micro")]
    swap: bool,
    /// Only the plugin host.
    #[arg(long)]
    micro: bool,
    /// Rounds of the proxy.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Hot swaps.
    #[arg(long, default_value_t = 1_000)]
    swaps: usize,
}

fn main() -> ExitCode {
    match run(&Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: &Command) -> anyhow::Result<()> {
    if let Command::ServeFloor { to } = command {
        // On all cores, as a hop is.
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start a runtime")?;
        return runtime.block_on(floor::serve(to));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start a runtime")?;
    runtime.block_on(async {
        match command {
            Command::Run(run) => measure(run).await,
            Command::ServeHttp { port } => upstream::serve_http(*port).await,
            Command::ServeFloor { to } => floor::serve(to).await,
            Command::ServeStdio => upstream::serve_stdio().await,
        }
    })
}

async fn measure(run: &Run) -> anyhow::Result<()> {
    let everything = !run.swap && !run.micro;
    let mut report = Report { machine: Machine::here(), proxy: None, plugins: None, swap: None };
    if everything || run.micro {
        report.plugins = Some(micro::run(run.quick).await?);
    }
    if everything {
        report.proxy = Some(proxy(run).await?);
    }
    if run.swap {
        report.swap = Some(swap::run(if run.quick { 20 } else { run.swaps }).await?);
    }
    let json = serde_json::to_string_pretty(&report)?;
    std::fs::write(&run.output, json).with_context(|| format!("write {}", run.output.display()))?;
    let mut out = report.table();
    out.push_str(&format!("\nwritten to {}\n", run.output.display()));
    std::io::Write::write_all(&mut std::io::stdout(), out.as_bytes()).context("print the table")
}

async fn proxy(run: &Run) -> anyhow::Result<Proxy> {
    let effort = if run.quick {
        Effort { rounds: 1, warm_up: Duration::from_millis(50), window: Duration::from_millis(200) }
    } else {
        Effort { rounds: run.rounds, warm_up: Duration::from_millis(300), window: Duration::from_millis(1_200) }
    };
    let cases = [(100, 1), (100, 16), (1_024, 1), (10_240, 16), (1_048_576, 1)]
        .map(|(payload_bytes, workers)| Case { payload_bytes, workers });
    let echo = Echo::start().await?;
    let floor = Floor::start(&echo).await?;
    let scene = Scene::start().await?;
    let pid = scene.daemon.pid();
    let targets = [
        echo.target(),
        floor.target(),
        scene.http("http-0", Vec::new()).await?,
        scene.http("http-1-noop", vec![noop("a")?]).await?,
        scene.http("http-3-noop", vec![noop("a")?, noop("b")?, noop("c")?]).await?,
        scene.http("http-3-first-party", scene::first_party()).await?,
        scene.stdio("stdio-0", Vec::new()).await?,
        scene.stdio("stdio-3-first-party", scene::first_party()).await?,
    ];
    let resident_servers_kib = process::resident_kib(pid)?;
    let samples = rounds::run(&targets, &cases, effort).await?;
    let compared = targets.each_ref().map(|target| {
        let unguarded = if target.name.starts_with("stdio") { "stdio-0" } else { "http-0" };
        (target.name, if target.hop.is_none() || target.name == "floor" { "" } else { unguarded })
    });
    Ok(Proxy {
        resident_empty_kib: scene.resident_empty_kib,
        resident_servers_kib,
        resident_after_load_kib: process::resident_kib(pid)?,
        rows: report::rows(&samples, &compared),
        samples,
    })
}
