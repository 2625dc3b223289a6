//! `cargo xtask bench --languages`: the doorkeeper in four languages, side by side, on one message and one configuration.
//!
//! The figures are those of `fairlead plugin bench`: this only builds the four and puts them beside each other.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use serde::Deserialize;

use crate::workspace;

/// A guard that decides and lets the call pass: the usual fate of a call.
const CONFIG: &str = r#"{"blocked": ["rm", "admin_*"]}"#;

/// What a warm call and a call with a fresh instance may take, in microseconds.
const AIMS: [(&str, u64, Option<u64>); 3] = [("rust", 2, Some(25)), ("javascript", 25, None), ("python", 25, None)];

/// What is measured, and where it comes from: a fixture that was built already, or a directory for `plugin build`.
const LANGUAGES: [(&str, Source); 4] = [
    ("rust", Source::Fixture("doorkeeper.wasm")),
    ("c", Source::Fixture("doorkeeper-c.wasm")),
    ("javascript", Source::Directory("sdk/examples/doorkeeper/js")),
    ("python", Source::Directory("sdk/examples/doorkeeper/python")),
];

#[derive(Clone, Copy)]
enum Source {
    Fixture(&'static str),
    Directory(&'static str),
}

/// The part of what `plugin bench` says that goes into the table.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Costs {
    plugin: String,
    size_bytes: u64,
    compile_micros: u64,
    load_micros: u64,
    memory_bytes: u64,
    warm: Spread,
    fresh: Spread,
}

/// In nanoseconds.
#[derive(Deserialize)]
struct Spread {
    p50: u64,
    p99: u64,
}

/// Builds the four with the program at `fairlead`, measures them, prints a table, and leaves all figures in `output`.
pub(super) fn run(fairlead: &Path, output: &Path) -> anyhow::Result<()> {
    let directory = output.join("languages");
    std::fs::create_dir_all(&directory).with_context(|| format!("make {}", directory.display()))?;
    let mut bench = Command::new(fairlead);
    bench.args(["--format", "json", "plugin", "bench"]).stderr(Stdio::inherit());
    for (language, source) in LANGUAGES {
        let component = component(fairlead, &directory, language, source)?;
        bench.arg(format!("{}={CONFIG}", component.display()));
    }
    let measured = bench.output().context("start `fairlead plugin bench`")?;
    ensure!(measured.status.success(), "`fairlead plugin bench` ended with {}", measured.status);
    let file = output.join("languages.json");
    std::fs::write(&file, &measured.stdout).with_context(|| format!("write {}", file.display()))?;
    let all: Vec<Costs> = serde_json::from_slice(&measured.stdout).context("read what `plugin bench` says")?;
    table(&all);
    println!("written: {}", file.display());
    Ok(())
}

fn component(fairlead: &Path, directory: &Path, language: &str, source: Source) -> anyhow::Result<PathBuf> {
    let component = directory.join(format!("{language}.wasm"));
    match source {
        Source::Fixture(file) => {
            let built = workspace::plugins().join("fixtures").join(file);
            std::fs::copy(&built, &component).with_context(|| format!("copy {}", built.display()))?;
        }
        Source::Directory(of) => {
            let mut build = Command::new(fairlead);
            build.args(["plugin", "build"]).arg(workspace::root().join(of)).arg("--output").arg(&component);
            workspace::run(build.env("FAIRLEAD_TOOLCHAINS", workspace::target().join("toolchains")))?;
        }
    }
    Ok(component)
}

fn table(all: &[Costs]) {
    let micros = |nanos: u64| nanos as f64 / 1e3;
    let head = ["WARM P50", "P99", "FRESH P50", "P99", "MEMORY", "SIZE", "COMPILE", "LOAD"];
    println!("{:<12}{}", "LANGUAGE", head.map(|word| format!("{word:>13}")).concat());
    for costs in all {
        println!(
            "{:<12}{:>10.2} µs{:>10.2} µs{:>10.1} µs{:>10.1} µs{:>9} KiB{:>9} KiB{:>11.2} s{:>10.1} ms",
            costs.plugin,
            micros(costs.warm.p50),
            micros(costs.warm.p99),
            micros(costs.fresh.p50),
            micros(costs.fresh.p99),
            costs.memory_bytes.div_ceil(1024),
            costs.size_bytes.div_ceil(1024),
            costs.compile_micros as f64 / 1e6,
            costs.load_micros as f64 / 1e3,
        );
    }
    for (language, warm, fresh) in AIMS {
        let Some(costs) = all.iter().find(|costs| costs.plugin == language) else { continue };
        let aims = [("warm", Some(warm), costs.warm.p50), ("fresh", fresh, costs.fresh.p50)];
        for (kind, aim, nanos) in aims.into_iter().filter_map(|(kind, aim, nanos)| Some((kind, aim?, nanos))) {
            let verdict = if nanos <= aim * 1_000 { "held" } else { "MISSED" };
            println!("{language}, {kind}: <= {aim} µs {verdict} ({:.2} µs)", micros(nanos));
        }
    }
}
