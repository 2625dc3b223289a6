//! Templates: a plugin that builds, with tests that pass, to be changed into what the author wants. The table of cases is one
//! for all languages: a template in one language does exactly what that in another does.
//!
//! They lie in `sdk/templates` and are part of this program. A placeholder is `{{name}}`; nothing cleverer is needed, and a
//! template stays readable as the language that it is.

mod files;

use std::path::{Path, PathBuf};

use fairlead_core::name::AttachmentName;
use fairlead_core::plugin::PluginKind;

use super::language::Language;
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
    language: Language,
}

impl Template {
    /// A plugin of this name, which becomes that of the package, the component and the manifest.
    ///
    /// # Errors
    /// It is no name for all three.
    pub(crate) fn new(name: &str, kind: PluginKind, language: Language) -> Result<Self, TemplateError> {
        let refused = |reason: String| TemplateError::Name { name: name.to_owned(), reason };
        AttachmentName::new(name).map_err(|error| refused(error.to_string()))?;
        if !name.starts_with(|first: char| first.is_ascii_lowercase()) {
            return Err(refused("it begins with a letter, as a package does".to_owned()));
        }
        if language == Language::Rust && RESERVED.contains(&name) {
            return Err(refused("Rust has the word for itself".to_owned()));
        }
        Ok(Self { name: name.to_owned(), kind, language })
    }

    /// Writes the plugin into `directory`, which must not be there or be empty; the files by their path in it.
    ///
    /// # Errors
    /// Something is there, or cannot be written.
    pub(crate) fn write(&self, directory: &Path, sdk: &Sdk) -> Result<Vec<PathBuf>, TemplateError> {
        if std::fs::read_dir(directory).map_or(directory.exists(), |mut entries| entries.next().is_some()) {
            return Err(TemplateError::Exists(directory.to_owned()));
        }
        let mut written = Vec::new();
        for (path, text) in self.files() {
            write(&directory.join(path), &self.fill(text, sdk))?;
            written.push(PathBuf::from(path));
        }
        if self.language == Language::Rust {
            write(&directory.join("Cargo.lock"), &sdk::lock())?;
        }
        if *sdk == Sdk::Copy {
            for (path, text) in sdk::files(self.language) {
                write(&directory.join(sdk::DIRECTORY).join(path), text)?;
            }
            written.push(PathBuf::from(sdk::DIRECTORY));
        }
        Ok(written)
    }

    fn files(&self) -> impl Iterator<Item = &'static (&'static str, &'static str)> {
        let (shared, own) = match self.kind {
            PluginKind::Middleware => (files::MIDDLEWARE, files::middleware(self.language)),
            PluginKind::RegistrySource => (files::REGISTRY_SOURCE, files::registry_source(self.language)),
            PluginKind::UpdatePolicy => (files::UPDATE_POLICY, files::update_policy(self.language)),
        };
        shared.iter().chain(own)
    }

    fn fill(&self, text: &str, sdk: &Sdk) -> String {
        let path = sdk.path(self.language).display().to_string();
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

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [PluginKind; 3] = [PluginKind::Middleware, PluginKind::RegistrySource, PluginKind::UpdatePolicy];

    fn template(name: &str, kind: PluginKind) -> Result<Template, TemplateError> {
        Template::new(name, kind, Language::Rust)
    }

    #[test]
    fn a_name_fits_the_package_and_the_manifest() {
        assert!(template("no-secrets", PluginKind::Middleware).is_ok());
        for name in ["", "No", "a_b", "9lives", "match", "serde", "-a"] {
            let error = template(name, PluginKind::Middleware).unwrap_err();
            assert!(matches!(error, TemplateError::Name { .. }), "{error}");
        }
        assert!(Template::new("match", PluginKind::Middleware, Language::Python).is_ok());
        assert_eq!(camel("no-secrets-2"), "NoSecrets2");
    }

    #[test]
    fn every_placeholder_is_filled_and_every_table_is_json() {
        for (kind, language) in KINDS.into_iter().flat_map(|kind| Language::ALL.map(|language| (kind, language))) {
            for sdk in [Sdk::Copy, Sdk::At("/checkout".into())] {
                let directory = tempfile::tempdir().unwrap();
                let template = Template::new("no-secrets", kind, language).unwrap();
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
        let template = template("a", PluginKind::Middleware).unwrap();
        assert!(matches!(template.write(directory.path(), &Sdk::Copy), Err(TemplateError::Exists(_))));
    }
}
