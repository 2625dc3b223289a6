//! Directories that are their owner's alone.
//!
//! What lies in them is: the environment of servers, which often carries keys; what servers said; the socket that orders
//! the daemon about. The mode of a directory guards all that is below it, so no file inside has to be thought of, nor the
//! files that a database makes by itself.

use std::fs::{DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::Path;

/// The owner may do everything, nobody else anything.
const MODE: u32 = 0o700;

/// Makes a directory, with those above it that are missing, and closes it to others; also when it was there, open.
///
/// # Errors
/// The file system does not let us.
pub(crate) fn make(directory: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(MODE).create(directory)?;
    let found = std::fs::metadata(directory)?.permissions().mode();
    if found & 0o777 == MODE {
        return Ok(());
    }
    std::fs::set_permissions(directory, Permissions::from_mode(MODE))
}

/// Makes the directory of a file like that.
///
/// # Errors
/// The file system does not let us.
pub(crate) fn make_for(file: &Path) -> io::Result<()> {
    file.parent().map_or(Ok(()), make)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn what_is_made_and_what_was_open_is_closed_to_others() {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join("a/b");
        make_for(&directory.join("file")).unwrap();
        assert_eq!((mode(&home.path().join("a")), mode(&directory)), (MODE, MODE));
        std::fs::set_permissions(&directory, Permissions::from_mode(0o755)).unwrap();
        make(&directory).unwrap();
        assert_eq!(mode(&directory), MODE);
    }
}
