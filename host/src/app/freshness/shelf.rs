//! What servers run and ran, by digest, where nobody else keeps it: a component whose author builds it anew in place, and the name
//! of a package with its version, whose digest says nothing to anybody without it.
//!
//! Both are files whose name is the digest of what is in them, whole or not there. What no record speaks of any more is taken
//! away, a while later.

use std::collections::HashSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fairlead_core::digest::Digest;
use fairlead_core::package::PackageReference;
use fairlead_oci::digest_of;

use crate::limits::{PACKAGE_NOTE_BYTES_MAX, SERVER_COMPONENT_BYTES_MAX};
use crate::private;

const COMPONENT: &str = "wasm";
const PACKAGE: &str = "package";

/// A directory of them.
#[derive(Debug, Clone)]
pub(super) struct RevisionShelf(PathBuf);

impl RevisionShelf {
    pub(super) fn new(directory: PathBuf) -> Self {
        Self(directory)
    }

    /// Where the component with this digest lies, if it does.
    pub(super) fn component(&self, digest: &Digest) -> PathBuf {
        self.path(digest, COMPONENT)
    }

    /// Keeps what a file has in it now. Blocking.
    pub(super) fn keep(&self, file: &Path) -> std::io::Result<Digest> {
        let length = std::fs::metadata(file)?.len();
        if length > SERVER_COMPONENT_BYTES_MAX {
            let text = format!("it has {length} bytes; at most {SERVER_COMPONENT_BYTES_MAX} are taken");
            return Err(std::io::Error::other(text));
        }
        self.put(&std::fs::read(file)?, COMPONENT)
    }

    /// Keeps the name of a package with its version. Blocking.
    pub(super) fn note(&self, package: &PackageReference) -> std::io::Result<Digest> {
        self.put(package.as_str().as_bytes(), PACKAGE)
    }

    /// The package with its version that a digest stands for; `None` when nobody has kept it, or it was damaged. Blocking.
    pub(super) fn package(&self, digest: &Digest) -> Option<PackageReference> {
        let path = self.path(digest, PACKAGE);
        if std::fs::metadata(&path).ok()?.len() > PACKAGE_NOTE_BYTES_MAX {
            return None;
        }
        let text = std::fs::read_to_string(path).ok()?;
        (digest_of(text.as_bytes()) == digest.as_str()).then(|| PackageReference::new(&text).ok()).flatten()
    }

    /// Takes away what is not wanted and was not put here a moment ago, by somebody whose record is not stored yet. Says how many
    /// that were. Blocking.
    pub(super) fn sweep(&self, wanted: &HashSet<Digest>, grace: Duration) -> std::io::Result<usize> {
        let names: HashSet<PathBuf> =
            wanted.iter().flat_map(|digest| [COMPONENT, PACKAGE].map(|kind| self.path(digest, kind))).collect();
        let entries = match std::fs::read_dir(&self.0) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
            Err(error) => return Err(error),
        };
        let mut gone = 0;
        for entry in entries {
            let entry = entry?;
            let path = entry.path();
            let ours = path.extension().is_some_and(|ending| ending == COMPONENT || ending == PACKAGE);
            let age = entry.metadata()?.modified()?.elapsed().unwrap_or_default();
            if ours && age >= grace && !names.contains(&path) {
                std::fs::remove_file(&path)?;
                gone += 1;
            }
        }
        Ok(gone)
    }

    fn path(&self, digest: &Digest, kind: &str) -> PathBuf {
        self.0.join(format!("{}.{kind}", digest.as_str().replace(':', "-")))
    }

    fn put(&self, bytes: &[u8], kind: &str) -> std::io::Result<Digest> {
        let digest = Digest::new(&digest_of(bytes)).map_err(std::io::Error::other)?;
        let path = self.path(&digest, kind);
        if path.exists() {
            // It is young again: whoever puts it here has not stored yet what for.
            std::fs::File::options().append(true).open(&path)?.set_modified(std::time::SystemTime::now())?;
        } else {
            private::make_for(&path)?;
            // Whole or not at all, whoever else keeps the same one now.
            let mut new = tempfile::NamedTempFile::new_in(&self.0)?;
            new.write_all(bytes)?;
            new.as_file().sync_all()?;
            new.persist(&path).map_err(|error| error.error)?;
        }
        Ok(digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shelf() -> (tempfile::TempDir, RevisionShelf) {
        let directory = tempfile::tempdir().unwrap();
        let shelf = RevisionShelf::new(directory.path().join("shelf"));
        (directory, shelf)
    }

    #[test]
    fn a_component_is_kept_as_it_was() {
        let (directory, shelf) = shelf();
        let file = directory.path().join("a.wasm");
        std::fs::write(&file, "one").unwrap();
        let one = shelf.keep(&file).unwrap();
        std::fs::write(&file, "two").unwrap();
        let two = shelf.keep(&file).unwrap();
        assert_ne!(one, two);
        assert_eq!(std::fs::read(shelf.component(&one)).unwrap(), b"one");
        assert_eq!(std::fs::read(shelf.component(&two)).unwrap(), b"two");
    }

    #[test]
    fn a_digest_of_a_package_leads_back_to_its_version_and_to_nothing_else() {
        let (_directory, shelf) = shelf();
        let package = PackageReference::new("npx://@a/b@1.2.3").unwrap();
        let digest = shelf.note(&package).unwrap();
        assert_eq!(shelf.package(&digest), Some(package));
        std::fs::write(shelf.path(&digest, PACKAGE), "npx://@a/b@6.6.6").unwrap();
        assert_eq!(shelf.package(&digest), None, "it was changed");
        let other = Digest::new(&format!("sha256:{:064}", 1)).unwrap();
        assert_eq!(shelf.package(&other), None);
    }

    #[test]
    fn what_nobody_wants_goes_and_what_was_put_there_a_moment_ago_stays() {
        let (_directory, shelf) = shelf();
        assert_eq!(shelf.sweep(&HashSet::new(), Duration::ZERO).unwrap(), 0, "nothing was ever kept");
        let [one, two] =
            ["npx://a@1", "npx://a@2"].map(|text| shelf.note(&PackageReference::new(text).unwrap()).unwrap());
        assert_eq!(shelf.sweep(&HashSet::new(), Duration::from_secs(60)).unwrap(), 0);
        assert_eq!(shelf.sweep(&HashSet::from([one.clone()]), Duration::ZERO).unwrap(), 1);
        assert!(shelf.package(&one).is_some() && shelf.package(&two).is_none());
    }
}
