//! What a point of [`fairlead_core::fault`] does in a daemon under test: it panics once for each file of its name in the
//! directory that the environment names. A build without debug assertions has none of this.

use std::path::PathBuf;
use std::sync::OnceLock;

use fairlead_core::fault;

use crate::config::variables::FAULTS;

static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();

/// Takes orders for faults, if somebody says where they lie.
pub(crate) fn begin() {
    if let Some(directory) = std::env::var_os(FAULTS.name).filter(|directory| !directory.is_empty()) {
        tracing::warn!("faults are injected on purpose: this is a test");
        let _ = DIRECTORY.set(directory.into());
        fault::install(inject);
    }
}

#[expect(clippy::panic, reason = "a panic is what is asked for")]
fn inject(name: &'static str) {
    // Removing the order is what carries it out, so that of many tasks one breaks.
    if DIRECTORY.get().is_some_and(|directory| std::fs::remove_file(directory.join(name)).is_ok()) {
        panic!("a fault on purpose at `{name}`");
    }
}
