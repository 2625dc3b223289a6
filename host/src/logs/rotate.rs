//! A file that is put aside when it has grown to its bound, so that logs never fill a disk.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use tracing_subscriber::fmt::MakeWriter;

use crate::limits::{LOG_FILE_BYTES_MAX, LOG_FILES_KEPT};
use crate::private;

/// An append-only file with a bound: `x.log`, then `x.log.1` (the youngest) and so on.
#[derive(Debug)]
pub(crate) struct RotatingFile {
    path: PathBuf,
    file: File,
    bytes: u64,
    bytes_max: u64,
}

impl RotatingFile {
    /// Opens or makes the file and the directories above it.
    ///
    /// # Errors
    /// The file system does not let us.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Self::open_bounded(path, LOG_FILE_BYTES_MAX)
    }

    fn open_bounded(path: &Path, bytes_max: u64) -> io::Result<Self> {
        private::make_for(path)?;
        let file = append(path)?;
        let bytes = file.metadata()?.len();
        Ok(Self { path: path.to_owned(), file, bytes, bytes_max })
    }

    /// Writes a line whole into one file; it brings its line break.
    ///
    /// # Errors
    /// The file system does not take it.
    pub(crate) fn write_line(&mut self, line: &[u8]) -> io::Result<()> {
        let length = u64::try_from(line.len()).unwrap_or(u64::MAX);
        if self.bytes > 0 && self.bytes.saturating_add(length) > self.bytes_max {
            self.rotate()?;
        }
        self.file.write_all(line)?;
        self.bytes = self.bytes.saturating_add(length);
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        for age in (1..LOG_FILES_KEPT).rev() {
            // One that is not there yet is no error.
            let _ = std::fs::rename(aside(&self.path, age), aside(&self.path, age + 1));
        }
        std::fs::rename(&self.path, aside(&self.path, 1))?;
        self.file = append(&self.path)?;
        self.bytes = 0;
        Ok(())
    }
}

/// Removes a log and what was put aside of it; what is not there is no error.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    for age in 1..=LOG_FILES_KEPT {
        gone(std::fs::remove_file(aside(path, age)))?;
    }
    gone(std::fs::remove_file(path))
}

fn gone(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// Readable by its owner alone: servers write what they like.
fn append(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

fn aside(path: &Path, age: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{age}"));
    name.into()
}

/// The file as a writer for `tracing`, which writes one event at a time.
#[derive(Debug, Clone)]
pub(crate) struct SharedFile(Arc<Mutex<RotatingFile>>);

impl SharedFile {
    /// Shares a file.
    #[must_use]
    pub(crate) fn new(file: RotatingFile) -> Self {
        Self(Arc::new(Mutex::new(file)))
    }
}

impl Write for SharedFile {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.lock().write_line(line)?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for SharedFile {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_never_takes_more_than_its_share_of_the_disk_and_lines_stay_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deep/er/x.log");
        let mut file = RotatingFile::open_bounded(&path, 100).unwrap();
        for number in 0..100 {
            file.write_line(format!("line {number:04}\n").as_bytes()).unwrap();
        }
        let mut text = String::new();
        for age in (1..=LOG_FILES_KEPT).rev() {
            text += &std::fs::read_to_string(aside(&path, age)).unwrap();
        }
        text += &std::fs::read_to_string(&path).unwrap();
        assert!(!aside(&path, LOG_FILES_KEPT + 1).exists());
        assert!(text.lines().all(|line| line.len() == 9), "{text}");
        assert!(text.ends_with("line 0099\n"));
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 4);
        remove(&path).unwrap();
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 0);
    }

    #[test]
    fn a_log_that_is_opened_again_goes_on() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.log");
        for _ in 0..2 {
            RotatingFile::open_bounded(&path, 10).unwrap().write_line(b"1234567\n").unwrap();
        }
        assert!(aside(&path, 1).exists(), "the bound counts what was there before");
    }
}
