//! Rules of the house that no compiler checks: the crate diamond, the size of files, the header of each.
//!
//! Each rule is in ARCHITECTURE.md or `docs/adr/`; a rule that is only written down is broken within a month.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::{Outcome, Plan, Tally};
use crate::metadata::{Metadata, Package};
use crate::workspace;

/// Above this a file has two subjects.
const LINES_MAX: usize = 600;

/// Names that say nothing about what is inside.
const NAMELESS: &[&str] = &["utils.rs", "util.rs", "common.rs", "helpers.rs", "misc.rs"];

/// The siblings of the diamond: they know the core, the host knows them, and they do not know each other.
const SIBLINGS: &[&str] = &[
    "fairlead-proxy",
    "fairlead-control",
    "fairlead-wasm",
    "fairlead-runtimes",
    "fairlead-oci",
    "fairlead-git",
    "fairlead-dial",
    "fairlead-registry",
    "fairlead-operator",
    "fairlead-sessions",
];

/// Heavy dependencies, and the only crates that may name them.
const ISOLATED: &[(&str, &[&str])] = &[
    ("wasmtime", &["fairlead-wasm"]),
    ("wasmtime-wasi", &["fairlead-wasm"]),
    ("wasmtime-wasi-http", &["fairlead-wasm"]),
    ("sled", &["fairlead"]),
    ("axum", &["fairlead"]),
    ("bollard", &["fairlead-runtimes"]),
    ("gix", &["fairlead-git"]),
    ("kube", &["fairlead-runtimes", "fairlead-operator"]),
];

/// Target of a guest that names none: nothing but the contract.
const CONTRACT_TARGET: &str = "wasm32-unknown-unknown";

/// Directories whose sources are ours.
const ROOMS: &[&str] = &["host", "sdk", "plugins", "tests", "xtask"];

/// Checks every rule.
pub(crate) fn run(_: &Plan, _: &mut Tally) -> anyhow::Result<Outcome> {
    let metadata = Metadata::read(false)?;
    let mut broken: Vec<String> = metadata.members().flat_map(dependencies).collect();
    let files = sources()?;
    for file in &files {
        let text = std::fs::read_to_string(workspace::root().join(file))
            .with_context(|| format!("read {}", file.display()))?;
        broken.extend(shape(file, &text));
    }
    for rule in &broken {
        anstream::println!("  {rule}");
    }
    Ok(if broken.is_empty() {
        Outcome::Passed(format!("{} files", files.len()))
    } else {
        Outcome::Failed(format!("{} rules broken", broken.len()))
    })
}

/// Names of the crates that are built to Wasm, by target.
pub(crate) fn guests() -> anyhow::Result<BTreeMap<String, Vec<String>>> {
    let mut guests: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in Metadata::read(false)?.members() {
        let directory = package.directory();
        if !["plugins", "tests/fixtures", "sdk/examples"].iter().any(|guests| directory.starts_with(guests)) {
            continue;
        }
        let said = package.metadata.as_ref().and_then(|metadata| metadata.get("fairlead")?.get("target")?.as_str());
        guests.entry(said.unwrap_or(CONTRACT_TARGET).to_owned()).or_default().push(package.name.clone());
    }
    Ok(guests)
}

fn dependencies(package: &Package) -> Vec<String> {
    let name = package.name.as_str();
    let is_sibling = SIBLINGS.contains(&name);
    let mut broken = Vec::new();
    for dependency in package.dependencies.iter().filter(|dependency| dependency.kind.is_none()) {
        let other = dependency.name.as_str();
        if name == "fairlead-core" && (other == "fairlead" || other.starts_with("fairlead-")) {
            broken.push(format!("{name} depends on {other}: the core knows nobody"));
        }
        if is_sibling && SIBLINGS.contains(&other) {
            broken.push(format!("{name} depends on {other}: siblings meet only in the host"));
        }
        let may = ISOLATED.iter().find(|(isolated, _)| *isolated == other);
        if let Some((_, owners)) = may
            && !owners.contains(&name)
            && package.directory().starts_with("host")
        {
            broken.push(format!("{name} depends on {other}: only {} may", owners.join(" and ")));
        }
    }
    broken
}

fn shape(file: &Path, text: &str) -> Vec<String> {
    let mut broken = Vec::new();
    let shown = file.display();
    let lines = text.lines().count();
    if lines > LINES_MAX {
        broken.push(format!("{shown} has {lines} lines, more than {LINES_MAX}: it has two subjects"));
    }
    if !text.starts_with("//!") && !text.starts_with("#!") {
        broken.push(format!("{shown} does not begin with `//!`: what it is for"));
    }
    if NAMELESS.iter().any(|name| file.ends_with(name)) {
        broken.push(format!("{shown} has a name that says nothing"));
    }
    broken
}

fn sources() -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut directories: Vec<PathBuf> = ROOMS.iter().map(PathBuf::from).collect();
    while let Some(directory) = directories.pop() {
        let path = workspace::root().join(&directory);
        for entry in std::fs::read_dir(&path).with_context(|| format!("list {}", path.display()))? {
            let entry = entry.with_context(|| format!("list {}", path.display()))?;
            let file = directory.join(entry.file_name());
            let kind = entry.file_type().with_context(|| format!("look at {}", file.display()))?;
            if kind.is_dir() && !["node_modules", "target"].iter().any(|name| file.ends_with(name)) {
                directories.push(file);
            } else if kind.is_file() && file.extension().is_some_and(|extension| extension == "rs") {
                files.push(file);
            }
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::{LINES_MAX, dependencies, shape};
    use crate::metadata::{Dependency, Package};
    use crate::workspace;

    fn package(name: &str, directory: &str, dependencies: &[&str]) -> Package {
        Package {
            id: name.to_owned(),
            name: name.to_owned(),
            version: "0.1.0".to_owned(),
            license: None,
            source: None,
            manifest_path: workspace::root().join(PathBuf::from(directory)).join("Cargo.toml"),
            dependencies: dependencies.iter().map(|name| Dependency { name: (*name).to_owned(), kind: None }).collect(),
            metadata: None,
        }
    }

    #[test]
    fn siblings_never_import_each_other() {
        assert_eq!(dependencies(&package("fairlead-proxy", "host/proxy", &["fairlead-core", "hyper"])).len(), 0);
        assert_eq!(dependencies(&package("fairlead-proxy", "host/proxy", &["fairlead-wasm"])).len(), 1);
        assert_eq!(dependencies(&package("fairlead-core", "host/core", &["fairlead-wasm"])).len(), 1);
        assert_eq!(dependencies(&package("fairlead", "host", &["fairlead-wasm", "fairlead-proxy"])).len(), 0);
    }

    #[test]
    fn a_heavy_dependency_stays_behind_its_crate() {
        assert_eq!(dependencies(&package("fairlead-wasm", "host/wasm", &["wasmtime"])).len(), 0);
        assert_eq!(dependencies(&package("fairlead-proxy", "host/proxy", &["wasmtime"])).len(), 1);
    }

    #[test]
    fn a_file_has_one_subject_and_says_which() {
        let long = "//! x\n".repeat(LINES_MAX + 1);
        assert_eq!(shape(Path::new("host/src/main.rs"), "//! The binary.\n").len(), 0);
        assert_eq!(shape(Path::new("host/src/main.rs"), &long).len(), 1);
        assert_eq!(shape(Path::new("host/src/main.rs"), "use std::fs;\n").len(), 1);
        assert_eq!(shape(Path::new("host/src/utils.rs"), "//! Things.\n").len(), 1);
    }
}
