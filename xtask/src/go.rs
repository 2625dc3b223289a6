//! Programs that tests need and nobody packages, built of Go modules.
//!
//! Each has a module of its own below `tests/`, which names the exact version of everything that it is made of: two programs may want
//! different versions of the same library. What was built is kept until that changes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

use crate::workspace;

/// A module below `tests/`.
pub(crate) struct Module {
    name: &'static str,
    directory: PathBuf,
    text: String,
}

impl Module {
    /// The module of this name.
    pub(crate) fn read(name: &'static str) -> anyhow::Result<Self> {
        let directory = workspace::root().join("tests").join(name);
        let text = fs::read_to_string(directory.join("go.mod")).with_context(|| format!("read tests/{name}/go.mod"))?;
        Ok(Self { name, directory, text })
    }

    /// The version that it requires of another module.
    pub(crate) fn version(&self, of: &str) -> anyhow::Result<&str> {
        let required = self.text.lines().find_map(|line| {
            let mut words = line.trim_start().trim_start_matches("require").split_whitespace();
            (words.next() == Some(of)).then(|| words.next()).flatten()
        });
        required.with_context(|| format!("tests/{}/go.mod requires {of}", self.name))
    }

    /// Builds packages into `bin` of a directory, with values for variables of theirs, unless what is there is of this very `go.sum`
    /// and of the sources beside it.
    pub(crate) fn build(&self, into: &Path, packages: &[String], values: &[(String, String)]) -> anyhow::Result<()> {
        let (programs, stamp) = (into.join("bin"), into.join("built-of"));
        let of = self.sources()?;
        let program = |package: &String| programs.join(package.rsplit('/').next().unwrap_or_default());
        let is_there = packages.iter().all(|package| program(package).exists());
        if is_there && fs::read_to_string(&stamp).is_ok_and(|built| built == of) {
            return Ok(());
        }
        check_version()?;
        fs::create_dir_all(&programs)?;
        let values: String = values.iter().map(|(name, value)| format!(" -X {name}={value}")).collect();
        let mut go = Command::new("go");
        go.current_dir(&self.directory).env("CGO_ENABLED", "0").env("GOFLAGS", "-buildvcs=false");
        go.args(["build", "-trimpath", "-ldflags", &format!("-s -w{values}"), "-o"]).arg(&programs).args(packages);
        anstream::println!("  building the programs of tests/{} (minutes, once)", self.name);
        workspace::run(&mut go)?;
        fs::write(stamp, of)?;
        Ok(())
    }

    /// All that decides what is built: `go.sum`, and programs of our own in directories beside it.
    fn sources(&self) -> anyhow::Result<String> {
        let mut sources = fs::read_to_string(self.directory.join("go.sum"))
            .with_context(|| format!("read tests/{}/go.sum", self.name))?;
        let entries = |directory: &Path| -> anyhow::Result<Vec<PathBuf>> {
            let mut paths =
                fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
            paths.sort();
            Ok(paths)
        };
        for directory in entries(&self.directory)?.iter().filter(|path| path.is_dir()) {
            for file in entries(directory)?.iter().filter(|path| path.extension().is_some_and(|end| end == "go")) {
                sources += &fs::read_to_string(file)?;
            }
        }
        Ok(sources)
    }
}

/// Whether there is a go that understands what a module says it needs. A newer one gets by itself what it lacks, or says so; an older one
/// says that `go.mod` is wrong.
fn check_version() -> anyhow::Result<()> {
    let mut go = Command::new("go");
    go.current_dir(workspace::root()).args(["env", "GOVERSION"]);
    let version = go.output().context("there is no go: install 1.21 or newer (`.ci/run` does)")?;
    let version = String::from_utf8_lossy(&version.stdout).trim().to_owned();
    ensure!(is_new(&version), "{version} is too old for the modules in tests/: install 1.21 or newer (`.ci/run` does)");
    Ok(())
}

/// Before 1.21 a go knew no versions like `1.26.0`, and no other go.
fn is_new(version: &str) -> bool {
    let mut numbers = version.trim_start_matches("go").split(['.', 'r', 'b', ' ', '-']).map(str::parse::<u32>);
    let (Some(Ok(major)), Some(Ok(minor))) = (numbers.next(), numbers.next()) else { return true };
    (major, minor) >= (1, 21)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_go_that_is_too_old_is_told_from_one_that_is_not_and_from_what_is_none_of_ours() {
        for old in ["go1.19.8", "go1.20", "go1.20rc1"] {
            assert!(!is_new(old), "{old}");
        }
        for new in ["go1.21", "go1.21rc2", "go1.26.0", "go1.26.0 X:rangefunc", "go2.0", "devel +abcdef", ""] {
            assert!(is_new(new), "{new}");
        }
    }
}
