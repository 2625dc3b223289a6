//! Reading a log from its end, and following it while it grows, over the moments at which it is put aside or removed.

use std::io::{self, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};

use crate::limits::{LOG_CHUNK_BYTES_MAX, LOG_FOLLOW_INTERVAL};

/// A log being read.
#[derive(Debug)]
pub(crate) struct Tail {
    path: PathBuf,
    file: Option<File>,
    follow: bool,
}

/// Opens a log so that its last `lines` come first. One that is not there yet is empty.
///
/// # Errors
/// The file system does not let us.
pub(crate) async fn open(path: &Path, lines: usize, follow: bool) -> io::Result<Tail> {
    let file = match File::open(path).await {
        Ok(mut file) => {
            seek_to_last(&mut file, lines).await?;
            Some(file)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    Ok(Tail { path: path.to_owned(), file, follow })
}

impl Tail {
    /// The next bytes; `None` at the end, which a followed log has only when it is removed. May be dropped while waiting.
    ///
    /// # Errors
    /// The file system does not let us.
    pub(crate) async fn next(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            if let Some(file) = &mut self.file {
                let mut chunk = BytesMut::with_capacity(LOG_CHUNK_BYTES_MAX);
                if file.read_buf(&mut chunk).await? > 0 {
                    return Ok(Some(chunk.freeze()));
                }
            }
            if !self.follow {
                return Ok(None);
            }
            match (self.is_current().await?, &self.file) {
                (Some(true), _) | (None, None) => tokio::time::sleep(LOG_FOLLOW_INTERVAL).await,
                (Some(false), _) => self.file = Some(File::open(&self.path).await?),
                (None, Some(_)) => return Ok(None),
            }
        }
    }

    /// Whether the open file is still the one at the path; `None` when there is none at the path.
    async fn is_current(&self) -> io::Result<Option<bool>> {
        let there = match tokio::fs::metadata(&self.path).await {
            Ok(there) => there,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        match &self.file {
            None => Ok(Some(false)),
            Some(file) => {
                let here = file.metadata().await?;
                Ok(Some((here.dev(), here.ino()) == (there.dev(), there.ino())))
            }
        }
    }
}

/// Reads backwards until it has seen enough line breaks.
async fn seek_to_last(file: &mut File, lines: usize) -> io::Result<()> {
    let end = file.seek(SeekFrom::End(0)).await?;
    let mut at = end;
    // The break that ends the last line does not begin one.
    let mut breaks_wanted = lines.saturating_add(1);
    if lines == 0 {
        return Ok(());
    }
    let mut block = vec![0; LOG_CHUNK_BYTES_MAX];
    while at > 0 {
        let step = at.min(u64::try_from(block.len()).unwrap_or(u64::MAX));
        let from = at - step;
        file.seek(SeekFrom::Start(from)).await?;
        let part = block.get_mut(..usize::try_from(step).unwrap_or_default()).unwrap_or_default();
        file.read_exact(part).await?;
        for (offset, byte) in part.iter().enumerate().rev() {
            let is_last = from + offset as u64 + 1 == end;
            if *byte == b'\n' || is_last {
                breaks_wanted -= 1;
                if breaks_wanted == 0 {
                    file.seek(SeekFrom::Start(from + offset as u64 + 1)).await?;
                    return Ok(());
                }
            }
        }
        at = from;
    }
    file.seek(SeekFrom::Start(0)).await.map(drop)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    async fn all(tail: &mut Tail) -> String {
        let mut text = Vec::new();
        while let Some(bytes) = tail.next().await.unwrap() {
            text.extend_from_slice(&bytes);
        }
        String::from_utf8(text).unwrap()
    }

    #[tokio::test]
    async fn the_last_lines_come() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.log");
        let long = "x".repeat(LOG_CHUNK_BYTES_MAX);
        std::fs::write(&path, format!("one\n{long}\nthree\nfour\n")).unwrap();
        for (lines, expected) in [
            (0, String::new()),
            (1, "four\n".to_owned()),
            (2, "three\nfour\n".to_owned()),
            (3, format!("{long}\nthree\nfour\n")),
            (4, format!("one\n{long}\nthree\nfour\n")),
            (9, format!("one\n{long}\nthree\nfour\n")),
        ] {
            let text = all(&mut open(&path, lines, false).await.unwrap()).await;
            assert!(text == expected, "{lines} lines: {} bytes", text.len());
        }
    }

    #[tokio::test]
    async fn a_log_that_is_not_there_is_empty() {
        assert_eq!(all(&mut open(Path::new("/no/such.log"), 5, false).await.unwrap()).await, "");
    }

    #[tokio::test]
    async fn following_goes_on_over_rotation_and_ends_with_the_log() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.log");
        let mut tail = open(&path, 5, true).await.unwrap();
        let mut file = std::fs::File::create(&path).unwrap();
        file.write_all(b"one\n").unwrap();
        assert_eq!(tail.next().await.unwrap().unwrap(), "one\n");
        file.write_all(b"two\n").unwrap();
        std::fs::rename(&path, directory.path().join("x.log.1")).unwrap();
        std::fs::write(&path, "three\n").unwrap();
        assert_eq!(tail.next().await.unwrap().unwrap(), "two\n");
        assert_eq!(tail.next().await.unwrap().unwrap(), "three\n");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(tail.next().await.unwrap(), None);
    }
}
