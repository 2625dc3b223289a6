//! Somebody else's configuration file: changed in one step, under a lock, with what was there kept.
//!
//! Links are followed, so that a file in a repository of dotfiles stays one and stays linked. Its mode is kept. A file that
//! changed while we looked at it is looked at again: its owner writes it too, and knows nothing of our lock.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::edit::EditError;
use crate::durable;
use crate::limits::{CLIENT_FILE_BYTES_MAX, CLIENT_FILE_TRIES, CLIENT_LOCK_MAX, POLL_INTERVAL};
use crate::private;

/// Mode of a file that was not there: it may get secrets of others.
const MODE: u32 = 0o600;

/// Why a file is not changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    /// The file system says no.
    #[error("{operation} `{}`: {source}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Its content says no.
    #[error("`{}`: {source}", path.display())]
    Edit {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: EditError,
    },
    /// It is larger than any configuration.
    #[error("`{}` has more than {CLIENT_FILE_BYTES_MAX} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// Somebody else keeps changing it.
    #[error("`{}` is being changed by somebody else", path.display())]
    Busy {
        /// The file.
        path: PathBuf,
    },
    /// What was there cannot be had back.
    #[error("`{}` was changed since; nothing is undone", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// Nothing was changed.
    #[error("there is no change of `{}` to undo", path.display())]
    NothingToUndo {
        /// The file.
        path: PathBuf,
    },
}

/// A configuration file and what we keep of it.
#[derive(Debug)]
pub(super) struct ClientFile {
    /// As the client calls it.
    path: PathBuf,
    /// Where what was there before the last change is kept.
    backup: PathBuf,
}

impl ClientFile {
    pub(super) fn new(path: PathBuf, backups: &Path, client: &str) -> Self {
        Self { path, backup: backups.join(client) }
    }

    /// The text; empty where no file is.
    pub(super) fn read(&self) -> Result<String, FileError> {
        let (text, _) = self.content(&self.target()?)?;
        Ok(text.unwrap_or_default())
    }

    /// Changes it; true if there was something to change.
    pub(super) fn change(&self, edit: impl Fn(&str) -> Result<String, EditError>) -> Result<bool, FileError> {
        let _lock = self.lock()?;
        for _ in 0..CLIENT_FILE_TRIES {
            let target = self.target()?;
            let (before, mode) = self.content(&target)?;
            let text = before.as_deref().unwrap_or_default();
            let after = edit(text).map_err(|source| FileError::Edit { path: self.path.clone(), source })?;
            if after == text {
                return Ok(false);
            }
            self.keep(before.as_deref(), &after)?;
            if self.content(&target)?.0 != before {
                continue;
            }
            let directory = target.parent().unwrap_or(Path::new("/"));
            let made = if directory.exists() { Ok(()) } else { private::make(directory) };
            made.and_then(|()| durable::replace(&target, after.as_bytes(), mode)).map_err(self.failed("write"))?;
            return Ok(true);
        }
        Err(FileError::Busy { path: self.path.clone() })
    }

    /// What was there before the last change, if it is still as that left it.
    pub(super) fn undo(&self) -> Result<(), FileError> {
        let _lock = self.lock()?;
        let nothing = || FileError::NothingToUndo { path: self.path.clone() };
        let after = std::fs::read_to_string(self.kept("after")).map_err(|_| nothing())?;
        let target = self.target()?;
        let (now, mode) = self.content(&target)?;
        if now.as_deref() != Some(after.as_str()) {
            return Err(FileError::Changed { path: self.path.clone() });
        }
        match std::fs::read(self.kept("before")) {
            Ok(before) => durable::replace(&target, &before, mode),
            // There was no file.
            Err(error) if error.kind() == io::ErrorKind::NotFound => std::fs::remove_file(&target),
            Err(error) => Err(error),
        }
        .map_err(self.failed("write"))?;
        std::fs::remove_file(self.kept("after")).map_err(self.failed("forget the change of"))
    }

    fn keep(&self, before: Option<&str>, after: &str) -> Result<(), FileError> {
        let kept = private::make(&self.backup).and_then(|()| {
            match before {
                Some(before) => {
                    let first = self.kept("first");
                    if !first.exists() {
                        durable::replace(&first, before.as_bytes(), MODE)?;
                    }
                    durable::replace(&self.kept("before"), before.as_bytes(), MODE)?;
                }
                None => match std::fs::remove_file(self.kept("before")) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                },
            }
            durable::replace(&self.kept("after"), after.as_bytes(), MODE)
        });
        kept.map_err(self.failed("keep a copy of"))
    }

    fn kept(&self, what: &str) -> PathBuf {
        self.backup.join(what)
    }

    /// Where the file really is. A link that leads to nothing leads to where the file will be.
    fn target(&self) -> Result<PathBuf, FileError> {
        let mut path = self.path.clone();
        // As many links as the kernel follows.
        for _ in 0..40 {
            match std::fs::read_link(&path) {
                Ok(link) => path = path.parent().unwrap_or(Path::new("/")).join(link),
                Err(_) => return Ok(path),
            }
        }
        Err(self.failed("follow")(io::ErrorKind::InvalidInput.into()))
    }

    fn content(&self, target: &Path) -> Result<(Option<String>, u32), FileError> {
        let metadata = match std::fs::metadata(target) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((None, MODE)),
            Err(error) => return Err(self.failed("read")(error)),
        };
        if metadata.len() > CLIENT_FILE_BYTES_MAX {
            return Err(FileError::TooLarge { path: self.path.clone() });
        }
        let text = std::fs::read_to_string(target).map_err(self.failed("read"))?;
        Ok((Some(text), metadata.permissions().mode() & 0o777))
    }

    /// Against another of us; beside our copies, not beside the file, where nobody expects it.
    fn lock(&self) -> Result<File, FileError> {
        let path = self.kept("lock");
        private::make(&self.backup).map_err(self.failed("lock"))?;
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(MODE).open(&path);
        let file = file.map_err(self.failed("lock"))?;
        let deadline = Instant::now() + CLIENT_LOCK_MAX;
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(file),
                Err(Errno::WOULDBLOCK) if Instant::now() < deadline => std::thread::park_timeout(POLL_INTERVAL),
                Err(Errno::WOULDBLOCK) => return Err(FileError::Busy { path: self.path.clone() }),
                Err(error) => return Err(self.failed("lock")(error.into())),
            }
        }
    }

    fn failed(&self, operation: &'static str) -> impl Fn(io::Error) -> FileError {
        let path = self.path.clone();
        move |source| FileError::Io { operation, path: path.clone(), source }
    }
}

/// A lock that is waited for is short: nobody holds it for longer than a write.
const _: () = assert!(CLIENT_LOCK_MAX.as_secs() < Duration::from_secs(30).as_secs());

#[cfg(test)]
mod tests {
    use super::*;

    struct Bench {
        directory: tempfile::TempDir,
    }

    impl Bench {
        fn new() -> Self {
            Self { directory: tempfile::tempdir().unwrap() }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.directory.path().join(name)
        }

        fn file(&self, name: &str) -> ClientFile {
            ClientFile::new(self.path(name), &self.path("backups"), "client")
        }
    }

    fn append(text: &str) -> Result<String, EditError> {
        Ok(format!("{text}new\n"))
    }

    #[test]
    fn mode_and_link_stay_and_what_was_there_can_be_had_back() {
        let bench = Bench::new();
        std::fs::write(bench.path("real"), "old\n").unwrap();
        std::fs::set_permissions(bench.path("real"), std::fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink("real", bench.path("link")).unwrap();
        let file = bench.file("link");
        assert!(file.change(append).unwrap());
        assert_eq!(std::fs::read_to_string(bench.path("real")).unwrap(), "old\nnew\n");
        assert!(bench.path("link").is_symlink());
        assert_eq!(std::fs::metadata(bench.path("real")).unwrap().permissions().mode() & 0o777, 0o640);
        file.undo().unwrap();
        assert_eq!(std::fs::read_to_string(bench.path("real")).unwrap(), "old\n");
        assert!(matches!(file.undo(), Err(FileError::NothingToUndo { .. })));
    }

    #[test]
    fn a_file_that_was_not_there_is_made_for_its_owner_and_undone_by_removal() {
        let bench = Bench::new();
        let file = bench.file("a/b/c.json");
        assert!(file.change(append).unwrap());
        assert_eq!(std::fs::metadata(bench.path("a/b/c.json")).unwrap().permissions().mode() & 0o777, 0o600);
        file.undo().unwrap();
        assert!(!bench.path("a/b/c.json").exists());
    }

    #[test]
    fn what_its_owner_changed_since_is_not_undone() {
        let bench = Bench::new();
        let file = bench.file("c");
        file.change(append).unwrap();
        std::fs::write(bench.path("c"), "mine\n").unwrap();
        assert!(matches!(file.undo(), Err(FileError::Changed { .. })));
        assert_eq!(std::fs::read_to_string(bench.path("c")).unwrap(), "mine\n");
    }

    #[test]
    fn what_cannot_be_edited_or_written_stays_as_it_is() {
        let bench = Bench::new();
        std::fs::write(bench.path("c"), "old").unwrap();
        let file = bench.file("c");
        assert!(file.change(|_| Err(EditError::TooExotic)).is_err());
        assert!(!file.change(|text| Ok(text.to_owned())).unwrap());
        assert_eq!(std::fs::read_to_string(bench.path("c")).unwrap(), "old");
        assert!(!bench.path("backups/client/before").exists(), "nothing was changed");
    }

    #[test]
    fn a_change_of_its_owner_in_between_is_kept() {
        let bench = Bench::new();
        std::fs::write(bench.path("c"), "old\n").unwrap();
        let first = std::sync::atomic::AtomicBool::new(true);
        let file = bench.file("c");
        file.change(|text| {
            if first.swap(false, std::sync::atomic::Ordering::AcqRel) {
                std::fs::write(bench.path("c"), "theirs\n").unwrap();
            }
            append(text)
        })
        .unwrap();
        assert_eq!(std::fs::read_to_string(bench.path("c")).unwrap(), "theirs\nnew\n");
    }
}
