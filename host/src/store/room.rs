//! Whether the disk has room for a change, asked before the database is.
//!
//! sled 0.34 takes one write that fails as its own end: every later access fails too, until the process is started anew. A
//! full disk is an ordinary thing that passes, so the database never meets one: a change that might not fit is refused
//! before anything of it is done, and the next one after there is room again is taken.
//!
//! To open the database takes some room as well. That is kept in a file of its own while there is plenty, and given free when
//! a daemon starts on a full disk: one that was killed there comes back, with everything, and serves.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use fairlead_core::store::StoreError;

use super::failed;
use crate::limits::{STORE_RESERVE_BYTES, STORE_ROOM_BYTES_MIN};

/// Refuses when the disk that holds `path` is full, or nearly.
pub(super) fn check(path: &Path) -> Result<(), StoreError> {
    let free = free(path).map_err(failed("look at the disk of"))?;
    if free >= STORE_ROOM_BYTES_MIN {
        return Ok(());
    }
    let detail = format!(
        "the disk of `{}` has {} MiB left, and {} are kept free",
        path.display(),
        free / (1024 * 1024),
        STORE_ROOM_BYTES_MIN / (1024 * 1024),
    );
    Err(failed("write to")(io::Error::new(io::ErrorKind::StorageFull, detail)))
}

/// Keeps room for the next start, while there is plenty. Without it everything works until the disk is full.
pub(super) fn reserve(store: &Path) {
    let path = reserved(store);
    let is_kept = std::fs::metadata(&path).is_ok_and(|file| file.len() == STORE_RESERVE_BYTES);
    if is_kept || free(store).is_ok_and(|free| free < STORE_ROOM_BYTES_MIN + STORE_RESERVE_BYTES) {
        return;
    }
    let kept = File::create(&path).and_then(|file| {
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, STORE_RESERVE_BYTES)
            .map_err(io::Error::from)
    });
    if let Err(error) = kept {
        tracing::debug!(%error, "no room is kept for a start on a full disk");
    }
}

/// Gives that room free, if it is needed now.
pub(super) fn release_if_full(store: &Path) {
    if free(store).is_ok_and(|free| free < STORE_ROOM_BYTES_MIN) && std::fs::remove_file(reserved(store)).is_ok() {
        tracing::warn!("the disk is full; the room that was kept for this start is used");
    }
}

fn reserved(store: &Path) -> PathBuf {
    store.join("reserve")
}

/// Bytes that this user may still write. A file system that tells no size at all does not tell what is free either.
fn free(path: &Path) -> io::Result<u64> {
    let disk = rustix::fs::statvfs(path)?;
    Ok(if disk.f_blocks == 0 { u64::MAX } else { disk.f_bavail.saturating_mul(disk.f_frsize) })
}
