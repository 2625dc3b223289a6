//! The SDK that this program carries, so that a plugin can be begun with the binary and nothing else.
//!
//! The SDK is not published. A plugin outside of the repository gets a copy beside its source, in `.fairlead/`: it is
//! committed with the plugin, needs no clone, and stays the version that the plugin was written against. Inside a checkout,
//! and with `--sdk`, the plugin depends on the SDK where it lies.

use std::collections::{BTreeSet, VecDeque};
use std::path::{Path, PathBuf};

/// Where the copy lies in the directory of a plugin.
pub(crate) const DIRECTORY: &str = ".fairlead";

/// The crate in a checkout, and in the copy, which has the same shape.
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
    /// At this path, as it goes into `Cargo.toml`.
    At(PathBuf),
}

impl Sdk {
    /// The SDK for a plugin in `directory`: that of the checkout around it, or a copy.
    #[must_use]
    pub(crate) fn around(directory: &Path) -> Self {
        let parents = directory.ancestors().skip(1);
        let found = parents.enumerate().find(|(_, parent)| is_crate(&parent.join(CRATE)));
        found.map_or(Self::Copy, |(above, _)| {
            let up: PathBuf = std::iter::repeat_n("..", above + 1).collect();
            Self::At(up.join(CRATE))
        })
    }

    /// The SDK that the user names: the crate itself, or a checkout.
    #[must_use]
    pub(crate) fn named(path: &Path) -> Option<Self> {
        let path = std::fs::canonicalize(path).ok()?;
        [path.join(CRATE), path].into_iter().find(|path| is_crate(path)).map(Self::At)
    }

    /// What goes into `Cargo.toml`.
    #[must_use]
    pub(crate) fn path(&self) -> PathBuf {
        match self {
            Self::Copy => Path::new(DIRECTORY).join(CRATE),
            Self::At(path) => path.clone(),
        }
    }
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

/// The files of the copy, by their path in it.
pub(crate) const FILES: &[(&str, &str)] = &[
    ("Cargo.toml", include_str!("../../../sdk/templates/rust/workspace/Cargo.toml")),
    ("LICENSE", include_str!("../../../LICENSE")),
    ("sdk/rust/Cargo.toml", include_str!("../../../sdk/rust/Cargo.toml")),
    ("sdk/rust/README.md", include_str!("../../../sdk/rust/README.md")),
    ("sdk/rust/build.rs", include_str!("../../../sdk/rust/build.rs")),
    ("sdk/rust/src/bindings.rs", include_str!("../../../sdk/rust/src/bindings.rs")),
    ("sdk/rust/src/failure.rs", include_str!("../../../sdk/rust/src/failure.rs")),
    ("sdk/rust/src/guest.rs", include_str!("../../../sdk/rust/src/guest.rs")),
    ("sdk/rust/src/host.rs", include_str!("../../../sdk/rust/src/host.rs")),
    ("sdk/rust/src/json.rs", include_str!("../../../sdk/rust/src/json.rs")),
    ("sdk/rust/src/lib.rs", include_str!("../../../sdk/rust/src/lib.rs")),
    ("sdk/rust/src/manifest.rs", include_str!("../../../sdk/rust/src/manifest.rs")),
    ("sdk/rust/src/message.rs", include_str!("../../../sdk/rust/src/message.rs")),
    ("sdk/rust/src/middleware.rs", include_str!("../../../sdk/rust/src/middleware.rs")),
    ("sdk/rust/src/pattern.rs", include_str!("../../../sdk/rust/src/pattern.rs")),
    ("sdk/rust/src/registry_source.rs", include_str!("../../../sdk/rust/src/registry_source.rs")),
    ("sdk/rust/src/testing.rs", include_str!("../../../sdk/rust/src/testing.rs")),
    ("sdk/rust/src/testing/context.rs", include_str!("../../../sdk/rust/src/testing/context.rs")),
    ("sdk/rust/src/testing/facts.rs", include_str!("../../../sdk/rust/src/testing/facts.rs")),
    ("sdk/rust/src/testing/fakes.rs", include_str!("../../../sdk/rust/src/testing/fakes.rs")),
    ("sdk/rust/src/testing/outcome.rs", include_str!("../../../sdk/rust/src/testing/outcome.rs")),
    ("sdk/rust/src/testing/patch.rs", include_str!("../../../sdk/rust/src/testing/patch.rs")),
    ("sdk/rust/src/update_policy.rs", include_str!("../../../sdk/rust/src/update_policy.rs")),
    ("sdk/rust/src/verdict.rs", include_str!("../../../sdk/rust/src/verdict.rs")),
    ("wit/README.md", include_str!("../../../wit/README.md")),
    ("wit/deps/fairlead-host/host.wit", include_str!("../../../wit/deps/fairlead-host/host.wit")),
    (
        "wit/deps/fairlead-middleware/middleware.wit",
        include_str!("../../../wit/deps/fairlead-middleware/middleware.wit"),
    ),
    (
        "wit/deps/fairlead-registry-source/source.wit",
        include_str!("../../../wit/deps/fairlead-registry-source/source.wit"),
    ),
    ("wit/deps/fairlead-types/types.wit", include_str!("../../../wit/deps/fairlead-types/types.wit")),
    ("wit/deps/fairlead-update-policy/policy.wit", include_str!("../../../wit/deps/fairlead-update-policy/policy.wit")),
    ("wit/deps/wasi-cli/cli.wit", include_str!("../../../wit/deps/wasi-cli/cli.wit")),
    ("wit/deps/wasi-clocks/clocks.wit", include_str!("../../../wit/deps/wasi-clocks/clocks.wit")),
    ("wit/deps/wasi-filesystem/filesystem.wit", include_str!("../../../wit/deps/wasi-filesystem/filesystem.wit")),
    ("wit/deps/wasi-http/http.wit", include_str!("../../../wit/deps/wasi-http/http.wit")),
    ("wit/deps/wasi-io/io.wit", include_str!("../../../wit/deps/wasi-io/io.wit")),
    ("wit/deps/wasi-random/random.wit", include_str!("../../../wit/deps/wasi-random/random.wit")),
    ("wit/deps/wasi-sockets/sockets.wit", include_str!("../../../wit/deps/wasi-sockets/sockets.wit")),
    ("wit/worlds.wit", include_str!("../../../wit/worlds.wit")),
];

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
            } else if path != Path::new("sdk/rust/tests") {
                below(&path, found);
            }
        }
    }

    #[test]
    fn the_copy_has_every_file_of_the_sdk_and_of_the_contract() {
        let mut there = BTreeSet::new();
        below(Path::new("sdk/rust"), &mut there);
        below(Path::new("wit"), &mut there);
        let carried: BTreeSet<_> = FILES.iter().skip(2).map(|(path, _)| PathBuf::from(path)).collect();
        assert_eq!(carried, there);
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
        assert_eq!(Sdk::around(&plugin), Sdk::At("../../sdk/rust".into()));
        let there = std::fs::canonicalize(checkout.path().join(CRATE)).unwrap();
        for named in [checkout.path().to_owned(), there.clone()] {
            assert_eq!(Sdk::named(&named), Some(Sdk::At(there.clone())));
        }
    }
}
