//! The socket of the API: its owner's alone, and never taken from a daemon that still answers.

use std::fs::Permissions;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixStream};

use crate::limits::{SOCKET_PATH_BYTES_MAX, SOCKET_PROBE_MAX};
use crate::private;

/// Why the API cannot be reached.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ListenError {
    /// The path does not fit into a socket address.
    #[error("the socket path `{}` has {length} bytes, at most {SOCKET_PATH_BYTES_MAX} are possible", path.display())]
    TooLong {
        /// The path.
        path: PathBuf,
        /// Its length.
        length: usize,
    },
    /// Another daemon answers there.
    #[error("another daemon answers at `{}`", path.display())]
    Taken {
        /// The path.
        path: PathBuf,
    },
    /// The file system does not let us.
    #[error("listen on `{}`", path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

impl ListenError {
    /// What to do about it.
    #[must_use]
    pub(crate) fn hint(&self) -> &'static str {
        match self {
            Self::TooLong { .. } => "use a shorter `FAIRLEAD_HOME`",
            Self::Taken { .. } => "stop it with `fairlead shutdown`, or use another `FAIRLEAD_HOME`",
            Self::Io { .. } => "check that the directory can be written",
        }
    }
}

/// Listens; a socket that a dead daemon left is replaced.
///
/// # Errors
/// See [`ListenError`].
pub(crate) async fn listen(path: &Path) -> Result<UnixListener, ListenError> {
    let length = path.as_os_str().as_bytes().len();
    if length > SOCKET_PATH_BYTES_MAX {
        return Err(ListenError::TooLong { path: path.to_owned(), length });
    }
    if tokio::time::timeout(SOCKET_PROBE_MAX, UnixStream::connect(path)).await.is_ok_and(|stream| stream.is_ok()) {
        return Err(ListenError::Taken { path: path.to_owned() });
    }
    bind(path).map_err(|source| ListenError::Io { path: path.to_owned(), source })
}

fn bind(path: &Path) -> io::Result<UnixListener> {
    // Nobody else may enter, so the moment between making the socket and closing it to others is harmless.
    private::make_for(path)?;
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, Permissions::from_mode(0o600))?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run/x.sock");
        drop(listen(&path).await.unwrap());
        assert!(path.exists(), "a socket outlives its listener");
        let _alive = listen(&path).await.unwrap();
        assert!(matches!(listen(&path).await, Err(ListenError::Taken { .. })));
    }

    #[tokio::test]
    async fn nobody_else_may_connect() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run/x.sock");
        let _listener = listen(&path).await.unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().unwrap()), 0o700);
    }

    #[tokio::test]
    async fn a_path_that_does_not_fit_is_refused_with_its_length() {
        let path = Path::new("/tmp").join("x".repeat(200));
        assert!(matches!(listen(&path).await, Err(ListenError::TooLong { length: 205, .. })));
    }
}
