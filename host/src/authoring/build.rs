//! From the directory of a plugin to its component.

use std::path::{Path, PathBuf};

use fairlead_core::plugin::PluginKind;
use fairlead_plugin_build::{CONTRACT_TARGET, ComponentError, Survey, ToolError, ToolchainError, javascript, python};

use super::project::{Project, Source};

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
    /// There is no plugin.
    #[error("find a plugin in `{}`", path.display())]
    NoProject {
        /// Where it should be.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// It is something else.
    #[error("`{}` is no manifest of a plugin: {reason}", path.display())]
    Project {
        /// The manifest of its language.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The Rust toolchain.
    #[error(transparent)]
    Toolchain(#[from] ToolchainError),
    /// A tool of another language.
    #[error(transparent)]
    Tool(#[from] ToolError),
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
            Self::NoProject { .. } => "name the directory of a plugin, or begin one with `fairlead plugin new`",
            Self::Project { .. } => "look at how `fairlead plugin new` writes it",
            Self::Toolchain(error) => return error.hint(),
            Self::Tool(error) => return error.hint(),
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

/// Builds the plugin in `directory` into `output`, or `NAME.wasm` beside it. What has to be installed for it goes into
/// `toolchains`.
///
/// # Errors
/// There is no plugin or no toolchain, it does not compile, or it asks for more than a plugin gets.
pub(crate) fn build(
    directory: &Path,
    output: Option<&Path>,
    toolchains: &Path,
    say: &dyn Fn(&str),
) -> Result<Built, BuildError> {
    let project = Project::read(directory)?;
    let component = match &project.source {
        Source::Rust { target } => crate_of(&project, target.as_deref().unwrap_or(CONTRACT_TARGET), say)?,
        Source::JavaScript { kind, main, sdk } => {
            say(&format!("building {} with QuickJS", project.name));
            javascript::build(&javascript::Source { main, sdk, world: world(*kind) }, toolchains, say)?
        }
        Source::Python { kind, module, sdk } => {
            say(&format!("building {} with CPython", project.name));
            let source = python::Source { directory: &project.directory, module, sdk, world: world(*kind) };
            python::build(&source, toolchains, say)?
        }
    };
    let survey = fairlead_plugin_build::survey(&component)?;
    let path = output.map_or_else(|| project.directory.join(format!("{}.wasm", project.name)), Path::to_owned);
    fairlead_plugin_build::write(&path, &component)?;
    Ok(Built { path, survey })
}

const fn world(kind: PluginKind) -> &'static str {
    match kind {
        PluginKind::Middleware => "middleware",
        PluginKind::RegistrySource => "registry-source",
        PluginKind::UpdatePolicy => "update-policy",
    }
}

fn crate_of(project: &Project, target: &str, say: &dyn Fn(&str)) -> Result<Vec<u8>, BuildError> {
    fairlead_plugin_build::ensure_target(target, &project.directory, say)?;
    say(&format!("building {} for {target}", project.name));
    let mut cargo = fairlead_plugin_build::cargo();
    cargo.args(["build", "--release"]).current_dir(&project.directory);
    let files = fairlead_plugin_build::artifacts(cargo, target)?;
    let path = project.directory.join("Cargo.toml");
    let artifact = files.get(&path).ok_or_else(|| BuildError::Project {
        path,
        reason: "it makes no Wasm file; has it `crate-type = [\"cdylib\", \"rlib\"]`?".to_owned(),
    })?;
    let module = std::fs::read(artifact);
    let module = module.map_err(|source| BuildError::Artifact { path: artifact.clone(), source })?;
    let component = fairlead_plugin_build::componentize(module)?;
    // What a WASI target imports is judged by the host: an empty WASI is there.
    if target == CONTRACT_TARGET { contract_only(component) } else { Ok(component) }
}

fn contract_only(component: Vec<u8>) -> Result<Vec<u8>, BuildError> {
    let survey = fairlead_plugin_build::survey(&component)?;
    if survey.foreign.is_empty() {
        return Ok(component);
    }
    Err(BuildError::Imports(survey.foreign_interfaces().into_iter().map(str::to_owned).collect()))
}
