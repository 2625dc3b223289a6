//! What the search for engines sees of this machine: variables, as they were when the daemon started, and files.
//!
//! A value of its own, so that a test can give a machine with three engines on it without having one.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::limits::{ENGINE_CONFIG_BYTES_MAX, ENGINE_DIRECTORY_ENTRIES_MAX};

/// The environment and the files of a machine.
#[derive(Clone)]
pub struct Surroundings {
    variables: BTreeMap<OsString, OsString>,
    /// Every path is looked up below this.
    root: PathBuf,
    user_id: u32,
}

impl fmt::Debug for Surroundings {
    /// Without the variables: some are secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Surroundings").field("root", &self.root).finish_non_exhaustive()
    }
}

impl Surroundings {
    /// Of the machine and the process that this is.
    #[must_use]
    pub fn of_this_process() -> Self {
        let user_id = rustix::process::getuid().as_raw();
        Self { variables: std::env::vars_os().collect(), root: PathBuf::from("/"), user_id }
    }

    /// Of a machine whose files lie below `root`.
    #[cfg(test)]
    pub(super) fn below(root: &Path, variables: &[(&str, &str)]) -> Self {
        let variables = variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))).collect();
        Self { variables, root: root.to_owned(), user_id: 1000 }
    }

    pub(super) fn user_id(&self) -> u32 {
        self.user_id
    }

    /// A variable; one that is empty or no text counts as unset.
    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(OsStr::new(name))?.to_str().filter(|value| !value.is_empty())
    }

    /// A variable that holds an absolute path.
    pub(super) fn directory(&self, name: &str) -> Option<PathBuf> {
        self.variable(name).map(PathBuf::from).filter(|path| path.is_absolute())
    }

    /// Something in the home directory.
    pub(super) fn in_home(&self, path: &str) -> Option<PathBuf> {
        self.directory("HOME").map(|home| home.join(path))
    }

    /// Where a path really is; `None` when nothing is there.
    pub(super) fn real(&self, path: &Path) -> Option<PathBuf> {
        fs::canonicalize(self.on_disk(path)).ok()
    }

    /// What is in a directory, in the order of names.
    pub(super) fn entries(&self, directory: &Path) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(self.on_disk(directory)) else { return Vec::new() };
        let names = entries.take(ENGINE_DIRECTORY_ENTRIES_MAX).flatten().map(|entry| directory.join(entry.file_name()));
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    }

    /// A small file; `None` when it is absent, too large or no text.
    pub(super) fn text(&self, path: &Path) -> Option<String> {
        let mut text = String::new();
        let file = fs::File::open(self.on_disk(path)).ok()?;
        file.take(ENGINE_CONFIG_BYTES_MAX).read_to_string(&mut text).ok()?;
        Some(text)
    }

    fn on_disk(&self, path: &Path) -> PathBuf {
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }
}
