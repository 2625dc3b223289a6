//! Programs that tests need and nobody packages, built of Go modules.
//!
//! Each has a module of its own below `tests/`, which names the exact version of everything that it is made of: two programs may want
//! different versions of the same library. What was built is kept until that changes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

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
