//! Where the programs under test are, and how they get there.
//!
//! `cargo test -p fairlead-tests` does not build the binary of another package, so it is built here, once per run: a stale
//! binary would test yesterday's code. Whoever has built it already (`cargo xtask test`) says so in `FAIRLEAD_TEST_BINARY`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, bail, ensure};

/// Names a binary that is taken as it is.
pub const BINARY_VARIABLE: &str = "FAIRLEAD_TEST_BINARY";

/// Names a directory of components that are taken as they are.
pub const PLUGINS_VARIABLE: &str = "FAIRLEAD_TEST_PLUGINS";

/// Root of the checkout.
#[must_use]
pub fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests).to_owned()
}

/// Cargo's target directory.
#[must_use]
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// The binary under test.
///
/// # Errors
/// It is not there and cannot be built.
pub fn fairlead() -> Result<PathBuf> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    BUILT.get_or_init(|| find_fairlead().map_err(|error| format!("{error:#}"))).clone().map_err(anyhow::Error::msg)
}

fn find_fairlead() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os(BINARY_VARIABLE) {
        return existing(PathBuf::from(path));
    }
    cargo(&["build", "--quiet", "--package", "fairlead"])?;
    existing(target().join("debug/fairlead"))
}

/// The stdio server that belongs to these tests. Cargo builds it together with them.
///
/// # Errors
/// It was not built.
pub fn test_server() -> Result<PathBuf> {
    let this = std::env::current_exe().context("own path")?;
    // target/debug/deps/it-0123, target/release/fairlead-bench → test-server in target/debug, target/release
    let beside = this.ancestors().skip(1).take(2).map(|directory| directory.join("test-server"));
    existing(beside.reduce(|near, far| if near.exists() { near } else { far }).context("a program has a directory")?)
}

/// A first-party component (`tool-filter`, `toolbox`, …).
///
/// # Errors
/// It is not there and cannot be built.
pub fn plugin(name: &str) -> Result<PathBuf> {
    existing(plugins()?.join(format!("{name}.wasm")))
}

/// A component that misbehaves on purpose.
///
/// # Errors
/// It is not there and cannot be built.
pub fn fixture(name: &str) -> Result<PathBuf> {
    existing(plugins()?.join("fixtures").join(format!("{name}.wasm")))
}

/// The directory of the first-party components.
///
/// # Errors
/// It is not there and cannot be built.
pub fn plugins() -> Result<PathBuf> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    BUILT.get_or_init(|| build_plugins().map_err(|error| format!("{error:#}"))).clone().map_err(anyhow::Error::msg)
}

fn build_plugins() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os(PLUGINS_VARIABLE) {
        return existing(PathBuf::from(path));
    }
    cargo(&["run", "--quiet", "--package", "xtask", "--", "plugins", "--fixtures"])?;
    existing(target().join("plugins"))
}

fn existing(path: PathBuf) -> Result<PathBuf> {
    ensure!(path.exists(), "`{}` is not there", path.display());
    Ok(path)
}

fn cargo(args: &[&str]) -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo).args(args).current_dir(root()).output().context("start cargo")?;
    if !output.status.success() {
        bail!("cargo {}: {}\n{}", args.join(" "), output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}
