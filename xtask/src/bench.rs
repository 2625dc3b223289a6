//! `cargo xtask bench`: builds what is measured and hands over to `fairlead-bench` (`xtask/bench`).
//!
//! The measuring program is a crate of its own because it needs the whole asynchronous stack, and this one must build fast.

mod languages;

use std::process::Command;

use anyhow::Context;

use crate::{plugins, workspace};

/// Arguments.
#[derive(Default, clap::Args)]
pub(crate) struct Args {
    /// A smoke run in the dev profile: one short round. Its figures mean nothing.
    #[arg(long)]
    quick: bool,
    /// Only hot swaps under load.
    #[arg(long, conflicts_with = "micro")]
    swap: bool,
    /// Only the plugin host, without a network.
    #[arg(long)]
    micro: bool,
    /// Only one middleware in four languages, side by side.
    #[arg(long, conflicts_with_all = ["swap", "micro", "rounds", "swaps"])]
    languages: bool,
    /// Rounds of the proxy.
    #[arg(long, value_name = "NUMBER", conflicts_with = "quick")]
    rounds: Option<usize>,
    /// Hot swaps.
    #[arg(long, value_name = "NUMBER", conflicts_with = "quick")]
    swaps: Option<usize>,
}

impl Args {
    /// A smoke run of everything, or of the swaps.
    pub(crate) fn smoke(swap: bool) -> Self {
        Self { quick: true, swap, ..Self::default() }
    }
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    workspace::wasm_targets()?;
    plugins::build(true)?;
    let (profile, directory) = if args.quick { ("dev", "debug") } else { ("release", "release") };
    workspace::run(workspace::cargo().args(["build", "--profile", profile, "-p", "fairlead", "-p", "fairlead-bench"]))?;
    let binaries = workspace::target().join(directory);
    let output = workspace::target().join("bench");
    std::fs::create_dir_all(&output).with_context(|| format!("make {}", output.display()))?;
    if args.languages {
        return languages::run(&binaries.join("fairlead"), &output);
    }
    let file = if args.quick {
        "quick.json"
    } else if args.swap {
        "swap.json"
    } else {
        "latest.json"
    };
    let mut command = Command::new(binaries.join("fairlead-bench"));
    command
        .current_dir(workspace::root())
        .arg("run")
        .arg("--output")
        .arg(output.join(file))
        .env("FAIRLEAD_TEST_BINARY", binaries.join("fairlead"))
        .env("FAIRLEAD_TEST_PLUGINS", workspace::plugins());
    for (given, flag) in [(args.quick, "--quick"), (args.swap, "--swap"), (args.micro, "--micro")] {
        if given {
            command.arg(flag);
        }
    }
    for (given, flag) in [(args.rounds, "--rounds"), (args.swaps, "--swaps")] {
        if let Some(number) = given {
            command.args([flag, &number.to_string()]);
        }
    }
    workspace::run(&mut command)
}
