//! Compiled components on disk, so that a start costs a fraction of a millisecond instead of a compilation.
//!
//! A compiled component is native code: who can write one into the cache runs code in the daemon. So the directory belongs
//! to this user alone, every file has an HMAC with a key that was made for this installation, and the HMAC is checked
//! before the file is touched by anything else. A precompiled file from anywhere else is never taken. Whatever does not
//! check (truncated, changed, of another host) is compiled anew, and a log line says so; it is never an error.
//!
//! The name of a file is the digest of the component and what the code was generated for, and the HMAC covers the name: a
//! genuine file under another's name is as wrong as a forged one.

use std::fmt;
use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest as _, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::engine::compatibility;
use crate::limits::{CACHE_BYTES_MAX, SCRATCH_AGE_MAX};

const KEY_BYTES: usize = 32;

/// How names of scratch files begin.
pub(crate) const SCRATCH: &str = "scratch-";

/// SHA-256 of a component: what it is, whatever its name.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Sixty-four hexadecimal digits.
    #[must_use]
    pub fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why the cache cannot be used at all.
#[derive(Debug, thiserror::Error)]
#[error("{doing} `{}`", path.display())]
pub struct CacheError {
    /// What was being done.
    pub doing: &'static str,
    /// With which path.
    pub path: PathBuf,
    /// Why it failed.
    #[source]
    pub source: io::Error,
}

/// Why a file of the cache was not used.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error("there is none")]
    Missing,
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error("it is not what this host wrote")]
    Forged,
    #[error("it does not fit this host: {0}")]
    Foreign(String),
}

/// The cache.
#[derive(Debug)]
pub(crate) struct Cache {
    directory: PathBuf,
    mac: Hmac<Sha256>,
}

impl Cache {
    /// Opens the cache in `directory`, which is made, and closed to everybody else, as needed.
    pub(crate) fn open(directory: &Path) -> Result<Self, CacheError> {
        let at = |doing| move |source| CacheError { doing, path: directory.to_path_buf(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(at("make the directory"))?;
        let found = fs::metadata(directory).map_err(at("look at the directory"))?;
        if found.uid() != rustix::process::geteuid().as_raw() {
            let source = io::Error::new(io::ErrorKind::PermissionDenied, "it belongs to another user");
            return Err(at("use the directory")(source));
        }
        if found.permissions().mode() & 0o077 != 0 {
            fs::set_permissions(directory, Permissions::from_mode(0o700))
                .map_err(at("close to others the directory"))?;
        }
        sweep(directory);
        let key = key(&directory.join("key")).map_err(at("make or read the key in"))?;
        let mac = Hmac::new_from_slice(&key).map_err(io::Error::other).map_err(at("use the key in"))?;
        Ok(Self { directory: directory.to_path_buf(), mac })
    }

    /// Where a compiler may put scratch files.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// What was compiled earlier, if it is beyond doubt.
    pub(crate) fn get(&self, engine: &Engine, digest: &Digest) -> Option<Component> {
        let name = name(engine, digest);
        match self.load(engine, &name) {
            Ok(component) => Some(component),
            Err(Unusable::Missing) => None,
            Err(reason) => {
                tracing::warn!(component = %digest, %reason, "compiled component is not used and compiled again");
                None
            }
        }
    }

    fn load(&self, engine: &Engine, name: &str) -> Result<Component, Unusable> {
        let path = self.path(name, "cwasm");
        let mut file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Unusable::Missing),
            opened => opened?,
        };
        let mut code = Vec::new();
        file.read_to_end(&mut code)?;
        let given = fs::read(self.path(name, "mac"))?;
        self.mac(name, &code).verify_slice(&given).map_err(|_| Unusable::Forged)?;
        // When it was used last; failing to note it only makes it an earlier victim.
        let _ = file.set_modified(SystemTime::now());
        map(engine, &path, &code).map_err(|error| Unusable::Foreign(format!("{error:#}")))
    }

    /// Keeps code for the next start and loads it. An error to keep it costs time at the next start and nothing else.
    pub(crate) fn put(&self, engine: &Engine, digest: &Digest, code: &[u8]) -> Result<Component, wasmtime::Error> {
        let name = name(engine, digest);
        match self.keep(&name, code) {
            Ok(()) => {
                self.make_room(&name, CACHE_BYTES_MAX);
                map(engine, &self.path(&name, "cwasm"), code)
            }
            Err(error) => {
                tracing::warn!(component = %digest, %error, "compiled component cannot be kept for the next start");
                deserialize_bytes(engine, code)
            }
        }
    }

    fn keep(&self, name: &str, code: &[u8]) -> io::Result<()> {
        let mac = self.mac(name, code).finalize().into_bytes();
        // The HMAC first: code without one is never visible, and an HMAC without its code is nothing.
        for (ending, bytes) in [("mac", mac.as_slice()), ("cwasm", code)] {
            let mut file = tempfile::Builder::new().prefix(SCRATCH).tempfile_in(&self.directory)?;
            file.write_all(bytes)?;
            file.persist(self.path(name, ending)).map_err(|error| error.error)?;
        }
        Ok(())
    }

    /// Removes what was not used for longest until the rest is within bounds. `keep` stays whatever its age.
    fn make_room(&self, keep: &str, bytes_max: u64) {
        let Ok(entries) = fs::read_dir(&self.directory) else { return };
        let mut files: Vec<_> = entries
            .flatten()
            .filter(|entry| entry.path().extension().is_some_and(|ending| ending == "cwasm"))
            .filter_map(|entry| {
                let found = entry.metadata().ok()?;
                Some((found.modified().ok()?, found.len(), entry.path()))
            })
            .collect();
        files.sort();
        let mut bytes: u64 = files.iter().map(|(_, size, _)| size).sum();
        for (_, size, path) in files {
            if bytes <= bytes_max {
                return;
            }
            if path.file_stem().is_some_and(|stem| stem == keep) {
                continue;
            }
            // Who has it mapped keeps it.
            let _ = fs::remove_file(path.with_extension("mac"));
            if fs::remove_file(&path).is_ok() {
                bytes = bytes.saturating_sub(size);
            }
        }
    }

    fn path(&self, name: &str, ending: &str) -> PathBuf {
        self.directory.join(format!("{name}.{ending}"))
    }

    fn mac(&self, name: &str, code: &[u8]) -> Hmac<Sha256> {
        let mut mac = self.mac.clone();
        mac.update(name.as_bytes());
        mac.update(&[0]);
        mac.update(code);
        mac
    }
}

/// Removes scratch files that a process left when it was killed.
fn sweep(directory: &Path) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let old = |found: fs::Metadata| found.modified().ok()?.elapsed().ok().map(|age| age > SCRATCH_AGE_MAX);
        if entry.file_name().to_string_lossy().starts_with(SCRATCH) && entry.metadata().ok().and_then(old) == Some(true)
        {
            let path = entry.path();
            let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        }
    }
}

/// Digest of the component and what its code was generated for.
fn name(engine: &Engine, digest: &Digest) -> String {
    format!("{}-{:016x}", digest.hex(), compatibility(engine))
}

/// The key of this installation, made at first use. A key of the wrong length is replaced: everything is compiled again.
fn key(path: &Path) -> io::Result<[u8; KEY_BYTES]> {
    if let Ok(found) = fs::read(path)
        && let Ok(key) = <[u8; KEY_BYTES]>::try_from(found)
    {
        return Ok(key);
    }
    let mut key = [0; KEY_BYTES];
    getrandom::fill(&mut key).map_err(io::Error::other)?;
    // Two processes may start at once: who comes last wins, and the other's files are compiled again.
    let mut file = tempfile::Builder::new().prefix(SCRATCH).tempfile_in(path.parent().unwrap_or(path))?;
    file.write_all(&key)?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(key)
}

/// Maps the file with this code; on a file system that lets nobody execute (`noexec`), loads the code.
fn map(engine: &Engine, path: &Path, code: &[u8]) -> Result<Component, wasmtime::Error> {
    deserialize(engine, path).or_else(|_| deserialize_bytes(engine, code))
}

#[allow(unsafe_code, reason = "maps native code that this host compiled itself, as the HMAC proves")]
fn deserialize(engine: &Engine, path: &Path) -> Result<Component, wasmtime::Error> {
    // SAFETY: wasmtime asks that the file was made by `precompile_component` and is not changed while it is mapped. The
    // callers have just checked its HMAC or written it themselves; files of the cache are replaced by renaming, never
    // written in place; and the directory is closed to other users.
    unsafe { Component::deserialize_file(engine, path) }
}

#[allow(unsafe_code, reason = "loads native code that this host compiled itself, just now or as the HMAC proves")]
fn deserialize_bytes(engine: &Engine, code: &[u8]) -> Result<Component, wasmtime::Error> {
    // SAFETY: as above; the bytes come straight from the compiler, or are those whose HMAC has just been checked.
    unsafe { Component::deserialize(engine, code) }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixture {
        directory: tempfile::TempDir,
        engine: Engine,
        digest: Digest,
    }

    impl Fixture {
        /// A cache that holds one compiled component.
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let engine = crate::engine::compiler().unwrap();
            let component = wat::parse_str("(component)").unwrap();
            let digest = Digest::of(&component);
            let cache = Cache::open(directory.path()).unwrap();
            assert!(cache.get(&engine, &digest).is_none());
            cache.put(&engine, &digest, &engine.precompile_component(&component).unwrap()).unwrap();
            Self { directory, engine, digest }
        }

        fn hit(&self) -> bool {
            Cache::open(self.directory.path()).unwrap().get(&self.engine, &self.digest).is_some()
        }

        fn file(&self, ending: &str) -> PathBuf {
            self.directory.path().join(format!("{}.{ending}", name(&self.engine, &self.digest)))
        }
    }

    #[test]
    fn what_was_compiled_is_found_again() {
        assert!(Fixture::new().hit());
    }

    #[test]
    fn a_truncated_file_is_not_used() {
        let fixture = Fixture::new();
        let path = fixture.file("cwasm");
        let code = fs::read(&path).unwrap();
        fs::write(&path, &code[..code.len() / 2]).unwrap();
        assert!(!fixture.hit());
    }

    #[test]
    fn one_changed_bit_is_not_used() {
        let fixture = Fixture::new();
        let path = fixture.file("cwasm");
        let mut code = fs::read(&path).unwrap();
        let last = code.len() - 1;
        code[last] ^= 1;
        fs::write(&path, &code).unwrap();
        assert!(!fixture.hit());
    }

    #[test]
    fn code_without_its_hmac_is_not_used() {
        let fixture = Fixture::new();
        fs::remove_file(fixture.file("mac")).unwrap();
        assert!(!fixture.hit());
    }

    #[test]
    fn a_genuine_file_under_the_name_of_another_is_not_used() {
        let fixture = Fixture::new();
        let other = Digest::of(b"another component");
        for ending in ["cwasm", "mac"] {
            let to = fixture.directory.path().join(format!("{}.{ending}", name(&fixture.engine, &other)));
            fs::copy(fixture.file(ending), to).unwrap();
        }
        let cache = Cache::open(fixture.directory.path()).unwrap();
        assert!(cache.get(&fixture.engine, &other).is_none());
        assert!(cache.get(&fixture.engine, &fixture.digest).is_some());
    }

    #[test]
    fn files_of_another_installation_are_not_used() {
        let fixture = Fixture::new();
        fs::write(fixture.directory.path().join("key"), [7; KEY_BYTES]).unwrap();
        assert!(!fixture.hit());
    }

    #[test]
    fn what_was_not_used_for_longest_makes_room() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::open(directory.path()).unwrap();
        for (name, age) in [("used-last", 1), ("forgotten", 2), ("new", 0)] {
            cache.keep(name, &[0; 100]).unwrap();
            let file = File::options().write(true).open(cache.path(name, "cwasm")).unwrap();
            file.set_modified(SystemTime::now() - std::time::Duration::from_secs(age * 60)).unwrap();
        }
        let there = |name: &str| cache.path(name, "cwasm").exists() && cache.path(name, "mac").exists();
        cache.make_room("new", 250);
        assert!(there("used-last") && !there("forgotten") && there("new"));
        assert!(!cache.path("forgotten", "mac").exists());
        cache.make_room("new", 0);
        assert!(!there("used-last") && there("new"));
    }

    #[test]
    fn the_directory_is_closed_to_others() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("cache");
        fs::create_dir(&directory).unwrap();
        fs::set_permissions(&directory, Permissions::from_mode(0o755)).unwrap();
        Cache::open(&directory).unwrap();
        assert_eq!(fs::metadata(&directory).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::metadata(directory.join("key")).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
