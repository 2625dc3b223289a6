//! Where plugins are found. A reference with a `/` or the ending `.wasm` is a file; anything else is a name that is looked
//! up: in the directories that the user names, among what was installed, and among what came with this program.

use std::path::{Path, PathBuf};

use fairlead_core::problem::{Problem, ProblemKind};

use super::installed::Installed;
use crate::config::{Settings, variables};

/// Directories in the order in which they are searched.
#[derive(Debug, Clone)]
pub(crate) struct Shelf {
    /// Before what is installed.
    named: Vec<PathBuf>,
    installed: Installed,
    /// Behind it.
    directories: Vec<PathBuf>,
    /// A daemon read the variable when it was started: what somebody sets later it does not see.
    of_daemon: bool,
}

impl Shelf {
    pub(crate) fn new(settings: &Settings) -> Self {
        let mut directories = Vec::new();
        let program = std::env::current_exe().ok();
        if let Some(program) = program.as_deref().and_then(Path::parent) {
            // A checkout (`target/debug` beside `target/plugins`), then an installation (`bin` beside `lib`).
            directories.push(program.join("../plugins"));
            directories.push(program.join("../lib/fairlead/plugins"));
        }
        directories.push(settings.directories.plugins());
        let installed = Installed::below(settings.directories.plugins());
        Self { named: settings.plugin_path.clone(), installed, directories, of_daemon: false }
    }

    /// The one of a daemon.
    pub(crate) fn of_daemon(settings: &Settings) -> Self {
        Self { of_daemon: true, ..Self::new(settings) }
    }

    /// What was installed from OCI registries.
    pub(crate) fn installed(&self) -> &Installed {
        &self.installed
    }

    /// Where a component lies that was fetched, if it was.
    pub(super) fn component(&self, digest: &str) -> PathBuf {
        self.installed.component(digest)
    }

    /// The file of a plugin.
    pub(crate) fn find(&self, reference: &str) -> Result<PathBuf, Problem> {
        let path = Path::new(reference);
        if is_path(reference) {
            if !path.is_absolute() {
                let detail = format!("the path of plugin `{reference}` is not absolute");
                return Err(Problem::new(ProblemKind::Invalid, detail));
            }
            if !path.is_file() {
                return Err(Problem::new(ProblemKind::NotFound, format!("there is no plugin file `{reference}`")));
            }
            return Ok(path.to_owned());
        }
        let file = format!("{reference}.wasm");
        let among = |directories: &[PathBuf]| {
            directories.iter().map(|directory| directory.join(&file)).find(|path| path.is_file())
        };
        let found = match among(&self.named) {
            Some(found) => Some(found),
            None => self.installed.find(reference)?.or_else(|| among(&self.directories)),
        };
        let found = found.ok_or_else(|| {
            let searched = self.searched();
            let shown: Vec<_> = searched.iter().map(|directory| format!("`{}`", directory.display())).collect();
            Problem::new(ProblemKind::NotFound, format!("there is no plugin `{reference}` in {}", shown.join(", ")))
                .hint(self.remedy())
        })?;
        Ok(tidy(&found))
    }

    /// Where a name is looked up, in this order.
    pub(crate) fn searched(&self) -> Vec<PathBuf> {
        self.named.iter().chain(&self.directories).map(|directory| tidy(directory)).collect()
    }

    fn remedy(&self) -> String {
        let variable = variables::PLUGIN_PATH.name;
        let add = format!("give the path of a component, or add its directory to `{variable}`");
        match self.of_daemon {
            true => format!("{add}; a daemon that runs reads it at its next start, after `fairlead shutdown`"),
            false => add,
        }
    }

    /// Files of all plugins that are found by name: of two with the same name, the one that would be taken.
    pub(crate) fn all(&self) -> Vec<PathBuf> {
        let mut found = std::collections::BTreeMap::new();
        for installed in self.installed.all().unwrap_or_default() {
            found.insert(installed.name.to_string().into(), self.installed.component(&installed.digest));
        }
        for directory in self.named.iter().chain(&self.directories) {
            let Ok(entries) = std::fs::read_dir(directory) else { continue };
            for path in entries.flatten().map(|entry| entry.path()) {
                let is_plugin = path.extension().is_some_and(|extension| extension == "wasm") && path.is_file();
                if let (true, Some(name)) = (is_plugin, path.file_stem()) {
                    found.entry(name.to_owned()).or_insert_with(|| tidy(&path));
                }
            }
        }
        found.into_values().collect()
    }
}

/// Whether a reference is a file rather than a name.
pub(crate) fn is_path(reference: &str) -> bool {
    reference.contains('/') || Path::new(reference).extension().is_some_and(|extension| extension == "wasm")
}

/// Without `..`, where the file system agrees.
fn tidy(path: &Path) -> PathBuf {
    std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shelf(directories: &[&Path]) -> Shelf {
        let installed = Installed::below(PathBuf::from("/nothing/is/installed"));
        let directories = directories.iter().map(|path| (*path).to_owned()).collect();
        Shelf { named: Vec::new(), installed, directories, of_daemon: false }
    }

    #[test]
    fn a_name_is_looked_up_in_order_and_a_path_is_taken_as_it_is() {
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for directory in [&first, &second] {
            std::fs::write(directory.path().join("a.wasm"), "").unwrap();
        }
        std::fs::write(second.path().join("b.wasm"), "").unwrap();
        let shelf = shelf(&[first.path(), second.path()]);
        assert_eq!(shelf.find("a").unwrap(), tidy(&first.path().join("a.wasm")));
        assert_eq!(shelf.find("b").unwrap(), tidy(&second.path().join("b.wasm")));
        let path = second.path().join("a.wasm");
        assert_eq!(shelf.find(path.to_str().unwrap()).unwrap(), path);
        assert_eq!(shelf.all().len(), 2);
    }

    #[test]
    fn what_is_not_there_is_said_with_where_it_was_looked_for() {
        let directory = tempfile::tempdir().unwrap();
        let shelf = shelf(&[directory.path()]);
        let problem = shelf.find("guard").unwrap_err();
        assert_eq!(problem.kind, ProblemKind::NotFound);
        assert!(problem.detail.contains("guard") && problem.hint.unwrap().contains("FAIRLEAD_PLUGIN_PATH"));
        let of_daemon = Shelf { of_daemon: true, ..shelf.clone() };
        assert!(of_daemon.find("guard").unwrap_err().hint.unwrap().contains("`fairlead shutdown`"), "it keeps its own");
        assert_eq!(shelf.find("/no/guard.wasm").unwrap_err().kind, ProblemKind::NotFound);
        assert_eq!(shelf.find("guard.wasm").unwrap_err().kind, ProblemKind::Invalid);
    }
}
