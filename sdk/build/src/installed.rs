//! Toolchains that come from package registries: installed once, in the versions that this program was tested with.
//!
//! Each lies in a directory that is named by what is in its lock file, so that another version of this program never finds a
//! half-updated one. It is made beside its place and renamed, so that two builds at once do no harm. Registries are those
//! that npm and pip are set up for.

use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::limits::INSTALL_MAX;
use crate::tool::{Tool, ToolError};

/// npm, which comes with node.
const NPM: Tool =
    Tool { name: "npm", remedy: "install node with npm (https://nodejs.org, Debian: `apt install nodejs npm`)" };

/// Python of this machine; it only runs the tool, the plugin gets an interpreter of its own.
const PYTHON: Tool = Tool {
    name: "python3",
    remedy: "install Python 3.10 or later with venv (https://python.org, Debian: `apt install python3-venv`)",
};

/// The bundler and the componentizer of JavaScript, with the lock file that names every package and its hash.
const JAVASCRIPT: &[(&str, &str)] = &[
    ("package.json", include_str!("../toolchains/javascript/package.json")),
    ("package-lock.json", include_str!("../toolchains/javascript/package-lock.json")),
    (".npmrc", include_str!("../toolchains/javascript/npmrc")),
];

/// The componentizer of Python, with hashes.
const REQUIREMENTS: &[(&str, &str)] = &[("requirements.txt", include_str!("../toolchains/python/requirements.txt"))];

/// Directory of `node_modules` with what JavaScript needs.
pub(crate) fn javascript(cache: &Path, say: &dyn Fn(&str)) -> Result<PathBuf, ToolError> {
    install(cache, "javascript", JAVASCRIPT, say, |place| {
        let mut npm = Command::new("npm");
        // Not `ci`, which refuses a lock file without the optional packages of platforms for which none was published. What
        // the lock file names is installed in that version, and only with that hash.
        npm.args(["install", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]).current_dir(place);
        NPM.run(&mut npm, INSTALL_MAX)
    })
}

/// Directory of a virtual environment with what Python needs.
pub(crate) fn python(cache: &Path, say: &dyn Fn(&str)) -> Result<PathBuf, ToolError> {
    install(cache, "python", REQUIREMENTS, say, |place| {
        PYTHON.run(Command::new("python3").args(["-m", "venv", "venv"]).current_dir(place), INSTALL_MAX)?;
        let mut pip = Command::new(place.join("venv/bin/python"));
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes"])
            .args(["--only-binary=:all:", "-r", "requirements.txt"])
            .current_dir(place);
        Tool { name: "pip", ..PYTHON }.run(&mut pip, INSTALL_MAX)
    })
}

fn install(
    cache: &Path,
    name: &str,
    files: &[(&str, &str)],
    say: &dyn Fn(&str),
    fill: impl FnOnce(&Path) -> Result<(), ToolError>,
) -> Result<PathBuf, ToolError> {
    let place = cache.join(format!("{name}-{:016x}", fingerprint(files)));
    if place.is_dir() {
        return Ok(place);
    }
    say(&format!("installing the toolchain for {name}, once, into {}", place.display()));
    std::fs::create_dir_all(cache).map_err(ToolError::io(format!("make `{}`", cache.display())))?;
    let beside = tempfile::Builder::new().prefix(&format!(".{name}-")).tempdir_in(cache);
    let beside = beside.map_err(ToolError::io(format!("make a directory in `{}`", cache.display())))?;
    for (file, text) in files {
        std::fs::write(beside.path().join(file), text).map_err(ToolError::io(format!("write `{file}`")))?;
    }
    fill(beside.path())?;
    match std::fs::rename(beside.path(), &place) {
        // What was renamed is no longer there to be removed.
        Ok(()) => drop(beside.keep()),
        // Somebody else was first, with the same files.
        Err(_) if place.is_dir() => {}
        Err(source) => return Err(ToolError::Io { doing: format!("make `{}`", place.display()), source }),
    }
    Ok(place)
}

fn fingerprint(files: &[(&str, &str)]) -> u64 {
    // No defence: it only tells one set of versions from another, and is stable for one build of this program.
    let mut hasher = std::hash::DefaultHasher::new();
    files.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_toolchain_is_installed_once_and_whole_or_not_at_all() {
        let cache = tempfile::tempdir().unwrap();
        let files = [("a", "1")];
        let failed =
            |_: &Path| Err(ToolError::Io { doing: "try".to_owned(), source: std::io::ErrorKind::Other.into() });
        install(cache.path(), "x", &files, &|_| {}, failed).unwrap_err();
        assert_eq!(std::fs::read_dir(cache.path()).unwrap().count(), 0);
        let place = install(cache.path(), "x", &files, &|_| {}, |_| Ok(())).unwrap();
        assert_eq!(std::fs::read_to_string(place.join("a")).unwrap(), "1");
        let again = install(cache.path(), "x", &files, &|_| panic!("again"), |_| panic!("again")).unwrap();
        assert_eq!(again, place);
        let other = install(cache.path(), "x", &[("a", "2")], &|_| {}, |_| Ok(())).unwrap();
        assert_ne!(other, place);
    }

    #[test]
    fn every_package_is_pinned_by_a_hash_and_no_registry_is_named() {
        let (_, lock) = JAVASCRIPT[1];
        let lock: serde_json::Value = serde_json::from_str(lock).unwrap();
        for (name, package) in lock["packages"].as_object().unwrap().iter().filter(|(name, _)| !name.is_empty()) {
            assert!(package["integrity"].is_string() && package.get("resolved").is_none(), "{name}");
        }
        let (_, requirements) = REQUIREMENTS[0];
        assert!(requirements.contains("--hash=sha256:") && !requirements.contains("://"), "{requirements}");
    }
}
