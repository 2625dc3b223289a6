//! State of plugins that is gone with this process: for a command that tries one, and for a pod that keeps nothing.

use std::path::Path;
use std::sync::Arc;

use fairlead_core::clock::Clock;

use super::MemoryKv;

/// Why there is no state.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ScratchError {
    /// No place for what is thrown away.
    #[error("make a scratch directory")]
    Directory(#[source] std::io::Error),
    /// No state.
    #[error("open scratch state")]
    State(#[source] sled::Error),
}

/// State of plugins, and a directory beside it.
pub(crate) struct Scratch {
    kv: Arc<MemoryKv>,
    _database: sled::Db,
    directory: tempfile::TempDir,
}

impl Scratch {
    /// Makes both, empty.
    ///
    /// # Errors
    /// The file system does not let us.
    pub(crate) fn open(clock: Arc<dyn Clock>) -> Result<Self, ScratchError> {
        let directory = tempfile::Builder::new().prefix("fairlead-").tempdir().map_err(ScratchError::Directory)?;
        let database = sled::Config::new().temporary(true).path(directory.path().join("state")).open();
        let database = database.map_err(ScratchError::State)?;
        let tree = database.open_tree("kv").map_err(ScratchError::State)?;
        Ok(Self { kv: Arc::new(MemoryKv::load(tree, clock)), _database: database, directory })
    }

    /// The state.
    pub(crate) fn kv(&self) -> &Arc<MemoryKv> {
        &self.kv
    }

    /// The directory.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }
}
