//! The seal: what must be in the database, said outside of it.
//!
//! A log-structured database that lost the end of its file opens as if nothing had happened, with fewer records. The seal
//! is a small file beside it that counts acknowledged changes; a database that knows of fewer was damaged, and the daemon
//! says so instead of starting with less. It also names the schema in plain text, so that an older program recognises a
//! newer store without having to read it.

use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Content of the file. Unknown fields are ignored: a newer program may have added some, and it is then the schema version
/// that refuses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Seal {
    /// Version of the schema of everything in the store.
    pub(super) schema: u32,
    /// Version of the program that made the store.
    pub(super) written_by: String,
    /// Acknowledged changes.
    pub(super) generation: u64,
}

/// Where the seal of a store lies.
pub(super) fn path(store: &Path) -> PathBuf {
    store.join("seal.json")
}

/// Reads the seal; `None` when there is none, an error when it cannot be understood.
pub(super) fn read(store: &Path) -> std::io::Result<Option<Seal>> {
    match std::fs::read(path(store)) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| {
            std::io::Error::new(ErrorKind::InvalidData, format!("`{}` is damaged: {error}", path(store).display()))
        }),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Replaces the seal in one step: a reader sees the old one or the new one.
pub(super) fn write(store: &Path, seal: &Seal) -> std::io::Result<()> {
    let mut bytes = serde_json::to_vec(seal).map_err(std::io::Error::other)?;
    bytes.push(b'\n');
    let new = store.join("seal.json.new");
    let mut file = std::fs::File::create(&new)?;
    file.write_all(&bytes)?;
    file.sync_data()?;
    std::fs::rename(&new, path(store))
}
