//! What lies in the directory of a plugin: its language, and what the manifest of that language says about it.
//!
//! Each language keeps its own manifest (`Cargo.toml`, `package.json`, `pyproject.toml`), so that its own tools work on the
//! plugin as on anything else.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use fairlead_core::plugin::PluginKind;
use serde::Deserialize;

use super::build::BuildError;

/// A plugin to build.
#[derive(Debug)]
pub(crate) struct Project {
    /// Its directory, absolute.
    pub(crate) directory: PathBuf,
    /// Name of the package, and of the component.
    pub(crate) name: String,
    pub(crate) source: Source,
}

/// What it is written in, and what that needs to know.
#[derive(Debug)]
pub(crate) enum Source {
    Rust {
        /// `wasm32-unknown-unknown` unless the manifest says another.
        target: Option<String>,
    },
    JavaScript {
        kind: PluginKind,
        main: PathBuf,
        sdk: PathBuf,
    },
    Python {
        kind: PluginKind,
        module: String,
        sdk: PathBuf,
    },
}

impl Project {
    /// Reads the manifest in a directory.
    ///
    /// # Errors
    /// There is none, or it says nothing of a plugin.
    pub(crate) fn read(directory: &Path) -> Result<Self, BuildError> {
        let none = |source| BuildError::NoProject { path: directory.to_owned(), source };
        let directory = std::fs::canonicalize(directory).map_err(none)?;
        for (file, read) in READERS {
            let path = directory.join(file);
            match std::fs::read_to_string(&path) {
                Ok(text) => {
                    let strange = |reason| BuildError::Project { path, reason };
                    let (name, source) = read(&text, &directory).map_err(strange)?;
                    return Ok(Self { directory, name, source });
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(source) => return Err(BuildError::NoProject { path, source }),
            }
        }
        Err(none(std::io::ErrorKind::NotFound.into()))
    }
}

type Read = fn(&str, &Path) -> Result<(String, Source), String>;

/// The manifests, by the file that they are in.
const READERS: [(&str, Read); 3] = [("Cargo.toml", rust), ("package.json", javascript), ("pyproject.toml", python)];

fn rust(text: &str, _: &Path) -> Result<(String, Source), String> {
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
    /// As `cargo xtask plugins` reads it too.
    #[derive(Default, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Options {
        target: Option<String>,
    }
    let package = toml::from_str::<Manifest>(text).map_err(|error| error.message().to_owned())?.package;
    Ok((package.name, Source::Rust { target: package.metadata.fairlead.target }))
}

fn javascript(text: &str, directory: &Path) -> Result<(String, Source), String> {
    #[derive(Deserialize)]
    struct Manifest {
        name: String,
        #[serde(default = "main")]
        main: PathBuf,
        fairlead: Options,
        #[serde(default)]
        dependencies: BTreeMap<String, String>,
    }
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Options {
        kind: PluginKind,
    }
    fn main() -> PathBuf {
        "plugin.js".into()
    }
    let manifest: Manifest = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let sdk = manifest.dependencies.get("fairlead-plugin").and_then(|version| version.strip_prefix("file:"));
    let sdk = sdk.ok_or("`dependencies` has no `fairlead-plugin` with `file:PATH`, the place of the SDK")?;
    let (main, sdk) = (directory.join(manifest.main), directory.join(sdk));
    Ok((manifest.name, Source::JavaScript { kind: manifest.fairlead.kind, main, sdk }))
}

fn python(text: &str, directory: &Path) -> Result<(String, Source), String> {
    #[derive(Deserialize)]
    struct Manifest {
        project: Package,
        tool: Tool,
    }
    #[derive(Deserialize)]
    struct Package {
        name: String,
    }
    #[derive(Deserialize)]
    struct Tool {
        fairlead: Options,
    }
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Options {
        kind: PluginKind,
        #[serde(default = "module")]
        module: String,
        sdk: PathBuf,
    }
    fn module() -> String {
        "plugin".to_owned()
    }
    let manifest: Manifest = toml::from_str(text).map_err(|error| error.message().to_owned())?;
    let Options { kind, module, sdk } = manifest.tool.fairlead;
    // It becomes a line of Python.
    let is_word = |word: &str| !word.is_empty() && word.chars().all(|letter| letter.is_alphanumeric() || letter == '_');
    if !module.split('.').all(is_word) {
        return Err(format!("`{module}` is no name of a module"));
    }
    Ok((manifest.project.name, Source::Python { kind, module, sdk: directory.join(sdk) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project(file: &str, text: &str) -> Result<Project, BuildError> {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(file), text).unwrap();
        Project::read(directory.path())
    }

    #[test]
    fn the_language_follows_from_the_manifest_that_is_there() {
        let read = |file, text| project(file, text).unwrap().source;
        assert!(matches!(read("Cargo.toml", "[package]\nname = \"a\"\n"), Source::Rust { target: None }));
        let text =
            r#"{"name": "a", "fairlead": {"kind": "middleware"}, "dependencies": {"fairlead-plugin": "file:../x"}}"#;
        let Source::JavaScript { main, .. } = read("package.json", text) else { panic!("no JavaScript") };
        assert!(main.ends_with("plugin.js"));
        let text = "[project]\nname = \"a\"\n[tool.fairlead]\nkind = \"update-policy\"\nsdk = \"x\"\n";
        let Source::Python { module, kind, .. } = read("pyproject.toml", text) else { panic!("no Python") };
        assert_eq!((module.as_str(), kind), ("plugin", PluginKind::UpdatePolicy));
    }

    #[test]
    fn a_manifest_of_something_else_is_told_apart() {
        for (file, text, reason) in [
            ("Cargo.toml", "[workspace]\n", "package"),
            ("package.json", r#"{"name": "a"}"#, "fairlead"),
            ("package.json", r#"{"name": "a", "fairlead": {"kind": "middleware"}}"#, "file:PATH"),
            ("pyproject.toml", "[project]\nname = \"a\"\n", "tool"),
            (
                "pyproject.toml",
                "[project]\nname=\"a\"\n[tool.fairlead]\nkind=\"middleware\"\nsdk=\"x\"\nmodule=\"a; b\"\n",
                "module",
            ),
        ] {
            let error = project(file, text).unwrap_err();
            assert!(matches!(&error, BuildError::Project { reason: said, .. } if said.contains(reason)), "{error}");
        }
    }

    #[test]
    fn a_directory_without_a_manifest_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let error = Project::read(directory.path()).unwrap_err();
        assert!(
            matches!(error, BuildError::NoProject { .. }) && error.hint().unwrap().contains("plugin new"),
            "{error}"
        );
    }
}
