//! Bytes that somebody calls a component: read for what they are, refused or not, and never more. What is behind it (compile,
//! link, ask) is tried by `damaged_components_are_refused_or_loaded_and_the_host_stays` in `host/wasm/tests`.
#![no_main]
#![allow(dead_code, reason = "the module is that of the host, which uses all of it")]

use libfuzzer_sys::fuzz_target;

// By itself: with the crate around it comes the Wasm engine, which takes longer to build than everything else here.
#[path = "../../host/wasm/src/audit.rs"]
mod audit;

fuzz_target!(|bytes: &[u8]| {
    match audit::kind_of(bytes) {
        Ok(kind) => assert!(!kind.to_string().is_empty()),
        Err(error) => assert!(!error.to_string().is_empty() && !error.hint().is_empty()),
    }
    match audit::plugin(bytes) {
        Ok(plugin) => assert!(plugin.imports.is_sorted()),
        Err(error) => assert!(!error.to_string().is_empty() && !error.hint().is_empty()),
    }
});
