//! Files of a git repository, as they are at a branch or a tag now.
//!
//! The protocol is that of gix. What it travels on is ours ([`line`]): connections of the one dialer of this house, so that an
//! address that nobody allowed is not reached by way of git either, with one deadline for the whole reading and a bound on every
//! byte. gix asks for bytes and waits; so all of it happens on a thread that may wait, and ends when the deadline does: each of its
//! waits does, and what only computes (unpacking, walking) is told.
//!
//! One commit is fetched, without its history, into a directory that is gone afterwards. Nothing is checked out: no file of a
//! repository ever gets a name on this disk, no hook, filter or configuration of anybody is run or read.

mod fetch;
pub mod limits;
mod line;
mod transport;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fairlead_core::dial::{Admission, Dialer};
use tokio::time::timeout_at;

use crate::limits::READ_MAX;
use crate::line::Line;

/// What to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Where the repository is: `https://…`, without credentials.
    pub url: String,
    /// At which commit.
    pub revision: Revision,
    /// A file or a directory in it; none: all of it. Of a directory, the files that end in `.json`, at any depth.
    pub path: Option<String>,
    /// What the commit was when it was read last.
    pub known: Option<String>,
}

/// A commit, by a name that somebody keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Revision {
    /// Of the branch that the server calls its own.
    Default,
    /// Of a branch.
    Branch(String),
    /// Of a tag.
    Tag(String),
}

/// What was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Read {
    /// The commit is the one that is known.
    Unmodified,
    /// The files at this commit, by path.
    Files {
        /// The commit.
        commit: String,
        /// The files.
        files: Vec<File>,
    },
}

/// A file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its path in the repository.
    pub path: String,
    /// Its content.
    pub content: Vec<u8>,
}

/// What a server is shown, and to whom: a user and a password, to this host alone and never in the clear but on this machine.
#[derive(Clone)]
pub struct Login {
    /// The user; for a token, what the server wants beside it.
    pub user: String,
    /// The password or the token.
    pub password: String,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login").field("user", &self.user).finish_non_exhaustive()
    }
}

/// Why nothing was read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GitError {
    /// The address is none that can be used.
    #[error("`{url}` {reason}")]
    Address {
        /// The address.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Nobody answers, or not to the end.
    #[error("{host}: {reason}")]
    Unreachable {
        /// The server.
        host: String,
        /// Why.
        reason: String,
    },
    /// The server does not let us in.
    #[error("{host} does not let us read it: {reason}")]
    Denied {
        /// The server.
        host: String,
        /// What it said.
        reason: String,
    },
    /// The server answers, and with something else.
    #[error("{host}: {reason}")]
    Protocol {
        /// The server.
        host: String,
        /// What.
        reason: String,
    },
    /// It is more than is read.
    #[error("it has more than {limit} {what}")]
    TooMuch {
        /// Of what.
        what: &'static str,
        /// How many are possible.
        limit: u64,
    },
    /// There is no such branch or tag.
    #[error("the repository has no {0}")]
    NoRevision(String),
    /// There is no such path in it.
    #[error("the repository has nothing at `{0}`")]
    NoPath(String),
    /// There is no room for what is fetched.
    #[error("keep what is fetched: {0}")]
    Scratch(String),
}

/// Reads repositories.
pub struct GitClient {
    dialer: Arc<dyn Dialer>,
    scratch: PathBuf,
}

impl GitClient {
    /// Below `scratch` lies what is fetched, while it is read.
    #[must_use]
    pub fn new(dialer: Arc<dyn Dialer>, scratch: PathBuf) -> Self {
        Self { dialer, scratch }
    }

    /// Reads what is wanted, over addresses that are admitted.
    ///
    /// # Errors
    /// See [`GitError`].
    pub async fn read(
        &self,
        wanted: Wanted,
        admission: Arc<dyn Admission>,
        login: Option<Login>,
    ) -> Result<Read, GitError> {
        let line = Line::new(Arc::clone(&self.dialer), admission, &wanted.url, login)?;
        let scratch = self.scratch.clone();
        let (until, over) = (line.until(), Over::default());
        let told = Arc::clone(&over.0);
        let mut reading = tokio::task::spawn_blocking(move || fetch::read(&wanted, line, &scratch, &told));
        let read = match timeout_at(until, &mut reading).await {
            Ok(read) => read,
            Err(_) => {
                drop(over);
                reading.await
            }
        };
        read.unwrap_or_else(|error| {
            tracing::error!(%error, "reading a repository failed");
            Err(GitError::Protocol { host: "git".to_owned(), reason: "sent what could not be read".to_owned() })
        })
    }
}

/// Tells a thread that nobody wants any more what it computes: set when this is dropped.
#[derive(Default)]
struct Over(Arc<AtomicBool>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl std::fmt::Debug for GitClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GitClient").field("scratch", &self.scratch).field("deadline", &READ_MAX).finish_non_exhaustive()
    }
}
