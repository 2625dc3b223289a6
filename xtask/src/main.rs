//! Developer commands: everything that is not the product itself, in Rust so that a fresh machine needs nothing else.

mod bench;
mod cluster;
mod demo;
mod docs;
mod go;
mod helm;
mod image;
mod metadata;
mod plugins;
mod terminal;
mod test;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Developer commands of Fairlead.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build everything, run a guarded MCP server and tell what happens.
    Demo(demo::Args),
    /// Run every check and every test, with one summary at the end.
    Test(test::Args),
    /// Build the first-party components into `target/plugins`.
    Plugins(plugins::Args),
    /// Make the container image that a cluster runs.
    Image(image::Args),
    /// Start or stop a Kubernetes API server to test the operator against.
    Cluster(cluster::Args),
    /// Write the reference pages that are made from code.
    Docs(docs::Args),
    /// Measure the proxy and the plugin host.
    Bench(bench::Args),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Demo(args) => demo::run(&args),
        Command::Test(args) => test::run(&args),
        Command::Plugins(args) => plugins::run(&args),
        Command::Image(args) => image::run(&args),
        Command::Cluster(args) => cluster::run(&args),
        Command::Docs(args) => docs::run(&args),
        Command::Bench(args) => bench::run(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The chain on one line; a backtrace of a developer command tells nobody anything.
            anstream::eprintln!("{}error:{:#} {error:#}", terminal::BAD, terminal::BAD);
            ExitCode::FAILURE
        }
    }
}
