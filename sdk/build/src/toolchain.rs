//! The Rust toolchain: made ready by itself where that is possible, named with its remedy where it is not.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;

/// Why nothing was compiled.
#[derive(Debug, thiserror::Error)]
pub enum ToolchainError {
    /// A program is not there.
    #[error("run `{program}`")]
    Missing {
        /// Which.
        program: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The target is not there and cannot be added.
    #[error("the Rust toolchain lacks the target {0}, which plugins are built for")]
    Target(String),
    /// The compiler said why already.
    #[error("the crate does not compile for {0}")]
    Compile(String),
    /// Cargo speaks another language.
    #[error("read what `cargo build` says")]
    Message(#[source] serde_json::Error),
}

impl ToolchainError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Missing { .. } => Some("install Rust with rustup (https://rustup.rs), then try again".to_owned()),
            Self::Target(triple) => Some(format!(
                "run `rustup target add {triple}`, or install the package of your system that provides it (such as \
                 `rust-std-static-{triple}`)"
            )),
            Self::Compile(_) | Self::Message(_) => None,
        }
    }
}

/// Cargo: the one that started this program, or the one in the path.
#[must_use]
pub fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Adds a target to the toolchain of `directory` when it is missing and rustup is there to do it.
///
/// # Errors
/// There is no toolchain, or the target cannot be added.
pub fn ensure_target(triple: &str, directory: &Path, say: impl Fn(&str)) -> Result<(), ToolchainError> {
    // A directory may name its toolchain, so the question is asked there.
    let output = Command::new("rustc")
        .args(["--print", "target-libdir", "--target", triple])
        .current_dir(directory)
        .output()
        .map_err(|source| ToolchainError::Missing { program: "rustc", source })?;
    let libraries = String::from_utf8_lossy(&output.stdout);
    if output.status.success() && Path::new(libraries.trim()).is_dir() {
        return Ok(());
    }
    say(&format!("adding the target {triple} to the Rust toolchain"));
    let added =
        Command::new("rustup").args(["target", "add", triple]).current_dir(directory).stdout(Stdio::null()).status();
    if added.is_ok_and(|status| status.success()) {
        return Ok(());
    }
    Err(ToolchainError::Target(triple.to_owned()))
}

/// Runs a `cargo build` and says which Wasm file came of each `Cargo.toml`. Progress and diagnostics go to standard error,
/// where the user sees them.
///
/// # Errors
/// Cargo is not there, or something does not compile.
pub fn artifacts(mut build: Command, triple: &str) -> Result<BTreeMap<PathBuf, PathBuf>, ToolchainError> {
    build.args(["--target", triple, "--message-format", "json-render-diagnostics"]);
    let output = build
        .stderr(Stdio::inherit())
        .output()
        .map_err(|source| ToolchainError::Missing { program: "cargo", source })?;
    if !output.status.success() {
        return Err(ToolchainError::Compile(triple.to_owned()));
    }
    read_artifacts(&output.stdout)
}

fn read_artifacts(messages: &[u8]) -> Result<BTreeMap<PathBuf, PathBuf>, ToolchainError> {
    #[derive(Deserialize)]
    struct Message {
        reason: String,
        #[serde(default)]
        manifest_path: PathBuf,
        #[serde(default)]
        filenames: Vec<PathBuf>,
    }
    let mut artifacts = BTreeMap::new();
    for line in messages.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let message: Message = serde_json::from_slice(line).map_err(ToolchainError::Message)?;
        let is_wasm = |file: &PathBuf| file.extension().is_some_and(|extension| extension == "wasm");
        if message.reason == "compiler-artifact"
            && let Some(file) = message.filenames.into_iter().find(is_wasm)
        {
            artifacts.insert(message.manifest_path, file);
        }
    }
    Ok(artifacts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wasm_file_of_each_crate_is_found_among_what_cargo_says() {
        let said = concat!(
            r#"{"reason":"compiler-artifact","manifest_path":"/serde/Cargo.toml","filenames":["/t/libserde.rlib"]}"#,
            "\n",
            r#"{"reason":"compiler-artifact","manifest_path":"/p/Cargo.toml","filenames":["/t/p.wasm","/t/libp.rlib"]}"#,
            "\n",
            r#"{"reason":"build-finished","success":true}"#,
            "\n",
        );
        let found = read_artifacts(said.as_bytes()).unwrap();
        assert_eq!(found.into_iter().collect::<Vec<_>>(), [("/p/Cargo.toml".into(), "/t/p.wasm".into())]);
    }

    #[test]
    fn what_is_missing_is_named_with_the_remedy() {
        let error = ToolchainError::Target(crate::CONTRACT_TARGET.to_owned());
        assert!(error.hint().unwrap().contains("rustup target add wasm32-unknown-unknown"), "{error}");
        let source = std::io::Error::from(std::io::ErrorKind::NotFound);
        assert!(ToolchainError::Missing { program: "rustc", source }.hint().unwrap().contains("rustup"));
    }
}
