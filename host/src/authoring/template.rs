//! Templates: a crate that builds, with tests that pass, to be changed into what the author wants.
//!
//! They lie in `sdk/templates` and are part of this program. A placeholder is `{{name}}`; nothing cleverer is needed, and a
//! template stays readable as the language that it is.

use std::path::{Path, PathBuf};

use fairlead_core::name::AttachmentName;
use fairlead_core::plugin::PluginKind;

use super::sdk::{self, Sdk};

/// Names that a crate cannot have, because the language or its own dependencies have them.
const RESERVED: &[&str] = &[
    "abstract",
    "alloc",
    "as",
    "async",
    "await",
    "become",
    "box",
    "break",
    "const",
    "continue",
    "core",
    "crate",
    "do",
    "dyn",
    "else",
    "enum",
    "extern",
    "fairlead-plugin",
    "false",
    "final",
    "fn",
    "for",
    "gen",
    "if",
    "impl",
    "in",
    "let",
    "loop",
    "macro",
    "match",
    "mod",
    "move",
    "mut",
    "override",
    "priv",
    "proc-macro",
    "pub",
    "ref",
    "return",
    "self",
    "serde",
    "static",
    "std",
    "struct",
    "super",
    "test",
    "trait",
    "true",
    "try",
    "type",
    "typeof",
    "unsafe",
    "unsized",
    "use",
    "virtual",
    "where",
    "while",
    "yield",
];

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TemplateError {
    /// The name is none.
    #[error("`{name}` is no name for a plugin: {reason}")]
    Name {
        /// What was asked for.
        name: String,
        /// Why not.
        reason: String,
    },
    /// Something is there.
    #[error("`{}` is there already", .0.display())]
    Exists(PathBuf),
    /// A file cannot be written.
    #[error("write `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// A plugin to begin.
#[derive(Debug)]
pub(crate) struct Template {
    name: String,
    kind: PluginKind,
}

impl Template {
    /// A plugin of this name, which becomes that of the crate, the component and the manifest.
    ///
    /// # Errors
    /// It is no name for all three.
    pub(crate) fn new(name: &str, kind: PluginKind) -> Result<Self, TemplateError> {
        let refused = |reason: String| TemplateError::Name { name: name.to_owned(), reason };
        AttachmentName::new(name).map_err(|error| refused(error.to_string()))?;
        if !name.starts_with(|first: char| first.is_ascii_lowercase()) {
            return Err(refused("a crate begins with a letter".to_owned()));
        }
        if RESERVED.contains(&name) {
            return Err(refused("Rust has the word for itself".to_owned()));
        }
        Ok(Self { name: name.to_owned(), kind })
    }

    /// Writes the crate into `directory`, which must not be there or be empty; the files by their path in it.
    ///
    /// # Errors
    /// Something is there, or cannot be written.
    pub(crate) fn write(&self, directory: &Path, sdk: &Sdk) -> Result<Vec<PathBuf>, TemplateError> {
        if std::fs::read_dir(directory).map_or(directory.exists(), |mut entries| entries.next().is_some()) {
            return Err(TemplateError::Exists(directory.to_owned()));
        }
        let mut written = Vec::new();
        for (path, text) in files(self.kind) {
            write(&directory.join(path), &self.fill(text, sdk))?;
            written.push(PathBuf::from(path));
        }
        write(&directory.join("Cargo.lock"), &sdk::lock())?;
        if *sdk == Sdk::Copy {
            for (path, text) in sdk::FILES {
                write(&directory.join(sdk::DIRECTORY).join(path), text)?;
            }
            written.push(PathBuf::from(sdk::DIRECTORY));
        }
        Ok(written)
    }

    fn fill(&self, text: &str, sdk: &Sdk) -> String {
        let path = sdk.path().display().to_string();
        let place = match sdk {
            Sdk::Copy => "a copy in `.fairlead/`, to be committed with the rest".to_owned(),
            Sdk::At(_) => format!("that in `{path}`"),
        };
        text.replace("{{name}}", &self.name)
            .replace("{{crate}}", &self.name.replace('-', "_"))
            .replace("{{type}}", &camel(&self.name))
            .replace("{{sdk_place}}", &place)
            .replace("{{sdk}}", &path)
    }
}

fn write(path: &Path, text: &str) -> Result<(), TemplateError> {
    let failed = |source| TemplateError::Write { path: path.to_owned(), source };
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(failed)?;
    }
    std::fs::write(path, text).map_err(failed)
}

/// `no-secrets` → `NoSecrets`.
fn camel(name: &str) -> String {
    let word = |word: &str| {
        let mut letters = word.chars();
        letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect::<String>()
    };
    name.split('-').map(word).collect()
}

fn files(kind: PluginKind) -> &'static [(&'static str, &'static str)] {
    match kind {
        PluginKind::Middleware => MIDDLEWARE,
        PluginKind::RegistrySource => REGISTRY_SOURCE,
        PluginKind::UpdatePolicy => UPDATE_POLICY,
    }
}

const MIDDLEWARE: &[(&str, &str)] = &[
    ("Cargo.toml", include_str!("../../../sdk/templates/rust/middleware/Cargo.toml")),
    ("README.md", include_str!("../../../sdk/templates/rust/middleware/README.md")),
    ("config.json", include_str!("../../../sdk/templates/rust/middleware/config.json")),
    (".gitignore", include_str!("../../../sdk/templates/rust/middleware/gitignore")),
    ("message.json", include_str!("../../../sdk/templates/rust/middleware/message.json")),
    ("src/lib.rs", include_str!("../../../sdk/templates/rust/middleware/src/lib.rs")),
    ("tests/cases.json", include_str!("../../../sdk/templates/rust/middleware/tests/cases.json")),
    ("tests/native.rs", include_str!("../../../sdk/templates/rust/middleware/tests/native.rs")),
];

const REGISTRY_SOURCE: &[(&str, &str)] = &[
    ("Cargo.toml", include_str!("../../../sdk/templates/rust/registry-source/Cargo.toml")),
    ("README.md", include_str!("../../../sdk/templates/rust/registry-source/README.md")),
    ("config.json", include_str!("../../../sdk/templates/rust/registry-source/config.json")),
    (".gitignore", include_str!("../../../sdk/templates/rust/registry-source/gitignore")),
    ("src/lib.rs", include_str!("../../../sdk/templates/rust/registry-source/src/lib.rs")),
    ("tests/cases.json", include_str!("../../../sdk/templates/rust/registry-source/tests/cases.json")),
    ("tests/native.rs", include_str!("../../../sdk/templates/rust/registry-source/tests/native.rs")),
];

const UPDATE_POLICY: &[(&str, &str)] = &[
    ("Cargo.toml", include_str!("../../../sdk/templates/rust/update-policy/Cargo.toml")),
    ("README.md", include_str!("../../../sdk/templates/rust/update-policy/README.md")),
    ("config.json", include_str!("../../../sdk/templates/rust/update-policy/config.json")),
    (".gitignore", include_str!("../../../sdk/templates/rust/update-policy/gitignore")),
    ("src/lib.rs", include_str!("../../../sdk/templates/rust/update-policy/src/lib.rs")),
    ("tests/cases.json", include_str!("../../../sdk/templates/rust/update-policy/tests/cases.json")),
    ("tests/native.rs", include_str!("../../../sdk/templates/rust/update-policy/tests/native.rs")),
];

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [PluginKind; 3] = [PluginKind::Middleware, PluginKind::RegistrySource, PluginKind::UpdatePolicy];

    #[test]
    fn a_name_fits_the_crate_and_the_manifest() {
        assert!(Template::new("no-secrets", PluginKind::Middleware).is_ok());
        for name in ["", "No", "a_b", "9lives", "match", "serde", "-a"] {
            let error = Template::new(name, PluginKind::Middleware).unwrap_err();
            assert!(matches!(error, TemplateError::Name { .. }), "{error}");
        }
        assert_eq!(camel("no-secrets-2"), "NoSecrets2");
    }

    #[test]
    fn every_placeholder_is_filled_and_every_table_is_json() {
        for kind in KINDS {
            for sdk in [Sdk::Copy, Sdk::At("/sdk".into())] {
                let directory = tempfile::tempdir().unwrap();
                let template = Template::new("no-secrets", kind).unwrap();
                let written = template.write(directory.path(), &sdk).unwrap();
                for path in written.iter().filter(|path| !path.starts_with(sdk::DIRECTORY)) {
                    let text = std::fs::read_to_string(directory.path().join(path)).unwrap();
                    assert!(!text.contains("{{"), "{}: {text}", path.display());
                }
                let cases = std::fs::read_to_string(directory.path().join("tests/cases.json")).unwrap();
                serde_json::from_str::<serde_json::Value>(&cases).unwrap();
                assert_eq!(directory.path().join(".fairlead/wit/worlds.wit").is_file(), sdk == Sdk::Copy);
            }
        }
    }

    #[test]
    fn nothing_is_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("x"), "").unwrap();
        let template = Template::new("a", PluginKind::Middleware).unwrap();
        assert!(matches!(template.write(directory.path(), &Sdk::Copy), Err(TemplateError::Exists(_))));
    }
}
