//! Replacing a file: a reader, and whoever comes after a crash, finds what was there or what is new, never a part of either.
//!
//! The new content is written beside the old, brought to disk, and then takes its name; the directory is brought to disk
//! last, so that the change is there when the call returns. What a crash leaves is a file that begins with a dot and belongs
//! to nobody.

use std::fs::{File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// Replaces a file, or makes it, with this mode.
///
/// # Errors
/// The file system does not take it; what was there is then still there.
pub(crate) fn replace(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let directory = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy();
    // Made for its owner alone; it is opened to others, if at all, when it is whole.
    let mut new = tempfile::Builder::new().prefix(&format!(".{name}.")).suffix(".new").tempfile_in(directory)?;
    new.write_all(content)?;
    new.as_file().set_permissions(Permissions::from_mode(mode))?;
    new.as_file().sync_all()?;
    new.persist(path).map_err(|error| error.error)?;
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_as_a_whole_and_nothing_stays_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        for (content, mode) in [("one", 0o600), ("two", 0o644)] {
            replace(&path, content.as_bytes(), mode).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), content);
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, mode);
        }
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_cannot_be_replaced_stays_and_nothing_stays_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        std::fs::create_dir_all(path.join("full")).unwrap();
        assert!(replace(&path, b"x", 0o600).is_err(), "a directory is no file");
        assert!(path.join("full").is_dir());
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
        assert!(replace(&directory.path().join("b/c"), b"x", 0o600).is_err());
    }

    /// Names the file to whoever is killed.
    const REPLACED: &str = "FAIRLEAD_TEST_REPLACED";

    /// Long enough that one write of it does not do.
    const LONG: usize = 4 << 20;

    /// What the test below runs, and kills; by itself it has no file.
    #[test]
    fn replacing_without_end() {
        let Some(path) = std::env::var_os(REPLACED).map(std::path::PathBuf::from) else { return };
        for byte in [b'a', b'b'].into_iter().cycle() {
            replace(&path, &vec![byte; LONG], 0o600).unwrap();
        }
    }

    #[test]
    fn whoever_is_killed_in_the_middle_leaves_one_file_or_the_other() {
        use std::os::unix::fs::MetadataExt as _;
        use std::process::{Command, Stdio};
        use std::time::{Duration, Instant};

        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("client.json");
        std::fs::write(&path, vec![b'a'; LONG]).unwrap();
        let file = || std::fs::metadata(&path).unwrap().ino();
        for round in 0_u32..12 {
            let before = file();
            let mut child = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "durable::tests::replacing_without_end"])
                .env(REPLACED, &path)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let begun = Instant::now();
            while file() == before {
                assert!(begun.elapsed() < Duration::from_secs(20), "nothing is replaced");
                std::thread::yield_now();
            }
            // At another moment of the next one each time.
            let moment = Instant::now() + Duration::from_micros(700) * round;
            while Instant::now() < moment {
                std::hint::spin_loop();
            }
            child.kill().unwrap();
            child.wait().unwrap();
            let content = std::fs::read(&path).unwrap();
            assert_eq!(content.len(), LONG);
            assert!(content.iter().all(|byte| *byte == content[0]), "a part of either");
        }
    }
}
