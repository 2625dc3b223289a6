//! Which eras of MCP servers speak, remembered across restarts: one small file in the cache for each thing that can be
//! started, named by the digest of how it is started (its environment may choose the era), so that another version of a server begins with nothing.
//!
//! A cache and not the store, because losing it costs one question to a server. What was found is believed for a while only:
//! an image tag or a package without a version changes behind its name.

use std::path::{Path, PathBuf};
use std::time::Duration;

use fairlead_core::era::{EraMemory, Eras};
use fairlead_core::server::ServerSpec;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};

use crate::limits::ERAS_KEEP;
use crate::private;
use crate::text;

/// The memory of one server.
pub(super) struct CachedEras {
    file: PathBuf,
    known: Mutex<Eras>,
}

impl CachedEras {
    /// What is known of what this specification starts.
    pub(super) fn of(directory: &Path, spec: &ServerSpec) -> Self {
        let started = serde_json::to_vec(&(&spec.source, &spec.transport, &spec.env)).unwrap_or_default();
        let digest = Sha256::digest(&started);
        let name: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        let file = directory.join(format!("{name}.json"));
        let known = Mutex::new(read(&file, ERAS_KEEP).unwrap_or_default());
        Self { file, known }
    }
}

fn read(file: &Path, keep: Duration) -> Option<Eras> {
    let age = std::fs::metadata(file).ok()?.modified().ok()?.elapsed().ok()?;
    if age > keep { None } else { serde_json::from_slice(&std::fs::read(file).ok()?).ok() }
}

fn write(file: &Path, eras: &Eras) -> std::io::Result<()> {
    private::make_for(file)?;
    let beside = file.with_extension(format!("{}.new", std::process::id()));
    std::fs::write(&beside, serde_json::to_vec(eras)?)?;
    std::fs::rename(beside, file)
}

impl EraMemory for CachedEras {
    fn recall(&self) -> Eras {
        self.known.lock().clone()
    }

    fn remember(&self, eras: &Eras) {
        let mut known = self.known.lock();
        let now = known.clone().and(eras);
        if now == *known {
            return;
        }
        known.clone_from(&now);
        // Some dozen bytes, written a few times in the life of a server.
        if let Err(error) = write(&self.file, &now) {
            tracing::debug!(error = %text::chain(&error), "what a server speaks is not remembered");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(program: &str) -> ServerSpec {
        serde_json::from_value(serde_json::json!({"source": {"kind": "command", "program": program}})).unwrap()
    }

    #[test]
    fn what_was_found_is_known_again_for_the_same_thing_and_for_no_other() {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join("eras");
        let found = Eras { modern: Some(true), legacy: None };
        CachedEras::of(&directory, &spec("a")).remember(&found);
        assert_eq!(CachedEras::of(&directory, &spec("a")).recall(), found);
        assert_eq!(CachedEras::of(&directory, &spec("b")).recall(), Eras::default());
        let file = CachedEras::of(&directory, &spec("a")).file;
        assert_eq!(read(&file, Duration::ZERO), None, "too old");
        std::fs::write(&file, "no JSON").unwrap();
        assert_eq!(CachedEras::of(&directory, &spec("a")).recall(), Eras::default());
    }
}
