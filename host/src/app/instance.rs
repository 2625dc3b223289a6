//! One daemon for one state: a lock that the operating system takes away with the process, and a description for whoever
//! looks for the daemon.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::api::types::DaemonInfo;

/// Why this process is not the daemon.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LockError {
    /// Another one is.
    #[error("a daemon already runs here (process {pid})")]
    Held {
        /// Its process, as far as known.
        pid: String,
    },
    /// The file system does not let us.
    #[error("lock `{}`", path.display())]
    Io {
        /// The lock file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// Held as long as the daemon lives.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Becomes the daemon.
    ///
    /// # Errors
    /// Somebody else is, or the file system does not let us.
    pub(crate) fn take(path: &Path) -> Result<Self, LockError> {
        let io = |source: io::Error| LockError::Io { path: path.to_owned(), source };
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory).map_err(io)?;
        }
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .mode(0o600)
            .open(path)
            .map_err(io)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                let mut pid = String::new();
                let _ = file.read_to_string(&mut pid);
                let pid = pid.trim().to_owned();
                return Err(LockError::Held { pid: if pid.is_empty() { "unknown".to_owned() } else { pid } });
            }
            Err(error) => return Err(io(error.into())),
        }
        file.set_len(0).and_then(|()| file.rewind()).map_err(io)?;
        writeln!(file, "{}", std::process::id()).map_err(io)?;
        Ok(Self { _file: file })
    }
}

/// `daemon.json`, there as long as the daemon can be talked to.
#[derive(Debug)]
pub(crate) struct Description {
    path: PathBuf,
}

impl Description {
    /// Writes it.
    ///
    /// # Errors
    /// The file system does not let us.
    pub(crate) fn write(path: &Path, info: &DaemonInfo) -> io::Result<Self> {
        let bytes = serde_json::to_vec_pretty(info).map_err(io::Error::other)?;
        let new = path.with_extension("json.new");
        std::fs::write(&new, bytes)?;
        std::fs::rename(&new, path)?;
        Ok(Self { path: path.to_owned() })
    }
}

impl Drop for Description {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "remove the description of the daemon");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_daemon_and_it_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state/daemon.lock");
        let lock = Lock::take(&path).unwrap();
        let error = Lock::take(&path).unwrap_err();
        assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
        drop(lock);
        Lock::take(&path).unwrap();
    }
}
