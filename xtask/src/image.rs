//! `cargo xtask image`: the container image that a cluster runs, as operator, as proxy and as registry server.
//!
//! Program and plugins are built here and laid out in `target/image`; `deploy/Containerfile` only copies them. Why not a stage that
//! compiles: an engine would be given the whole checkout, compile all of it anew and need a network, and the tests, which have none,
//! would make their image by another recipe than people. The price is that a C library of this machine that is newer than that of the
//! base makes a program that does not start; so what was made is run before this ends well.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

use crate::{plugins, workspace};

/// Engines, in the order in which they are asked.
const ENGINES: [&str; 2] = ["docker", "podman"];

/// Arguments.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Name of the image; without it all is laid out in `target/image`, for an engine that is elsewhere.
    #[arg(long, value_name = "NAME")]
    tag: Option<String>,
    /// What it is made on, instead of what `deploy/Containerfile` names.
    #[arg(long, value_name = "IMAGE", requires = "tag")]
    base: Option<String>,
    /// With the program of the dev profile: ready sooner, and slow.
    #[arg(long)]
    debug: bool,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    ensure!(cfg!(target_os = "linux"), "an image needs a program of Linux, and none is built here: do this on Linux");
    // Whoever waits for a build does not learn afterwards that there is no engine.
    let to_make = args.tag.as_deref().map(|tag| anyhow::Ok((engine()?, tag))).transpose()?;
    let program = if args.debug {
        workspace::build("dev", &["fairlead"])?;
        workspace::fairlead()
    } else {
        // The package alone, for it would have features that only developer commands ask for.
        workspace::run(workspace::cargo().args(["build", "--release", "--locked", "--package", "fairlead"]))?;
        workspace::target().join("release/fairlead")
    };
    let plugins = plugins::build(false)?;
    let plugins: Vec<&Path> = plugins.iter().map(|built| built.path.as_path()).collect();
    let context = workspace::target().join("image");
    lay_out(&context, &program, &plugins)?;
    match to_make {
        Some((engine, tag)) => {
            build(engine, tag, args.base.as_deref(), &context)?;
            prove(engine, tag)
        }
        None => {
            let context = context.display();
            anstream::println!("laid out; what makes it: docker build --file {context}/Containerfile {context}");
            Ok(())
        }
    }
}

/// The engine of this machine that answers.
fn engine() -> anyhow::Result<&'static str> {
    let answers = |engine: &&str| {
        let mut ask = Command::new(engine);
        ask.arg("version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        ask.status().is_ok_and(|status| status.success())
    };
    let found = ENGINES.into_iter().find(answers);
    found.context("neither Docker nor Podman answers; without `--tag` all is laid out for an engine that is elsewhere")
}

/// Lays out what the image has as it lies in `/usr/local`, beside the recipe, and readable for whoever runs it: what a umask here
/// hides would be hidden there.
fn lay_out(context: &Path, program: &Path, plugins: &[&Path]) -> anyhow::Result<()> {
    if context.exists() {
        fs::remove_dir_all(context).with_context(|| format!("remove {}", context.display()))?;
    }
    let (bin, components) = (context.join("bin"), context.join("lib/fairlead/plugins"));
    for directory in [&bin, &components] {
        fs::create_dir_all(directory).with_context(|| format!("make {}", directory.display()))?;
    }
    fs::set_permissions(&components, Permissions::from_mode(0o755))?;
    place(&workspace::root().join("deploy/Containerfile"), &context.join("Containerfile"), 0o644)?;
    for plugin in plugins {
        place(plugin, &components.join(plugin.file_name().context("a plugin is a file")?), 0o644)?;
    }
    place(program, &bin.join("fairlead"), 0o755)?;
    // The names of functions stay, for backtraces.
    workspace::run(Command::new("strip").arg("--strip-debug").arg(bin.join("fairlead")))
}

fn place(file: &Path, at: &Path, mode: u32) -> anyhow::Result<()> {
    fs::copy(file, at).with_context(|| format!("copy {}", file.display()))?;
    fs::set_permissions(at, Permissions::from_mode(mode)).with_context(|| format!("let others read {}", at.display()))
}

fn build(engine: &str, tag: &str, base: Option<&str>, context: &Path) -> anyhow::Result<()> {
    let mut build = Command::new(engine);
    build.args(["build", "--tag", tag, "--build-arg", concat!("VERSION=", env!("CARGO_PKG_VERSION"))]);
    if let Some(base) = base {
        build.arg("--build-arg").arg(format!("BASE={base}"));
    }
    workspace::run(build.arg("--file").arg(context.join("Containerfile")).arg(context))
}

/// Runs it, shut in as the manifests have it.
fn prove(engine: &str, tag: &str) -> anyhow::Result<()> {
    let mut run = Command::new(engine);
    run.args(["run", "--rm", "--network", "none", "--read-only", "--cap-drop", "ALL"]);
    run.args(["--security-opt", "no-new-privileges", tag, "version"]);
    workspace::run(&mut run).with_context(|| {
        format!(
            "`{tag}` was made, but does not run. Where `GLIBC_… not found` is said above, the C library of this machine is newer than \
             that of the base: name a base that is as new (`--base`), or build on an older system"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_laid_out_may_be_read_by_whoever_runs_it_and_has_nothing_of_the_time_before() {
        let place = tempfile::tempdir().unwrap();
        let (context, plugin) = (place.path().join("image"), place.path().join("a.wasm"));
        fs::create_dir_all(context.join("lib/fairlead/plugins")).unwrap();
        fs::write(context.join("lib/fairlead/plugins/old.wasm"), "old").unwrap();
        fs::write(&plugin, "a").unwrap();
        fs::set_permissions(&plugin, Permissions::from_mode(0o600)).unwrap();
        lay_out(&context, &std::env::current_exe().unwrap(), &[&plugin]).unwrap();
        let mode = |file: &str| fs::metadata(context.join(file)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode("lib/fairlead/plugins"), 0o755);
        assert_eq!(mode("lib/fairlead/plugins/a.wasm"), 0o644);
        assert_eq!(mode("bin/fairlead"), 0o755);
        assert_eq!(mode("Containerfile"), 0o644);
        assert!(!context.join("lib/fairlead/plugins/old.wasm").exists());
    }
}
