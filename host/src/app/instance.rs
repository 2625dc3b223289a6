//! One daemon for one state: a lock that the operating system takes away with the process, and a description for whoever
//! looks for the daemon.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

use crate::api::types::DaemonInfo;
use crate::limits::{LOCK_OF_THE_DEAD_MAX, POLL_INTERVAL};
use crate::private;

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
    /// A daemon that was killed in the middle of starting a process leaves a copy of its lock with that process, for the
    /// moment until it runs its program. So a lock whose holder is gone is waited for.
    ///
    /// # Errors
    /// Somebody else is, or the file system does not let us.
    pub(crate) async fn take(path: &Path) -> Result<Self, LockError> {
        let io = |source: io::Error| LockError::Io { path: path.to_owned(), source };
        let mut file = open(path).map_err(io)?;
        let deadline = Instant::now() + LOCK_OF_THE_DEAD_MAX;
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                Err(Errno::WOULDBLOCK) => {}
                Err(error) => return Err(io(error.into())),
            }
            let holder = holder(&mut file);
            let lives = holder.is_none_or(|pid| test_kill_process(pid).is_ok());
            if lives || Instant::now() > deadline {
                let pid = holder.map_or_else(|| "unknown".to_owned(), |pid| pid.as_raw_nonzero().to_string());
                return Err(LockError::Held { pid });
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        file.set_len(0).and_then(|()| file.rewind()).map_err(io)?;
        writeln!(file, "{}", std::process::id()).map_err(io)?;
        Ok(Self { _file: file })
    }
}

fn open(path: &Path) -> io::Result<File> {
    private::make_for(path)?;
    OpenOptions::new().create(true).truncate(false).read(true).write(true).mode(0o600).open(path)
}

/// The process that took the lock last, as far as it has said so.
fn holder(file: &mut File) -> Option<Pid> {
    let mut text = String::new();
    file.rewind().and_then(|()| file.read_to_string(&mut text)).ok()?;
    Pid::from_raw(text.trim().parse().ok()?)
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

    #[tokio::test]
    async fn there_is_one_daemon_and_it_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state/daemon.lock");
        let _lock = Lock::take(&path).await.unwrap();
        let error = Lock::take(&path).await.unwrap_err();
        assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
    }

    #[tokio::test]
    async fn a_lock_that_a_dead_daemon_left_with_another_process_is_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("daemon.lock");
        let held = open(&path).unwrap();
        flock(&held, FlockOperation::LockExclusive).unwrap();
        let mut dead = std::process::Command::new("true").spawn().unwrap();
        dead.wait().unwrap();
        std::fs::write(&path, dead.id().to_string()).unwrap();
        let (lock, ()) = tokio::join!(Lock::take(&path), async { drop(held) });
        lock.unwrap();
    }
}
