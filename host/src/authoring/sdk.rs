//! The SDK that this program carries, so that a plugin can be begun with the binary and nothing else.
//!
//! The SDKs are not published. A plugin outside of the repository gets a copy beside its source, in `.fairlead/`: it is
//! committed with the plugin, needs no clone, and stays the version that the plugin was written against. Inside a checkout,
//! and with `--sdk`, the plugin depends on the SDK where it lies. In either place the contract lies two directories above.

mod files;

use std::collections::{BTreeSet, VecDeque};
use std::path::{Path, PathBuf};

use super::language::Language;

/// Where the copy lies in the directory of a plugin.
pub(crate) const DIRECTORY: &str = ".fairlead";

/// The crate in a checkout: what a checkout is known by.
const CRATE: &str = "sdk/rust";

/// Line by which the crate is known.
const MARK: &str = "name = \"fairlead-plugin\"";

/// The lock file of the repository: a new plugin begins with the versions that this program was tested with.
const LOCK: &str = include_str!("../../../Cargo.lock");

/// Where a plugin finds the SDK.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Sdk {
    /// In `.fairlead/`, written there with the plugin.
    Copy,
    /// In the checkout at this path, as it goes into the manifest of the plugin.
    At(PathBuf),
}

impl Sdk {
    /// The SDK for a plugin in `directory`: that of the checkout around it, or a copy.
    #[must_use]
    pub(crate) fn around(directory: &Path) -> Self {
        let parents = directory.ancestors().skip(1);
        let found = parents.enumerate().find(|(_, parent)| is_crate(&parent.join(CRATE)));
        found.map_or(Self::Copy, |(above, _)| Self::At(std::iter::repeat_n("..", above + 1).collect()))
    }

    /// The SDK that the user names: a checkout, or one of the SDKs in it.
    #[must_use]
    pub(crate) fn named(path: &Path) -> Option<Self> {
        let path = std::fs::canonicalize(path).ok()?;
        let checkout = path.ancestors().take(3).find(|path| is_crate(&path.join(CRATE)))?;
        Some(Self::At(checkout.to_owned()))
    }

    /// What goes into the manifest of a plugin.
    #[must_use]
    pub(crate) fn path(&self, language: Language) -> PathBuf {
        let checkout = match self {
            Self::Copy => Path::new(DIRECTORY),
            Self::At(path) => path,
        };
        checkout.join(language.sdk())
    }
}

/// The files of a copy, by their path in it.
pub(crate) fn files(language: Language) -> impl Iterator<Item = &'static (&'static str, &'static str)> {
    let own = match language {
        Language::Rust => files::RUST,
        Language::JavaScript => files::JAVASCRIPT,
        Language::Python => files::PYTHON,
    };
    files::CONTRACT.iter().chain(own)
}

fn is_crate(path: &Path) -> bool {
    std::fs::read_to_string(path.join("Cargo.toml")).is_ok_and(|text| text.lines().any(|line| line == MARK))
}

/// The part of the lock file that a plugin needs. Cargo adds the plugin itself, and keeps the rest as it is.
#[must_use]
pub(crate) fn lock() -> String {
    let (head, packages) = LOCK.split_once("[[package]]").unwrap_or((LOCK, ""));
    let packages: Vec<&str> = packages.split("[[package]]").collect();
    let mut wanted = VecDeque::from(["fairlead-plugin"]);
    let mut kept = BTreeSet::new();
    while let Some(name) = wanted.pop_front() {
        // With the version where there are two of one name; then both names are the beginning of the other's line.
        let (name, version) = name.split_once(' ').map_or((name, None), |(name, version)| (name, Some(version)));
        let is_it = |package: &&str| {
            let is = |key, value| field(package, key) == Some(value);
            is("name", name) && version.is_none_or(|version| is("version", version))
        };
        for (position, package) in packages.iter().enumerate().filter(|(_, package)| is_it(package)) {
            if kept.insert(position) {
                wanted.extend(dependencies(package));
            }
        }
    }
    let kept = packages.iter().enumerate().filter(|(position, _)| kept.contains(position));
    kept.fold(head.to_owned(), |text, (_, package)| text + "[[package]]" + package.trim_end() + "\n\n")
}

fn field<'a>(package: &'a str, key: &str) -> Option<&'a str> {
    package.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = \"")?.strip_suffix('"'))
}

fn dependencies(package: &str) -> impl Iterator<Item = &str> {
    package.lines().filter_map(|line| line.strip_prefix(" \"")?.strip_suffix("\","))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
    }

    fn below(directory: &Path, found: &mut BTreeSet<PathBuf>) {
        for entry in std::fs::read_dir(root().join(directory)).unwrap() {
            let entry = entry.unwrap();
            let path = directory.join(entry.file_name());
            if !entry.file_type().unwrap().is_dir() {
                found.insert(path);
            } else if !["tests", "__pycache__", "node_modules"].iter().any(|skipped| path.ends_with(skipped)) {
                below(&path, found);
            }
        }
    }

    #[test]
    fn the_copy_has_every_file_of_the_sdk_and_of_the_contract() {
        for language in Language::ALL {
            let mut there = BTreeSet::from([PathBuf::from("LICENSE")]);
            below(Path::new(language.sdk()), &mut there);
            below(Path::new("wit"), &mut there);
            let mut carried: BTreeSet<_> = files(language).map(|(path, _)| PathBuf::from(path)).collect();
            // The workspace around the crate, which is none of the repository's.
            assert_eq!(carried.remove(Path::new("Cargo.toml")), language == Language::Rust);
            assert_eq!(carried, there);
        }
    }

    #[test]
    fn the_copy_inherits_what_the_repository_says() {
        let parse = |text: &str| toml::from_str::<toml::Value>(text).unwrap();
        let ours = parse(&std::fs::read_to_string(root().join("Cargo.toml")).unwrap());
        let copy = parse(include_str!("../../../sdk/templates/rust/workspace/Cargo.toml"));
        for table in ["package", "dependencies"] {
            for (name, value) in copy["workspace"][table].as_table().unwrap() {
                assert_eq!(ours["workspace"][table].get(name), Some(value), "{table}: {name}");
            }
        }
    }

    #[test]
    fn the_lock_file_is_closed_and_says_nothing_of_the_host() {
        let lock: toml::Value = toml::from_str(&lock()).unwrap();
        let packages = lock["package"].as_array().unwrap();
        let name = |package: &toml::Value| package["name"].as_str().unwrap().to_owned();
        let names: BTreeSet<_> = packages.iter().map(name).collect();
        assert!(names.contains("wit-bindgen") && !names.contains("wasmtime") && !names.contains("fairlead"));
        for dependency in packages.iter().filter_map(|package| package.get("dependencies")?.as_array()).flatten() {
            let dependency = dependency.as_str().unwrap().split(' ').next().unwrap();
            assert!(names.contains(dependency), "{dependency}");
        }
    }

    #[test]
    fn a_plugin_in_a_checkout_uses_the_sdk_that_lies_there() {
        let checkout = tempfile::tempdir().unwrap();
        let plugin = checkout.path().join("a/b");
        assert_eq!(Sdk::around(&plugin), Sdk::Copy);
        assert_eq!(Sdk::named(checkout.path()), None);
        std::fs::create_dir_all(checkout.path().join(CRATE)).unwrap();
        std::fs::write(checkout.path().join(CRATE).join("Cargo.toml"), format!("[package]\n{MARK}\n")).unwrap();
        assert_eq!(Sdk::around(&plugin).path(Language::Python), Path::new("../../sdk/python"));
        let there = std::fs::canonicalize(checkout.path()).unwrap();
        for named in [there.clone(), there.join(CRATE)] {
            assert_eq!(Sdk::named(&named), Some(Sdk::At(there.clone())));
        }
    }
}
