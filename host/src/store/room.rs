//! Whether the disk has room for a change, asked before the database is.
//!
//! sled 0.34 takes one write that fails as its own end: every later access fails too, until the process is started anew. A
//! full disk is an ordinary thing that passes, so the database never meets one: a change that might not fit is refused
//! before anything of it is done, and the next one after there is room again is taken.

use std::io;
use std::path::Path;

use fairlead_core::store::StoreError;

use super::failed;
use crate::limits::STORE_ROOM_MIN;

/// Refuses when the disk that holds `path` is full, or nearly.
pub(super) fn check(path: &Path) -> Result<(), StoreError> {
    let disk = rustix::fs::statvfs(path).map_err(io::Error::from).map_err(failed("look at the disk of"))?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    // A file system that tells no size at all does not tell what is free either.
    if disk.f_blocks == 0 || free >= STORE_ROOM_MIN {
        return Ok(());
    }
    let detail = format!(
        "the disk of `{}` has {} MiB left, and {} are kept free",
        path.display(),
        free / (1024 * 1024),
        STORE_ROOM_MIN / (1024 * 1024),
    );
    Err(failed("write to")(io::Error::new(io::ErrorKind::StorageFull, detail)))
}
