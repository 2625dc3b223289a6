//! Measures Fairlead: the proxy side by side with no proxy, the plugin host by itself, and hot swap under load.
//!
//! Run it with `cargo xtask bench`, which builds what it needs. The load generator and the servers behind the proxy are our
//! own, so that every reply is checked and nothing but the proxy differs between two targets.

mod first_call;
mod fleet;
mod floor;
mod footprint;
mod freshness;
mod load;
mod message;
mod micro;
mod peers;
mod process;
mod proxy;
mod ready;
mod registry;
mod report;
mod rounds;
mod scene;
mod served;
mod session;
mod soak;
mod statistics;
mod swap;
mod torture;
mod upstream;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Parser, Subcommand};

use report::{Machine, Report};
use rounds::Effort;
use upstream::Replies;

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
        /// Reply with streams of events.
        #[arg(long)]
        events: bool,
    },
    /// The hop that everything is compared with.
    #[command(hide = true)]
    ServeFloor {
        /// `127.0.0.1:port` of the server behind it.
        #[arg(long)]
        to: String,
        /// 0: a free one.
        #[arg(long, default_value_t = 0)]
        port: u16,
    },
    /// The echo server over stdio.
    #[command(hide = true)]
    ServeStdio,
    /// An OCI registry that allows only so many requests.
    #[command(hide = true)]
    ServeRegistry,
}

#[derive(clap::Args)]
struct Run {
    /// Where the JSON goes.
    #[arg(long)]
    output: PathBuf,
    /// A smoke run: one short round, few swaps. Its figures mean nothing.
    #[arg(long)]
    quick: bool,
    #[command(flatten)]
    part: Part,
    /// Rounds of the proxy.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Hot swaps.
    #[arg(long, default_value_t = 1_000)]
    swaps: usize,
    /// Other proxies beside ours, installed into this directory.
    #[arg(long, value_name = "DIRECTORY")]
    peers: Option<PathBuf>,
}

/// One part alone. Without any: the plugin host and the proxy.
#[derive(clap::Args)]
#[group(multiple = false)]
struct Part {
    /// Only hot swaps under load.
    #[arg(long)]
    swap: bool,
    /// Only the plugin host.
    #[arg(long)]
    micro: bool,
    /// Only the proxy.
    #[arg(long)]
    proxy: bool,
    /// Only that many calls with cancellations and slow readers.
    #[arg(long, value_name = "CALLS")]
    torture: Option<u64>,
    /// Only a steady load for so long, the server killed every half minute.
    #[arg(long, value_name = "SECONDS")]
    soak: Option<u64>,
    /// Only memory: ready, for sessions, given back.
    #[arg(long)]
    footprint: bool,
    /// Only the time from a start to the first answer.
    #[arg(long)]
    first_call: bool,
    /// Only rounds of checks for updates, of a thousand servers.
    #[arg(long)]
    freshness: bool,
    /// Only many servers at once.
    #[arg(long)]
    fleet: bool,
    /// Only how soon a server answers that was just run.
    #[arg(long)]
    ready: bool,
    /// Only a catalogue of a hundred thousand entries.
    #[arg(long)]
    registry: bool,
}

impl Run {
    fn effort(&self) -> Effort {
        let (rounds, warm_up, window) = if self.quick { (1, 50, 200) } else { (self.rounds, 300, 1_200) };
        Effort { rounds, warm_up: Duration::from_millis(warm_up), window: Duration::from_millis(window) }
    }
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
    if let Command::ServeFloor { to, port } = command {
        // On all cores, as a hop is.
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start a runtime")?;
        return runtime.block_on(floor::serve(to, *port));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start a runtime")?;
    runtime.block_on(async {
        match command {
            Command::Run(run) => measure(run).await,
            Command::ServeHttp { port, events } => {
                upstream::serve_http(*port, if *events { Replies::Events } else { Replies::Json }).await
            }
            Command::ServeFloor { to, port } => floor::serve(to, *port).await,
            Command::ServeStdio => upstream::serve_stdio().await,
            Command::ServeRegistry => freshness::serve_registry().await,
        }
    })
}

async fn measure(run: &Run) -> anyhow::Result<()> {
    /// Idle sessions beside the calls, and times that a daemon is started.
    const SESSIONS: usize = 10_000;
    const STARTS: usize = 21;
    let Part { swap, micro, proxy, torture, soak, footprint, first_call, freshness, fleet, ready, registry } =
        &run.part;
    let mut report = Report { machine: Machine::here(), ..Report::default() };
    let effort = run.effort();
    if let Some(calls) = torture {
        report.torture = Some(torture::run(*calls).await?);
    } else if let Some(seconds) = soak {
        report.soak = Some(soak::run(*seconds).await?);
    } else if *footprint {
        let sessions = if run.quick { SESSIONS / 10 } else { SESSIONS };
        report.footprint = Some(footprint::run(sessions, effort.rounds, effort.window).await?);
    } else if *freshness {
        report.freshness = Some(freshness::run(run.quick).await?);
    } else if *first_call {
        report.first_call = Some(first_call::run(if run.quick { 1 } else { STARTS }).await?);
    } else if *fleet {
        let (servers, containers) = if run.quick { (8, 10) } else { (200, 50) };
        report.fleet = Some(fleet::run(servers, containers).await?);
    } else if *ready {
        report.ready = Some(ready::run(if run.quick { 1 } else { 20 }).await?);
    } else if *registry {
        report.registry = Some(registry::run(if run.quick { 2_000 } else { 100_000 }).await?);
    } else if *swap {
        report.swap = Some(swap::run(if run.quick { 20 } else { run.swaps }).await?);
    } else {
        if !proxy {
            report.plugins = Some(micro::run(run.quick).await?);
        }
        if !micro {
            report.proxy = Some(proxy::run(effort, run.quick, run.peers.as_deref()).await?);
        }
    }
    let json = serde_json::to_string_pretty(&report)?;
    std::fs::write(&run.output, json).with_context(|| format!("write {}", run.output.display()))?;
    let mut out = report.table();
    out.push_str(&format!("\nwritten to {}\n", run.output.display()));
    std::io::Write::write_all(&mut std::io::stdout(), out.as_bytes()).context("print the table")
}
