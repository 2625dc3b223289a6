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
    #[command(flatten)]
    part: Part,
    /// Rounds of the proxy.
    #[arg(long, value_name = "NUMBER", conflicts_with = "quick")]
    rounds: Option<usize>,
    /// Hot swaps.
    #[arg(long, value_name = "NUMBER", conflicts_with = "quick")]
    swaps: Option<usize>,
    /// Other proxies beside ours, as far as the package registries have them; installed into `target/bench/peers`.
    #[arg(long)]
    peers: bool,
}

/// One part alone. Without any: the plugin host and the proxy.
#[derive(Default, clap::Args)]
#[group(multiple = false)]
struct Part {
    /// Only hot swaps under load.
    #[arg(long)]
    swap: bool,
    /// Only the plugin host, without a network.
    #[arg(long)]
    micro: bool,
    /// Only the proxy.
    #[arg(long)]
    proxy: bool,
    /// Only one middleware in four languages, side by side.
    #[arg(long, conflicts_with_all = ["rounds", "swaps", "peers"])]
    languages: bool,
    /// Only that many calls, with cancellations and slow readers.
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
    /// Only many servers at once: start-up, memory, latency of lists, and fifty containers.
    #[arg(long)]
    fleet: bool,
    /// Only how soon a server answers that was just run.
    #[arg(long)]
    ready: bool,
    /// Only a catalogue of a hundred thousand entries: reading it, what changed of it, memory, search.
    #[arg(long)]
    registry: bool,
}

impl Part {
    /// As the measuring program takes it, and the name of its file.
    fn flag(&self) -> Option<(&'static str, Option<u64>)> {
        let switches = [
            (self.swap, "swap"),
            (self.micro, "micro"),
            (self.proxy, "proxy"),
            (self.footprint, "footprint"),
            (self.first_call, "first-call"),
            (self.freshness, "freshness"),
            (self.fleet, "fleet"),
            (self.ready, "ready"),
            (self.registry, "registry"),
        ];
        let given = switches.into_iter().find_map(|(given, name)| given.then_some((name, None)));
        let counted = [("torture", self.torture), ("soak", self.soak)];
        given.or_else(|| counted.into_iter().find(|(_, value)| value.is_some()))
    }
}

impl Args {
    /// A smoke run of each kind.
    pub(crate) fn smoke() -> [Self; 5] {
        let part = |part| Self { quick: true, part, ..Self::default() };
        [
            part(Part::default()),
            part(Part { swap: true, ..Part::default() }),
            part(Part { fleet: true, ..Part::default() }),
            part(Part { ready: true, ..Part::default() }),
            part(Part { registry: true, ..Part::default() }),
        ]
    }
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    workspace::wasm_targets()?;
    plugins::build(true)?;
    let (profile, directory) = if args.quick { ("dev", "debug") } else { ("release", "release") };
    workspace::build(profile, &["fairlead", "fairlead-bench", "test-server"])?;
    let binaries = workspace::target().join(directory);
    let output = workspace::target().join("bench");
    std::fs::create_dir_all(&output).with_context(|| format!("make {}", output.display()))?;
    if args.part.languages {
        return languages::run(&binaries.join("fairlead"), &output);
    }
    let part = args.part.flag();
    let file = match part {
        _ if args.quick => "quick.json".to_owned(),
        Some((name, _)) => format!("{name}.json"),
        None => "latest.json".to_owned(),
    };
    let mut command = Command::new(binaries.join("fairlead-bench"));
    command
        .current_dir(workspace::root())
        .arg("run")
        .arg("--output")
        .arg(output.join(file))
        .env("FAIRLEAD_TEST_BINARY", binaries.join("fairlead"))
        .env("FAIRLEAD_TEST_PLUGINS", workspace::plugins());
    if args.quick {
        command.arg("--quick");
    }
    if let Some((name, value)) = part {
        command.arg(format!("--{name}")).args(value.map(|value| value.to_string()));
    }
    if args.peers {
        command.arg("--peers").arg(output.join("peers"));
    }
    for (given, flag) in [(args.rounds, "--rounds"), (args.swaps, "--swaps")] {
        if let Some(number) = given {
            command.args([flag, &number.to_string()]);
        }
    }
    workspace::run(&mut command)
}
