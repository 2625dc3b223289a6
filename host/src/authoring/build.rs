//! From the directory of a plugin to its component.

use std::path::{Path, PathBuf};

use fairlead_plugin_build::{CONTRACT_TARGET, ComponentError, Survey, ToolchainError};
use serde::Deserialize;

/// What was built.
#[derive(Debug)]
pub(crate) struct Built {
    /// The component.
    pub(crate) path: PathBuf,
    /// What it imports and exports.
    pub(crate) survey: Survey,
}

/// Why nothing was built.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BuildError {
    /// There is no crate.
    #[error("read `{}`", path.display())]
    NoCrate {
        /// Where it should be.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// It is no crate of a plugin.
    #[error("`{}` is no crate of a plugin: {reason}", path.display())]
    Crate {
        /// Its `Cargo.toml`.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The toolchain.
    #[error(transparent)]
    Toolchain(#[from] ToolchainError),
    /// A file that the compiler made.
    #[error("read `{}`", path.display())]
    Artifact {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The component.
    #[error(transparent)]
    Component(#[from] ComponentError),
    /// More than a plugin gets.
    #[error("the component imports more than the contract: {}", .0.join(", "))]
    Imports(Vec<String>),
}

impl BuildError {
    /// What to do about it.
    pub(crate) fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NoCrate { .. } => "name the directory of a plugin, or begin one with `fairlead plugin new`",
            Self::Crate { .. } => "look at how `fairlead plugin new` writes it",
            Self::Toolchain(error) => return error.hint(),
            Self::Component(ComponentError::Encode(_)) => {
                "does the crate call one of the export macros of the SDK, such as `export_middleware!`?"
            }
            Self::Imports(_) => {
                "a dependency reaches for the system; turn that feature of it off, or build for `wasm32-wasip2` \
                 (`[package.metadata.fairlead] target`), where the host gives it an empty one"
            }
            Self::Artifact { .. } | Self::Component(_) => return None,
        };
        Some(hint.to_owned())
    }
}

/// The parts of a `Cargo.toml` that matter here.
#[derive(Deserialize)]
struct Manifest {
    package: Package,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    #[serde(default)]
    metadata: Metadata,
}

#[derive(Default, Deserialize)]
struct Metadata {
    #[serde(default)]
    fairlead: Options,
}

/// `[package.metadata.fairlead]`, as `cargo xtask plugins` reads it too.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    target: Option<String>,
}

/// Builds the crate in `directory` into `output`, or `NAME.wasm` beside it.
///
/// # Errors
/// There is no crate or no toolchain, it does not compile, or it asks for more than a plugin gets.
pub(crate) fn build(directory: &Path, output: Option<&Path>, say: impl Fn(&str)) -> Result<Built, BuildError> {
    let path = directory.join("Cargo.toml");
    let no_crate = |source| BuildError::NoCrate { path: path.clone(), source };
    let path = std::fs::canonicalize(&path).map_err(no_crate)?;
    let directory = path.parent().unwrap_or(directory);
    let text = std::fs::read_to_string(&path).map_err(no_crate)?;
    let strange = |reason: String| BuildError::Crate { path: path.clone(), reason };
    let package = toml::from_str::<Manifest>(&text).map_err(|error| strange(error.message().to_owned()))?.package;
    let target = package.metadata.fairlead.target.as_deref().unwrap_or(CONTRACT_TARGET);
    fairlead_plugin_build::ensure_target(target, directory, &say)?;
    say(&format!("building {} for {target}", package.name));
    let mut cargo = fairlead_plugin_build::cargo();
    cargo.args(["build", "--release"]).current_dir(directory);
    let files = fairlead_plugin_build::artifacts(cargo, target)?;
    let artifact = files
        .get(&path)
        .ok_or_else(|| strange("it makes no Wasm file; has it `crate-type = [\"cdylib\", \"rlib\"]`?".to_owned()))?;
    let module = std::fs::read(artifact);
    let module = module.map_err(|source| BuildError::Artifact { path: artifact.clone(), source })?;
    let component = fairlead_plugin_build::componentize(module)?;
    let survey = fairlead_plugin_build::survey(&component)?;
    // What a WASI target imports is judged by the host: an empty WASI is there.
    if target == CONTRACT_TARGET && !survey.foreign.is_empty() {
        return Err(BuildError::Imports(survey.foreign_interfaces().into_iter().map(str::to_owned).collect()));
    }
    let path = output.map_or_else(|| directory.join(format!("{}.wasm", package.name)), Path::to_owned);
    fairlead_plugin_build::write(&path, &component)?;
    Ok(Built { path, survey })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_is_no_crate_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let error = build(directory.path(), None, |_| {}).unwrap_err();
        assert!(matches!(error, BuildError::NoCrate { .. }) && error.hint().unwrap().contains("plugin new"), "{error}");
        std::fs::write(directory.path().join("Cargo.toml"), "[workspace]\n").unwrap();
        let error = build(directory.path(), None, |_| {}).unwrap_err();
        assert!(matches!(error, BuildError::Crate { .. }), "{error}");
    }
}
