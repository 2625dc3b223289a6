//! The checkout: where things lie in it, and how its tools are called.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

/// Root of the checkout. Cargo says where this crate lies at run time; the path known at compile time serves a binary
/// that was started by hand.
pub(crate) fn root() -> PathBuf {
    let crate_directory = std::env::var_os("CARGO_MANIFEST_DIR")
        .map(PathBuf::from)
        .filter(|path| path.ends_with("xtask"))
        .unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")));
    crate_directory.parent().map(Path::to_path_buf).unwrap_or(crate_directory)
}

/// Cargo's target directory.
pub(crate) fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(directory) => root().join(directory),
        None => root().join("target"),
    }
}

/// Where `cargo xtask plugins` puts the first-party components.
pub(crate) fn plugins() -> PathBuf {
    target().join("plugins")
}

/// The host binary of the dev profile.
pub(crate) fn fairlead() -> PathBuf {
    target().join("debug").join(format!("fairlead{}", std::env::consts::EXE_SUFFIX))
}

/// The cargo that started us, in the root of the checkout.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// Builds programs of the workspace.
///
/// The whole workspace is selected and then narrowed to them, because cargo takes features from what is selected: with
/// `--package`, each of them would have an engine and a compiler of its own, minutes of work apiece.
pub(crate) fn build(profile: &str, programs: &[&str]) -> anyhow::Result<()> {
    let mut command = cargo();
    command.args(["build", "--workspace", "--profile", profile]);
    for program in programs {
        command.args(["--bin", program]);
    }
    run(&mut command)
}

/// Runs a command to its end; anything but success is an error that names it.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    let line = line(command);
    let status = command.status().with_context(|| format!("start `{line}`"))?;
    if !status.success() {
        bail!("`{line}` ended with {status}");
    }
    Ok(())
}

/// A command as a person would type it.
pub(crate) fn line(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_else(|| command.get_program());
    std::iter::once(program).chain(command.get_args()).map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}

/// Whether a program is found in `PATH`.
pub(crate) fn has(program: &str) -> bool {
    let name = format!("{program}{}", std::env::consts::EXE_SUFFIX);
    std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|entry| entry.join(&name).is_file()))
}

/// Makes the Wasm targets of `rust-toolchain.toml` ready. Rustup usually has done so before this line runs, because it
/// read the same file.
pub(crate) fn wasm_targets() -> anyhow::Result<Vec<String>> {
    let file = root().join("rust-toolchain.toml");
    let text = std::fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
    let targets = toml::from_str::<ToolchainFile>(&text).context("parse rust-toolchain.toml")?.toolchain.targets;
    for target in &targets {
        fairlead_plugin_build::ensure_target(target, &root(), |progress| anstream::eprintln!("{progress}"))?;
    }
    Ok(targets)
}

#[derive(serde::Deserialize)]
struct ToolchainFile {
    toolchain: Toolchain,
}

#[derive(serde::Deserialize)]
struct Toolchain {
    targets: Vec<String>,
}
