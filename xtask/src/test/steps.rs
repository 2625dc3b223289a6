//! The steps of `cargo xtask test`, in the order in which they run: cheap ones first, so that a slip shows early.

use std::process::Command;

use anyhow::Context;

use super::{Outcome, Plan, Tally, documents, guides, house, libtest, licences};
use crate::{bench, cluster, helm, plugins, workspace};

type RunStep = fn(&Plan, &mut Tally) -> anyhow::Result<Outcome>;

/// One step.
pub(crate) struct Step {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    /// Steps without which this one cannot work.
    pub(crate) needs: &'static [&'static str],
    pub(crate) run: RunStep,
}

/// Every step.
pub(crate) const ALL: &[Step] = &[
    Step { name: "format", about: "rustfmt", needs: &[], run: format },
    Step { name: "house", about: "crate diamond, file sizes, module headers", needs: &[], run: house::run },
    Step { name: "licences", about: "licences, sources and bans of deny.toml", needs: &[], run: licences::run },
    Step { name: "documents", about: "links and commands in the documentation", needs: &[], run: documents::run },
    Step { name: "plugins", about: "first-party components and test guests", needs: &[], run: plugins },
    Step { name: "lints", about: "clippy, host and guests", needs: &[], run: lints },
    Step { name: "rustdoc", about: "links in the API documentation", needs: &[], run: rustdoc },
    Step { name: "packages", about: "official MCP servers and clients to test against", needs: &[], run: packages },
    Step { name: "cluster", about: "a Kubernetes API server, and Helm, to test against", needs: &[], run: cluster },
    Step { name: "unit", about: "unit and property tests", needs: &["plugins"], run: unit },
    Step { name: "integration", about: "real servers, real clients", needs: &["plugins"], run: integration },
    Step {
        name: "guides",
        about: "what the documentation tells people to type",
        needs: &["plugins"],
        run: guides::run,
    },
    Step { name: "bench", about: "a smoke run of the benchmark", needs: &["plugins"], run: bench },
];

/// Names of all steps, for `--only`.
pub(crate) fn names() -> Vec<&'static str> {
    ALL.iter().map(|step| step.name).collect()
}

/// The crates whose tests need a built host, built plugins and perhaps foreign tools.
const INTEGRATION: &[&str] = &["fairlead-tests"];

fn format(_: &Plan, _: &mut Tally) -> anyhow::Result<Outcome> {
    workspace::run(workspace::cargo().args(["fmt", "--all", "--check"]))?;
    Ok(Outcome::Passed("every file".to_owned()))
}

fn plugins(_: &Plan, _: &mut Tally) -> anyhow::Result<Outcome> {
    workspace::wasm_targets()?;
    Ok(Outcome::Passed(format!("{} components", plugins::build(true)?.len())))
}

fn lints(_: &Plan, _: &mut Tally) -> anyhow::Result<Outcome> {
    let strict = ["--", "-D", "warnings"];
    workspace::run(workspace::cargo().args(["clippy", "--workspace", "--all-targets"]).args(strict))?;
    // What a guest compiles only for Wasm (its exports) is invisible to the line above.
    workspace::wasm_targets()?;
    let guests = house::guests()?;
    for (target, names) in &guests {
        let mut command = workspace::cargo();
        command.args(["clippy", "--target", target]);
        for name in names {
            command.args(["--package", name]);
        }
        workspace::run(command.args(strict))?;
    }
    let count: usize = guests.values().map(Vec::len).sum();
    Ok(Outcome::Passed(format!("the workspace, and {count} guests for Wasm")))
}

fn rustdoc(_: &Plan, _: &mut Tally) -> anyhow::Result<Outcome> {
    let flags = "-D warnings -A rustdoc::private_intra_doc_links";
    workspace::run(workspace::cargo().args(["doc", "--workspace", "--no-deps", "--quiet"]).env("RUSTDOCFLAGS", flags))?;
    Ok(Outcome::Passed("every link resolves".to_owned()))
}

fn packages(plan: &Plan, _: &mut Tally) -> anyhow::Result<Outcome> {
    /// Exit status of the script when the machine lacks a tool.
    const TOOL_MISSING: i32 = 3;
    if plan.quick {
        return Ok(Outcome::Skipped("--quick".to_owned()));
    }
    let script = workspace::root().join("tests/packages/prepare.sh");
    let status = Command::new("sh").arg(&script).status().context("start tests/packages/prepare.sh")?;
    Ok(match status.code() {
        Some(0) => Outcome::Passed("installed into target/test-packages".to_owned()),
        Some(TOOL_MISSING) => {
            Outcome::Skipped("node, npm or python3 is missing; tests that need them are skipped".to_owned())
        }
        _ => Outcome::Failed(format!("tests/packages/prepare.sh ended with {status}")),
    })
}

fn cluster(plan: &Plan, _: &mut Tally) -> anyhow::Result<Outcome> {
    if plan.quick {
        return Ok(Outcome::Skipped("--quick".to_owned()));
    }
    if let Some(missing) = cluster::missing() {
        return Ok(Outcome::Skipped(missing));
    }
    cluster::build()?;
    helm::build()?;
    // In CI pods start.
    if let Some(missing) = cluster::node_missing().filter(|_| plan.is_ci) {
        return Ok(Outcome::Skipped(missing));
    }
    Ok(Outcome::Passed("built into target/cluster and target/helm".to_owned()))
}

fn unit(plan: &Plan, tally: &mut Tally) -> anyhow::Result<Outcome> {
    let ground = ground(plan)?;
    let mut command = cargo_test();
    command.envs(ground.iter().flat_map(cluster::Cluster::variables));
    if ground.is_some() {
        command.envs([helm::build()?]);
    }
    command.arg("--workspace");
    for name in INTEGRATION {
        command.args(["--exclude", name]);
    }
    tests(&mut command, plan, tally)
}

fn integration(plan: &Plan, tally: &mut Tally) -> anyhow::Result<Outcome> {
    if plan.quick {
        return Ok(Outcome::Skipped("--quick".to_owned()));
    }
    workspace::build("dev", &["fairlead"])?;
    let ground = ground(plan)?;
    let mut command = cargo_test();
    command.envs(ground.iter().flat_map(cluster::Cluster::variables));
    for name in INTEGRATION {
        command.args(["--package", name]);
    }
    tests(&mut command, plan, tally)
}

/// A cluster for the tests of one step, which ends with it; `None` where there is none to be had.
fn ground(plan: &Plan) -> anyhow::Result<Option<cluster::Cluster>> {
    if plan.quick || cluster::missing().is_some() {
        return Ok(None);
    }
    cluster::build()?;
    cluster::Cluster::start_whole().map(Some)
}

fn bench(plan: &Plan, _: &mut Tally) -> anyhow::Result<Outcome> {
    if plan.quick {
        return Ok(Outcome::Skipped("--quick".to_owned()));
    }
    for args in bench::Args::smoke() {
        bench::run(&args)?;
    }
    Ok(Outcome::Passed("every reply was right; the figures of a smoke run mean nothing".to_owned()))
}

fn cargo_test() -> Command {
    let mut command = workspace::cargo();
    // Whoever needs the host or a component takes what the steps before have built.
    command
        .args(["test", "--no-fail-fast"])
        .env("FAIRLEAD_TEST_BINARY", workspace::fairlead())
        .env("FAIRLEAD_TEST_PLUGINS", workspace::plugins());
    command
}

fn tests(command: &mut Command, plan: &Plan, tally: &mut Tally) -> anyhow::Result<Outcome> {
    if let Some(filter) = &plan.filter {
        command.args(["--", filter]);
    }
    let run = libtest::run(command)?;
    *tally = run.tally;
    let Tally { passed, failed, skipped } = run.tally;
    let because = if run.skips.is_empty() { String::new() } else { format!(": {}", run.skips.join("; ")) };
    Ok(if !run.success {
        Outcome::Failed(format!("{failed} of {} tests failed: {}", passed + failed, run.failures.join(", ")))
    } else if passed == 0 && plan.filter.is_none() {
        Outcome::Failed("no test ran".to_owned())
    } else if plan.is_ci && !run.skips.is_empty() {
        Outcome::Failed(format!("{skipped} tests skipped in CI{because}"))
    } else if skipped > 0 {
        Outcome::Passed(format!("{passed} tests, {skipped} skipped{because}"))
    } else {
        Outcome::Passed(format!("{passed} tests"))
    })
}
