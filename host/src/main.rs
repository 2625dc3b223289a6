//! `fairlead`: runs, guards and keeps fresh MCP servers.
//!
//! One page, the order of life: what was typed, the settings, then either a command that talks to the daemon, or the daemon
//! itself: telemetry, build, run until a signal, drain, exit code.

mod api;
mod app;
mod authoring;
mod cli;
mod client;
mod clients;
mod config;
mod door;
mod durable;
#[cfg(debug_assertions)]
mod fault;
mod hooks;
mod limits;
mod logs;
mod private;
mod secrets;
mod store;
mod telemetry;
mod text;
mod yaml;

use std::process::ExitCode;

use clap::Parser as _;
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;

use cli::output::{Format, Output};
use cli::{Cli, Command, Context, Failure, operator as operate, serve};
use client::daemon::ALREADY_RUNS;
use config::Settings;
use limits::RUNTIME_END_MAX;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return cli::not_understood(error, std::env::args_os()),
    };
    let output = cli.output();
    match run(cli, output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if failure.code != 0 {
                output.failure(&failure);
            }
            ExitCode::from(failure.code)
        }
    }
}

fn run(cli: Cli, output: Output) -> Result<(), Failure> {
    if let Some(done) = cli::without_settings(&cli.command, &output) {
        return done;
    }
    let settings = Settings::resolve(cli.overrides(), &|name| std::env::var_os(name))?;
    match cli.command {
        Command::Serve(args) => daemon(settings, &args, output),
        Command::Registry(cli::registry::Command::Serve(args)) => registry_server(settings, &args, output),
        Command::Operator(args) => operator(&settings, args),
        Command::Proxy(cli::proxy::Command::Pod(args)) => pod(settings, args, output),
        command => {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(cli::run(command, &Context { settings, output }))
        }
    }
}

fn daemon(settings: Settings, args: &serve::Args, output: Output) -> Result<(), Failure> {
    let log = args.background.then(|| settings.directories.daemon_log());
    if args.background {
        // Of its own session, so that it does not end with the terminal. It has one already when it leads one.
        let _ = rustix::process::setsid();
    }
    telemetry::start(&settings, log.as_deref()).map_err(|error| Failure::chain(&error))?;
    #[cfg(debug_assertions)]
    fault::begin();
    let runtime = Builder::new_multi_thread().enable_all().thread_name("fairlead").build()?;
    let outcome = runtime.block_on(async {
        let daemon = app::build(settings, args.recover).await?;
        let stop = stop_on_signal(&runtime)?;
        daemon.run(stop, |info| announce(info, args, output)).await.map_err(Failure::from)
    });
    runtime.shutdown_timeout(RUNTIME_END_MAX);
    outcome
}

fn registry_server(settings: Settings, args: &cli::registry::serve::Args, output: Output) -> Result<(), Failure> {
    let declared = args
        .file
        .as_deref()
        .map(|path| app::Declared::read(path).map_err(|error| Failure::new(format!("`{}`: {error}", path.display()))));
    let given = app::Given { declared: declared.transpose()?, reviewed_for: args.reviewed_for.clone() };
    telemetry::start(&settings, None).map_err(|error| Failure::chain(&error))?;
    let runtime = Builder::new_multi_thread().enable_all().thread_name("fairlead").build()?;
    let outcome = runtime.block_on(async {
        let stop = stop_on_signal(&runtime)?;
        let announce = |address: std::net::SocketAddr| {
            // Whether somebody reads it is no concern of the server.
            let _ = match output.format {
                Format::Json => output.json_line(&serde_json::json!({"registryAddress": address.to_string()})),
                Format::Text => output.line(&format!("serving the catalogue on http://{address} (Ctrl-C stops)")),
            };
        };
        app::serve_registries(settings, given, stop, announce).await.map_err(Failure::from)
    });
    runtime.shutdown_timeout(RUNTIME_END_MAX);
    outcome
}

fn operator(settings: &Settings, args: operate::Args) -> Result<(), Failure> {
    telemetry::start(settings, None).map_err(|error| Failure::chain(&error))?;
    let runtime = Builder::new_multi_thread().enable_all().thread_name("fairlead").build()?;
    let outcome = runtime.block_on(async { operate::run(settings, args, stop_on_signal(&runtime)?).await });
    runtime.shutdown_timeout(RUNTIME_END_MAX);
    outcome
}

fn pod(settings: Settings, args: cli::proxy::PodArgs, output: Output) -> Result<(), Failure> {
    let options = args.options()?;
    telemetry::start(&settings, None).map_err(|error| Failure::chain(&error))?;
    let runtime = Builder::new_multi_thread().enable_all().thread_name("fairlead").build()?;
    let outcome = runtime.block_on(async {
        let stop = stop_on_signal(&runtime)?;
        let announce = |reached: &app::pod::Reached| {
            // Whether somebody reads it is no concern of the server.
            let _ = match output.format {
                Format::Json => output.json_line(reached),
                Format::Text => output.line(&format!("serving on http://{}/mcp (Ctrl-C stops)", reached.address)),
            };
        };
        app::pod::serve(settings, options, stop, announce).await.map_err(Failure::from)
    });
    runtime.shutdown_timeout(RUNTIME_END_MAX);
    outcome
}

/// Cancelled by Ctrl-C or by whoever asks the process to end. A second signal changes nothing: every step of the end has a
/// deadline.
fn stop_on_signal(runtime: &Runtime) -> Result<CancellationToken, Failure> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let stop = CancellationToken::new();
    let token = stop.clone();
    runtime.spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        token.cancel();
    });
    Ok(stop)
}

fn announce(info: &api::types::DaemonInfo, args: &serve::Args, output: Output) {
    if args.background {
        return;
    }
    // Whether somebody reads it is no concern of the daemon.
    let _ = match output.format {
        Format::Json => output.json_line(info),
        Format::Text => output.line(&format!("serving on http://{} (Ctrl-C stops)", info.address)),
    };
}

impl From<app::pod::PodError> for Failure {
    fn from(error: app::pod::PodError) -> Self {
        match error {
            app::pod::PodError::Chain(problem) => problem.into(),
            app::pod::PodError::Cluster(ref cluster) => {
                Self { hint: cluster.hint().map(str::to_owned), ..Self::chain(&error) }
            }
            error => Self::chain(&error),
        }
    }
}

impl From<app::BuildError> for Failure {
    fn from(error: app::BuildError) -> Self {
        let failure = Self::chain(&error);
        let failure = Self { hint: error.hint(), ..failure };
        if error.is_already_running() { Self { code: ALREADY_RUNS, ..failure } } else { failure }
    }
}
