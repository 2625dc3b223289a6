//! A throw-away `FAIRLEAD_HOME`, which outlives the daemons that a test starts and kills on it.
//!
//! The command line starts a daemon when there is none, so a home may have one that no guard knows. Dropping the home
//! finds it by its socket and ends it; otherwise it would live on, holding a deleted directory.

use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

/// The home. Cheap to pass on from one daemon to the next.
#[derive(Debug)]
pub struct Home {
    directory: tempfile::TempDir,
    /// What its daemons print: not in the home, whose disk may be full on purpose.
    logs: tempfile::TempDir,
}

impl Home {
    /// An empty one. Its path is short: a Unix socket's path has about 100 bytes.
    ///
    /// # Errors
    /// The directory cannot be created.
    pub fn new() -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("fl-").tempdir().context("create a home")?;
        let logs = tempfile::Builder::new().prefix("fl-logs-").tempdir().context("create a directory of logs")?;
        Ok(Self { directory, logs })
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Where the output of its daemons goes.
    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.logs.path().to_owned()
    }

    /// The sockets below it: one when a daemon runs, or was killed.
    #[must_use]
    pub fn sockets(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut open = vec![self.path().to_owned()];
        while let Some(directory) = open.pop() {
            let Ok(entries) = std::fs::read_dir(&directory) else { continue };
            for entry in entries.flatten() {
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() => open.push(entry.path()),
                    Ok(kind) if kind.is_socket() => found.push(entry.path()),
                    _ => {}
                }
            }
        }
        found
    }

    /// The process behind its socket, if one listens.
    #[must_use]
    pub fn daemon(&self) -> Option<Pid> {
        self.sockets().iter().find_map(|socket| {
            let stream = UnixStream::connect(socket).ok()?;
            Some(rustix::net::sockopt::socket_peercred(&stream).ok()?.pid)
        })
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // A test may play the daemon itself.
        if let Some(pid) = self.daemon().filter(|pid| *pid != rustix::process::getpid()) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}
